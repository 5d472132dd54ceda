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
    """A sample of those to come."""
    return base[1500:4500]


@pytest.fixture(scope="session")
def drifted(base: np.ndarray) -> np.ndarray:
    """What the old codec was trained on: the end of a principal direction."""
    part = base[:3000]
    along = (part - part.mean(axis=0)) @ wf.analyze(part).eigenvectors[:, 0]
    return part[np.argsort(along)[:1200]]


@pytest.fixture(scope="session", params=["ip", "l2", "cosine"])
def metric(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="session")
def old_codec(drifted: np.ndarray) -> wf.Codec:
    return wf.Recipe(64, BYTES, effort="fast").train(drifted, "ip")


@pytest.fixture(scope="session")
def good(stored: np.ndarray, fresh: np.ndarray) -> wf.IndexFlat:
    """What a good codec makes of the stored vectors; not to be changed."""
    index = wf.IndexFlat(wf.Recipe(64, BYTES, effort="fast").train(fresh, "ip"))
    index.add(stored)
    return index


@pytest.fixture
def old(old_codec: wf.Codec, stored: np.ndarray) -> wf.IndexFlat:
    """Without anything to refine with."""
    index = wf.IndexFlat(old_codec)
    index.add(stored)
    return index
