"""Codes as input: arrays of bytes, or columns of Arrow whose type says which codec made them."""

from __future__ import annotations

import sys
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from waterfill.data.arrays import read_numbers

EXTENSION = "waterfill.codes"
"""Name of the extension type: see `waterfill.columns`."""


class Coder(Protocol):
    """What a column is compared with: a codec."""

    @property
    def fingerprint(self) -> str:
        """SHA-256 of all that codes depend on."""


def read_codes(codes: Any, codec: Coder, *, name: str = "codes", first: int = 0) -> NDArray[Any]:
    """Return codes as an array; those of a column in one piece are not copied.

    Parameters
    ----------
    codes : array_like, or pyarrow.Array or ChunkedArray
    codec : Codec
        Whose codes they have to be. An array does not say, a column does.
    name : str
        For messages.
    first : int
        Number of the first row, for messages.

    Raises
    ------
    ValueError
        If the column is of another codec, or has a null.
    TypeError
        If the column has another type than ``waterfill.codes``.
    """
    arrow = sys.modules.get("pyarrow")
    if arrow is None or not isinstance(codes, arrow.Array | arrow.ChunkedArray):
        return read_numbers(codes, name)
    require_codes_of(codes.type, codec, name)
    if codes.null_count:
        row = first + int(np.argmax(codes.is_null().to_numpy(zero_copy_only=False)))
        raise ValueError(f"{name}: row {row}: expected a code, got null; leave such rows out first")
    chunks = codes.chunks if isinstance(codes, arrow.ChunkedArray) else [codes]
    parts = [_bytes(chunk.storage) for chunk in chunks if len(chunk)]
    if len(parts) == 1:
        return parts[0]
    return np.concatenate([np.empty((0, codes.type.code_size), np.uint8), *parts])


def require_codes_of(kind: Any, codec: Coder, name: str) -> None:
    """Raise an error unless a column's type is that of the codes of a codec."""
    if getattr(kind, "extension_name", None) != EXTENSION:
        raise TypeError(
            f"{name}: expected a column of {EXTENSION}, got {kind}, which does not say its codec; "
            "import waterfill.columns before the column is read, or say whose codes it has: "
            "CodesType.of(codec).wrap_array(column)"
        )
    if kind.fingerprint != codec.fingerprint:
        raise ValueError(
            f"{name}: expected codes of codec {codec.fingerprint[:16]}, got those of codec "
            f"{kind.fingerprint[:16]}; use that codec (waterfill.columns.find_codec), or encode "
            "the vectors again"
        )


def _bytes(storage: Any) -> NDArray[np.uint8]:
    """Return an array of fixed-size binary as a view of its bytes, uint8 (n, size)."""
    storage.validate()  # a buffer that is too short for the rows
    size = storage.type.byte_width
    values = np.frombuffer(storage.buffers()[1], np.uint8)
    first, n = storage.offset, len(storage)
    return values[first * size : (first + n) * size].reshape(n, size)
