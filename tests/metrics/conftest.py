"""A small index of 64-dimensional vectors."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

import waterfill as wf


@pytest.fixture
def flat(base_64: NDArray[np.float32], codec_64: wf.Codec) -> wf.IndexFlat:
    """1,500 vectors."""
    index = wf.IndexFlat(codec_64)
    index.add(base_64[:1500])
    return index
