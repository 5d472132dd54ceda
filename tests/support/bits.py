"""Comparisons to the bit."""

from __future__ import annotations

import dataclasses

import numpy as np

import waterfill as wf


def same_analysis(found: wf.analysis.Analysis, expected: wf.analysis.Analysis) -> None:
    for field in dataclasses.fields(expected):
        np.testing.assert_array_equal(
            getattr(found, field.name), getattr(expected, field.name), err_msg=field.name
        )
