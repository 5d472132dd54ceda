"""A small sample, and one search of it."""

from __future__ import annotations

import numpy as np
import pytest
from support.clusters import clusters

import waterfill as wf


@pytest.fixture(scope="session")
def sample() -> np.ndarray:
    """1,600 vectors of 24 dimensions: a search of settings takes about a second."""
    return clusters(1600)


@pytest.fixture(scope="session")
def found(sample: np.ndarray) -> wf.optimizer.Result:
    """The fewest bytes for a recall."""
    return wf.optimize(sample, target_recall=0.8, metric="l2", ntotal=50_000)
