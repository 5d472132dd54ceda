"""A small index of the real sample."""

from __future__ import annotations

import numpy as np
import pytest

import waterfill as wf


@pytest.fixture(scope="session")
def flat_codec(base: np.ndarray) -> wf.Codec:
    return wf.Recipe(384, 24, effort="fast").train(base[:2000], "ip")


@pytest.fixture
def flat(base, flat_codec) -> wf.IndexFlat:
    made = wf.IndexFlat(flat_codec)
    made.add(base[:1500])
    return made
