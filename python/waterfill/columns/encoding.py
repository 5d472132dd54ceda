"""Vectors to columns of codes, and back."""

from __future__ import annotations

from typing import Any

from waterfill.codec import Codec
from waterfill.columns.codes_type import CodesType, pa
from waterfill.data.row_policy import Policy


def encode_column(x: Any, codec: Codec, *, policy: Policy = "raise") -> Any:
    """Encode vectors as a column of a table.

    Parameters
    ----------
    x : array_like, shape (n, d)
        Also a column of lists, such as ``table["embedding"]``.
    codec : Codec
        The codec that encodes them.
    policy : {'raise', 'drop'}
        As for `Codec.encode`. ``drop`` makes the column shorter than `x`.

    Returns
    -------
    pyarrow.ExtensionArray of CodesType
        Of n codes; `Codec.decode` and ``add_sa_codes`` of an index take it as it is.

    Raises
    ------
    ValueError, TypeError
        As `Codec.encode`.
    """
    kind = CodesType.of(codec)
    codes = codec.encode(x, policy=policy)
    storage = pa.Array.from_buffers(kind.storage_type, len(codes), [None, pa.py_buffer(codes)])
    return kind.wrap_array(storage)


def decode_column(codes: Any, codec: Codec) -> Any:
    """Decode a column of codes to a column of vectors.

    Parameters
    ----------
    codes : pyarrow.Array or ChunkedArray of CodesType
        The column, such as ``table["code"]``.
    codec : Codec
        The codec of the codes.

    Returns
    -------
    pyarrow.FixedSizeListArray of float32
        What `Codec.decode` returns, as a column.

    Raises
    ------
    ValueError
        If the column has codes of another codec, or nulls.
    TypeError
        If it has no codes.
    """
    vectors = codec.decode(codes)
    return pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), codec.d)
