"""Torch tensors as results, where FAISS returns them: after ``faiss.contrib.torch_utils``.

torch is never imported here: if it is not loaded, no argument is a tensor.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import Any, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

Array = TypeVar("Array", bound=NDArray[Any])

_TORCH_UTILS = "faiss.contrib.torch_utils"
_CUDA = 2  # of the types of devices of DLPack


Method = TypeVar("Method", bound=Callable[..., Any])


def positional_outputs(*names: str) -> Callable[[Method], Method]:
    """Let a method take its outputs by position, as FAISS's do with ``faiss.contrib.torch_utils``.

    Without that module they are keywords, in FAISS too.
    """

    def decorate(method: Method) -> Method:
        @functools.wraps(method)
        def call(self: Any, x: Any, k: int, *outputs: Any, **kwargs: Any) -> Any:
            if outputs and _TORCH_UTILS in sys.modules:
                kwargs |= dict(zip(names, outputs, strict=False))
                outputs = outputs[len(names) :]
            return method(self, x, k, *outputs, **kwargs)

        return cast(Method, call)

    return decorate


def is_tensor(value: object) -> bool:
    """Return whether a value is a torch tensor."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.Tensor)


def is_device_array(x: Any) -> bool:
    """Return whether a value is an array in the memory of a GPU: of torch, CuPy, JAX and others."""
    if isinstance(x, np.ndarray | np.generic):
        return False
    if is_tensor(x):
        return bool(x.is_cuda)
    if hasattr(x, "__cuda_array_interface__"):
        return True
    device = getattr(x, "__dlpack_device__", None)
    return device is not None and int(device()[0]) == _CUDA


def memory_of(value: Any) -> Any:
    """Return the memory of a CPU tensor as an array, to write to; other values unchanged.

    Raises
    ------
    TypeError
        If a tensor is on a device, or has another dtype than NumPy knows.
    """
    if not is_tensor(value):
        return value
    if value.device.type != "cpu":
        raise TypeError(f"expected a tensor on the CPU, got one on {value.device}; call .cpu()")
    return value.detach().numpy()


def returned(array: Array, out: Any, *inputs: Any) -> Array:
    """Return what a call gives back: the caller's `out`, or the new array.

    Once ``faiss.contrib.torch_utils`` is imported, FAISS returns tensors for tensors. The array is
    returned as one if an input is one, and also if there is no input that could tell.
    """
    if out is not None:
        return cast(Array, out)
    if _TORCH_UTILS not in sys.modules or (inputs and not any(map(is_tensor, inputs))):
        return array
    torch = sys.modules["torch"]
    # Torch has no arithmetic of uint64, the dtype of limits.
    signed = array.astype("int64") if array.dtype == "uint64" else array
    return cast(Array, torch.from_numpy(signed))
