"""Vectors to columns of codes, and back."""

from __future__ import annotations

from typing import Any

from waterfill._util.optional import require
from waterfill.codec import Codec
from waterfill.columns.codes_type import CodesType, pa
from waterfill.data.arrow_codes import EXTENSION, require_codes_of
from waterfill.data.row_policy import Policy

compute = require("pyarrow.compute", "waterfill.columns", "parquet")


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


def as_codes(column: Any, codec: Codec) -> Any:
    """Say that a column of plain bytes has the codes of a codec.

    Engines that do not know the type ``waterfill.codes``, such as DuckDB and Polars, return codes
    of a Parquet file as plain bytes.

    Parameters
    ----------
    column : column of bytes
        Of fixed or variable size, of pyarrow, or of another library that exports to Arrow. A column
        of CodesType is returned as it is.
    codec : Codec
        Whose codes they are: nothing in the column tells.

    Returns
    -------
    pyarrow.ChunkedArray of CodesType
        The same bytes.

    Raises
    ------
    ValueError
        If a row has another number of bytes than a code, or the column has codes of another codec.
    TypeError
        If it is no column of bytes.
    """
    kind = CodesType.of(codec)
    if not isinstance(column, pa.Array | pa.ChunkedArray):
        if not hasattr(column, "__arrow_c_stream__"):
            raise TypeError(f"column must be a column of bytes, got {type(column).__name__}")
        column = pa.chunked_array(column)
    chunks = column if isinstance(column, pa.ChunkedArray) else pa.chunked_array([column])
    if getattr(chunks.type, "extension_name", None) == EXTENSION:
        require_codes_of(chunks.type, codec, "column")
        return chunks
    if not any(check(chunks.type) for check in _BYTES):
        raise TypeError(f"column: expected codes as bytes, got {chunks.type}")
    try:
        plain = chunks.cast(pa.large_binary()).cast(kind.storage_type)
    except pa.ArrowInvalid:
        lengths = compute.binary_length(chunks.cast(pa.large_binary())).to_pylist()
        row = next(i for i, n in enumerate(lengths) if n not in (None, kind.code_size))
        raise ValueError(
            f"column: row {row}: expected a code of {kind.code_size} bytes, got {lengths[row]}"
        ) from None
    return pa.chunked_array([kind.wrap_array(chunk) for chunk in plain.chunks], kind)


_BYTES = tuple(
    getattr(pa.types, f"is_{name}")
    for name in ("binary", "large_binary", "fixed_size_binary", "binary_view")
    if hasattr(pa.types, f"is_{name}")
)
