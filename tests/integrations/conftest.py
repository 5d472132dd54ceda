"""What the tests of the integrations share: no connections, and real vectors of texts."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

import pytest


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
