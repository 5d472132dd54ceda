"""NVIDIA's GPUs, through cuda-core and the driver."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from waterfill._util.optional import require
from waterfill.device.backend import Memory
from waterfill.device.kernels import cached_file, kernel_file

_DRIVER_HINT = (
    "install NVIDIA's driver and check that nvidia-smi lists a GPU (in a container: that it was "
    "started with one), or use the index on the CPU: wf.IndexFlat, wf.IndexIVF"
)


def _loaded() -> tuple[Any, Any]:
    """Return cuda.core and the bindings of the driver."""
    return require("cuda.core", "a GPU", "cuda"), require("cuda.bindings.driver", "a GPU", "cuda")


class CudaMemory:
    """Memory of a GPU, returned to its pool when work that was queued before is done."""

    def __init__(self, buffer: Any, nbytes: int) -> None:
        self.buffer, self.nbytes = buffer, nbytes
        self.ptr = int(buffer.handle)


class CudaDevice:
    """A GPU and a stream of it.

    Parameters
    ----------
    ordinal : int
        Number of the GPU, as CUDA counts those that the process sees.
    stream : int, optional
        Handle of the stream on which all work is queued; by default a new one.

    Raises
    ------
    ImportError
        If cuda-core is not installed; the message names the extra.
    RuntimeError
        If there is no driver, or no GPU.
    ValueError
        If there is no GPU with this number.
    """

    def __init__(self, ordinal: int, stream: int | None = None) -> None:
        core, self._driver = _loaded()
        self._core = core
        count = gpu_count()
        if not 0 <= ordinal < count:
            raise ValueError(
                f"device={ordinal}: expected the number of a GPU, 0 to {count - 1}; "
                "CUDA_VISIBLE_DEVICES restricts and orders them"
            )
        self._ordinal = ordinal
        self._device = core.Device(ordinal)
        self._device.set_current()
        self._stream = (
            self._device.create_stream() if stream is None else core.Stream.from_handle(stream)
        )

    @property
    def name(self) -> str:
        """How messages name it."""
        return f"GPU {self._ordinal} ({self._device.name})"

    def allocate(self, nbytes: int) -> CudaMemory:
        """Return new memory; MemoryError if there is too little."""
        self._device.set_current()
        try:
            buffer = self._device.allocate(max(nbytes, 1), stream=self._stream)
        except Exception as error:
            if "OUT_OF_MEMORY" not in str(error):
                raise
            raise MemoryError(
                f"{self.name}: expected {nbytes:,} bytes of free memory, got "
                f"{self.free_bytes():,}; free some, give the index less with memory=..., or search "
                "with fewer neighbours or candidates"
            ) from None
        return CudaMemory(buffer, nbytes)

    def free_bytes(self) -> int:
        """Return how much memory is free."""
        self._device.set_current()
        free, _ = self._checked(self._driver.cuMemGetInfo())
        return int(free)

    def write(self, memory: Memory, values: NDArray[Any], offset: int = 0) -> None:
        """Copy an array to memory, `offset` bytes behind its start."""
        values = np.ascontiguousarray(values)
        if not values.nbytes:
            return
        self._device.set_current()
        self._checked(
            self._driver.cuMemcpyHtoDAsync(
                memory.ptr + offset, values.ctypes.data, values.nbytes, self._handle
            )
        )

    def read(self, memory: Memory, dtype: DTypeLike, count: int, offset: int = 0) -> NDArray[Any]:
        """Return a copy of memory, once all work before it is done."""
        values = np.empty(count, dtype)
        self._device.set_current()
        if values.nbytes:
            self._checked(
                self._driver.cuMemcpyDtoHAsync(
                    values.ctypes.data, memory.ptr + offset, values.nbytes, self._handle
                )
            )
        self.synchronize()
        return values

    def start_read(self, memory: Memory, values: NDArray[Any]) -> None:
        """Copy memory to an array of `staging`, which holds it once all work is done."""
        self._device.set_current()
        self._checked(
            self._driver.cuMemcpyDtoHAsync(
                values.ctypes.data, memory.ptr, values.nbytes, self._handle
            )
        )

    def staging(self, nbytes: int) -> NDArray[np.uint8]:
        """Return an array of host memory that the device copies without waiting for the CPU."""
        self._device.set_current()
        (ptr,) = self._checked(self._driver.cuMemAllocHost(max(nbytes, 1)))
        return np.asarray(_Pinned(int(ptr), nbytes, self._driver))

    def fork(self) -> CudaDevice:
        """Return the same GPU with another stream."""
        return type(self)(self._ordinal)

    def fill(self, memory: Memory, byte: int) -> None:
        """Set all bytes of memory."""
        self._device.set_current()
        self._checked(self._driver.cuMemsetD8Async(memory.ptr, byte, memory.nbytes, self._handle))

    def launch(
        self, kernel: str, grid: tuple[int, int], threads: int, *arguments: Any, shared: int = 0
    ) -> None:
        """Start a kernel; arguments are memory, None for a null pointer, or numbers of ctypes."""
        self._device.set_current()
        function = _kernel(self._ordinal, self._device.arch, kernel)
        config = self._core.LaunchConfig(grid=grid, block=threads, shmem_size=shared)
        values = [0 if a is None else getattr(a, "ptr", a) for a in arguments]
        self._core.launch(self._stream, config, function, *values)

    def synchronize(self) -> None:
        """Wait for all work."""
        self._stream.sync()

    @property
    def _handle(self) -> int:
        return int(self._stream.handle)

    def _checked(self, result: tuple[Any, ...]) -> tuple[Any, ...]:
        error, *values = result
        if error != self._driver.CUresult.CUDA_SUCCESS:
            raise RuntimeError(f"{self.name}: {error.name}")
        return tuple(values)


class _Pinned:
    """Page-locked host memory, as an array that keeps it."""

    def __init__(self, ptr: int, nbytes: int, driver: Any) -> None:
        self._ptr, self._driver = ptr, driver
        self.__array_interface__ = {
            "shape": (nbytes,),
            "typestr": "|u1",
            "data": (ptr, False),
            "version": 3,
        }

    def __del__(self) -> None:
        self._driver.cuMemFreeHost(self._ptr)


@functools.cache
def _kernel(ordinal: int, arch: str, kernel: str) -> Any:
    """Return a kernel that is loaded on a GPU, which is current."""
    return _module(ordinal, arch, kernel_file(kernel)).get_kernel(kernel)


@functools.cache
def _module(ordinal: int, arch: str, file: str) -> Any:
    core, _ = _loaded()
    return core.ObjectCode.from_cubin(cached_file(file, f"sm_{arch}"))


def gpu_count() -> int:
    """Return how many GPUs the process sees, at least 1.

    Raises
    ------
    ImportError, RuntimeError
        As `CudaDevice`.
    """
    _, driver = _loaded()
    try:
        started = driver.cuInit(0)[0]
    except RuntimeError as error:  # the driver's library is not installed
        raise RuntimeError(f"a GPU: found no driver ({error}); {_DRIVER_HINT}") from None
    if started != driver.CUresult.CUDA_SUCCESS:
        raise RuntimeError(f"a GPU: the driver found none ({started.name}); {_DRIVER_HINT}")
    found, count = driver.cuDeviceGetCount()
    if found != driver.CUresult.CUDA_SUCCESS or count < 1:
        raise RuntimeError(f"a GPU: the driver found none; {_DRIVER_HINT}")
    return int(count)


def ordinal_of(ptr: int) -> int:
    """Return the number of the GPU that memory belongs to."""
    gpu_count()
    _, driver = _loaded()
    attribute = driver.CUpointer_attribute.CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL
    error, ordinal = driver.cuPointerGetAttribute(attribute, ptr)
    if error != driver.CUresult.CUDA_SUCCESS:
        raise RuntimeError(f"x is no memory of a GPU of this process: {error.name}")
    return int(ordinal)
