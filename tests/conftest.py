"""Fixtures: the real sample, trained codecs, and a clean state of threads, kernels and signals."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from numpy.typing import NDArray
from support import trained

import waterfill as wf
from waterfill import _core

DATA = Path(__file__).parent / "samples"

settings.register_profile(
    "default", deadline=None, max_examples=25, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("quick", parent=settings.get_profile("default"), max_examples=5)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))


_WORKER = "PYTEST_XDIST_WORKER" in os.environ


def pytest_configure(config: pytest.Config) -> None:
    """Prepare what all processes of a run share, and the signals that child processes inherit."""
    # A shell starts background jobs with SIGINT ignored, and children would inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if not _WORKER:
        os.environ[trained.DIRECTORY] = tempfile.mkdtemp(prefix="waterfill-codecs-")


def pytest_unconfigure(config: pytest.Config) -> None:
    """Remove the codecs of this run."""
    if not _WORKER:
        shutil.rmtree(os.environ.pop(trained.DIRECTORY), ignore_errors=True)


@pytest.fixture(scope="session")
def minilm() -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """4,800 MiniLM sentence embeddings, and 200 more, held out.

    The fixtures below take them from here and not from each other: a directory may override
    `base` or `queries`, and a codec that is kept for the session must not depend on who asks first.
    """
    base, queries = np.load(DATA / "base.npy"), np.load(DATA / "query.npy")
    return base.astype(np.float32), queries.astype(np.float32)


@pytest.fixture(scope="session")
def base(minilm: tuple[NDArray[np.float32], ...]) -> NDArray[np.float32]:
    """4,800 MiniLM sentence embeddings."""
    return minilm[0]


@pytest.fixture(scope="session")
def queries(minilm: tuple[NDArray[np.float32], ...]) -> NDArray[np.float32]:
    """200 more, held out."""
    return minilm[1]


@pytest.fixture(scope="session")
def codec(minilm: tuple[NDArray[np.float32], ...]) -> wf.Codec:
    """48 bytes of MiniLM."""
    return trained.trained(minilm[0], 48)


@pytest.fixture(scope="session")
def base_64(minilm: tuple[NDArray[np.float32], ...]) -> NDArray[np.float32]:
    """The first 64 dimensions of `base`, unit norm: for mechanics, where recall is not asserted."""
    return _truncated(minilm[0])


@pytest.fixture(scope="session")
def queries_64(minilm: tuple[NDArray[np.float32], ...]) -> NDArray[np.float32]:
    """The first 64 dimensions of `queries`, unit norm."""
    return _truncated(minilm[1])


@pytest.fixture(scope="session")
def codec_64(minilm: tuple[NDArray[np.float32], ...]) -> wf.Codec:
    """16 bytes of `base_64`."""
    return trained.trained(_truncated(minilm[0]), 16)


def _truncated(x: NDArray[np.float32]) -> NDArray[np.float32]:
    part = x[:, :64]
    return np.ascontiguousarray(part / np.linalg.norm(part, axis=1, keepdims=True))


@pytest.fixture(scope="session")
def clustered() -> NDArray[np.float32]:
    """Small vectors with spread norms, a mean and an uneven spectrum."""
    rng = np.random.default_rng(5)
    x = rng.standard_normal((3000, 20)) * np.geomspace(3, 0.1, 20) + rng.normal(size=20)
    return (x * rng.uniform(0.5, 3, size=(3000, 1))).astype(np.float32)


@pytest.fixture(scope="session", params=[0, 16, 300], ids=["flat", "16 cells", "300 cells"])
def small_codec(clustered: NDArray[np.float32], request: pytest.FixtureRequest) -> wf.Codec:
    """Seven code bytes: an odd number of groups; without cells, and with them."""
    return trained.trained(clustered, 7, cells=request.param)


@pytest.fixture(autouse=True)
def _restore_state() -> Iterator[None]:
    threads, isa = wf.get_num_threads(), _core.isa()
    if _WORKER:  # processes share the cores
        wf.set_num_threads(1)
    yield
    wf.set_num_threads(threads)
    _core.select_isa(isa)
