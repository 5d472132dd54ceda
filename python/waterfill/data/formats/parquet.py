"""Parquet and Arrow files: a column of equal-length lists of numbers."""

from __future__ import annotations

import mmap
import threading
from abc import abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from waterfill._core import FormatError
from waterfill._util.optional import require
from waterfill.data.block_source import FileSource, RowNumbers, raising_format_errors

_BATCH_BYTES = 8 << 20
_BUFFER_BYTES = 1 << 20  # of a column chunk


class ColumnSource(FileSource):
    """A column that is decoded in batches; the last batch is cached."""

    def __init__(self, name: str, shape: tuple[int, int], dtype: Any) -> None:
        super().__init__(name, shape, dtype)
        self._lock = threading.Lock()
        self._first = 0  # number of the first row of the batch
        self._batch: NDArray[Any] = np.empty((0, shape[1]), dtype=self.dtype)

    @abstractmethod
    def _load_batch(self, row: int) -> None:
        """Make the cached batch one that contains `row`."""

    def take(self, rows: RowNumbers) -> NDArray[Any]:
        """Return the rows with these ascending numbers, shape (len(rows), d)."""
        out = np.empty((len(rows), self.shape[1]), dtype=self.dtype)
        done = 0
        with self._lock, _reading(self.name):
            while done < len(rows):
                self._load_batch(int(rows[done]))
                stop = int(np.searchsorted(rows, self._first + len(self._batch)))
                out[done:stop] = self._batch[rows[done:stop] - self._first]
                done = stop
        return out


class ParquetSource(ColumnSource):
    """A column of a Parquet file. Row groups without a requested row are not read."""

    def __init__(self, path: Path, key: str | None) -> None:
        parquet = require("pyarrow.parquet", f"reading {path.name}", "parquet")
        with _reading(str(path)):
            self._file = parquet.ParquetFile(path, buffer_size=_BUFFER_BYTES, pre_buffer=False)
            metadata = self._file.metadata
            groups = [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)]
            self._starts = np.cumsum([0, *groups])
            field = _choose_column(path, self._file.schema_arrow, key)
            name = f"{path}, column {field.name}"
            self._column = field.name
            d = _list_size(field.type)
            if d is None:
                d = _length_of_first(next(self._batches(0, 1), None), name)
            super().__init__(name, (int(self._starts[-1]), d), _dtype(field.type))
        self._size = min(max(64, _BATCH_BYTES // max(1, d * self.dtype.itemsize)), 1 << 16)
        self._upcoming: Iterator[Any] = iter(())

    def _batches(self, group: int, size: int) -> Iterator[Any]:
        """Yield the column in batches, starting with a row group."""
        for number in range(group, len(self._starts) - 1):
            # A batch that spanned row groups would decode more of them than requested.
            batches = self._file.iter_batches(size, row_groups=[number], columns=[self._column])
            yield from (batch.column(0) for batch in batches)

    def _load_batch(self, row: int) -> None:
        end = self._first + len(self._batch)
        group = int(np.searchsorted(self._starts, row, side="right")) - 1
        if row < self._first or self._starts[group] > end or end == 0:
            self._upcoming = self._batches(group, self._size)
            self._first, end = int(self._starts[group]), int(self._starts[group])
        while row >= end:
            self._first, self._batch = 0, self._batch[:0]  # after an error, start again
            column = next(self._upcoming, None)
            if column is None:
                raise FormatError(f"{self.name}: ends before row {row}, which the footer declares")
            batch = _matrix(column, self.shape[1], self.name, end)
            self._first, self._batch, end = end, batch, end + len(column)


class ArrowSource(ColumnSource):
    """A column of an Arrow file (Feather) or stream, mapped where it is not compressed."""

    def __init__(self, path: Path, key: str | None) -> None:
        arrow = require("pyarrow", f"reading {path.name}", "parquet")
        ipc = require("pyarrow.ipc", f"reading {path.name}", "parquet")
        with open(path, "rb") as file:
            if file.read(1) == b"":
                raise FormatError(f"{path}: the file is empty")
            self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        with _reading(str(path)):
            schema, self._get, count = _batches_of(arrow, ipc, self._map)
            field = _choose_column(path, schema, key)
            name = f"{path}, column {field.name}"
            self._column = schema.get_field_index(field.name)
            self._starts = np.cumsum([0, *(self._get(i).num_rows for i in range(count))])
            d = _list_size(field.type)
            if d is None:
                columns = (self._get(i).column(self._column) for i in range(count))
                d = _length_of_first(next((c for c in columns if len(c)), None), name)
            super().__init__(name, (int(self._starts[-1]), d), _dtype(field.type))
            if len(self):
                self._load_batch(0)  # detects an impossible number of dimensions

    def _load_batch(self, row: int) -> None:
        if self._first <= row < self._first + len(self._batch):
            return
        number = int(np.searchsorted(self._starts, row, side="right")) - 1
        first = int(self._starts[number])
        column = self._get(number).column(self._column)
        self._batch = _matrix(column, self.shape[1], self.name, first)
        self._first = first

    def take(self, rows: RowNumbers) -> NDArray[Any]:
        """Return the rows with these ascending numbers, shape (len(rows), d)."""
        taken = super().take(rows)
        if hasattr(self._map, "madvise"):
            self._map.madvise(mmap.MADV_DONTNEED)  # pages that were read are not needed again
        return taken


def _batches_of(arrow: Any, ipc: Any, data: Any) -> tuple[Any, Callable[[int], Any], int]:
    """Return the schema, a function that returns a batch by number, and the number of batches."""
    buffer = arrow.py_buffer(data)
    if data[:6] == b"ARROW1":
        reader = ipc.open_file(buffer)
        return reader.schema, reader.get_batch, reader.num_record_batches
    stream = ipc.open_stream(buffer)
    batches = list(stream)
    return stream.schema, batches.__getitem__, len(batches)


def _choose_column(path: Path, schema: Any, key: str | None) -> Any:
    """Return the field to read: `key`, or the only one that holds vectors."""
    available = ", ".join(f"{field.name} ({field.type})" for field in schema) or "none"
    if key is not None:
        if schema.names.count(key) != 1:
            raise ValueError(f"{path}: no column {key!r}; available: {available}")
        field = schema.field(key)
        if not _holds_vectors(field.type):
            raise ValueError(
                f"{path}, column {key}: expected equal-length lists of numbers, got {field.type}"
            )
        return field
    fields = [field for field in schema if _holds_vectors(field.type)]
    if len(fields) != 1:
        raise ValueError(
            f"{path}: expected one column of vectors, got {len(fields)}; choose one by key; "
            f"available: {available}"
        )
    return fields[0]


def _holds_vectors(kind: Any) -> bool:
    types = require("pyarrow", "columns", "parquet").types
    lists = (types.is_fixed_size_list, types.is_list, types.is_large_list)
    value = getattr(kind, "value_type", None)
    return any(is_kind(kind) for is_kind in lists) and (
        types.is_floating(value) or types.is_integer(value)
    )


def _list_size(kind: Any) -> int | None:
    """Return the length of its lists if the type fixes it, else None."""
    size = getattr(kind, "list_size", None)
    return None if size is None else int(size)


def _dtype(kind: Any) -> np.dtype[Any]:
    dtype: np.dtype[Any] = np.dtype(kind.value_type.to_pandas_dtype())
    return dtype


def _length_of_first(column: Any, name: str) -> int:
    if column is None or len(column) == 0:
        raise ValueError(
            f"{name}: the column is empty, and its type does not fix the number of dimensions"
        )
    column.validate(full=True)  # invalid offsets would crash the process
    if not column[0].is_valid:
        raise FormatError(f"{name}: row 0: expected a list of numbers, got null")
    return len(column[0])


def _matrix(column: Any, d: int, name: str, first: int) -> NDArray[Any]:
    """Return a column of lists as an array of shape (n, d)."""
    column.validate(full=True)
    if column.null_count:
        row = first + int(np.argmax(column.is_null().to_numpy(zero_copy_only=False)))
        raise FormatError(f"{name}: row {row}: expected {d} numbers, got null")
    if _list_size(column.type) is None:
        lengths = column.value_lengths().to_numpy(zero_copy_only=False)
        for row in np.flatnonzero(lengths != d)[:1]:
            raise FormatError(
                f"{name}: row {first + row}: expected {d} numbers, got {lengths[row]}"
            )
    numbers = column.flatten()
    if numbers.null_count:
        place = int(np.argmax(numbers.is_null().to_numpy(zero_copy_only=False)))
        raise FormatError(f"{name}: row {first + place // d}: expected {d} numbers, got a null")
    values: NDArray[Any] = numbers.to_numpy(zero_copy_only=False)
    return values.reshape(-1, d)


def _reading(name: str) -> AbstractContextManager[None]:
    """Turn errors of the library into a FormatError that names the file."""
    return raising_format_errors(
        name, "a file of its format", require("pyarrow", name, "parquet").ArrowException
    )
