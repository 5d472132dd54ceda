"""`Service`: loads the index, and searches, extends and swaps it for the endpoints."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from waterfill.data.rows import FloatRows
from waterfill.index.collection import Labels
from waterfill.io import read_index
from waterfill.lifecycle.generation import Generation
from waterfill.lifecycle.swap import GateError, SwapIndex, SwapReport
from waterfill.metrics.registry import Metrics
from waterfill.server.request_validation import Addition, Search
from waterfill.server.responses import Problem
from waterfill.server.settings import ServerSettings
from waterfill.server.swap_folder import read_from
from waterfill.serving.batcher import Batcher
from waterfill.serving.limiter import Limiter

LOG = logging.getLogger("waterfill.server")

T = TypeVar("T")

_MAX_BATCHED = 1000  # results of a search that may share a batch


class Service:
    """The index behind the endpoints, with its limiter, batcher and metrics.

    Parameters
    ----------
    source : index, SwapIndex, or path
        A file is read in a thread when the service starts.
    settings : ServerSettings

    Attributes
    ----------
    index : SwapIndex or None
        None until it has been read.
    failure : BaseException or None
        Why it could not be read.
    draining : bool
    limiter : Limiter
    metrics : Metrics
    """

    def __init__(self, source: Any, settings: ServerSettings) -> None:
        self.settings = settings
        self.index: SwapIndex | None = None
        self.failure: BaseException | None = None
        self.draining = False
        limit = settings.limit
        is_limiter = callable(getattr(limit, "acquire", None))
        self.limiter: Any = limit if is_limiter else Limiter(limit, name="service")
        self.metrics = Metrics(limiters=self.limiter)
        self._path: Path | None = None
        if isinstance(source, str | os.PathLike):
            self._path = Path(source)
        else:
            self.take(source if isinstance(source, SwapIndex) else SwapIndex(source))
        self._pool = ThreadPoolExecutor(max(1, self.limiter.limit), "waterfill-search")
        self._writer = ThreadPoolExecutor(1, "waterfill-write")  # loads and adds, one at a time
        self._swapping = False
        self._batcher: tuple[Generation, Batcher] | None = None
        self._loading: asyncio.Task[None] | None = None

    # Start and stop.

    def start(self) -> None:
        """Start reading the index if it is a file; called in the event loop."""
        if self.index is None:
            self._loading = asyncio.create_task(self._load())

    async def _load(self) -> None:
        try:
            index = await self.in_turn(lambda: SwapIndex(read_index(self._path or "")))
        except Exception as error:
            self.failure = error
            LOG.error("the index cannot be read: %s", error)
        else:
            self.take(index)
            LOG.info("ready: %s vectors of %d dimensions", f"{len(index):,}", index.d)

    def take(self, index: SwapIndex) -> None:
        """Serve an index from now on."""
        self.index = index
        self.metrics.watch(indexes=index)

    async def stop(self) -> None:
        """Wait for running work, and end the threads."""
        if self._loading is not None:
            await asyncio.gather(self._loading, return_exceptions=True)
        if self._batcher is not None:
            self._batcher[1].close()
        for pool in (self._pool, self._writer):
            pool.shutdown()

    @property
    def changed(self) -> bool:
        """Whether the index differs from the one that the service started with."""
        if self.index is None:
            return False
        now = self.index.current()
        return now.number > 1 or now.changed

    @property
    def unready(self) -> str | None:
        """Why the service is not ready for requests, or None if it is."""
        if self.draining:
            return "draining"
        if self.failure is not None:
            return "the index could not be read"
        return "starting" if self.index is None else None

    def loaded(self) -> SwapIndex:
        """Return the index; raise Problem while it is not loaded."""
        if self.index is None:
            raise Problem(503, f"not ready: {self.unready}", headers={"retry-after": "1"})
        return self.index

    # Operations.

    async def in_pool(self, call: Callable[[], T]) -> T:
        """Call a function in a thread; there are as many threads as the limiter admits requests."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, call)

    async def in_turn(self, call: Callable[[], T]) -> T:
        """Call a function in the thread that loads and adds."""
        return await asyncio.get_running_loop().run_in_executor(self._writer, call)

    async def search(self, request: Search) -> tuple[FloatRows, Labels, int]:
        """Return distances, ids and the number of the generation that found them."""
        now = self.loaded().current()
        # A large search gains nothing in a batch, and would hold up the small ones behind it.
        if self.settings.batch and len(request.rows) * request.k <= _MAX_BATCHED:
            found = await self._batcher_of(now).asearch(request.rows, request.k, request.params)
        else:
            found = await self.in_pool(
                lambda: now.index.search(request.rows, request.k, params=request.params)
            )
        return *found, now.number

    async def add(self, addition: Addition) -> int:
        """Add vectors; return the new number of vectors."""
        index = self.loaded()

        def add() -> int:
            if addition.ids is None:
                index.add(addition.rows)
            else:
                index.add_with_ids(addition.rows, addition.ids)
            return index.ntotal

        try:
            return await self.in_turn(add)
        except MemoryError:
            raise Problem(503, "not enough memory for more vectors") from None

    async def swap(self, name: Any, same_ids: bool) -> SwapReport:
        """Replace the index by one of the swap folder, if it passes the gate."""
        folder = self.settings.swap_folder
        if folder is None:
            raise Problem(403, "this service has no swap folder")
        index = self.loaded()
        if self._swapping:
            raise Problem(409, "another swap is in progress")
        self._swapping = True
        try:
            return await asyncio.to_thread(self._swap, index, folder, name, same_ids)
        finally:
            self._swapping = False

    def _swap(self, index: SwapIndex, folder: Any, name: Any, same_ids: bool) -> SwapReport:
        new = read_from(folder, name)
        try:
            report = index.swap(new, gate=self.settings.gate, keep=0, same_ids=same_ids)
        except GateError as error:
            LOG.warning("swap to %r refused: %s", name, "; ".join(error.report.reasons))
            reasons = list(error.report.reasons)
            raise Problem(409, "the index was not replaced", {"reasons": reasons}) from None
        LOG.info(
            "swap: generation %d is %r, %s vectors", report.generation, name, f"{len(index):,}"
        )
        return report

    def _batcher_of(self, now: Generation) -> Batcher:
        """Return the batcher of a generation; each has its own, so that no batch mixes two."""
        if self._batcher is None or self._batcher[0] is not now:
            batcher = Batcher(now.index)
            self.metrics.watch(batchers=batcher)  # while the former one can still be read
            self._batcher = (now, batcher)
        return self._batcher[1]
