"""The ids of a source's vectors: positions, an array, or a column beside the vectors."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from waterfill.building.id_columns import IdColumn, Ids, plain_ids
from waterfill.building.parts import Part
from waterfill.building.shards import Span
from waterfill.building.source import Source
from waterfill.errors import ArgumentError
from waterfill.index.selectors import as_ids

_BATCH_ROWS = 1 << 16


class VectorIds:
    """The ids of all vectors of a source.

    Parameters
    ----------
    ids : None, str or array_like of int
        None: their positions in the source. A name: the column with that name. Otherwise the ids
        in the order of the source.
    n : int, optional
        Number of vectors, where it is known.
    """

    def __init__(self, ids: Any, n: int | None) -> None:
        self.column = ids if isinstance(ids, str) else None
        self._array: Ids | None = None
        if ids is not None and self.column is None:
            self._array = as_ids(ids)
            if n is None:
                raise ValueError("ids: an iterator gives ids in a column; pass its name")
            if len(self._array) != n:
                raise ArgumentError(
                    f"ids: expected {n} ids, one per vector, got {len(self._array)}"
                )

    @property
    def given(self) -> bool:
        """Whether ids come from the caller, so that they may be wrong."""
        return self.column is not None or self._array is not None

    @property
    def identity(self) -> Any:
        """What changes if the ids do, for JSON."""
        if self.column is not None:
            return ["column", self.column]
        if self._array is None:
            return "positions"
        return ["array", len(self._array), zlib.crc32(self._array.data)]

    def reader(self, parts: list[Part]) -> IdReader:
        """Return what gives ids to one worker."""
        return IdReader(parts, self.column, self._array)

    def batches(self, source: Source) -> Iterator[tuple[int, Ids]]:
        """Yield (position of the first vector, ids), of all vectors in order."""
        reader = self.reader(source.parts)
        firsts = source.firsts.tolist()
        for number, part in enumerate(source.parts):
            for start in range(0, part.n, _BATCH_ROWS):
                span = Span(number, start, min(start + _BATCH_ROWS, part.n), firsts[number] + start)
                yield span.position, reader.read(span, start, len(span))


class IdReader:
    """Gives the ids of consecutive rows; one for each worker."""

    def __init__(self, parts: list[Part], column: str | None, array: Ids | None) -> None:
        self._parts, self._column = parts, column
        self._array = None if array is None else plain_ids(array, "ids")
        self._open: tuple[int, IdColumn] | None = None

    def read(self, span: Span, first: int, n: int) -> Ids:
        """Return the ids of rows `first` to ``first + n - 1`` of the part of a span."""
        position = span.position + first - span.start
        if self._array is not None:
            return self._array.read(position, n)
        if self._column is None:
            return np.arange(position, position + n, dtype=np.int64)
        if self._open is None or self._open[0] != span.part:
            part = self._parts[span.part]
            self._open = span.part, part.open_ids(self._column)
            self._open[1].require(part.n)
        return self._open[1].read(first, n)
