"""Arrays and tensors as NumPy arrays, each read as what it is or refused."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray

from waterfill._util.tensors import is_tensor
from waterfill._util.validation import refuse_masked

_REAL = "fiub"
_DLPACK_CPU = 1
_HINTS = {
    "c": "; pass x.real, or real and imaginary parts as separate dimensions",
    "M": "; times are no vectors",
    "m": "; times are no vectors",
    "U": "; convert text with x.astype(np.float32) if it is numbers",
    "S": "; convert text with x.astype(np.float32) if it is numbers",
}


class TensorSource:
    """A tensor of a type that NumPy does not have, such as bfloat16, converted block by block."""

    def __init__(self, tensor: Any) -> None:
        self._tensor = tensor
        self.shape = tuple(tensor.shape)
        self.dtype = np.dtype(np.float32)

    def read(self, first: int, n: int) -> NDArray[Any]:
        """Return the rows from `first` to ``first + n - 1``."""
        return _float32(self._tensor[first : first + n])

    def take(self, rows: NDArray[np.int64]) -> NDArray[Any]:
        """Return the rows with these numbers."""
        return _float32(self._tensor[rows])


def _float32(tensor: Any) -> NDArray[Any]:
    try:
        values: NDArray[Any] = tensor.float().numpy()
    except (NotImplementedError, RuntimeError) as error:
        raise TypeError(f"tensors of {tensor.dtype} cannot be converted to float32") from error
    return values


def read_numbers(x: Any, name: str) -> NDArray[Any]:
    """Return an array or tensor of any shape as an array."""
    if isinstance(x, np.ndarray):
        refuse_masked(x, name)
        return np.asarray(x)
    if is_tensor(x):
        tensor = read_tensor(x, name)
        return _float32(x.detach()) if isinstance(tensor, TensorSource) else tensor
    if hasattr(x, "__dlpack_device__") and not hasattr(x, "__array__"):
        return read_dlpack(x, name)
    return as_array(x, name)


def require_real(dtype: np.dtype[Any], name: str) -> None:
    """Raise TypeError unless a dtype is one of real numbers."""
    if dtype.kind in _REAL or _is_extended(dtype):
        return
    hint = _HINTS.get(dtype.kind, "")
    if dtype.names:
        hint = f"; choose a field, such as x[{dtype.names[0]!r}]"
    raise TypeError(f"{name} must hold real numbers, got dtype {dtype}{hint}")


def _is_extended(dtype: np.dtype[Any]) -> bool:
    """Whether a dtype is one of numbers that another package defines, such as bfloat16."""
    return dtype.kind == "V" and dtype.type.__module__.partition(".")[0] == "ml_dtypes"


def read_tensor(x: Any, name: str) -> Any:
    """Return a tensor on the CPU as an array, or a `TensorSource` if NumPy lacks its type."""
    torch = sys.modules["torch"]
    x = x.detach()  # values are read, gradients are not
    if x.is_nested:
        raise TypeError(
            f"{name} is a nested tensor; pass x.to_padded_tensor(0.0), or rows of one length"
        )
    if x.layout is not torch.strided:
        raise TypeError(f"{name} is sparse ({x.layout}); pass x.to_dense()")
    if x.device.type != "cpu":
        raise TypeError(
            f"{name} is on a device ({x.device}), expected the CPU; move it there, for example "
            "with x.cpu()"
        )
    if x.is_quantized:
        raise TypeError(f"{name} is quantized ({x.dtype}); pass x.dequantize()")
    x = x.resolve_conj().resolve_neg()  # pending operations, which x.numpy() would refuse
    try:
        return x.numpy()
    except TypeError:  # no such type in NumPy
        if not x.is_floating_point():
            raise TypeError(f"{name} must hold real numbers, got dtype {x.dtype}") from None
        return TensorSource(x)


def read_dlpack(x: Any, name: str) -> NDArray[Any]:
    """Return an object with ``__dlpack__``, on the CPU, as an array."""
    device = int(x.__dlpack_device__()[0])
    if device != _DLPACK_CPU:
        raise TypeError(
            f"{name} is on a device (DLPack type {device}), expected the CPU; move it there, "
            "for example with x.cpu()"
        )
    try:
        return np.from_dlpack(x)
    except (BufferError, RuntimeError, TypeError, ValueError) as error:
        if hasattr(x, "__array__"):  # types that DLPack or NumPy's reader of it lacks
            return as_array(x, name)
        raise TypeError(f"{name} cannot be read through DLPack: {error}") from error


def as_array(x: Any, name: str) -> NDArray[Any]:
    """Return what NumPy makes of an object, unless that is the object itself."""
    try:
        values = np.asarray(x)
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(f"{name} cannot be read as an array: {error}") from error
    if values.dtype == object and values.ndim == 0:
        raise TypeError(f"{name} must be an array, got {type(x).__name__}")
    return values
