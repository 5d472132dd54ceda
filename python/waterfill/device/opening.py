"""Opening devices: the one place that knows which kinds there are."""

from __future__ import annotations

from waterfill._util.validation import as_int
from waterfill.device import cuda
from waterfill.device.backend import Device


def open_device(ordinal: int, stream: int | None = None) -> Device:
    """Open a GPU by its number; errors as of `waterfill.device.cuda.CudaDevice`."""
    return cuda.CudaDevice(as_int("device", ordinal), stream)


def ordinal_of(ptr: int) -> int:
    """Return the number of the GPU that memory belongs to."""
    return cuda.ordinal_of(ptr)
