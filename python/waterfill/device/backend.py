"""What encoding and searching need of a device."""

from __future__ import annotations

import ctypes
from typing import Any, Protocol

import numpy as np
from numpy.typing import DTypeLike, NDArray

u32, f32, f64 = ctypes.c_uint32, ctypes.c_float, ctypes.c_double
"""Types of the numbers that kernels take."""


class Memory(Protocol):
    """Memory of a device, freed with the object."""

    @property
    def ptr(self) -> int:
        """Its address."""
        ...

    @property
    def nbytes(self) -> int:
        """Its size."""
        ...


class ForeignMemory:
    """Memory that another object owns, or a part of it; `owner` keeps it."""

    def __init__(self, ptr: int, nbytes: int, owner: Any) -> None:
        self.ptr, self.nbytes, self._owner = ptr, nbytes, owner


def part_of(memory: Memory, offset: int, nbytes: int) -> ForeignMemory:
    """Return some bytes of memory."""
    return ForeignMemory(memory.ptr + offset, nbytes, memory)


class Device(Protocol):
    """A device, and the stream on which its work is done in order."""

    @property
    def name(self) -> str:
        """How messages name it."""
        ...

    def allocate(self, nbytes: int) -> Memory:
        """Return new memory; MemoryError if there is too little."""
        ...

    def free_bytes(self) -> int:
        """Return how much memory is free."""
        ...

    def write(self, memory: Memory, values: NDArray[Any], offset: int = 0) -> None:
        """Copy an array to memory, `offset` bytes behind its start."""
        ...

    def read(self, memory: Memory, dtype: DTypeLike, count: int, offset: int = 0) -> NDArray[Any]:
        """Return a copy of memory, once all work before it is done."""
        ...

    def start_read(self, memory: Memory, values: NDArray[Any]) -> None:
        """Copy memory to an array of `staging`, which holds it once all work is done."""
        ...

    def staging(self, nbytes: int) -> NDArray[np.uint8]:
        """Return an array of host memory that the device copies without waiting for the CPU."""
        ...

    def fork(self) -> Device:
        """Return the same device with another stream."""
        ...

    def fill(self, memory: Memory, byte: int) -> None:
        """Set all bytes of memory."""
        ...

    def launch(
        self, kernel: str, grid: tuple[int, int], threads: int, *arguments: Any, shared: int = 0
    ) -> None:
        """Start a kernel; arguments are memory, None for a null pointer, or numbers of ctypes."""
        ...

    def synchronize(self) -> None:
        """Wait for all work."""
        ...


def upload(device: Device, values: NDArray[Any]) -> Memory:
    """Return a copy of an array in new memory."""
    memory = device.allocate(max(values.nbytes, 1))
    if values.size:
        device.write(memory, values)
    return memory


def blocks(n: int, threads: int) -> int:
    """Return how many blocks of threads do n pieces of work."""
    return -(-n // threads)
