"""Products of rows with a matrix in fixed point, on a device."""

from __future__ import annotations

from typing import Any

from waterfill.device.backend import Device, Memory, blocks, u32, upload

_THREADS = 256
_TILE = 64  # rows and columns of a tile
_PANEL = 16


class Rotation:
    """A matrix in fixed point on a device."""

    def __init__(self, device: Device, tables: dict[str, Any]) -> None:
        self.width, self.stride = int(tables["width"]), int(tables["stride"])
        self._matrix = upload(device, tables["matrix"])
        self._units = upload(device, tables["units"])
        offsets = tables.get("offsets")
        self._offsets = None if offsets is None else upload(device, offsets)

    def multiply(
        self, device: Device, rows: Memory, units: Memory | None, n: int, out: Memory
    ) -> None:
        """Multiply n rows; out: int16 (n, stride)."""
        grid = (blocks(n, _TILE), blocks(self.stride, _TILE))
        panels = u32(self.stride // _PANEL)
        if self._offsets is not None:
            words = u32(self.width // 4)
            device.launch(
                "rotate_int8", grid, _THREADS, rows, u32(n), words, self._matrix, self._offsets,
                self._units, units, panels, out,
            )  # fmt: skip
        else:
            words = u32(self.width // 2)
            device.launch(
                "rotate_int16", grid, _THREADS, rows, u32(n), words, self._matrix, self._units,
                panels, out,
            )  # fmt: skip
