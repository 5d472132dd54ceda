"""Which blocks a scan reads for which queries, in which order."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

QUERIES = 4
"""Queries of an item: a scan reads a block once for all of them."""

ITEM_BLOCKS = 256
"""Blocks of an item at most, unless a scan would have more than `MOST_ITEMS`."""

MOST_ITEMS = 1 << 14
"""Items that a scan is divided into: enough to fill a device many times."""

ITEM = np.dtype(
    [
        ("first", np.uint32),
        ("count", np.uint32),
        ("list", np.uint32),
        ("queries", np.int32, QUERIES),
        ("terms", np.float32, QUERIES),
    ]
)
"""An item of a scan: see ``cpp/cuda/scan_item.hpp``."""

ListsOfQueries = tuple[NDArray[np.uint64], NDArray[np.uint32], NDArray[np.float32]]
"""Limits, lists and terms: the lists of query q are those from limits[q] to limits[q + 1]."""

_EXPECTED_SHARE = 4  # of the room for candidates: as many as this part of it are expected


@dataclass(frozen=True)
class Runs:
    """Blocks that queries scan: one run of blocks of one list per row.

    Attributes
    ----------
    queries, lists, terms : arrays (n,)
        Of each run, the query, the list and the list's term.
    first, count : int64 arrays (n,)
        Its blocks.
    """

    queries: NDArray[np.int64]
    lists: NDArray[np.int64]
    terms: NDArray[np.float32]
    first: NDArray[np.int64]
    count: NDArray[np.int64]

    @classmethod
    def of(cls, of_queries: ListsOfQueries, list_starts: NDArray[np.int64]) -> Runs:
        """Make the runs of whole lists, which start at some blocks."""
        limits, lists, terms = of_queries
        ends = limits.astype(np.int64)
        queries = np.repeat(np.arange(len(limits) - 1), ends[1:] - ends[:-1])
        first = list_starts[lists]
        return cls(queries, lists.astype(np.int64), terms, first, list_starts[lists + 1] - first)

    def __len__(self) -> int:
        return len(self.queries)

    def _select(
        self, rows: NDArray[np.bool_], first: NDArray[np.int64], end: NDArray[np.int64]
    ) -> Runs:
        return Runs(
            self.queries[rows], self.lists[rows], self.terms[rows], first[rows], (end - first)[rows]
        )

    def within(self, first: int, end: int) -> Runs:
        """Return what lies in blocks [first, end)."""
        begin = np.maximum(self.first, first)
        stop = np.minimum(self.first + self.count, end)
        return self._select(begin < stop, begin, stop)

    def above(self, bounds: NDArray[np.float32], thresholds: NDArray[np.float32]) -> Runs:
        """Return those whose bound exceeds the threshold of their query."""
        chosen = bounds > thresholds[self.queries]
        return self._select(chosen, self.first, self.first + self.count)

    def of_queries(self, chosen: NDArray[np.bool_]) -> Runs:
        """Return those of some queries."""
        return self._select(chosen[self.queries], self.first, self.first + self.count)

    def stages(self, room: int, kept: int) -> Iterator[Runs]:
        """Divide the runs into stages that follow each other.

        The first stage reads, of each query, as many vectors as there is room for. The best
        `kept` of them are a threshold for the next, which reads as many as will probably fill a
        part of the room: if vectors come in any order, of n vectors n * kept / (vectors so far)
        reach the threshold.
        """
        before = self._blocks_before()
        total = int((before + self.count).max(initial=0))
        growth = max(room // (_EXPECTED_SHARE * kept), 1)
        low, high = 0, max(room // 32, 1)
        while low < total:
            begin = np.clip(low - before, 0, self.count)
            stop = np.clip(high - before, 0, self.count)
            yield self._select(begin < stop, self.first + begin, self.first + stop)
            low, high = high, high * (1 + growth)

    def _blocks_before(self) -> NDArray[np.int64]:
        """Return how many blocks a run's query scans before it."""
        ends = np.cumsum(self.count)
        starts = ends - self.count
        new = np.r_[True, self.queries[1:] != self.queries[:-1]] if len(self) else np.zeros(0, bool)
        first_of_query = np.maximum.accumulate(np.where(new, np.arange(len(self)), 0))
        result: NDArray[np.int64] = starts - starts[first_of_query]
        return result

    def items(self) -> NDArray[np.void]:
        """Return the items of a scan: queries with the same run share it, four at a time."""
        # Of equal runs, queries ascend: those of a query follow those of the one before.
        order = np.argsort(self.first << 32 | self.count, kind="stable")
        first, count = self.first[order], self.count[order]
        new = np.r_[True, (first[1:] != first[:-1]) | (count[1:] != count[:-1])]
        group_start = np.maximum.accumulate(np.where(new, np.arange(len(order)), 0))
        rank = np.arange(len(order)) - group_start
        number = np.cumsum(new | (rank % QUERIES == 0)) - 1
        whole = np.zeros(number[-1] + 1, ITEM)
        whole["queries"] = -1
        whole["first"][number], whole["count"][number] = first, count
        whole["list"][number] = self.lists[order]
        whole["queries"][number, rank % QUERIES] = self.queries[order]
        whole["terms"][number, rank % QUERIES] = self.terms[order]
        return _divided(whole)


def _divided(whole: NDArray[np.void]) -> NDArray[np.void]:
    """Divide items of many blocks, and let those of the same blocks follow each other.

    They run at about the same time, and find the blocks in the cache of the device.
    """
    counts = whole["count"].astype(np.int64)
    most = max(ITEM_BLOCKS, int(counts.sum()) // MOST_ITEMS)
    parts = -(-counts // most)
    items = np.repeat(whole, parts)
    part = np.arange(len(items)) - np.repeat(np.cumsum(parts) - parts, parts)
    skipped = (part * most).astype(np.uint32)
    items["first"] += skipped
    items["count"] = np.minimum(items["count"] - skipped, most)
    return items[np.argsort(items["first"], kind="stable")]
