"""Both limiters: the core's and Python's."""

from __future__ import annotations

from typing import Any

import pytest

import waterfill as wf
from waterfill.serving import fallback

LIMITERS = {"core": wf.Limiter, "python": fallback.Limiter}


@pytest.fixture(params=LIMITERS)
def make(request: pytest.FixtureRequest) -> Any:
    """The class of a limiter."""
    return LIMITERS[request.param]
