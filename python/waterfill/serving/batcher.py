"""`Batcher`: concurrent queries, searched in batches."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from waterfill._util.validation import as_number, as_positive_int
from waterfill.data.rows import Rows
from waterfill.index.base import Index
from waterfill.index.search_parameters import passing_key, read_parameters
from waterfill.lifecycle.swap import SwapIndex
from waterfill.serving.batch_queue import BatcherStats, BatchQueue, Request, SearchResult
from waterfill.serving.limiter_base import LimiterBase

if TYPE_CHECKING:
    import asyncio  # 45 ms to import, which only those who await should wait for

    from typing_extensions import Self


class SupportsRelease(Protocol):
    """A permit of any limiter."""

    def release(self) -> object:
        """Release the permit."""


class SupportsAcquire(Protocol):
    """Any limiter; that of waterfill never waits."""

    def acquire(self, *, cost: int) -> SupportsRelease:
        """Return a permit, wait for one, or raise."""


class Batcher:
    """Combines the searches of concurrent callers into few searches of an index.

    A batch reads the codes of the index once for several queries, and takes the interpreter's
    lock once instead of once per caller. A lone caller's search runs at once, in its own thread.
    Searches that arrive while another runs wait; when it ends, those that agree in `k` and
    parameters become the next batch.

    Results are bit-identical to those of single searches. Over a `SwapIndex`, each batch is
    answered by one generation. Safe to use from any number of threads and event loops. After a
    fork the child's queue is empty; do not fork while searches run.

    Parameters
    ----------
    index : IndexFlat, IndexIVF or SwapIndex
        The index that is searched.
    window : float
        Seconds. After a batch of several searches, the next batch waits at most this long for as
        many, since the same callers are likely to return. It never waits after a search for a
        single caller. With 0, a batch is what waits already.
    max_batch : int
        Queries in a batch. A single call may have more.
    max_waiting : int
        Searches that may wait; further ones are refused at once.
    limiter : object, optional
        A `waterfill.Limiter` or another limiter. Before each search ``acquire(cost=n)`` is called
        with the number of queries, and must return a permit, wait, or raise; after the search the
        permit's ``release()`` is called. Batches are no larger than what the limiter admits.

    Raises
    ------
    TypeError, ValueError
        For an argument of the wrong type or out of range.
    """

    def __init__(
        self,
        index: Any,
        *,
        window: float = 0.001,
        max_batch: int = 256,
        max_waiting: int = 1024,
        limiter: SupportsAcquire | None = None,
    ) -> None:
        require_searchable(index)
        if limiter is not None and not callable(getattr(limiter, "acquire", None)):
            raise TypeError(f"limiter must have acquire(cost=), got {type(limiter).__name__}")
        self._index, self._limiter = index, limiter
        self._queue = BatchQueue(
            index.search,
            as_positive_int("max_batch", max_batch),
            as_positive_int("max_waiting", max_waiting),
            as_number("window", window, 0, finite=True),
        )

    @property
    def index(self) -> Any:
        """The index that is searched."""
        return self._index

    def search(self, x: Any, k: int, params: Any = None) -> SearchResult:
        """Find the k nearest vectors of each query, in a batch with other callers' queries.

        Parameters
        ----------
        x : array_like, shape (n, d)
            One or a few queries.
        k : int
            At least 1; may exceed `ntotal`.
        params : SearchParameters, optional
            As for `IndexFlat.search`.

        Returns
        -------
        D, I : float32 (n, k) and int64 (n, k)
            As of `IndexFlat.search`.

        Raises
        ------
        ValueError, TypeError, NotTrainedError
            As `IndexFlat.search`; raised to this caller only.
        AtCapacity
            If the queue is full, or a `waterfill.Limiter` refuses.
        RuntimeError
            If the batcher is closed.
        """
        request = self._request(x, k, params)
        permit = None if self._limiter is None else self._limiter.acquire(cost=request.cost)
        try:
            if not self._queue.search_now(request):
                request.done = threading.Lock()
                request.done.acquire()
                self._queue.submit(request)
                request.done.acquire()
        finally:
            if permit is not None:
                permit.release()
        return request.result()

    async def asearch(self, x: Any, k: int, params: Any = None) -> SearchResult:
        """Search as `search` does, for a coroutine; it does not block the event loop.

        A task that is cancelled while it waits leaves the queue, and the others of its batch get
        their results. A limiter other than `waterfill.Limiter` may wait, so it is called in a
        thread of the loop's executor.

        Parameters
        ----------
        x : array_like, shape (n, d)
            One or a few queries.
        k : int
            At least 1; may exceed `ntotal`.
        params : SearchParameters, optional
            As for `IndexFlat.search`.

        Returns
        -------
        D, I : float32 (n, k) and int64 (n, k)
            As of `IndexFlat.search`.

        Raises
        ------
        ValueError, TypeError, NotTrainedError, AtCapacity, RuntimeError
            As `search`.
        """
        import asyncio

        request = self._request(x, k, params)
        permit = None
        if self._limiter is not None:
            permit = await _acquire(self._limiter, request.cost)
        try:
            request.future = asyncio.get_running_loop().create_future()
            self._queue.submit(request)
            await request.future
        finally:
            if permit is not None:
                permit.release()
        return request.result()

    def stats(self) -> BatcherStats:
        """Return the counts of calls, batches and refusals."""
        return self._queue.stats()

    def close(self) -> None:
        """Refuse new searches, and return when the waiting ones are answered."""
        self._queue.close()

    def _request(self, x: Any, k: int, params: Any) -> Request:
        """Validate one caller's input, so that a batch holds valid requests only."""
        source = Rows(x, "x", self._index.d)
        k, parameters = as_positive_int("k", k), read_parameters(params)
        blocks = [block for _, block in source.blocks()]
        rows = np.concatenate([np.empty((0, source.d), np.float32), *blocks])  # always a copy
        return Request(rows, k, parameters, (k, passing_key(parameters)))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Batcher({self._index!r})"


def require_searchable(index: Any) -> None:
    """Raise TypeError unless `index` is a waterfill index."""
    if not isinstance(index, Index | SwapIndex):
        raise TypeError(
            f"index must be an IndexFlat, IndexIVF or SwapIndex, got {type(index).__name__}"
        )


async def _acquire(limiter: SupportsAcquire, cost: int) -> SupportsRelease:
    """Acquire a permit; one that arrives after a cancellation is released."""
    if isinstance(limiter, LimiterBase):
        return limiter.acquire(cost=cost)
    import asyncio

    pending = asyncio.get_running_loop().run_in_executor(None, lambda: limiter.acquire(cost=cost))
    try:
        return await asyncio.shield(pending)
    except asyncio.CancelledError:
        pending.add_done_callback(_release)
        raise


def _release(pending: asyncio.Future[SupportsRelease]) -> None:
    if not pending.cancelled() and pending.exception() is None:
        pending.result().release()
