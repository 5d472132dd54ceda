"""Results that are remembered, for as long as nothing changes what they would be."""

from __future__ import annotations

import os
import threading
import weakref
from collections import OrderedDict
from collections.abc import Generator, Hashable
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from waterfill._util.validation import as_positive_int
from waterfill.data.rows import Rows
from waterfill.index.search_parameters import SearchParameters, lasting_key, read_parameters
from waterfill.lifecycle.swap import SwapIndex
from waterfill.serving.batch_queue import Found
from waterfill.serving.batcher import Batcher, require_searchable

Key = tuple[bytes, int, Hashable]
State = tuple[Any, ...]
Entry = tuple[NDArray[np.float32], NDArray[np.int64]]
Wish = tuple[Any, int, SearchParameters]  # of a search: queries, k, parameters

_OVERHEAD = 600  # bytes that Python takes for one entry: two arrays, the key, a place in the table


@dataclass(frozen=True)
class CacheStats:
    """What a `CachedSearch` has done; counts are of rows.

    Attributes
    ----------
    hits, misses : int
        Queries that were remembered, and that were searched. Searches that are not remembered at
        all, because of their selector, are neither.
    evictions : int
        Results that were forgotten to stay within the limits, not those of an index that changed.
    entries, bytes : int
        Results that are remembered now, and the memory that they take.
    """

    hits: int
    misses: int
    evictions: int
    entries: int
    bytes: int


class CachedSearch:
    """An index that remembers what it found for the last queries.

    A query is the same if all its bytes as float32 are, with the same `k` and parameters. All is
    forgotten when the index changes: by adding, removing, a swap, or a setting such as ``nprobe``.
    So a result is what the index would find at the time of the call, and all rows of a call are of
    one state of it. Settings should be made while nothing searches, and rows that were lent to
    ``refine`` as an array are not looked at for changes.

    Searches with a selector of FAISS, or with parameters for its quantizer, go to the index: what
    they stand for may change. Of ours, arrays and bitmaps are the same if they are the same object.

    Safe to use from several threads. Two that miss the same query at the same time both search. A
    forked child has the cache with nothing remembered.

    Parameters
    ----------
    index : IndexFlat, IndexIVF, SwapIndex or Batcher
        With a `Batcher`, what is not remembered is searched for together with other callers.
    entries : int
        Rows of results that are kept; those not asked for longest go first.
    bytes : int
        Memory that they may take, with their queries.

    Raises
    ------
    TypeError, ValueError
        For an argument of the wrong type or out of range.
    """

    def __init__(self, index: Any, *, entries: int = 10_000, bytes: int = 64 << 20) -> None:
        self._index = index
        self._source = index.index if isinstance(index, Batcher) else index
        require_searchable(self._source)
        self._most_entries = as_positive_int("entries", entries)
        self._most_bytes = as_positive_int("bytes", bytes)
        self._hits = self._misses = self._evictions = 0
        self._renew()
        _alive.add(self)

    def _renew(self) -> None:
        """Begin with nothing remembered, also in a forked child: its parent may have been at it."""
        self._guard = threading.Lock()
        self._state: State | None = None  # of the index, which all entries are of
        self._entries: OrderedDict[Key, Entry] = OrderedDict()
        self._bytes = 0

    @property
    def index(self) -> Any:
        """What is searched."""
        return self._index

    def search(self, x: Any, k: int, params: Any = None) -> Found:
        """Find the k nearest vectors of each query: remembered ones, and one search for the others.

        Parameters
        ----------
        x : array_like, shape (n, d)
        k : int
        params : SearchParameters, optional
            As for `IndexFlat.search`.

        Returns
        -------
        D : float32 (n, k)
        I : int64 (n, k)
            The caller's own, as of `IndexFlat.search`.

        Raises
        ------
        ValueError, TypeError, NotTrainedError
            As `IndexFlat.search`.
        """
        searches = self._searches(x, k, params)
        try:
            x, k, params = next(searches)
            while True:
                x, k, params = searches.send(self._index.search(x, k, params=params))
        except StopIteration as end:
            return cast(Found, end.value)

    async def asearch(self, x: Any, k: int, params: Any = None) -> Found:
        """`search` for a coroutine.

        What is remembered is there at once; the rest is searched for by the batcher's `asearch`, or
        in a thread of the loop's executor where there is none.
        """
        searches = self._searches(x, k, params)
        try:
            x, k, params = next(searches)
            while True:
                x, k, params = searches.send(await self._awaited(x, k, params))
        except StopIteration as end:
            return cast(Found, end.value)

    async def _awaited(self, x: Any, k: int, params: Any) -> Found:
        if isinstance(self._index, Batcher):
            return await self._index.asearch(x, k, params)
        import asyncio

        return await asyncio.to_thread(self._index.search, x, k, params=params)

    def _searches(self, x: Any, k: int, params: Any) -> Generator[Wish, Found, Found]:
        """Yield what is to be searched for, be sent what was found, and return the results."""
        given = Rows(x, "x", self._source.d)
        k, chosen = as_positive_int("k", k), read_parameters(params)
        lasting = lasting_key(chosen)
        if lasting is None:
            return (yield x, k, chosen)
        blocks = [block for _, block in given.blocks()]
        rows = np.concatenate([np.empty((0, given.d), np.float32), *blocks])
        keys = [(row.tobytes(), k, lasting) for row in rows]
        state, known = self._look_up(keys)
        missed = {key: row for row, key in enumerate(keys) if key not in known}
        if missed:
            found = yield rows[list(missed.values())], k, chosen
            if not self._store(state, list(missed), found) and known:
                # The index changed between the two, whose results must not be mixed.
                return (yield rows, k, chosen)
            known.update(zip(missed, zip(*found, strict=True), strict=True))
        return _gathered([known[key] for key in keys], k)

    def stats(self) -> CacheStats:
        """Return counts, and what is remembered now."""
        with self._guard:
            return CacheStats(
                self._hits, self._misses, self._evictions, len(self._entries), self._bytes
            )

    def clear(self) -> None:
        """Forget all results; counts go on."""
        with self._guard:
            self._forget()

    def _look_up(self, keys: list[Key]) -> tuple[State, dict[Key, Entry]]:
        """Return the state of the index, and what is remembered of it."""
        with self._guard:
            state = _state(self._source)
            if state != self._state:
                self._forget()
                self._state = state
            known = {key: self._entries[key] for key in keys if key in self._entries}
            for key in known:
                self._entries.move_to_end(key)
            hits = sum(key in known for key in keys)
            self._hits += hits
            self._misses += len(keys) - hits
        return state, known

    def _store(self, state: State, keys: list[Key], found: Found) -> bool:
        """Remember results, unless the index is not what it was before the search; say so."""
        with self._guard:
            same = _state(self._source) == state
            if same and self._state == state:
                for key, distances, ids in zip(keys, *found, strict=True):
                    self._keep(key, (distances.copy(), ids.copy()))
        return same

    def _keep(self, key: Key, entry: Entry) -> None:
        self._drop(self._entries.pop(key, None), key)
        size = _size(key, entry)
        if size > self._most_bytes:
            return
        self._entries[key] = entry
        self._bytes += size
        while len(self._entries) > self._most_entries or self._bytes > self._most_bytes:
            oldest, old = self._entries.popitem(last=False)
            self._drop(old, oldest)
            self._evictions += 1

    def _drop(self, entry: Entry | None, key: Key) -> None:
        self._bytes -= 0 if entry is None else _size(key, entry)

    def _forget(self) -> None:
        self._entries.clear()
        self._bytes = 0

    def __repr__(self) -> str:
        return f"CachedSearch of {self._index!r}"


def _state(source: Any) -> State:
    """Return all that results depend on but the query: it never comes back once it has changed.

    But for settings, which a caller may put back.
    """
    generation = 0
    if isinstance(source, SwapIndex):
        now = source.current()
        source, generation = now.index, now.number
    settings = source.k_factor, getattr(source, "nprobe", None), *source._given.copy().items()
    return generation, source._trained().version, *settings


def _size(key: Key, entry: Entry) -> int:
    return len(key[0]) + entry[0].nbytes + entry[1].nbytes + _OVERHEAD


def _gathered(entries: list[Entry], k: int) -> Found:
    """Return rows of results as two arrays."""
    distances = np.empty((len(entries), k), np.float32)
    ids = np.empty((len(entries), k), np.int64)
    for row, (nearest, names) in enumerate(entries):
        distances[row], ids[row] = nearest, names
    return distances, ids


_alive: weakref.WeakSet[CachedSearch] = weakref.WeakSet()


def _renew_all() -> None:
    for cached in list(_alive):
        cached._renew()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_all)
