"""The vectors of a Ray dataset as a source of rows, which workers read on request."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from waterfill import _core
from waterfill._util.optional import require
from waterfill.analysis import chunk_rows, moments_of
from waterfill.data.arrow_lists import SAMPLE_ROWS, choose_field
from waterfill.data.rows import FloatRows, Rows
from waterfill.scale.cluster import Chunk, chunks, each_chunk

RowNumbers = NDArray[np.int64]


class DatasetVectors:
    """A column of vectors of a Ray dataset.

    Parameters
    ----------
    dataset : ray.data.Dataset
    column : str, optional
        The column, if there are several with vectors.
    others : sequence of str
        Columns to keep beside it. The rest is not read.

    Attributes
    ----------
    dataset : ray.data.Dataset
        With these columns only.
    column : str
    d : int

    Raises
    ------
    TypeError
        If it is no dataset of Ray.
    ValueError
        If it has no rows, or not one column of vectors.
    """

    def __init__(self, dataset: Any, column: str | None, others: tuple[str, ...] = ()) -> None:
        data = require("ray.data", "waterfill.scale", "ray")
        if not isinstance(dataset, data.Dataset):
            raise TypeError(f"dataset must be a ray.data.Dataset, got {type(dataset).__name__}")
        head = next(chunks(dataset.limit(SAMPLE_ROWS), SAMPLE_ROWS), None)
        if head is None:
            raise ValueError("the dataset: expected at least 1 row, got 0")
        schema = next(head.tables())[1].schema
        for name in others:
            if name not in schema.names:
                raise ValueError(
                    f"the dataset: no column {name!r}; available: {', '.join(schema.names)}"
                )
        field = choose_field("the dataset", schema, column)
        self.column = field.name
        self.dataset = dataset.select_columns(list(dict.fromkeys([field.path[0], *others])))
        self.d = next(head.parts(self.column))[1].d


class DatasetRows:
    """The vectors of a Ray dataset, of which those that are asked for come to this process.

    Training reads it like any other source of rows.
    """

    name = "the dataset"
    dtype = np.dtype(np.float32)

    def __init__(self, vectors: DatasetVectors) -> None:
        self._vectors = vectors
        self.shape = vectors.dataset.count(), vectors.d
        self._chunk_rows = chunk_rows(Rows(self))
        self._numbers = np.empty(0, np.int64)
        self._rows = np.empty((0, vectors.d), np.float32)

    def fetch(self, numbers: RowNumbers, *, missing: bool = False) -> None:
        """Read the rows with these ascending numbers in workers, unless they are here."""
        if np.isin(numbers, self._numbers, assume_unique=True).all():
            return

        def own(chunk: Chunk) -> RowNumbers | None:
            a, b = np.searchsorted(numbers, [chunk.first, chunk.first + len(chunk)])
            return numbers[a:b] if a < b else None

        vectors = self._vectors
        arguments = (vectors.column, vectors.d, missing)
        found = each_chunk(vectors.dataset, self._chunk_rows, _take, *arguments, own=own)
        rows = np.concatenate([self._rows[:0], *(part for _, part in found)])
        if len(rows) != len(numbers):
            raise ValueError(
                f"{self.name}: has fewer rows than when they were counted; call materialize() first"
            )
        self._numbers, self._rows = numbers, rows

    def take(self, rows: RowNumbers) -> FloatRows:
        """Return the rows with these ascending numbers."""
        self.fetch(rows)
        return self._rows[np.searchsorted(self._numbers, rows)]

    def read(self, first: int, n: int) -> FloatRows:
        """Return the rows from `first` to ``first + n - 1``."""
        return self.take(np.arange(first, first + n))

    def chunk_moments(
        self, centre: NDArray[np.float64], floor: float, normalize: bool
    ) -> Iterator[_core.Moments]:
        """Yield the moments of all chunks in order, as `waterfill.analyze` adds them."""
        vectors = self._vectors
        arguments = (vectors.column, vectors.d, centre, floor, normalize)
        for _, moments in each_chunk(vectors.dataset, self._chunk_rows, _moments, *arguments):
            yield moments


def _take(chunk: Chunk, column: str, d: int, missing: bool, numbers: RowNumbers) -> FloatRows:
    """Return some rows of a chunk, in a worker."""
    taken = []
    for first, part in chunk.parts(column):
        a, b = np.searchsorted(numbers, [first, first + part.n])
        rows = Rows(part.open(), part.name, d)
        taken.append(rows.take(numbers[a:b] - first, finite=False, missing=missing))
    return np.concatenate(taken)


def _moments(
    chunk: Chunk, column: str, d: int, centre: NDArray[np.float64], floor: float, normalize: bool
) -> _core.Moments:
    """Return the moments of a chunk, in a worker."""
    blocks = [
        block
        for _, part in chunk.parts(column)
        for _, block in Rows(part.open(), part.name, d).blocks(finite=False)
    ]
    return moments_of(Rows(np.concatenate(blocks)), 0, centre, floor, normalize)
