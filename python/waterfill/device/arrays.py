"""Arrays of other libraries in the memory of a GPU: read without a copy, answered in kind."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from waterfill._util.optional import require
from waterfill._util.tensors import is_device_array, is_tensor
from waterfill.device import opening
from waterfill.device.backend import Device, ForeignMemory, Memory
from waterfill.device.cuda import CudaMemory
from waterfill.device.row_samples import read_rows
from waterfill.errors import ArgumentError

_DEFAULT_STREAM = 1  # CU_STREAM_LEGACY


@dataclass
class DeviceRows:
    """Rows in the memory of a GPU; also a block source, which copies the rows that are read.

    Attributes
    ----------
    device : Device
        The GPU, with the stream of the caller.
    memory : Memory
        float32 (n, d).
    shape : (int, int)
    origin : object
        The array of the caller.
    """

    device: Device
    memory: Memory
    shape: tuple[int, int]
    origin: Any
    _fetched: tuple[NDArray[np.int64], NDArray[np.float32]] | None = None

    @classmethod
    def of(cls, x: Any, name: str = "x") -> DeviceRows:
        """Read an array.

        Raises
        ------
        TypeError
            If its dtype is not float32.
        ValueError
            If it is not a matrix with contiguous rows that follow each other.
        """
        interface = _interface(x)
        shape, kind = tuple(map(int, interface["shape"])), np.dtype(interface["typestr"])
        if kind != np.float32:
            raise TypeError(
                f"{name}: expected float32 on a GPU, got {kind}; convert it there: x.float(), or "
                "x.astype('float32')"
            )
        if len(shape) != 2:
            raise ArgumentError(f"{name} must have shape (n, d), got shape {shape}")
        strides = interface.get("strides")
        if strides is not None and shape[0] > 1 and tuple(strides) != (4 * shape[1], 4):
            raise ArgumentError(
                f"{name}: expected rows that follow each other, got strides {tuple(strides)}; copy "
                "it there: x.contiguous(), or cupy.ascontiguousarray(x)"
            )
        ptr = int(interface["data"][0])
        ordinal = opening.ordinal_of(ptr) if ptr else 0
        device = opening.open_device(ordinal, _stream_of(x, interface))
        return cls(device, ForeignMemory(ptr, 4 * shape[0] * shape[1], x), shape, x)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the rows."""
        return np.dtype(np.float32)

    def read(self, first: int, n: int) -> NDArray[np.float32]:
        """Return a copy of n rows."""
        d = self.shape[1]
        return self.device.read(self.memory, np.float32, n * d, first * d * 4).reshape(n, d)

    @property
    def training_device(self) -> Device:
        """The GPU, which trains on its rows."""
        return self.device

    def fetch(self, rows: NDArray[np.int64]) -> None:
        """Copy rows that `take` is about to return part by part, all at once."""
        self._fetched = rows, self._copied(rows)

    def take(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return copies of some rows, of ascending numbers."""
        if self._fetched is None or not len(rows):
            return self._copied(rows)
        numbers, copies = self._fetched
        first = int(np.searchsorted(numbers, rows[0]))
        part = slice(first, first + len(rows))
        if not np.array_equal(numbers[part], rows):
            return self._copied(rows)
        if part.stop == len(numbers):
            self._fetched = None
        return copies[part]

    def _copied(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        return read_rows(self.device, self.memory, self.shape[1], rows.astype(np.uint32))


def device_source(x: Any, name: str = "x") -> Any:
    """Return `DeviceRows` for an array on a GPU, and any other value as it is."""
    return DeviceRows.of(x, name) if is_device_array(x) else x


@dataclass(frozen=True)
class DeviceCodes:
    """An array of bytes on a GPU, for libraries without arrays of their own.

    It has ``__cuda_array_interface__`` (version 3), which CuPy, Numba and torch read.
    """

    memory: Memory
    shape: tuple[int, int]

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        """The description of the array."""
        return {
            "shape": self.shape,
            "typestr": "|u1",
            "data": (self.memory.ptr, False),
            "version": 3,
        }


def new_codes(like: DeviceRows, size: int) -> tuple[Memory, Callable[[], Any]]:
    """Return memory for uint8 (n, size), and a function that returns it as an array in kind."""
    x, shape = like.origin, (like.shape[0], size)
    nbytes = shape[0] * size
    if is_tensor(x):
        torch = sys.modules["torch"]
        tensor = torch.empty(shape, dtype=torch.uint8, device=x.device)
        return ForeignMemory(tensor.data_ptr(), nbytes, tensor), lambda: tensor
    if _library(x) == "cupy":
        cupy = sys.modules["cupy"]
        with x.device:
            array = cupy.empty(shape, cupy.uint8)
        return ForeignMemory(array.data.ptr, nbytes, array), lambda: array
    memory = like.device.allocate(max(nbytes, 1))
    if _library(x) == "jax" and isinstance(memory, CudaMemory):
        jax = sys.modules["jax"]
        held = memory.buffer  # with __dlpack__, as int8
        return memory, lambda: jax.dlpack.from_dlpack(held).view("uint8").reshape(shape)
    return memory, lambda: DeviceCodes(memory, shape)


def in_kind(like: DeviceRows) -> Callable[[NDArray[Any]], Any]:
    """Return a function that copies an array to the GPU and the library of another one."""
    x = like.origin
    if is_tensor(x):
        torch = sys.modules["torch"]
        return lambda values: torch.from_numpy(values).to(x.device)
    library = _library(x)
    if library == "cupy":
        cupy = sys.modules["cupy"]

        def copied(values: NDArray[Any]) -> Any:
            with x.device:
                return cupy.asarray(values)

        return copied
    if library == "jax":
        jax = sys.modules["jax"]
        return lambda values: jax.device_put(values, next(iter(x.devices())))
    return lambda values: values


def _library(x: Any) -> str:
    name = type(x).__module__.partition(".")[0]
    return "jax" if name in ("jax", "jaxlib") else name


def _interface(x: Any) -> dict[str, Any]:
    """Return the description of an array on a GPU."""
    if is_tensor(x):
        x = x.detach()
    if _library(x) == "jax":
        x.block_until_ready()  # it works on streams of its own
    found = getattr(x, "__cuda_array_interface__", None)
    if found is not None:
        return dict(found)
    utils = require("cuda.core.utils", "an array on a GPU", "cuda")
    view = utils.StridedMemoryView.from_dlpack(x, stream_ptr=_DEFAULT_STREAM)
    strides = None if view.strides is None else tuple(view.dtype.itemsize * s for s in view.strides)
    return {
        "shape": view.shape,
        "typestr": view.dtype.str,
        "data": (view.ptr, view.readonly),
        "strides": strides,
    }


def _stream_of(x: Any, interface: dict[str, Any]) -> int:
    """Return the handle of the stream on which the caller works."""
    if is_tensor(x):
        stream = sys.modules["torch"].cuda.current_stream(x.device).cuda_stream
    elif _library(x) == "cupy":
        stream = sys.modules["cupy"].cuda.get_current_stream().ptr
    else:
        stream = interface.get("stream")
    return int(stream or _DEFAULT_STREAM)
