"""Small indexes of the real sample, filled anew for each test that changes them; limiters."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from support import python_limiter

import waterfill as wf

D = 384
LIMITERS = {"core": wf.Limiter, "python": python_limiter.PythonLimiter}


@pytest.fixture(scope="session")
def flat_codec(base: np.ndarray) -> wf.Codec:
    return wf.Recipe(D, 24, effort="fast").train(base[:2000], "ip")


@pytest.fixture(scope="session")
def ivf_codec(base: np.ndarray) -> wf.Codec:
    plan = wf.Plan.waterfill(wf.analyze(base[:2000]), code_bytes=24)
    return wf.Codec.train(base[:2000], plan, cells=16)


@pytest.fixture(params=["flat", "ivf", "refined", "swap"])
def index(request, base, flat_codec, ivf_codec):
    """Each kind that can be searched, 1,500 vectors."""
    if request.param == "ivf":
        made = wf.IndexIVF(ivf_codec, 16)
        made.nprobe = 4
    else:
        refine = "float16" if request.param == "refined" else None
        made = wf.IndexFlat(flat_codec, refine=refine)
    made.add(base[:1500])
    return wf.SwapIndex(made) if request.param == "swap" else made


@pytest.fixture
def flat(base, flat_codec) -> wf.IndexFlat:
    made = wf.IndexFlat(flat_codec)
    made.add(base[:1500])
    return made


@pytest.fixture(params=LIMITERS)
def make(request: pytest.FixtureRequest) -> Any:
    """The class of a limiter."""
    return LIMITERS[request.param]
