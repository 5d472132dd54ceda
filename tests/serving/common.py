"""What the tests of serving share: parameters to search with, and results compared to the bit."""

from __future__ import annotations

from typing import Any

import numpy as np

import waterfill as wf

PARAMS = [
    None,
    wf.SearchParameters(),
    wf.SearchParameters(nprobe=2),
    wf.SearchParameters(nprobe=2),
    wf.SearchParameters(k_factor=2.0),
    wf.SearchParameters(sel=wf.IDSelectorRange(100, 900)),
    wf.SearchParameters(sel=wf.IDSelectorNot(wf.IDSelectorArray(np.arange(0, 1500, 2)))),
]


def assert_same(found: Any, wanted: Any) -> None:
    """Compare distances and ids byte by byte."""
    for ours, theirs in zip(found, wanted, strict=True):
        assert ours.dtype == theirs.dtype
        assert ours.shape == theirs.shape
        assert ours.tobytes() == theirs.tobytes()
