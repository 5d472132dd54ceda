"""What the tests of the integrations share: no connections, and real vectors of texts."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from support.documents import D

import waterfill as wf

_TRAINING_ROWS = 1000


@pytest.fixture(scope="session")
def folder_options(base: NDArray[np.float32]) -> Callable[[str, str], dict[str, Any]]:
    """Options of a folder by its kind, managed or compressed by a given codec, and its metric."""

    def options(kind: str, metric: Any) -> dict[str, Any]:
        if kind == "managed":
            return {"metric": metric}
        codec = wf.Recipe(384, 48).train(base[:_TRAINING_ROWS], metric)
        return {"metric": metric, "codec": codec}

    return options


@pytest.fixture(scope="module")
def rows(base: NDArray[np.float32]) -> NDArray[np.float32]:
    """Real vectors, cut to a few dimensions."""
    return np.ascontiguousarray(base[:600, :D])


@pytest.fixture(scope="module", autouse=True)
def _alone() -> Iterator[None]:
    """No telemetry, and no connection at all."""

    def refuse(*args: Any) -> None:
        raise AssertionError(f"a host connects to {args[1:]}")

    with pytest.MonkeyPatch.context() as patch:
        for name in ("HAYSTACK_TELEMETRY_ENABLED", "LANGSMITH_TRACING", "LANGCHAIN_TRACING_V2"):
            patch.setenv(name, "false")
        patch.setattr(socket.socket, "connect", refuse)
        patch.setattr(socket.socket, "connect_ex", refuse)
        yield
