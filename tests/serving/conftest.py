"""Small indexes of 64 dimensions, new for each test since tests change them; limiters."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from support import python_limiter, trained

import waterfill as wf

LIMITERS = {"core": wf.Limiter, "python": python_limiter.PythonLimiter}


@pytest.fixture(scope="session", autouse=True)
def _freeze_imports() -> Iterator[None]:
    """Keep gc.collect, which many tests call, from visiting every imported module."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(scope="session")
def ivf_codec_64(base_64: np.ndarray) -> wf.Codec:
    return trained.trained(base_64[:2000], 16, cells=16)


@pytest.fixture(params=["flat", "ivf", "refined", "swap"])
def index(request, base_64, codec_64, ivf_codec_64):
    """Each kind of index, with 1,500 vectors."""
    if request.param == "ivf":
        made = wf.IndexIVF(ivf_codec_64, 16)
        made.nprobe = 4
    else:
        refine = "float16" if request.param == "refined" else None
        made = wf.IndexFlat(codec_64, refine=refine)
    made.add(base_64[:1500])
    return wf.SwapIndex(made) if request.param == "swap" else made


@pytest.fixture
def flat(base_64, codec_64) -> wf.IndexFlat:
    made = wf.IndexFlat(codec_64)
    made.add(base_64[:1500])
    return made


@pytest.fixture(params=LIMITERS)
def make(request: pytest.FixtureRequest) -> Any:
    """The class of a limiter."""
    return LIMITERS[request.param]
