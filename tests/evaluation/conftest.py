"""A small sample of clustered vectors."""

from __future__ import annotations

import numpy as np
import pytest
from support.clusters import clusters


@pytest.fixture(scope="session")
def sample() -> np.ndarray:
    """4,000 vectors of 24 dimensions."""
    return clusters(4000)
