"""Names of blocks, as numbers."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.uint64]


def numbers_of(block: Any, rows: int, name: str = "block") -> Numbers | None:
    """Return the number of the block of each row, or None where none are given.

    Parameters
    ----------
    block : int, str, or array_like of them, shape (rows,)
        One for all rows, or one for each.

    Raises
    ------
    ValueError
        If there are not as many as rows.
    TypeError
        If they are neither integers nor strings.
    """
    if block is None:
        return None
    values = np.asarray(block)
    if values.dtype == object:
        values = np.asarray([str(value) for value in values.reshape(-1)]).reshape(values.shape)
    if values.dtype.kind not in "iuUS":
        raise TypeError(f"{name} must hold integers or strings, got dtype {values.dtype}")
    if values.ndim == 0:
        values = np.broadcast_to(values, (rows,))
    if values.shape != (rows,):
        raise ValueError(f"{name} must have shape ({rows},), got {values.shape}")
    if values.dtype.kind in "iu":
        return values.astype(np.int64, casting="unsafe").view(np.uint64)
    names, where = np.unique(values, return_inverse=True)
    return np.array([_hash(each) for each in names.tolist()], np.uint64)[where.reshape(-1)]


def _hash(name: str | bytes) -> int:
    data = name.encode() if isinstance(name, str) else name
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "little")
