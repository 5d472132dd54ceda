"""A device that is no device: kernels compiled as C++ over an emulation of the grid."""

from __future__ import annotations

import ctypes
import fcntl
import functools
import os
import re
import subprocess
import weakref
from pathlib import Path

import numpy as np
from support import trained

from waterfill.device.kernels import KERNEL_FILES, SOURCE

SUPPORT = Path(__file__).parent
KERNEL = re.compile(r'extern "C" (?:__launch_bounds__\([^)]*\)\s+)?__global__\s+void (\w+)\(')

# No fused products and sums, as on a device. The jumps between fibers are no error.
FLAGS = ["-std=c++20", "-O2", "-ffp-contract=off", "-fPIC", "-w", "-U_FORTIFY_SOURCE"]

# `make sanitize` sets it: the kernels run under the sanitizers, too, and memory ends where it ends.
SANITIZED = bool(os.environ.get("WATERFILL_SANITIZE_KERNELS"))
if SANITIZED:
    FLAGS += ["-fsanitize=address,undefined", "-fno-sanitize-recover=undefined", "-g"]


@functools.cache
def emulated_kernels() -> ctypes.CDLL:
    """Return the library of all kernels, which the processes of a run compile once."""
    folder = Path(os.environ[trained.DIRECTORY]) / "emulation"
    folder.mkdir(exist_ok=True)
    library = folder / "kernels.so"
    with open(folder / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not library.exists():
            _compile(folder, library)
    return ctypes.CDLL(str(library))


def _compile(folder: Path, library: Path) -> None:
    compiler = os.environ.get("CXX", "g++")
    include = [f"-I{SUPPORT}", f"-I{SOURCE / 'cuda'}", f"-I{SOURCE / 'include'}"]
    texts = [(SUPPORT / "cuda_emulation.cpp").read_text()]
    for name in KERNEL_FILES:
        path = SOURCE / "cuda" / name
        entries = "".join(f"EMULATED_KERNEL({k})\n" for k in KERNEL.findall(path.read_text()))
        texts.append(f'#include "cuda_emulation.hpp"\n#include "{path}"\n{entries}')
    objects = []
    for i, text in enumerate(texts):
        file, target = folder / f"{i}.cpp", folder / f"{i}.o"
        file.write_text(text)
        command = [compiler, *FLAGS, *include, "-c", str(file), "-o", str(target)]
        subprocess.run(command, check=True)
        objects.append(str(target))
    subprocess.run([compiler, *FLAGS, "-shared", *objects, "-o", str(library)], check=True)


class HostMemory:
    """Memory of the emulated device."""

    def __init__(self, nbytes: int) -> None:
        # With what a kernel does not write, and, under sanitizers, not a byte more.
        self.array = np.full(max(nbytes, 1) if SANITIZED else nbytes + 64, 0xCD, np.uint8)
        self.nbytes = nbytes
        self.ptr = self.array.ctypes.data

    def view(self) -> np.ndarray:
        return self.array[: self.nbytes]


class EmulatedDevice:
    """The device of `waterfill.device.backend.Device`, on the CPU.

    Parameters
    ----------
    memory : int
        Bytes that may be allocated.
    """

    name = "emulated"

    def __init__(self, memory: int = 1 << 32) -> None:
        self._memory, self._held = memory, []
        self.launches: list[str] = []

    def allocate(self, nbytes: int) -> HostMemory:
        memory = HostMemory(nbytes)
        if nbytes > self.free_bytes():
            raise MemoryError(f"emulated: no {nbytes} bytes")
        self._held.append(weakref.ref(memory))
        return memory

    def free_bytes(self) -> int:
        self._held = [ref for ref in self._held if ref() is not None]
        return self._memory - sum(ref().nbytes for ref in self._held)

    def write(self, memory: HostMemory, values: np.ndarray, offset: int = 0) -> None:
        data = np.ascontiguousarray(values).reshape(-1).view(np.uint8)
        assert offset + data.size <= memory.nbytes
        ctypes.memmove(memory.ptr + offset, data.ctypes.data, data.size)

    def read(self, memory: HostMemory, dtype, count: int, offset: int = 0) -> np.ndarray:
        values = np.empty(count, dtype)
        assert offset + values.nbytes <= memory.nbytes
        ctypes.memmove(values.ctypes.data, memory.ptr + offset, values.nbytes)
        return values

    def start_read(self, memory: HostMemory, values: np.ndarray) -> None:
        values.view(np.uint8)[:] = self.read(memory, np.uint8, values.nbytes)

    def staging(self, nbytes: int) -> np.ndarray:
        return np.zeros(nbytes, np.uint8)

    def fork(self) -> EmulatedDevice:
        return self

    def fill(self, memory: HostMemory, byte: int) -> None:
        memory.view()[:] = byte

    def launch(self, kernel: str, grid: tuple[int, int], threads: int, *arguments, shared=0):
        self.launches.append(kernel)
        held = [
            ctypes.c_void_p(getattr(a, "ptr", None)) if a is None or hasattr(a, "ptr") else a
            for a in arguments
        ]
        pointers = (ctypes.c_void_p * len(held))(*(ctypes.addressof(a) for a in held))
        entry = getattr(emulated_kernels(), f"launch_{kernel}")
        entry.argtypes = [ctypes.c_uint] * 3 + [ctypes.c_size_t, ctypes.c_void_p]
        entry(*grid, threads, shared, pointers)

    def synchronize(self) -> None:
        pass
