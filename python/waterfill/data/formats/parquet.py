"""Parquet and Arrow files: a column of vectors."""

from __future__ import annotations

import mmap
import threading
from abc import abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from waterfill._core import FormatError
from waterfill._util.optional import require
from waterfill.data.arrow_lists import (
    SAMPLE_ROWS,
    Flaws,
    VectorField,
    choose_field,
    common_length,
    matrix,
)
from waterfill.data.block_source import (
    FileSource,
    NoRowsError,
    RowNumbers,
    raising_format_errors,
)
from waterfill.data.missing_rows import SourceWithMissing

_BATCH_BYTES = 1 << 20  # larger ones cost time: the system must find memory for each
_BUFFER_BYTES = 1 << 20  # of a column chunk


class ColumnSource(SourceWithMissing, FileSource):
    """A column that is decoded in batches; the last batch is cached."""

    missing_error = FormatError
    _starts: RowNumbers  # of what can be read without what is before it, and the number of rows

    def __init__(self, name: str, shape: tuple[int, int], field: VectorField) -> None:
        FileSource.__init__(self, name, shape, field.dtype)
        self._field = field
        self._lock = threading.Lock()
        self._first = 0  # number of the first row of the batch
        self._batch: NDArray[Any] = np.empty((0, shape[1]), dtype=self.dtype)
        self._flaws: Flaws = {}  # of the batch

    @abstractmethod
    def _load_batch(self, row: int) -> None:
        """Make the cached batch one that contains `row`."""

    def _decode(self, column: Any, first: int) -> None:
        """Make a batch of the column, which starts with row `first`, the cached one."""
        self._batch, self._flaws = matrix(self._field.lists(column), self.shape[1])
        self._first = first

    @property
    def starts(self) -> RowNumbers:
        """Rows from which reading can start without decoding rows before them."""
        return self._starts[:-1]

    def read(self, first: int, n: int) -> NDArray[Any]:
        """Return the rows from `first` to ``first + n - 1``, shape (n, d)."""
        with self._lock, _reading(self.name):
            if n:
                self._load_batch(first)
            at = first - self._first
            if 0 < n <= len(self._batch) - at and not self._flaws:
                return self._batch[at : at + n]  # a batch is never written to
        return super().read(first, n)

    def gather(self, rows: RowNumbers) -> tuple[NDArray[Any], dict[int, str]]:
        """Return the rows with these ascending numbers, and what is wrong with some of them."""
        out = np.empty((len(rows), self.shape[1]), dtype=self.dtype)
        flaws: dict[int, str] = {}
        done = 0
        with self._lock, _reading(self.name):
            while done < len(rows):
                self._load_batch(int(rows[done]))
                stop = int(np.searchsorted(rows, self._first + len(self._batch)))
                numbers = rows[done:stop] - self._first
                first, last = int(numbers[0]), int(numbers[-1])
                whole = last - first == len(numbers) - 1 and bool((np.diff(numbers) == 1).all())
                out[done:stop] = self._batch[first : last + 1] if whole else self._batch[numbers]
                if self._flaws:
                    flaws |= {
                        i + self._first: self._flaws[i]
                        for i in numbers.tolist()
                        if i in self._flaws
                    }
                done = stop
        return out, flaws


class ParquetSource(ColumnSource):
    """A column of a Parquet file. Row groups without a requested row are not read."""

    def __init__(self, path: Path, key: str | None) -> None:
        parquet = require("pyarrow.parquet", f"reading {path.name}", "parquet")
        with _reading(str(path)):
            self._file = parquet.ParquetFile(path, buffer_size=_BUFFER_BYTES, pre_buffer=False)
            metadata = self._file.metadata
            groups = [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)]
            self._starts = np.cumsum([0, *groups])
            with _no_rows(self._starts[-1] == 0):
                field = choose_field(str(path), self._file.schema_arrow, key)
            name = f"{path}, column {field.name}"
            self._column = field.name
            batches = (field.lists(batch) for batch in self._batches(0, SAMPLE_ROWS))
            d = _dimensions(field, batches, name, int(self._starts[-1]))
            super().__init__(name, (int(self._starts[-1]), d), field)
        self.block_rows = min(max(64, _BATCH_BYTES // max(1, d * self.dtype.itemsize)), 1 << 16)
        self._upcoming: Iterator[Any] = iter(())

    def close(self) -> None:
        """Close the file at once, instead of when the garbage is collected."""
        self._upcoming = iter(())  # refers to this object
        self._file.close()

    def _batches(self, group: int, size: int) -> Iterator[Any]:
        """Yield the column in batches, starting with a row group."""
        for number in range(group, len(self._starts) - 1):
            # A batch that spanned row groups would decode more of them than requested.
            # One column is decoded by one thread in any case; others would only hand it over.
            batches = self._file.iter_batches(
                size, row_groups=[number], columns=[self._column], use_threads=False
            )
            yield from (batch.column(0) for batch in batches)

    def _load_batch(self, row: int) -> None:
        end = self._first + len(self._batch)
        group = int(np.searchsorted(self._starts, row, side="right")) - 1
        if row < self._first or self._starts[group] > end or end == 0:
            self._upcoming = self._batches(group, self.block_rows)
            self._first, end = int(self._starts[group]), int(self._starts[group])
        while row >= end:
            self._first, self._batch = 0, self._batch[:0]  # after an error, start again
            column = next(self._upcoming, None)
            if column is None:
                raise FormatError(f"{self.name}: ends before row {row}, which the footer declares")
            self._decode(column, end)
            end += len(column)


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
            self._starts = np.cumsum([0, *(self._get(i).num_rows for i in range(count))])
            with _no_rows(self._starts[-1] == 0):
                field = choose_field(str(path), schema, key)
            name = f"{path}, column {field.name}"
            self._column = schema.get_field_index(field.path[0])
            columns = (self._get(i).column(self._column) for i in range(count))
            d = _dimensions(field, map(field.lists, columns), name, int(self._starts[-1]))
            super().__init__(name, (int(self._starts[-1]), d), field)
            if len(self):
                self._load_batch(0)  # detects an impossible number of dimensions

    def _load_batch(self, row: int) -> None:
        if self._first <= row < self._first + len(self._batch):
            return
        number = int(np.searchsorted(self._starts, row, side="right")) - 1
        first = int(self._starts[number])
        self._decode(self._get(number).column(self._column), first)

    def read(self, first: int, n: int) -> NDArray[Any]:
        """Return the rows from `first` to ``first + n - 1``, shape (n, d)."""
        self._release()
        return super().read(first, n)

    def gather(self, rows: RowNumbers) -> tuple[NDArray[Any], dict[int, str]]:
        """Return the rows with these ascending numbers, and what is wrong with some of them."""
        taken = super().gather(rows)
        self._release()
        return taken

    def _release(self) -> None:
        """Let the system drop the pages that were read; they are read again if they are needed."""
        if hasattr(self._map, "madvise"):
            self._map.madvise(mmap.MADV_DONTNEED)


def _batches_of(arrow: Any, ipc: Any, data: Any) -> tuple[Any, Callable[[int], Any], int]:
    """Return the schema, a function that returns a batch by number, and the number of batches."""
    buffer = arrow.py_buffer(data)
    if data[:6] == b"ARROW1":
        reader = ipc.open_file(buffer)
        return reader.schema, reader.get_batch, reader.num_record_batches
    stream = ipc.open_stream(buffer)
    batches = list(stream)
    return stream.schema, batches.__getitem__, len(batches)


def _dimensions(field: VectorField, batches: Iterator[Any], name: str, rows: int) -> int:
    """Return the number of dimensions: of the type, or of most vectors at the start."""
    if field.size is not None:
        return field.size
    d, reason = common_length(batches)
    if d is None:
        raise (NoRowsError if rows == 0 else FormatError)(f"{name}: {reason}")
    return d


@contextmanager
def _no_rows(empty: bool) -> Iterator[None]:
    """Say of an empty table that it has no rows, whatever its columns: their types may be lost."""
    try:
        yield
    except ValueError as error:
        if not empty:
            raise
        raise NoRowsError(str(error)) from None


def _reading(name: str) -> AbstractContextManager[None]:
    """Turn errors of the library into a FormatError that names the file."""
    return raising_format_errors(
        name, "a file of its format", require("pyarrow", name, "parquet").ArrowException
    )
