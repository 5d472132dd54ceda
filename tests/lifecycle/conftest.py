"""Stored vectors of 64 dimensions, and a codec that was trained on other vectors."""

from __future__ import annotations

import numpy as np
import pytest
from support.drift_windows import uneven

import waterfill as wf

BYTES = 8


@pytest.fixture(scope="session")
def base(base_64: np.ndarray) -> np.ndarray:
    return uneven(base_64)


@pytest.fixture(scope="session")
def queries(queries_64: np.ndarray) -> np.ndarray:
    return uneven(queries_64)


@pytest.fixture(scope="session")
def stored(base: np.ndarray) -> np.ndarray:
    """1,500 vectors."""
    return base[:1500]


@pytest.fixture(scope="session")
def fresh(base: np.ndarray) -> np.ndarray:
    """A sample of later vectors."""
    return base[1500:4500]


@pytest.fixture(scope="session")
def drifted(base: np.ndarray) -> np.ndarray:
    """Training vectors of the old codec: one end of the first principal direction."""
    rows = base[:3000]
    scores = (rows - rows.mean(axis=0)) @ wf.analyze(rows).eigenvectors[:, 0]
    return rows[np.argsort(scores)[:1200]]


@pytest.fixture(scope="session", params=["ip", "l2", "cosine"])
def metric(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="session")
def old_codec(drifted: np.ndarray) -> wf.Codec:
    return wf.Recipe(64, BYTES, effort="fast").train(drifted, "ip")


@pytest.fixture(scope="session")
def good(stored: np.ndarray, fresh: np.ndarray) -> wf.IndexFlat:
    """The stored vectors, encoded by a good codec; tests must not change it."""
    index = wf.IndexFlat(wf.Recipe(64, BYTES, effort="fast").train(fresh, "ip"))
    index.add(stored)
    return index


@pytest.fixture
def old(old_codec: wf.Codec, stored: np.ndarray) -> wf.IndexFlat:
    """The stored vectors, encoded by the old codec, without refinement rows."""
    index = wf.IndexFlat(old_codec)
    index.add(stored)
    return index
