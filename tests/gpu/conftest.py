"""An emulated device in place of a GPU."""

from __future__ import annotations

import pytest
from support.cuda_emulation import EmulatedDevice

from waterfill.device import opening


@pytest.fixture
def devices(monkeypatch) -> list[EmulatedDevice]:
    """Let devices be emulated; all that are opened, in order."""
    opened: list[EmulatedDevice] = []

    def open_device(ordinal: int, stream: int | None = None) -> EmulatedDevice:
        opened.append(EmulatedDevice())
        opened[-1].stream = stream
        return opened[-1]

    monkeypatch.setattr(opening, "open_device", open_device)
    monkeypatch.setattr(opening, "ordinal_of", lambda ptr: 0)
    return opened
