"""Vectors in memory, of any library: which reader takes them."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

from waterfill._util.tensors import is_tensor
from waterfill._util.validation import refuse_masked
from waterfill.data.arrays import as_array, read_dlpack, read_tensor
from waterfill.data.columns import ObjectColumn, as_column


def read_vectors(x: Any, name: str) -> Any:
    """Return vectors in memory as an array or a block source.

    Parameters
    ----------
    x : array_like
        See `waterfill.data.rows.Rows`.
    name : str
        For error messages.

    Raises
    ------
    TypeError
        If it cannot be read without guessing: masked or sparse, of objects, not on the CPU.
    """
    if type(x) is np.ndarray:
        return _objects(x, name)
    if isinstance(x, np.ndarray):
        refuse_masked(x, name)
        # A subclass may return another shape or dtype than its memory has.
        return _objects(x if type(x) is np.memmap else np.asarray(x), name)
    if is_tensor(x):
        return read_tensor(x, name)
    if hasattr(x, "nnz") and (hasattr(x, "toarray") or hasattr(x, "todense")):
        way = "toarray" if hasattr(x, "toarray") else "todense"
        raise TypeError(f"{name} is sparse ({type(x).__name__}); pass x.{way}()")
    column = as_column(x, name)
    if column is not None:
        return column
    if hasattr(x, "__dlpack_device__"):
        return read_dlpack(x, name)
    if isinstance(x, list | tuple):
        return _sequence(x, name)
    if isinstance(x, str | os.PathLike):
        raise TypeError(
            f"{name} is a {type(x).__name__}, expected vectors; open a file with wf.open_vectors"
        )
    return _objects(as_array(x, name), name)


def _sequence(x: Any, name: str) -> Any:
    """Return a list or tuple: nested numbers, or arrays."""
    first = next((row for row in x if row is not None), None)
    if not isinstance(first, list | tuple | int | float | complex | str | np.generic | None):
        return ObjectColumn(x, name)
    try:
        values = np.asarray(x)
    except (TypeError, ValueError) as error:
        if isinstance(first, list | tuple):  # rows of different lengths: say which
            return ObjectColumn(x, name)
        raise TypeError(f"{name} cannot be read as an array: {error}") from error
    if values.dtype == object and isinstance(first, list | tuple):
        return ObjectColumn(x, name)
    return values


def _objects(values: NDArray[Any], name: str) -> Any:
    """Return an array of vectors as a source, and any other array unchanged."""
    if values.dtype != object or values.size == 0:
        return values
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if values.ndim == 1 and any(hasattr(value, "__len__") for value in values):
        return ObjectColumn(values, name)
    return values
