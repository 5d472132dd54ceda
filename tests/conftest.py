"""Fixtures: the real sample, trained codecs, and a clean state of threads and kernels."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from numpy.typing import NDArray

import waterfill as wf
from waterfill import _core

DATA = Path(__file__).parent / "samples"

settings.register_profile(
    "default", deadline=None, max_examples=25, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("quick", parent=settings.get_profile("default"), max_examples=5)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))


@pytest.fixture(scope="session")
def base() -> NDArray[np.float32]:
    """4,800 MiniLM sentence embeddings."""
    return np.load(DATA / "base.npy").astype(np.float32)


@pytest.fixture(scope="session")
def queries() -> NDArray[np.float32]:
    """200 more, held out."""
    return np.load(DATA / "query.npy").astype(np.float32)


@pytest.fixture(scope="session")
def codec(base: NDArray[np.float32]) -> wf.Codec:
    """48 bytes of MiniLM."""
    return wf.Codec.train(base, wf.Plan.waterfill(wf.analyze(base), code_bytes=48))


@pytest.fixture(scope="session")
def clustered() -> NDArray[np.float32]:
    """Small vectors with spread norms, a mean and an uneven spectrum."""
    rng = np.random.default_rng(5)
    x = rng.standard_normal((3000, 20)) * np.geomspace(3, 0.1, 20) + rng.normal(size=20)
    return (x * rng.uniform(0.5, 3, size=(3000, 1))).astype(np.float32)


@pytest.fixture(scope="session", params=[0, 16, 300], ids=["flat", "16 cells", "300 cells"])
def small_codec(clustered: NDArray[np.float32], request: pytest.FixtureRequest) -> wf.Codec:
    """Seven code bytes: an odd number of groups; without cells, and with them."""
    plan = wf.Plan.waterfill(wf.analyze(clustered), code_bytes=7)
    return wf.Codec.train(clustered, plan, cells=request.param)


@pytest.fixture(autouse=True)
def _restore_state() -> Iterator[None]:
    threads, isa = wf.get_num_threads(), _core.isa()
    yield
    wf.set_num_threads(threads)
    _core.select_isa(isa)
