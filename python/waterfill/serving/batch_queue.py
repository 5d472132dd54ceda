"""The queue of waiting searches behind `Batcher`, and the thread that batches them."""

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
from waterfill.index.search_parameters import SearchParameters
from waterfill.index.vector_index import Labels

if TYPE_CHECKING:
    import asyncio

SearchResult = tuple[FloatRows, Labels]

_IDLE_SECONDS = 5.0  # after which the thread ends; the next request starts another


class Request:
    """One caller's queries, and later their results or an error.

    Parameters
    ----------
    rows : float32 (n, d)
        Validated, and owned by the request.
    k : int
    params : SearchParameters
    key : hashable
        Requests with equal keys can share a batch.
    """

    __slots__ = ("_error", "_result", "_span", "done", "future", "k", "key", "params", "rows")

    def __init__(self, rows: FloatRows, k: int, params: SearchParameters, key: Hashable) -> None:
        self.rows, self.k, self.params, self.key = rows, k, params, key
        self.done: threading.Lock | None = None  # for a thread: locked until there is a result
        self.future: asyncio.Future[None] | None = None  # for a task: the same
        self._error: BaseException | None = None
        self._result: SearchResult | None = None
        self._span = slice(0, len(rows))

    @property
    def cost(self) -> int:
        """The cost of the permit that a limiter gives: the number of queries, at least 1."""
        return max(1, len(self.rows))

    @property
    def cancelled(self) -> bool:
        """Whether the task that waits for the result was cancelled."""
        return self.future is not None and self.future.cancelled()

    def succeed(self, result: SearchResult, first: int) -> None:
        """Store the result of a batch in which this request's queries start at row `first`."""
        self._result, self._span = result, slice(first, first + len(self.rows))

    def fail(self, error: BaseException) -> None:
        """Store an error."""
        self._error = error

    def result(self) -> SearchResult:
        """Return a copy of this request's rows of the batch, or raise the error."""
        if self._error is not None:
            raise self._error
        assert self._result is not None
        distances, ids = self._result
        if len(distances) == len(self.rows):
            return distances, ids
        return distances[self._span].copy(), ids[self._span].copy()


@dataclass(frozen=True)
class BatcherStats:
    """Counts of a `Batcher`.

    Attributes
    ----------
    calls : int
        Calls answered, with results or an error.
    batches : int
        Searches of the index that answered them, including those for a single call.
    refused : int
        Calls refused because the queue was full.
    waiting : int
        Calls in the queue now.
    """

    calls: int
    batches: int
    refused: int
    waiting: int


class BatchQueue:
    """A bounded queue of requests, and the thread that searches for them in batches.

    The thread takes all waiting requests as soon as it is free. After a batch of several requests
    their callers are likely to return at once, so it waits for as many, at most `window` seconds.

    Parameters
    ----------
    search : callable
        The ``search`` of an index.
    max_batch : int
        Queries in a batch; a single request may have more.
    max_waiting : int
        Requests in the queue.
    window : float
        Seconds.
    """

    def __init__(
        self, search: Callable[..., SearchResult], max_batch: int, max_waiting: int, window: float
    ) -> None:
        self._search, self._window = search, window
        self._max_batch, self._max_waiting = max_batch, max_waiting
        self._closed = False
        self._calls = self._batches = self._refused = 0
        self._search_seconds = 0.0  # of the last search
        self._reset()
        _queues.add(self)

    def _reset(self) -> None:
        """Start with an empty queue; in a forked child, whose other threads are gone, again."""
        self._changed = threading.Condition(threading.Lock())
        self._searching = threading.Lock()  # held during a search
        self._waiting: deque[Request] = deque()
        self._wake_at = sys.maxsize  # number of waiting requests that wakes the thread
        self._expected = 1  # requests in the last batch, which are likely to come back
        self._thread: threading.Thread | None = None

    # Called by the threads and tasks that search.

    def search_now(self, request: Request) -> bool:
        """Search in the caller's own thread; return False if other requests search or wait."""
        if self._expected > 1 or self._waiting or not self._searching.acquire(blocking=False):
            return False
        try:
            self._require_open()
            self._answer([request])
        finally:
            self._searching.release()
        return True

    def submit(self, request: Request) -> None:
        """Queue a request; raise AtCapacity if the queue is full, RuntimeError if it is closed."""
        with self._changed:
            self._require_open()
            if len(self._waiting) >= self._max_waiting:
                self._refused += 1
                waiting = len(self._waiting)
                retry_after = self._search_seconds
                raise AtCapacity(self._max_waiting, waiting, retry_after, "capacity", "batcher")
            self._waiting.append(request)
            if self._thread is None or not self._thread.is_alive():
                self._start()
            if len(self._waiting) >= self._wake_at:
                self._changed.notify()

    def close(self) -> None:
        """Refuse new requests, and return when all waiting ones are answered."""
        with self._changed:
            self._closed = True
            self._changed.notify()
            thread = self._thread
        if thread is not None:
            thread.join()
        with self._searching:  # wait for a search in a caller's own thread
            pass

    def stats(self) -> BatcherStats:
        """Return counts."""
        with self._changed:
            waiting = len(self._waiting)
            return BatcherStats(self._calls, self._batches, self._refused, waiting)

    def _require_open(self) -> None:
        if self._closed:
            raise RuntimeError("the batcher is closed")

    # Called by the queue's own thread.

    def _start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="waterfill-batcher", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while True:
            with self._changed:
                if not self._wait_for_batch():
                    self._thread = None
                    return
            with self._searching:
                with self._changed:
                    batch = self._take()
                if batch:
                    self._answer(batch)
            _deliver(batch)

    def _wait_for_batch(self) -> bool:
        """Wait for requests; return False if the queue is closed or was idle for long."""
        if not self._wait(1, self._window):
            self._expected = 1  # the callers of the last batch did not come back
            if not self._wait(1, _IDLE_SECONDS):
                return False
        if self._expected > 1:
            self._wait(self._expected, self._window)
        return True

    def _wait(self, count: int, seconds: float) -> bool:
        """Wait for this many requests, at most `seconds`; return whether there are any."""
        self._wake_at = count
        self._changed.wait_for(lambda: self._closed or len(self._waiting) >= count, seconds)
        self._wake_at = sys.maxsize
        return bool(self._waiting)

    def _take(self) -> list[Request]:
        """Take the first request and those that can share its batch, in order."""
        batch: list[Request] = []
        left: deque[Request] = deque()
        rows = 0
        for request in self._waiting:
            if request.cancelled:
                continue
            fits = not batch or (
                request.key == batch[0].key and rows + len(request.rows) <= self._max_batch
            )
            (batch if fits else left).append(request)
            rows += len(request.rows) if fits else 0
        self._waiting = left
        self._expected = len(batch)
        return batch

    def _answer(self, batch: list[Request]) -> None:
        """Search for the whole batch; if that fails, for each request alone."""
        first = batch[0]
        self._batches += 1
        try:
            rows = (
                np.concatenate([request.rows for request in batch])
                if len(batch) > 1
                else first.rows
            )
            start = time.perf_counter()
            result = self._search(rows, first.k, params=first.params)
            self._search_seconds = time.perf_counter() - start
        except BaseException as error:  # raised again in the thread of the caller
            if len(batch) == 1:
                self._calls += 1
                first.fail(error)
                return
            for request in batch:
                self._answer([request])
            return
        self._calls += len(batch)
        row = 0
        for request in batch:
            request.succeed(result, row)
            row += len(request.rows)


def _deliver(batch: list[Request]) -> None:
    """Wake the callers; each event loop once for all its tasks."""
    loops: dict[asyncio.AbstractEventLoop, list[asyncio.Future[None]]] = {}
    for request in batch:
        if request.done is not None:
            request.done.release()
        elif request.future is not None:
            loops.setdefault(request.future.get_loop(), []).append(request.future)
    for loop, futures in loops.items():
        try:
            loop.call_soon_threadsafe(_complete, futures)
        except RuntimeError:  # the loop is closed, and its tasks are gone
            continue


def _complete(futures: list[asyncio.Future[None]]) -> None:
    for future in futures:
        if not future.done():  # it may have been cancelled
            future.set_result(None)


_queues: weakref.WeakSet[BatchQueue] = weakref.WeakSet()


def _reset_after_fork() -> None:
    for batch_queue in list(_queues):
        batch_queue._reset()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_reset_after_fork)
