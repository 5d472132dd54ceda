"""Sources that are read once, in order: iterators of batches, and functions that return them."""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Generator, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from waterfill._util.progress import Meter
from waterfill.building.id_columns import Ids, mapping_column, plain_ids
from waterfill.building.record import FinishedShard
from waterfill.data.row_policy import Policy
from waterfill.data.rows import FloatRows, Rows

if TYPE_CHECKING:
    from waterfill.building.encoding import EncodingJob


@dataclass(frozen=True)
class Batch:
    """Vectors of an iterator, and their ids if it gives them."""

    rows: Rows
    ids: Ids | None


class Stream:
    """Batches of vectors from an iterator, whose number nobody knows.

    Parameters
    ----------
    start : callable
        Returns the iterator.
    again : bool
        Whether it can be started more than once.
    key : str, optional
        The column of vectors, if batches have columns.
    """

    name = "the iterator"
    skipped: tuple[str, ...] = ()

    def __init__(self, start: Callable[[], Iterator[Any]], again: bool, key: str | None) -> None:
        self._start, self.again, self._key = start, again, key
        self._first: Any = None
        self._rest: Iterator[Any] | None = None  # behind the first batch

    @cached_property
    def d(self) -> int:
        """Number of dimensions. The first batch is read, so check arguments before."""
        rest = self._start()
        for first in rest:
            d = self._as_batch(first, 0, None, None).rows.d
            self._first, self._rest = first, rest
            return d
        raise ValueError(f"{self.name}: expected at least 1 batch of vectors, got none")

    @property
    def identity(self) -> list[Any]:
        """What changes if the vectors may, for JSON."""
        return [[self.name.removeprefix("the "), self.d]]

    def batches(self, ids: str | None) -> Iterator[Batch]:
        """Yield the batches from the first one on; `ids` names the column of ids."""
        d = self.d
        if self._rest is not None:
            each = itertools.chain([self._first], self._rest)
            self._first = self._rest = None
        elif self.again:
            each = itertools.chain(self._start())
        else:
            raise ValueError(f"{self.name} has been read; pass a new one")
        for number, item in enumerate(each):
            batch = self._as_batch(item, number, d, ids)
            if batch.rows.n:
                yield batch

    def _as_batch(self, item: Any, number: int, d: int | None, ids: str | None) -> Batch:
        name = f"batch {number} of {self.name}"
        vectors = item
        if isinstance(item, Mapping) or self._key is not None:
            if self._key is None:
                raise ValueError(f"{name} has columns: {', '.join(item)}; choose one by key=")
            vectors = mapping_column(item, self._key, name)
        rows = Rows(vectors, name, d)
        found = None
        if ids is not None:
            values = mapping_column(item, ids, name)
            values = values.combine_chunks() if hasattr(values, "combine_chunks") else values
            values = values if hasattr(values, "null_count") else np.asarray(values)
            column = plain_ids(values, f"{name}, column {ids}")
            column.require(rows.n)
            found = column.read(0, rows.n)
        return Batch(rows, found)


class RemoteStream(Stream, ABC):
    """Batches that lie in other processes, which read and encode them."""

    again = True

    @abstractmethod
    def draw(self, rows: int, seed: int, policy: Policy, meter: Meter) -> FloatRows:
        """Draw rows to train on, as `waterfill.building.sample.draw`."""

    @abstractmethod
    def encoded(
        self, ids: str | None, job: EncodingJob, known: Collection[int]
    ) -> Generator[FinishedShard, None, None]:
        """Yield the shards in order, each when its segment is written; count those known."""


def as_stream(x: Any, key: str | None) -> Stream | None:
    """Return an iterator, or a function that returns one, as a stream; None for anything else."""
    if hasattr(x, "__next__"):
        return Stream(lambda: x, False, key)
    if callable(x):
        return Stream(lambda: _started(x), True, key)
    return None


def _started(function: Callable[[], Any]) -> Iterator[Any]:
    batches = function()
    if not hasattr(batches, "__iter__"):
        raise TypeError(
            "source: expected a function that returns an iterator of batches, got one that returns "
            + type(batches).__name__
        )
    return iter(batches)


def blocks_of(batches: Iterator[Batch], **options: bool) -> Iterator[tuple[Batch, int, FloatRows]]:
    """Yield (batch, number of its first row, block) of all batches."""
    for batch in batches:
        for first, block in batch.rows.blocks(**options):
            yield batch, first, block
