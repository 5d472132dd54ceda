"""Requests that wait, and the thread that takes them together: what `Batcher` is made of."""

from __future__ import annotations

import os
import sys
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from waterfill.data.rows import FloatRows
from waterfill.errors import AtCapacity
from waterfill.index.collection import Labels
from waterfill.index.search_parameters import SearchParameters

if TYPE_CHECKING:
    import asyncio

Found = tuple[FloatRows, Labels]

_IDLE_SECONDS = 5.0  # without requests, after which the thread ends; the next request starts one


class Request:
    """One caller's queries, and what became of them.

    Parameters
    ----------
    rows : float32 (n, d)
        Its own copy, checked.
    k : int
    params : SearchParameters
    key : hashable
        Requests of equal keys are searched together.
    """

    __slots__ = ("_error", "_found", "_span", "done", "future", "k", "key", "params", "rows")

    def __init__(self, rows: FloatRows, k: int, params: SearchParameters, key: Hashable) -> None:
        self.rows, self.k, self.params, self.key = rows, k, params, key
        self.done: threading.Lock | None = None  # taken until there is a result
        self.future: asyncio.Future[None] | None = None  # the same, of who waits in a loop
        self._error: BaseException | None = None
        self._found: Found | None = None
        self._span = slice(0, len(rows))

    @property
    def cost(self) -> int:
        """What a limiter is asked for."""
        return max(1, len(self.rows))

    @property
    def unwanted(self) -> bool:
        """Whether who asked has been cancelled."""
        return self.future is not None and self.future.cancelled()

    def succeed(self, found: Found, first: int) -> None:
        """Take the results from row `first` of a batch on."""
        self._found, self._span = found, slice(first, first + len(self.rows))

    def fail(self, error: BaseException) -> None:
        """Take an error."""
        self._error = error

    def result(self) -> Found:
        """Return a copy of its rows, so that no caller holds a batch; or raise."""
        if self._error is not None:
            raise self._error
        assert self._found is not None
        distances, ids = self._found
        if len(distances) == len(self.rows):
            return distances, ids
        return distances[self._span].copy(), ids[self._span].copy()


@dataclass(frozen=True)
class BatcherStats:
    """What a `Batcher` has done.

    Attributes
    ----------
    calls : int
        Searches that were answered, with results or an error.
    batches : int
        Searches of the index that this took, those for a single call included.
    refused : int
        Calls that found the queue full.
    waiting : int
        Calls in the queue now.
    """

    calls: int
    batches: int
    refused: int
    waiting: int


class Gatherer:
    """A bounded queue of requests, and the thread that empties it.

    The thread takes what waits the moment it is free. After a batch of several requests those who
    asked are likely to come back at once, so it waits for as many again, `window` seconds at most.

    Parameters
    ----------
    search : callable
        ``search(rows, k, params=)``, as an index's.
    most : int
        Rows of a batch.
    waiting : int
        Requests that may wait.
    window : float
        Seconds.
    """

    def __init__(
        self, search: Callable[..., Found], most: int, waiting: int, window: float
    ) -> None:
        self._search, self._most, self._bound, self._window = search, most, waiting, window
        self._closed = False
        self._calls = self._batches = self._refused = 0
        self._seconds = 0.0  # that the last search took
        self._renew()
        _alive.add(self)

    def _renew(self) -> None:
        """Begin with an empty queue, also in a forked child, which has no other thread."""
        self._changed = threading.Condition(threading.Lock())
        self._searching = threading.Lock()  # held by who searches
        self._waiting: deque[Request] = deque()
        self._wanted = sys.maxsize  # requests that the thread is to be woken for
        self._expected = 1  # requests of the last batch
        self._thread: threading.Thread | None = None

    # For those who ask.

    def at_once(self, request: Request) -> bool:
        """Search in the caller's own thread, if nobody else searches or waits."""
        if self._expected > 1 or self._waiting or not self._searching.acquire(blocking=False):
            return False
        try:
            self._require_open()
            self._answer([request])
        finally:
            self._searching.release()
        return True

    def submit(self, request: Request) -> None:
        """Put a request into the queue; AtCapacity if it is full, RuntimeError if closed."""
        with self._changed:
            self._require_open()
            if len(self._waiting) >= self._bound:
                self._refused += 1
                waiting = len(self._waiting)
                raise AtCapacity(self._bound, waiting, self._seconds, "capacity", "batcher")
            self._waiting.append(request)
            if self._thread is None or not self._thread.is_alive():
                self._start()
            if len(self._waiting) >= self._wanted:
                self._changed.notify()

    def close(self) -> None:
        """Refuse what comes from now on, and return when all that waited is answered."""
        with self._changed:
            self._closed = True
            self._changed.notify()
            thread = self._thread
        if thread is not None:
            thread.join()
        with self._searching:  # who searches in a thread of their own
            pass

    def stats(self) -> BatcherStats:
        """Return counts."""
        with self._changed:
            waiting = len(self._waiting)
            return BatcherStats(self._calls, self._batches, self._refused, waiting)

    def _require_open(self) -> None:
        if self._closed:
            raise RuntimeError("the batcher is closed")

    # The thread.

    def _start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="waterfill-batcher", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while True:
            with self._changed:
                if not self._gather():
                    self._thread = None
                    return
            with self._searching:
                with self._changed:
                    batch = self._take()
                if batch:
                    self._answer(batch)
            _deliver(batch)

    def _gather(self) -> bool:
        """Wait for a batch; False if there is none for long, or none will come."""
        if not self._wait(1, self._window):
            self._expected = 1  # they did not come back
            if not self._wait(1, _IDLE_SECONDS):
                return False
        if self._expected > 1:
            self._wait(self._expected, self._window)
        return True

    def _wait(self, wanted: int, seconds: float) -> bool:
        """Wait until so many requests are there; say whether there is any."""
        self._wanted = wanted
        self._changed.wait_for(lambda: self._closed or len(self._waiting) >= wanted, seconds)
        self._wanted = sys.maxsize
        return bool(self._waiting)

    def _take(self) -> list[Request]:
        """Take the first request, and of the others those that go with it, in order."""
        batch: list[Request] = []
        left: deque[Request] = deque()
        rows = 0
        for request in self._waiting:
            if request.unwanted:
                continue
            fits = not batch or (
                request.key == batch[0].key and rows + len(request.rows) <= self._most
            )
            (batch if fits else left).append(request)
            rows += len(request.rows) if fits else 0
        self._waiting = left
        self._expected = len(batch)
        return batch

    def _answer(self, batch: list[Request]) -> None:
        """Search for all of them at once; if that fails, for each alone."""
        first = batch[0]
        self._batches += 1
        try:
            rows = np.concatenate([each.rows for each in batch]) if len(batch) > 1 else first.rows
            begun = time.perf_counter()
            found = self._search(rows, first.k, params=first.params)
            self._seconds = time.perf_counter() - begun
        except BaseException as error:  # a caller's, whose thread it is raised in
            if len(batch) == 1:
                self._calls += 1
                first.fail(error)
                return
            for each in batch:
                self._answer([each])
            return
        self._calls += len(batch)
        start = 0
        for each in batch:
            each.succeed(found, start)
            start += len(each.rows)


def _deliver(batch: list[Request]) -> None:
    """Wake those who asked; a loop once for all that wait in it."""
    loops: dict[asyncio.AbstractEventLoop, list[asyncio.Future[None]]] = {}
    for each in batch:
        if each.done is not None:
            each.done.release()
        elif each.future is not None:
            loops.setdefault(each.future.get_loop(), []).append(each.future)
    for loop, futures in loops.items():
        try:
            loop.call_soon_threadsafe(_settle, futures)
        except RuntimeError:  # the loop is closed: nobody waits any more
            continue


def _settle(futures: list[asyncio.Future[None]]) -> None:
    for future in futures:
        if not future.done():  # or cancelled meanwhile
            future.set_result(None)


_alive: weakref.WeakSet[Gatherer] = weakref.WeakSet()


def _renew_all() -> None:
    for gatherer in list(_alive):
        gatherer._renew()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_all)
