"""`CachedSearch`: results of recent queries, valid until the index changes."""

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
from waterfill.serving.batch_queue import SearchResult
from waterfill.serving.batcher import Batcher, require_searchable

Key = tuple[bytes, int, Hashable]
State = tuple[Any, ...]
Entry = tuple[NDArray[np.float32], NDArray[np.int64]]  # distances and ids of one query
SearchCall = tuple[Any, int, SearchParameters]  # queries, k, parameters

_ENTRY_OVERHEAD = 600  # bytes of Python objects per entry: two arrays, the key, a table slot


@dataclass(frozen=True)
class CacheStats:
    """Counts of a `CachedSearch`, one for each query row.

    Attributes
    ----------
    hits, misses : int
        Queries answered from the cache, and by a search. Searches that are not cached because of
        their selector count as neither.
    evictions : int
        Results dropped to stay within the bounds; not those dropped because the index changed.
    entries, bytes : int
        Results in the cache now, and the memory that they take.
    """

    hits: int
    misses: int
    evictions: int
    entries: int
    bytes: int


class CachedSearch:
    """An index with a cache of its results for recent queries.

    The key is the query's bytes as float32, `k` and the parameters. The cache is emptied when the
    index changes: by adding, removing, a swap, or a setting such as ``nprobe``. So a result is
    what the index would find at the time of the call, and all rows of a call are of one state of
    the index. Change settings only while nothing searches. Changes in an array that was passed as
    ``refine`` are not detected.

    Searches with a FAISS selector, or with parameters for its quantizer, are not cached, since
    what they refer to may change. Arrays and bitmaps of waterfill's selectors are equal if they
    are the same object.

    Safe to use from several threads; two that miss the same query at the same time both search.
    A forked child starts with an empty cache.

    Parameters
    ----------
    index : IndexFlat, IndexIVF, SwapIndex or Batcher
        With a `Batcher`, the misses are searched for in batches with other callers.
    max_entries : int
        Results (one for each query) that are kept; the least recently used are dropped first.
    max_bytes : int
        Memory that results and their queries may take.

    Raises
    ------
    TypeError, ValueError
        For an argument of the wrong type or out of range.
    """

    def __init__(self, index: Any, *, max_entries: int = 10_000, max_bytes: int = 64 << 20) -> None:
        self._index = index
        self._source = index.index if isinstance(index, Batcher) else index
        require_searchable(self._source)
        self._max_entries = as_positive_int("max_entries", max_entries)
        self._max_bytes = as_positive_int("max_bytes", max_bytes)
        self._hits = self._misses = self._evictions = 0
        self._reset()
        _caches.add(self)

    def _reset(self) -> None:
        """Start empty; in a forked child, which may have inherited a locked cache, again."""
        self._lock = threading.Lock()
        self._state: State | None = None  # of the index, when the entries were found
        self._entries: OrderedDict[Key, Entry] = OrderedDict()
        self._bytes = 0

    @property
    def index(self) -> Any:
        """The index that is searched."""
        return self._index

    def search(self, x: Any, k: int, params: Any = None) -> SearchResult:
        """Find the k nearest vectors of each query, with one search for all cache misses.

        Parameters
        ----------
        x : array_like, shape (n, d)
            Queries.
        k : int
            At least 1; may exceed `ntotal`.
        params : SearchParameters, optional
            As for `IndexFlat.search`.

        Returns
        -------
        D, I : float32 (n, k) and int64 (n, k)
            New arrays, as from `IndexFlat.search`.

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
            return cast(SearchResult, end.value)

    async def asearch(self, x: Any, k: int, params: Any = None) -> SearchResult:
        """Search as `search` does, for a coroutine.

        Hits are returned at once. Misses are searched for by the batcher's `asearch` or, without
        a batcher, in a thread of the loop's executor.

        Parameters
        ----------
        x : array_like, shape (n, d)
            Queries.
        k : int
            At least 1; may exceed `ntotal`.
        params : SearchParameters, optional
            As for `IndexFlat.search`.

        Returns
        -------
        D, I : float32 (n, k) and int64 (n, k)
            New arrays, as from `IndexFlat.search`.

        Raises
        ------
        ValueError, TypeError, NotTrainedError
            As `search`; or what the batcher's `asearch` raises.
        """
        searches = self._searches(x, k, params)
        try:
            x, k, params = next(searches)
            while True:
                x, k, params = searches.send(await self._search_index(x, k, params))
        except StopIteration as end:
            return cast(SearchResult, end.value)

    async def _search_index(self, x: Any, k: int, params: Any) -> SearchResult:
        if isinstance(self._index, Batcher):
            return await self._index.asearch(x, k, params)
        import asyncio

        return await asyncio.to_thread(self._index.search, x, k, params=params)

    def _searches(
        self, x: Any, k: int, params: Any
    ) -> Generator[SearchCall, SearchResult, SearchResult]:
        """Yield the searches that are needed, receive their results, and return all results."""
        source = Rows(x, "x", self._source.d)
        k, parameters = as_positive_int("k", k), read_parameters(params)
        parameters_key = lasting_key(parameters)
        if parameters_key is None:
            return (yield x, k, parameters)
        blocks = [block for _, block in source.blocks()]
        rows = np.concatenate([np.empty((0, source.d), np.float32), *blocks])
        keys = [(row.tobytes(), k, parameters_key) for row in rows]
        state, known = self._look_up(keys)
        missed = {key: row for row, key in enumerate(keys) if key not in known}
        if missed:
            found = yield rows[list(missed.values())], k, parameters
            if not self._store(state, list(missed), found) and known:
                # The index changed after the hits were found; do not mix results of two states.
                return (yield rows, k, parameters)
            known.update(zip(missed, zip(*found, strict=True), strict=True))
        return _stack([known[key] for key in keys], k)

    def stats(self) -> CacheStats:
        """Return the counts, and the current size."""
        with self._lock:
            return CacheStats(
                self._hits, self._misses, self._evictions, len(self._entries), self._bytes
            )

    def clear(self) -> None:
        """Drop all results; the counts stay."""
        with self._lock:
            self._drop_all()

    def _look_up(self, keys: list[Key]) -> tuple[State, dict[Key, Entry]]:
        """Return the state of the index, and the entries of these keys."""
        with self._lock:
            state = _state(self._source)
            if state != self._state:
                self._drop_all()
                self._state = state
            known = {key: self._entries[key] for key in keys if key in self._entries}
            for key in known:
                self._entries.move_to_end(key)
            hits = sum(key in known for key in keys)
            self._hits += hits
            self._misses += len(keys) - hits
        return state, known

    def _store(self, state: State, keys: list[Key], found: SearchResult) -> bool:
        """Store results unless the index has changed since the search; return whether not."""
        with self._lock:
            same = _state(self._source) == state
            if same and self._state == state:
                for key, distances, ids in zip(keys, *found, strict=True):
                    self._keep(key, (distances.copy(), ids.copy()))
        return same

    def _keep(self, key: Key, entry: Entry) -> None:
        self._drop(self._entries.pop(key, None), key)
        size = _size(key, entry)
        if size > self._max_bytes:
            return
        self._entries[key] = entry
        self._bytes += size
        while len(self._entries) > self._max_entries or self._bytes > self._max_bytes:
            oldest, old = self._entries.popitem(last=False)
            self._drop(old, oldest)
            self._evictions += 1

    def _drop(self, entry: Entry | None, key: Key) -> None:
        self._bytes -= 0 if entry is None else _size(key, entry)

    def _drop_all(self) -> None:
        self._entries.clear()
        self._bytes = 0

    def __repr__(self) -> str:
        return f"CachedSearch({self._index!r})"


def _state(source: Any) -> State:
    """Return the state that results depend on, apart from the query.

    A former state never returns, except by setting a parameter back to its former value.
    """
    generation = 0
    if isinstance(source, SwapIndex):
        now = source.current()
        source, generation = now.index, now.number
    settings = source.k_factor, getattr(source, "nprobe", None), *source._given.copy().items()
    return generation, source._version, *settings


def _size(key: Key, entry: Entry) -> int:
    return len(key[0]) + entry[0].nbytes + entry[1].nbytes + _ENTRY_OVERHEAD


def _stack(entries: list[Entry], k: int) -> SearchResult:
    """Return the entries as arrays of distances and ids."""
    distances = np.empty((len(entries), k), np.float32)
    ids = np.empty((len(entries), k), np.int64)
    for row, (nearest, names) in enumerate(entries):
        distances[row], ids[row] = nearest, names
    return distances, ids


_caches: weakref.WeakSet[CachedSearch] = weakref.WeakSet()


def _reset_after_fork() -> None:
    for cached in list(_caches):
        cached._reset()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_reset_after_fork)
