"""Datasets of Arrow: their files where these are local, otherwise fragment by fragment."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from waterfill._util.optional import require
from waterfill.building.id_columns import IdColumn, array_ids
from waterfill.building.parts import Identity, Part, array_part, block_rows, file_part
from waterfill.data.arrow_lists import SAMPLE_ROWS, VectorField, choose_field, common_length
from waterfill.data.columns import ArrowColumn
from waterfill.data.formats.parquet import ColumnSource

_BATCH_ROWS = 1 << 13
_LOCAL_FORMATS = {"parquet": "parquet", "ipc": "arrow", "feather": "arrow"}


def is_dataset(x: Any) -> bool:
    """Whether an object is a ``pyarrow.dataset.Dataset``."""
    module = sys.modules.get("pyarrow.dataset")
    return module is not None and isinstance(x, module.Dataset)


def is_hub_dataset(x: Any) -> bool:
    """Whether an object is a ``datasets.Dataset``, by what is needed of it."""
    return hasattr(x, "cache_files") and hasattr(x, "data") and hasattr(x, "features")


def table_part(table: Any, key: str | None, name: str) -> Part | None:
    """Return a column of a table in memory, or a mapped one, as a part."""
    if key is None and table.num_columns == 1:
        return array_part(table, name, lambda column: array_ids(table, column, name))
    if table.num_rows == 0:
        return None
    field = choose_field(name, table.schema, key)
    column = table.column(field.path[0])
    chunks = column.chunks if hasattr(column, "chunks") else [column]
    vectors = ArrowColumn(chunks, field, f"{name}, column {field.name}")
    return array_part(vectors, name, lambda column: array_ids(table, column, name))


def dataset_parts(dataset: Any, key: str | None) -> list[Part | None]:
    """Return the parts of a dataset, in the order of its fragments."""
    files = getattr(dataset, "files", None)
    kind = _LOCAL_FORMATS.get(getattr(getattr(dataset, "format", None), "default_extname", ""))
    if files is not None and kind and dataset.filesystem.type_name == "local":
        parts = [file_part(path, key, kind) for path in files]
    else:
        parts = [_fragment_part(fragment, i, key) for i, fragment in enumerate(_fragments(dataset))]
    if sum(part.n for part in parts if part is not None) != dataset.count_rows():
        raise ValueError(
            "source: the dataset is filtered; write the rows that are left, with "
            "pyarrow.dataset.write_dataset, and build from that"
        )
    return parts


def _fragments(dataset: Any) -> list[Any]:
    return list(dataset.get_fragments())


def _fragment_part(fragment: Any, number: int, key: str | None) -> Part | None:
    path = getattr(fragment, "path", None)
    name = path or f"fragment {number} of the dataset"
    n = fragment.count_rows()
    if n == 0:
        return None
    source = FragmentSource(fragment, name, n, key)

    def identity() -> Identity:
        if path is None:
            return [name]
        found = fragment.filesystem.get_file_info(path)
        return [path, found.size, found.mtime_ns]

    return Part(
        name=source.name,
        n=n,
        d=source.shape[1],
        starts=source.starts,
        block_rows=block_rows(source),
        identity_now=identity,
        open=lambda: FragmentSource(fragment, name, n, key),
        open_ids=lambda column: IdColumn(
            f"{name}, column {column}", _batches(fragment, column, name)
        ),
    )


class FragmentSource(ColumnSource):
    """A column of a fragment of a dataset, wherever its file lies."""

    def __init__(self, fragment: Any, name: str, n: int, key: str | None) -> None:
        groups = getattr(fragment, "row_groups", None) or []
        self._fragment = fragment
        self._groups = [group.id for group in groups]
        self._starts = (
            np.cumsum([0, *(group.num_rows for group in groups)]) if groups else (np.array([0, n]))
        )
        field: VectorField = choose_field(name, fragment.physical_schema, key)
        self._column = field.path[0]
        d = field.size
        if d is None:
            head = fragment.head(SAMPLE_ROWS, columns=[self._column]).column(0).chunks
            d, reason = common_length(field.lists(chunk) for chunk in head)
            if d is None:
                raise ValueError(f"{name}: {reason}")
        super().__init__(f"{name}, column {field.name}", (n, d), field)
        self._upcoming: Iterator[Any] = iter(())

    def _load_batch(self, row: int) -> None:
        end = self._first + len(self._batch)
        group = int(np.searchsorted(self._starts, row, side="right")) - 1
        if row < self._first or self._starts[group] > end or end == 0:
            self._upcoming = self._scan(group)
            end = int(self._starts[group])
        while row >= end:
            self._first, self._batch = 0, self._batch[:0]  # after an error, start again
            column = next(self._upcoming, None)
            if column is None:
                raise ValueError(f"{self.name}: ends before row {row}")
            self._decode(column, end)
            end += len(column)

    def _scan(self, group: int) -> Iterator[Any]:
        rest = self._fragment
        if self._groups:
            rest = rest.subset(row_group_ids=self._groups[group:])
        for batch in rest.to_batches(
            columns=[self._column], batch_size=_BATCH_ROWS, batch_readahead=1, use_threads=False
        ):
            yield batch.column(0)


def _batches(fragment: Any, column: str, name: str) -> Callable[[int], Iterator[tuple[int, Any]]]:
    def batches(row: int) -> Iterator[tuple[int, Any]]:
        if fragment.physical_schema.get_field_index(column) < 0:
            raise ValueError(f"{name}: no column {column!r} for ids")
        first = 0
        for batch in fragment.to_batches(columns=[column], use_threads=False):
            if first + len(batch) > row:
                yield first, batch.column(0)
            first += len(batch)

    require("pyarrow.compute", "columns", "parquet")
    return batches
