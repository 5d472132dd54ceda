"""Columns of ids, beside the vectors in their files: read in blocks, each value checked."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from waterfill._util.optional import require
from waterfill.data.block_source import raising_format_errors
from waterfill.data.vector_files import format_of
from waterfill.errors import ArgumentError

Ids = NDArray[np.int64]

_BATCH_ROWS = 1 << 16


class IdColumn:
    """Ids of one part, read in batches.

    Parameters
    ----------
    name : str
        For messages.
    batches : callable
        Given a row, yields (first row, values) of batches, in order, of which the first one starts
        at that row or before it. Values are an array, of NumPy or of Arrow.
    n : int, optional
        Number of ids, if it may differ from that of the vectors.
    """

    def __init__(
        self,
        name: str,
        batches: Callable[[int], Iterator[tuple[int, Any]]],
        n: int | None = None,
    ) -> None:
        self.name, self._n = name, n
        self._batches = batches
        self._upcoming: Iterator[tuple[int, Any]] = iter(())
        self._first, self._ids = 0, np.empty(0, np.int64)

    def require(self, n: int) -> None:
        """Raise ValueError unless there are as many ids as vectors."""
        if self._n is not None and self._n != n:
            raise ArgumentError(f"{self.name}: expected {n} ids, one per vector, got {self._n}")

    def read(self, first: int, n: int) -> Ids:
        """Return the ids of the rows from `first` to ``first + n - 1``.

        Raises
        ------
        ValueError, TypeError
            If one is missing, is -1, or is no integer within int64; or if there are too few.
        """
        parts = [np.empty(0, np.int64)]
        stop = first + n
        while first < stop:
            at = first - self._first
            if not 0 <= at < len(self._ids):
                self._advance(first)
                continue
            parts.append(self._ids[at : at + stop - first])
            first += len(parts[-1])
        return parts[1] if len(parts) == 2 else np.concatenate(parts)

    def _advance(self, row: int) -> None:
        """Make the next batch the present one; start again if that lies elsewhere."""
        if row != self._first + len(self._ids) or len(self._ids) == 0:
            self._upcoming = self._batches(row)
        for first, values in self._upcoming:
            if first + len(values) > row:
                self._first, self._ids = first, _checked(values, self.name, first)
                return
        raise ValueError(f"{self.name}: expected an id for each vector, got none for row {row}")


def _checked(values: Any, name: str, first: int) -> Ids:
    """Return a batch of ids as int64."""
    if hasattr(values, "null_count"):  # of Arrow
        if values.null_count:
            row = first + int(np.flatnonzero(values.is_null().to_numpy(zero_copy_only=False))[0])
            raise ValueError(f"{name}: row {row}: expected an id, got null")
        values = values.to_numpy(zero_copy_only=False)
    values = np.asarray(values)
    if values.ndim != 1 or values.dtype.kind not in "iu":
        kind = values.dtype if values.ndim == 1 else f"shape {values.shape}"
        raise TypeError(
            f"{name}: expected ids, one-dimensional integers, got {kind}; or leave ids out to "
            "number the vectors"
        )
    if values.dtype == np.uint64 and (values >= 2**63).any():
        row = first + int(np.argmax(values >= 2**63))
        raise ValueError(
            f"{name}: row {row}: expected an id within int64, got {values[row - first]}"
        )
    ids: Ids = np.ascontiguousarray(values, np.int64)
    if (ids == -1).any():
        row = first + int(np.argmax(ids == -1))
        raise ValueError(f"{name}: row {row}: id -1 stands for a missing result; give another one")
    return ids


def array_ids(x: Any, column: str, name: str) -> IdColumn:
    """Return a column of a frame, a table, or a mapping of arrays, as ids."""
    try:
        values = x.column(column) if hasattr(x, "column") else x[column]
    except (KeyError, IndexError, TypeError, ValueError):
        raise ValueError(
            f"{name}: no column {column!r} for ids; pass the ids themselves, an array"
        ) from None
    if hasattr(values, "combine_chunks"):
        values = values.combine_chunks()
    return plain_ids(values, f"{name}, column {column}")


def plain_ids(values: Any, name: str) -> IdColumn:
    """Return an array as ids."""
    if getattr(values, "ndim", 1) != 1:
        raise TypeError(f"{name}: expected ids, one-dimensional integers, got shape {values.shape}")

    def batches(row: int) -> Iterator[tuple[int, Any]]:
        for first in range(row, len(values), _BATCH_ROWS):
            yield first, values[first : first + _BATCH_ROWS]

    return IdColumn(name, batches, len(values))


def file_ids(path: str, column: str, format: str | None) -> IdColumn:
    """Return a column of a table, a dataset of HDF5, or an array of an ``.npz`` as ids."""
    kind = format_of(Path(path), format)
    name = f"{path}, column {column}"
    if kind == "parquet":
        return IdColumn(name, _of_parquet(path, column))
    if kind in ("arrow", "feather"):
        return IdColumn(name, _of_arrow(path, column))
    if kind in ("h5", "hdf5"):
        return plain_ids(_of_hdf5(path, column), f"{path}, dataset {column}")
    if kind == "npz":
        return plain_ids(_of_npz(path, column), f"{path}, array {column}")
    raise ValueError(
        f"{path}: a .{kind} file has no columns, such as {column!r} for ids; pass the ids "
        "themselves, an array"
    )


def _of_parquet(path: str, column: str) -> Callable[[int], Iterator[tuple[int, Any]]]:
    parquet = require("pyarrow.parquet", f"reading {path}", "parquet")
    arrow = require("pyarrow", f"reading {path}", "parquet")

    def batches(row: int) -> Iterator[tuple[int, Any]]:
        with (
            raising_format_errors(path, "a file of its format", arrow.ArrowException),
            parquet.ParquetFile(path, pre_buffer=False) as file,
        ):
            _require_column(path, column, file.schema_arrow)
            first = 0
            for group in range(file.metadata.num_row_groups):
                rows = file.metadata.row_group(group).num_rows
                if first + rows <= row:
                    first += rows
                    continue
                for batch in file.iter_batches(
                    _BATCH_ROWS, row_groups=[group], columns=[column], use_threads=False
                ):
                    yield first, batch.column(0)
                    first += len(batch)

    return batches


def _of_arrow(path: str, column: str) -> Callable[[int], Iterator[tuple[int, Any]]]:
    arrow = require("pyarrow", f"reading {path}", "parquet")
    ipc = require("pyarrow.ipc", f"reading {path}", "parquet")

    def batches(row: int) -> Iterator[tuple[int, Any]]:
        with (
            raising_format_errors(path, "a file of its format", arrow.ArrowException),
            arrow.memory_map(path) as file,
        ):
            stream = file.read(6) != b"ARROW1"
            file.seek(0)
            reader = ipc.open_stream(file) if stream else ipc.open_file(file)
            _require_column(path, column, reader.schema)
            number = reader.schema.get_field_index(column)
            each = reader if stream else map(reader.get_batch, range(reader.num_record_batches))
            first = 0
            for batch in each:
                if first + len(batch) > row:
                    yield first, batch.column(number)
                first += len(batch)

    return batches


def _require_column(path: str, column: str, schema: Any) -> None:
    if schema.get_field_index(column) < 0:
        available = ", ".join(f"{each.name} ({each.type})" for each in schema)
        raise ValueError(f"{path}: no column {column!r} for ids; available: {available}")


def _of_hdf5(path: str, column: str) -> Any:
    h5py = require("h5py", f"reading {os.path.basename(path)}", "hdf5")
    with raising_format_errors(path, "an HDF5 file"):
        file = h5py.File(path, "r")
        if column not in file:
            raise ValueError(f"{path}: no dataset {column!r} for ids")
        return file[column]


def _of_npz(path: str, column: str) -> Any:
    with np.load(path, allow_pickle=False) as members:
        if column not in members:
            raise ValueError(f"{path}: no array {column!r} for ids")
        return members[column]


def mapping_column(batch: Any, column: str, name: str) -> Any:
    """Return a column of a batch: of a mapping, a table or a frame."""
    if isinstance(batch, Mapping):
        if column not in batch:
            raise ValueError(f"{name}: no column {column!r}; available: {', '.join(batch)}")
        return batch[column]
    try:
        return batch.column(column) if hasattr(batch, "column") else batch[column]
    except (KeyError, ValueError):
        raise ValueError(f"{name}: no column {column!r}") from None
    except (TypeError, IndexError):
        raise TypeError(f"{name}: expected columns, got {type(batch).__name__}") from None
