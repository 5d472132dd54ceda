"""Columns of Arrow whose values are vectors: their types, and their values as matrices."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from waterfill._util.optional import require

SAMPLE_ROWS = 100
"""Rows that tell the number of dimensions where the type does not."""

Flaws = dict[int, str]
"""Row numbers within a batch, and what they hold instead of a vector."""


@dataclass(frozen=True)
class VectorField:
    """Where the vectors are in a column.

    Attributes
    ----------
    path : tuple of str
        The column, and the fields of structs down to the lists.
    kind : pyarrow.DataType
        The type of the lists; never an extension type.
    """

    path: tuple[str, ...]
    kind: Any

    @property
    def name(self) -> str:
        """The path with dots, as keys give it."""
        return ".".join(self.path)

    @property
    def size(self) -> int | None:
        """The length of the lists if their type fixes it, else None."""
        size = getattr(self.kind, "list_size", None)
        return None if size is None else int(size)

    @property
    def dtype(self) -> np.dtype[Any]:
        """NumPy's type of the numbers."""
        dtype: np.dtype[Any] = np.dtype(self.kind.value_type.to_pandas_dtype())
        return dtype

    def lists(self, column: Any) -> Any:
        """Return the lists of a column's batch; rows of null structs are null."""
        compute = require("pyarrow.compute", "columns", "parquet")
        column = _storage(column)
        for field in self.path[1:]:
            column = _storage(compute.struct_field(column, field))
        return column


def vector_fields(name: str, kind: Any) -> Iterator[VectorField]:
    """Yield the vectors that a column holds: itself, or fields of its structs."""
    kind, flat = _storage_type(kind)
    if flat and is_vector(kind):
        yield VectorField((name,), kind)
    elif _types().is_struct(kind):
        for i in range(kind.num_fields):
            for inner in vector_fields(kind.field(i).name, kind.field(i).type):
                yield VectorField((name, *inner.path), inner.kind)


def is_vector(kind: Any) -> bool:
    """Whether values of a type are lists of numbers."""
    types = _types()
    names = ("fixed_size_list", "list", "large_list", "list_view", "large_list_view")
    value = getattr(kind, "value_type", None)
    return any(getattr(types, f"is_{name}", lambda kind: False)(kind) for name in names) and (
        types.is_floating(value) or types.is_integer(value) or types.is_boolean(value)
    )


def choose_field(name: str, fields: Iterable[Any], key: str | None) -> VectorField:
    """Return the vectors to read: those of the key, or the only ones.

    Parameters
    ----------
    name : str
        The table, for error messages.
    fields : iterable of pyarrow.Field
    key : str, optional
        A column, or the path of a field of a struct, such as ``column.field``.
    """
    fields = list(fields)
    available = ", ".join(f"{field.name} ({field.type})" for field in fields) or "none"
    found = [each for field in fields for each in vector_fields(field.name, field.type)]
    if key is None:
        if len(found) != 1:
            way_out = (found and "choose one by key") or _way_out(fields) or "choose one by key"
            raise ValueError(
                f"{name}: expected one column of vectors, got {len(found)}; {way_out}; "
                f"available: {available}"
            )
        return found[0]
    exact = [each for each in found if each.name == key]
    inside = [each for each in found if each.path[0] == key]
    if len(exact) == 1 or len(inside) == 1:
        return (exact or inside)[0]
    named = [field for field in fields if field.name == key]
    if len(named) != 1:
        raise ValueError(f"{name}: no column {key!r}; available: {available}")
    if inside:
        paths = ", ".join(each.name for each in inside)
        raise ValueError(f"{name}: column {key} has several vectors; choose one by key: {paths}")
    raise ValueError(
        f"{name}, column {key}: expected equal-length lists of numbers, got {named[0].type}"
    )


def _way_out(fields: list[Any]) -> str:
    """Return what to do with the only column, if its lists are of lists or decimals."""
    if len(fields) != 1:
        return ""
    kind, flat = _storage_type(fields[0].type)
    value = getattr(kind, "value_type", None)
    if not flat or getattr(value, "value_type", None) is not None:
        return "lists of lists are no vectors: flatten each row to one list"
    if value is not None and _types().is_decimal(value):
        return "cast decimals to float32 first"
    return ""


def common_length(batches: Iterable[Any]) -> tuple[int | None, str]:
    """Return the length of most lists with numbers at the start; or None, and why."""
    reason = "the column is empty, and its type does not fix the number of dimensions"
    found: list[int] = []
    for number, column in enumerate(batch for batch in batches if len(batch)):
        column.validate(full=True)  # invalid offsets would crash the process
        lengths = _lengths(column)
        if number == 0:
            got = "null" if lengths[0] < 0 else "an empty list"
            reason = f"row 0: expected a list of numbers, got {got}, and no row has numbers"
        found += lengths[lengths > 0].tolist()
        if len(found) >= SAMPLE_ROWS:
            break
    return (most_common(np.array(found)), "") if found else (None, reason)


def matrix(column: Any, d: int) -> tuple[NDArray[Any], Flaws]:
    """Return a batch of lists as an array of shape (n, d).

    Returns
    -------
    values : array (n, d)
        Rows that are no vectors have arbitrary values.
    flaws : dict
        For each row that is no vector, what it is.
    """
    column.validate(full=True)
    lengths = _lengths(column)
    flaws: Flaws = {}
    odd = np.flatnonzero(lengths != d)
    if len(odd):
        for row in odd.tolist():
            got = "null" if lengths[row] < 0 else str(lengths[row])
            flaws[row] = f"expected {d} numbers, got {got}"
        column = column.filter(require("pyarrow", "columns", "parquet").array(lengths == d))
    numbers = column.flatten()
    nulls = None
    if numbers.null_count:
        nulls = numbers.is_null().to_numpy(zero_copy_only=False).reshape(-1, d).any(axis=1)
        if not _types().is_floating(numbers.type):  # floats become NaN, other types objects
            numbers = numbers.fill_null(False if _types().is_boolean(numbers.type) else 0)
    values: NDArray[Any] = numbers.to_numpy(zero_copy_only=False).reshape(-1, d)
    kept = np.flatnonzero(lengths == d)
    for row in kept[nulls].tolist() if nulls is not None else ():
        flaws[row] = f"expected {d} numbers, got a null"
    if len(odd):
        spread = np.zeros((len(lengths), d), dtype=values.dtype)
        spread[kept] = values
        values = spread
    return values, flaws


def most_common(lengths: NDArray[np.int64]) -> int:
    """Return the most common of some lengths, the first of those at a tie."""
    values, first, counts = np.unique(lengths, return_index=True, return_counts=True)
    return int(values[np.lexsort((first, -counts))[0]])


def _lengths(column: Any) -> NDArray[np.int64]:
    """Return the length of each list, -1 for null."""
    size = getattr(column.type, "list_size", None)
    if size is None:
        lengths = column.value_lengths().fill_null(-1).to_numpy(zero_copy_only=False)
    else:
        lengths = np.full(len(column), size)
        if column.null_count:
            lengths[column.is_null().to_numpy(zero_copy_only=False)] = -1
    return np.asarray(lengths, dtype=np.int64)


def _storage(column: Any) -> Any:
    """Return the storage of an extension array."""
    while hasattr(column, "storage"):
        column = column.storage
    return column


def _storage_type(kind: Any) -> tuple[Any, bool]:
    """Return the type that an extension type is stored as, and whether each value is a vector."""
    flat = True
    while hasattr(kind, "storage_type"):
        shape = getattr(kind, "shape", None)  # of a fixed-shape tensor
        flat = flat and (shape is None or sum(size != 1 for size in shape) <= 1)
        kind = kind.storage_type
    return kind, flat


def _types() -> Any:
    return require("pyarrow", "columns", "parquet").types
