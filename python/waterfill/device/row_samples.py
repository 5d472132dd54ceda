"""Copies of some rows in the memory of a device."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from waterfill.device.backend import Device, Memory, u32, upload

_THREADS = 128
_MOST_BLOCKS = 65_535


def take_rows(device: Device, x: Memory, d: int, numbers: NDArray[np.uint32]) -> Memory:
    """Return the rows with some numbers in new memory, float32 (m, d)."""
    n = len(numbers)
    taken = device.allocate(max(n * d * 4, 1))
    if n:
        device.launch(
            "take_rows", (min(n, _MOST_BLOCKS), 1), _THREADS, x, u32(d), upload(device, numbers),
            u32(n), taken,
        )  # fmt: skip
    return taken


def read_rows(
    device: Device, x: Memory, d: int, numbers: NDArray[np.uint32]
) -> NDArray[np.float32]:
    """Return the rows with some numbers in host memory, float32 (m, d)."""
    taken = take_rows(device, x, d, numbers)
    return device.read(taken, np.float32, len(numbers) * d).reshape(-1, d)
