"""Validation of scalar arguments, paths and output arrays."""

from __future__ import annotations

import math
import os
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from waterfill import _core
from waterfill._util.tensors import memory_of
from waterfill.errors import ArgumentError

Metric = Literal["ip", "l2", "cosine"]

_MAX_BITS = 1023  # of an int within float64

METRICS: dict[Metric, _core.Metric] = {
    "ip": _core.Metric.inner_product,
    "l2": _core.Metric.l2,
    "cosine": _core.Metric.cosine,
}
METRIC_TYPES: dict[Metric, int] = {"ip": 0, "l2": 1, "cosine": 0}  # FAISS's MetricType


def metric_name(metric: Any) -> Metric:
    """Return the name of a metric given by its name or by FAISS's number (0 or 1)."""
    if isinstance(metric, str) and metric in METRICS:
        return metric
    if isinstance(metric, int | np.integer) and not isinstance(metric, bool) and metric in (0, 1):
        return "l2" if metric else "ip"
    raise ValueError(
        f"metric={metric!r} must be 'ip', 'l2' or 'cosine' (or FAISS's METRIC_INNER_PRODUCT, 0, "
        "or METRIC_L2, 1)"
    )


def metric_of(metric: _core.Metric) -> Metric:
    """Return the name of a metric of the core."""
    return next(name for name, value in METRICS.items() if value == metric)


def as_int(name: str, value: Any) -> int:
    """Return `value` as an int; TypeError unless it is an integer."""
    if type(value) is int:  # nearly always, and each search asks for it
        return value
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise TypeError(f"{name} must be an int, got {value!r}")
    return int(value)


def as_int64(name: str, value: Any) -> int:
    """Return `value` as an int in the range of int64, such as an id."""
    number = as_int(name, value)
    if not -(2**63) <= number < 2**63:
        raise ValueError(f"{name}={number} must be within int64")
    return number


def as_positive_int(name: str, value: Any) -> int:
    """Return `value` as an int of at least 1."""
    number = as_int(name, value)
    if number < 1:
        raise ArgumentError(f"{name}={number} must be at least 1")
    return number


def as_number(name: str, value: Any, minimum: float, *, finite: bool = False) -> float:
    """Return `value` as a float of at least `minimum`."""
    if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
        raise TypeError(f"{name} must be a number, got {value!r}")
    if isinstance(value, int) and value.bit_length() > _MAX_BITS:
        raise ValueError(f"{name} must be within float64, got an int of {value.bit_length()} bits")
    if not value >= minimum:
        raise ValueError(f"{name}={value} must be at least {minimum:g}")
    if finite and math.isinf(value):
        raise ValueError(f"{name}={value} must be finite")
    return float(value)


def as_file_name(path: Any, argument: str = "path") -> bytes:
    """Return a path in the encoding of the file system."""
    if not isinstance(path, str | bytes | os.PathLike):
        raise TypeError(f"{argument} must be a str or path-like, got {type(path).__name__}")
    name = os.fsencode(path)
    if b"\0" in name:
        raise ValueError(f"{argument}={path!r} contains a null character")
    return name


def refuse_masked(x: Any, name: str) -> None:
    """Raise ValueError for a masked array with masked values, which NumPy would read as data."""
    if not isinstance(x, np.ma.MaskedArray) or x.dtype.names or not np.ma.is_masked(x):
        return
    mask = np.ma.getmaskarray(x)
    row = int(np.flatnonzero(mask.reshape(len(mask), -1).any(axis=1))[0]) if mask.ndim else 0
    raise ValueError(
        f"{name} is a masked array with {int(mask.sum())} masked values, the first in row {row}; "
        f"fill them, {name}.filled(value), or drop their rows, "
        f"{name}[~{name}.mask.any(axis=1)]"
    )


def output(name: str, out: Any, shape: tuple[int, ...], dtype: Any) -> NDArray[Any]:
    """Return the caller's array for results after checking it, or a new array if it is None.

    Of a tensor it is the memory, as an array.
    """
    if out is None:
        return np.empty(shape, dtype=dtype)
    if isinstance(out, np.ma.MaskedArray):
        raise TypeError(f"{name} is a masked array, expected a plain one; pass {name}.data")
    out = memory_of(out)
    if not isinstance(out, np.ndarray) or out.dtype != dtype:
        actual = f"dtype {out.dtype}" if isinstance(out, np.ndarray) else type(out).__name__
        raise TypeError(f"{name} must be an array of {np.dtype(dtype)}, got {actual}")
    if out.shape != shape:
        raise ArgumentError(f"{name} must have shape {shape}, got {out.shape}")
    if not out.flags.writeable:
        raise ValueError(f"{name} is read-only; pass a writeable array")
    return out
