"""Concurrent queries, gathered into batched searches."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from waterfill._util.validation import as_number, as_positive_int
from waterfill.data.rows import Rows
from waterfill.index.base import Index
from waterfill.index.search_parameters import passing_key, read_parameters
from waterfill.lifecycle.swap import SwapIndex
from waterfill.serving.batch_queue import BatcherStats, Found, Gatherer, Request
from waterfill.serving.limiter_base import Surface

if TYPE_CHECKING:
    import asyncio  # 45 ms to import, which only those who await should wait for

    from typing_extensions import Self

__all__ = ["Batcher", "BatcherStats", "Permit", "PermitSource"]


class Permit(Protocol):
    """What a limiter gives."""

    def release(self) -> object:
        """Give it back."""
        ...


class PermitSource(Protocol):
    """What lets a search begin."""

    def acquire(self, *, cost: int) -> Permit:
        """Return a permit, wait for one, or raise."""
        ...


class Batcher:
    """Searches of many callers as few searches of an index, with the same results.

    A batch reads the codes of the index once for several queries, and takes one turn of the
    interpreter's lock instead of one a caller. A caller who comes alone is searched for at once, in
    its own thread. While a search runs, others wait; the moment it ends, all that go together (the
    same `k` and parameters) are the next one.

    Results are those of single searches, bit by bit. Over a `SwapIndex` each batch is of one
    generation. Safe to use from any number of threads and event loops. After a fork the child has
    the batcher with an empty queue; do not fork while searches run.

    Parameters
    ----------
    index : IndexFlat, IndexIVF or SwapIndex
    window : float
        Seconds. After a batch of several searches those who asked are likely to ask again: the next
        batch waits for as many, this long at most. Nobody waits after a search for one caller. With
        0 a batch is what waits already.
    most : int
        Queries of a batch; one caller's own may be more.
    waiting : int
        Searches that may wait; what comes beyond them is refused at once.
    limiter : object, optional
        A `waterfill.Limiter`, or any other: asked before each search, ``acquire(cost=n)`` with the
        number of queries gives a permit, waits or raises; ``release()`` of the permit is called
        when the search is over. Batches are no larger than what it lets in.

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
        most: int = 256,
        waiting: int = 1024,
        limiter: PermitSource | None = None,
    ) -> None:
        require_searchable(index)
        if limiter is not None and not callable(getattr(limiter, "acquire", None)):
            raise TypeError(f"limiter must have acquire(cost=), got {type(limiter).__name__}")
        self._index, self._limiter = index, limiter
        self._gatherer = Gatherer(
            index.search,
            as_positive_int("most", most),
            as_positive_int("waiting", waiting),
            as_number("window", window, 0, finite=True),
        )

    @property
    def index(self) -> Any:
        """What is searched."""
        return self._index

    def search(self, x: Any, k: int, params: Any = None) -> Found:
        """Find the k nearest vectors of each query, together with other callers.

        Parameters
        ----------
        x : array_like, shape (n, d)
            Queries, one or a few.
        k : int
        params : SearchParameters, optional
            As for `IndexFlat.search`.

        Returns
        -------
        D : float32 (n, k)
        I : int64 (n, k)
            As `IndexFlat.search`.

        Raises
        ------
        ValueError, TypeError, NotTrainedError
            As `IndexFlat.search`, to this caller alone.
        AtCapacity
            If as many searches wait as may, or a `waterfill.Limiter` refuses.
        RuntimeError
            If the batcher is closed.
        """
        request = self._request(x, k, params)
        permit = None if self._limiter is None else self._limiter.acquire(cost=request.cost)
        try:
            if not self._gatherer.at_once(request):
                request.done = threading.Lock()
                request.done.acquire()
                self._gatherer.submit(request)
                request.done.acquire()
        finally:
            if permit is not None:
                permit.release()
        return request.result()

    async def asearch(self, x: Any, k: int, params: Any = None) -> Found:
        """`search` for a coroutine: the event loop goes on meanwhile.

        A task that is cancelled while it waits is dropped; the others of its batch get what they
        asked for. A limiter that is not ours is asked in a thread of the loop's executor, as it may
        wait.
        """
        import asyncio

        request = self._request(x, k, params)
        permit = None
        if self._limiter is not None:
            permit = await _permit(self._limiter, request.cost)
        try:
            request.future = asyncio.get_running_loop().create_future()
            self._gatherer.submit(request)
            await request.future
        finally:
            if permit is not None:
                permit.release()
        return request.result()

    def stats(self) -> BatcherStats:
        """Return how many calls were answered by how many searches."""
        return self._gatherer.stats()

    def close(self) -> None:
        """Refuse new searches, and return when those that wait are answered."""
        self._gatherer.close()

    def _request(self, x: Any, k: int, params: Any) -> Request:
        """Read one caller's input, so that nothing wrong with it reaches a batch."""
        given = Rows(x, "x", self._index.d)
        k, chosen = as_positive_int("k", k), read_parameters(params)
        blocks = [block for _, block in given.blocks()]
        rows = np.concatenate([np.empty((0, given.d), np.float32), *blocks])  # a copy in any case
        return Request(rows, k, chosen, (k, passing_key(chosen)))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Batcher of {self._index!r}"


def require_searchable(index: Any) -> None:
    """Raise TypeError for what is no index of ours."""
    if not isinstance(index, Index | SwapIndex):
        raise TypeError(f"index must be a waterfill index or SwapIndex, got {type(index).__name__}")


async def _permit(limiter: PermitSource, cost: int) -> Permit:
    """Acquire; in another thread what may wait, and then a permit too late goes back."""
    if isinstance(limiter, Surface):
        return limiter.acquire(cost=cost)
    import asyncio

    asked = asyncio.get_running_loop().run_in_executor(None, lambda: limiter.acquire(cost=cost))
    try:
        return await asyncio.shield(asked)
    except asyncio.CancelledError:
        asked.add_done_callback(_give_back)
        raise


def _give_back(asked: asyncio.Future[Permit]) -> None:
    if not asked.cancelled() and asked.exception() is None:
        asked.result().release()
