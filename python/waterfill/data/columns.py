"""Columns in memory as vectors: sequences of arrays, and columns of pandas and Arrow.

No library is imported for its objects: they are recognised by their attributes, or by a module
that is loaded.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from waterfill._util.optional import require
from waterfill.data.arrays import read_numbers, require_real
from waterfill.data.arrow_lists import (
    SAMPLE_ROWS,
    VectorField,
    choose_field,
    common_length,
    matrix,
    most_common,
)
from waterfill.data.missing_rows import RowNumbers, SourceWithMissing

_REAL = "fiub"
_UNREAD = {  # by package and type: objects that stand for rows that have not been computed
    ("polars", "LazyFrame"): "x.collect()",
    ("duckdb", "DuckDBPyConnection"): "the relation, x.sql(...)",
}


class ArrowColumn(SourceWithMissing):
    """Lists of numbers in chunks of an Arrow column.

    Parameters
    ----------
    chunks : sequence of pyarrow.Array
    field : VectorField
    name : str
    """

    def __init__(self, chunks: Sequence[Any], field: VectorField, name: str) -> None:
        self._chunks = [field.lists(chunk) for chunk in chunks]
        self._starts = np.cumsum([0, *map(len, self._chunks)])
        d, reason = field.size, ""
        if d is None:
            d, reason = common_length(self._chunks)
        if d is None:
            raise ValueError(f"{name}: {reason}")
        self.name, self.shape, self.dtype = name, (int(self._starts[-1]), d), field.dtype

    def read(self, first: int, n: int) -> NDArray[Any]:
        """Return the rows from `first` to ``first + n - 1``, shape (n, d)."""
        return self.take(np.arange(first, first + n, dtype=np.int64))

    def gather(self, rows: RowNumbers) -> tuple[NDArray[Any], dict[int, str]]:
        """Return the rows with these ascending numbers, and what is wrong with some of them."""
        parts = [np.empty((0, self.shape[1]), dtype=self.dtype)]
        flaws: dict[int, str] = {}
        for chunk, start, stop in zip(self._chunks, self._starts, self._starts[1:], strict=False):
            numbers = rows[slice(*np.searchsorted(rows, [start, stop]))]
            if len(numbers) == 0:
                continue
            values, found = matrix(_rows_of(chunk, numbers - start), self.shape[1])
            parts.append(values)
            flaws |= {int(numbers[i]): text for i, text in found.items()}
        return np.concatenate(parts) if len(parts) != 2 else parts[1], flaws


def _rows_of(chunk: Any, numbers: RowNumbers) -> Any:
    first, n = int(numbers[0]), len(numbers)
    if int(numbers[-1]) - first == n - 1:
        return chunk.slice(first, n)
    return chunk.take(sys.modules["pyarrow"].array(numbers))


class ObjectColumn(SourceWithMissing):
    """A sequence of vectors: arrays, tensors, lists, or Arrow scalars.

    Parameters
    ----------
    values : sequence
    name : str
    """

    def __init__(self, values: Any, name: str) -> None:
        self._values, self.name = values, name
        self.dtype = np.dtype(np.float32)
        vectors = (self._vector(i) for i in range(len(values)))
        lengths = (len(vector) for vector in vectors if vector is not None and len(vector))
        first_lengths = list(itertools.islice(lengths, SAMPLE_ROWS))
        if not first_lengths:
            got = "no rows" if len(values) == 0 else "only nulls and empty rows"
            raise ValueError(f"{name}: expected a sequence of vectors, got {got}")
        self.shape = (len(values), most_common(np.array(first_lengths)))

    def read(self, first: int, n: int) -> NDArray[Any]:
        """Return the rows from `first` to ``first + n - 1``, shape (n, d)."""
        return self.take(np.arange(first, first + n, dtype=np.int64))

    def gather(self, rows: RowNumbers) -> tuple[NDArray[Any], dict[int, str]]:
        """Return the rows with these ascending numbers, and what is wrong with some of them."""
        d = self.shape[1]
        flaws: dict[int, str] = {}
        out = np.zeros((len(rows), d), dtype=np.float32)
        for place, row in enumerate(rows.tolist()):
            vector = self._vector(row)
            if vector is None or len(vector) != d:
                got = "null" if vector is None else str(len(vector))
                flaws[row] = f"expected {d} numbers, got {got}"
            elif vector.dtype == object:
                flaws[row] = f"expected {d} numbers, got a null"
            else:
                with np.errstate(over="ignore"):  # overflow becomes inf, which is then reported
                    out[place] = vector
        return out, flaws

    def _vector(self, row: int) -> NDArray[Any] | None:
        """Return a row as an array (d,), of objects if it has nulls; or None for a null."""
        value = self._values[row]
        if hasattr(value, "as_py"):  # a scalar of Arrow
            value = value.as_py()
        if _is_null(value):
            return None
        name = f"{self.name}: row {row}"
        if isinstance(value, str | bytes | dict | set):
            hint = "; parse it first, such as with json.loads" if isinstance(value, str) else ""
            raise TypeError(f"{name} is a {type(value).__name__}, expected a vector{hint}")
        vector = value if type(value) is np.ndarray else read_numbers(value, name)
        if vector.ndim != 1:
            raise ValueError(f"{name} has shape {vector.shape}, expected one dimension")
        if vector.dtype == object and any(map(_is_null, vector)):
            return vector
        if len(vector):
            require_real(vector.dtype, name)
        return vector


def _is_null(value: Any) -> bool:
    """Whether a value is None, pandas' NA, or a NaN in the place of a row."""
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return True
    return isinstance(value, float) and value != value


def as_column(x: Any, name: str) -> Any:
    """Return an object of pandas or Arrow, or a sequence of vectors, as a source or an array.

    Returns
    -------
    SourceWithMissing, array, or None
        None if it is none of these.
    """
    if hasattr(x, "iloc"):  # pandas and its kin
        return _frame(x, name) if hasattr(x, "columns") else _series(x, name)
    arrow = sys.modules.get("pyarrow")
    if arrow is not None and isinstance(x, arrow.Table | arrow.RecordBatch):
        return _table(x, name, "x.column(...)")
    if arrow is not None and isinstance(x, arrow.Array | arrow.ChunkedArray):
        return _arrow(x, name)
    if hasattr(x, "__arrow_c_stream__") or hasattr(x, "__arrow_c_array__"):
        return _exported(x, name)
    way_out = _UNREAD.get((type(x).__module__.partition(".")[0].strip("_"), type(x).__name__))
    if way_out is not None:
        raise TypeError(f"{name} is a {type(x).__name__}, which has no rows yet; pass {way_out}")
    return None


def _exported(x: Any, name: str) -> Any:
    """Return a column or table of another library, such as Polars or DuckDB, through Arrow."""
    if str(getattr(x, "dtype", "")) == "Object":  # a series of Polars, of Python's objects
        return ObjectColumn(x.to_numpy(), name)
    arrow = require(
        "pyarrow", f"{name}: a {type(x).__module__.partition('.')[0]} column", "parquet"
    )
    if hasattr(x, "columns"):
        # A relation of DuckDB runs its query each time it is exported.
        how = "x.select(...)" if hasattr(x, "project") else "x[...]"
        return _table(arrow.table(x), name, how)
    if not hasattr(x, "__arrow_c_stream__"):
        return _arrow(arrow.array(x), name)
    if hasattr(x, "read_next_batch"):
        return _table(x.read_all(), name, "a reader of one column")
    return _arrow(arrow.chunked_array(x), name)


def _arrow(x: Any, name: str) -> Any:
    arrow = sys.modules["pyarrow"]
    chunks = x.chunks if isinstance(x, arrow.ChunkedArray) else [x]
    types = arrow.types
    if types.is_struct(x.type) or _is_listed(x.type):
        field = choose_field(name, [arrow.field(name, x.type)], None)
        return ArrowColumn(chunks, field, name)
    if types.is_null(x.type):
        raise ValueError(f"{name}: expected lists of numbers, got only nulls")
    if not (types.is_floating(x.type) or types.is_integer(x.type) or types.is_boolean(x.type)):
        raise TypeError(f"{name}: expected lists of numbers, got {x.type}{_hint(types, x.type)}")
    return np.asarray(x)


def _hint(types: Any, kind: Any) -> str:
    """Return what to do with a column of text or bytes."""
    text = ("string", "large_string", "string_view")
    if any(getattr(types, f"is_{name}", lambda kind: False)(kind) for name in text):
        return "; parse the text first"
    raw = ("binary", "large_binary", "fixed_size_binary", "binary_view")
    if any(getattr(types, f"is_{name}", lambda kind: False)(kind) for name in raw):
        return (
            "; if they are codes of a codec, wf.columns.as_codes(column, codec) says so; if they "
            "are raw numbers, pass np.frombuffer(...).reshape(n, d)"
        )
    return ""


def _is_listed(kind: Any) -> bool:
    return hasattr(kind, "value_type") or hasattr(kind, "storage_type")


def _table(x: Any, name: str, how: str) -> Any:
    arrow = sys.modules["pyarrow"]
    if x.num_columns == 1:
        return _arrow(x.column(0), name)
    types = arrow.types
    if not all(types.is_floating(field.type) or types.is_integer(field.type) for field in x.schema):
        _refuse_columns(name, {field.name: field.type for field in x.schema}, how)
    columns = [x.column(i).to_numpy() for i in range(x.num_columns)]  # a null becomes NaN
    return _side_by_side(columns, x.num_rows)


def _series(x: Any, name: str) -> Any:
    if hasattr(x.dtype, "pyarrow_dtype"):
        return _arrow(x.array.__arrow_array__(), name)
    values = np.asarray(x)
    return ObjectColumn(values, name) if values.dtype == object else values


def _frame(x: Any, name: str) -> Any:
    if x.shape[1] == 1:
        column = _series(x.iloc[:, 0], name)
        return column[:, None] if isinstance(column, np.ndarray) and column.ndim == 1 else column
    kinds = [getattr(kind, "kind", "O") for kind in x.dtypes]
    if not set(kinds) <= set(_REAL):
        _refuse_columns(name, dict(zip(x.columns, x.dtypes, strict=True)), "x[...]")
    if all(isinstance(kind, np.dtype) for kind in x.dtypes):
        return np.asarray(x)
    columns = [x.iloc[:, i].to_numpy(dtype=np.float32, na_value=np.nan) for i in range(x.shape[1])]
    return _side_by_side(columns, len(x))


def _side_by_side(columns: list[NDArray[Any]], n: int) -> NDArray[Any]:
    out = np.empty((n, len(columns)), dtype=np.float32)
    with np.errstate(over="ignore"):  # overflow becomes inf, which is then reported
        for i, column in enumerate(columns):
            out[:, i] = column
    return out


def _refuse_columns(name: str, columns: dict[Any, Any], how: str) -> None:
    listed = ", ".join(f"{column!r} ({kind})" for column, kind in list(columns.items())[:10])
    raise TypeError(
        f"{name} must have one column of vectors, or only columns of numbers, got {listed}; "
        f"choose the column, {how}"
    )
