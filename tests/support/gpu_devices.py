"""Devices for the tests of GPUs: emulated ones, or GPU 0 where `make test-gpu` asks for it."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from support.cuda_emulation import EmulatedDevice

from waterfill.device.backend import ForeignMemory, upload
from waterfill.device.cuda import CudaDevice

REAL = bool(os.environ.get("WATERFILL_TEST_GPU"))

STREAM = 1 if REAL else 7
"""The stream that `DeviceArray` names; 1 is CUDA's default stream."""


class RecordingDevice(CudaDevice):
    """A GPU that remembers which kernels were launched."""

    def __init__(self, ordinal: int = 0, stream: int | None = None) -> None:
        super().__init__(ordinal, stream)
        self.launches: list[str] = []
        self.stream = stream

    def launch(self, kernel: str, *arguments: Any, **options: Any) -> None:
        self.launches.append(kernel)
        super().launch(kernel, *arguments, **options)


def new_device(ordinal: int = 0, stream: int | None = None) -> Any:
    if REAL:
        return RecordingDevice(ordinal, stream)
    device = EmulatedDevice()
    device.stream = stream
    return device


class DeviceArray:
    """An array in the memory of a device, as another library would describe it."""

    def __init__(self, values: np.ndarray) -> None:
        self.interface = dict(values.__array_interface__, version=3, stream=STREAM)
        self.held: Any = values
        if REAL and not values.size:
            self.interface["data"] = (0, False)
        elif REAL:
            device = new_device()
            self.held = upload(device, values)  # of the strides' base, too, if it is contiguous
            device.synchronize()
            self.interface["data"] = (self.held.ptr, False)

    @property
    def __cuda_array_interface__(self) -> dict:
        return self.interface


def fetched(array: Any) -> np.ndarray:
    """What an array of bytes on a device holds."""
    interface = array.__cuda_array_interface__
    memory = ForeignMemory(interface["data"][0], int(np.prod(interface["shape"])), array)
    values = new_device().read(memory, np.uint8, memory.nbytes)
    return values.reshape(interface["shape"])
