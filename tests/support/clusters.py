"""Clustered vectors with an uneven spectrum and spread norms, which optimizer tests search."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def clusters(n: int) -> NDArray[np.float32]:
    """Return n vectors of 24 dimensions, in 40 clusters."""
    rng = np.random.default_rng(8)
    centers = rng.standard_normal((40, 24))
    x = centers[rng.integers(0, 40, n)] + rng.standard_normal((n, 24))
    return (x * np.geomspace(3, 0.1, 24)).astype(np.float32)
