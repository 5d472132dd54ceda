"""One search of each kind, made once."""

from __future__ import annotations

import numpy as np
import pytest

import waterfill as wf


@pytest.fixture(scope="session")
def sample() -> np.ndarray:
    """Vectors of 24 dimensions with an uneven spectrum and spread norms."""
    rng = np.random.default_rng(8)
    centres = rng.standard_normal((40, 24))
    x = centres[rng.integers(0, 40, 4000)] + rng.standard_normal((4000, 24))
    return (x * np.geomspace(3, 0.1, 24)).astype(np.float32)


@pytest.fixture(scope="session")
def found(sample: np.ndarray) -> wf.optimizer.Result:
    """The fewest bytes for a recall."""
    return wf.optimize(sample, target_recall=0.8, metric="l2", ntotal=50_000)
