"""Devices that are opened by the package: emulated ones, unless `make test-gpu` runs."""

from __future__ import annotations

from typing import Any

import pytest
from support.gpu_devices import REAL, new_device

from waterfill.device import opening


@pytest.fixture
def devices(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """All devices that are opened, in order."""
    opened: list[Any] = []

    def open_device(ordinal: int, stream: int | None = None) -> Any:
        opened.append(new_device(ordinal, stream))
        return opened[-1]

    monkeypatch.setattr(opening, "open_device", open_device)
    if not REAL:
        monkeypatch.setattr(opening, "ordinal_of", lambda ptr: 0)
    return opened
