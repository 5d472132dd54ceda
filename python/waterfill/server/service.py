"""`Service`: loads the index, and searches, changes and swaps it for the endpoints."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal, TypeVar

from waterfill.data.rows import FloatRows
from waterfill.errors import ArgumentError
from waterfill.folder import FolderIndex
from waterfill.index.vector_index import Labels
from waterfill.io import read_index
from waterfill.lifecycle.generation import Generation
from waterfill.lifecycle.swap import GateError, SwapIndex, SwapReport
from waterfill.metrics.registry import Metrics
from waterfill.server.request_validation import Addition, Search
from waterfill.server.responses import Problem
from waterfill.server.served_folder import FolderState, ServedFolder
from waterfill.server.settings import ServerSettings
from waterfill.server.swap_folder import read_from
from waterfill.serving.batcher import Batcher
from waterfill.serving.limiter import Limiter

LOG = logging.getLogger("waterfill.server")

T = TypeVar("T")

Served = SwapIndex | ServedFolder

_MAX_BATCHED = 1000  # results of a search that may share a batch


class Service:
    """The index behind the endpoints, with its limiter, batcher and metrics.

    Parameters
    ----------
    source : index, SwapIndex, or path
        A file is read, or a folder opened, in a thread when the service starts.
    settings : ServerSettings

    Attributes
    ----------
    index : SwapIndex, ServedFolder or None
        None until it has been read.
    failure : BaseException or None
        Why it could not be read.
    draining : bool
    limiter : Limiter
    metrics : Metrics
    """

    def __init__(self, source: Any, settings: ServerSettings) -> None:
        self.settings = settings
        self.index: Served | None = None
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
            self.take(_served(source))
        self._pool = ThreadPoolExecutor(max(1, self.limiter.limit), "waterfill-search")
        self._writer = ThreadPoolExecutor(1, "waterfill-write")  # loads and changes, in turn
        self._swapping = False
        self._batcher: tuple[Generation | FolderState, Batcher] | None = None
        self._loading: asyncio.Task[None] | None = None
        self._folder: ServedFolder | None = None  # if it was opened here
        self._following: asyncio.Task[None] | None = None

    # Start and stop.

    def start(self) -> None:
        """Start reading the index if it is a file; called in the event loop."""
        if self.index is None:
            self._loading = asyncio.create_task(self._load())

    async def _load(self) -> None:
        try:
            index = await self.in_turn(lambda: self._open(self._path or Path()))
        except Exception as error:
            self.failure = error
            LOG.error("the index cannot be read: %s", error)
        else:
            self.take(index)
            if self._folder is not None and self.settings.read_only:
                following = self._folder.follow(self.settings.refresh_seconds, self.in_turn)
                self._following = asyncio.create_task(following)
            LOG.info("ready: %s vectors of %d dimensions", f"{len(index):,}", index.d)

    def _open(self, path: Path) -> Served:
        if not path.is_dir():
            return SwapIndex(read_index(path))
        self._folder = ServedFolder.open(path, self.settings)
        return self._folder

    def take(self, index: Served) -> None:
        """Serve an index from now on."""
        self.index = index
        self.metrics.watch(indexes=index if isinstance(index, SwapIndex) else index.index)

    async def stop(self) -> None:
        """Wait for running work, end the threads, and close the folder."""
        if self._loading is not None:
            await asyncio.gather(self._loading, return_exceptions=True)
        if self._following is not None:
            self._following.cancel()
            await asyncio.gather(self._following, return_exceptions=True)
        if self._batcher is not None:
            self._batcher[1].close()
        for pool in (self._pool, self._writer):
            pool.shutdown()
        if self._folder is not None:
            try:
                await asyncio.to_thread(self._folder.index.close)
            except OSError as error:
                self.failure = error
                LOG.error("the last changes could not be written: %s", error)

    @property
    def changed(self) -> bool:
        """Whether the index in memory differs from the one that the service started with."""
        if self.index is None or self.in_folder:
            return False
        now = self.index.current()
        return now.number > 1 or now.changed

    @property
    def in_folder(self) -> bool:
        """Whether the index lives in a folder, which keeps its changes."""
        return self.index is not None and isinstance(self.index.index, FolderIndex)

    @property
    def unready(self) -> str | None:
        """Why the service is not ready for requests, or None if it is."""
        if self.draining:
            return "draining"
        if self.failure is not None:
            return "the index could not be read"
        return "starting" if self.index is None else None

    def loaded(self) -> Served:
        """Return the index; raise Problem while it is not loaded."""
        if self.index is None:
            raise Problem(503, f"not ready: {self.unready}", headers={"retry-after": "1"})
        return self.index

    def changeable(self, how: Literal["add", "upsert", "remove"] = "add") -> Served:
        """Return the index; raise Problem if it is not loaded, or cannot be changed in this way."""
        index = self.loaded()
        if self.settings.read_only or index.index._frozen:
            raise Problem(403, "this service is read-only")
        if how == "upsert" and not self.in_folder:
            raise Problem(403, "upsert needs an index in a folder; this one is in memory")
        if how == "remove" and not index.index.has_ids:
            raise Problem(
                403,
                "the ids of this index are positions, and removing would change those of others; "
                "build it with ids, or in a folder",
            )
        return index

    # Operations.

    async def in_pool(self, call: Callable[[], T]) -> T:
        """Call a function in a thread; there are as many threads as the limiter admits requests."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, call)

    async def in_turn(self, call: Callable[[], T]) -> T:
        """Call a function in the thread that loads the index and changes it."""
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

    async def add(self, addition: Addition) -> tuple[list[int], int]:
        """Add vectors; return their ids and the new number of vectors."""
        index, n = self.changeable(), len(addition.rows)

        def add() -> tuple[list[int], int]:
            with index.writes_held():
                if addition.ids is not None:
                    index.add_with_ids(addition.rows, addition.ids)
                    return addition.ids.tolist(), index.ntotal
                index.add(addition.rows)
                ntotal = index.ntotal
                return index.ids(ntotal - n, n).tolist(), ntotal

        return await self._change(add)

    async def upsert(self, addition: Addition) -> int:
        """Add vectors in place of those with the same ids; return the new number of vectors."""
        index = self.changeable("upsert")

        def upsert() -> int:
            index.upsert(addition.ids, addition.rows)
            return index.ntotal

        return await self._change(upsert)

    async def remove(self, ids: Labels) -> tuple[int, int]:
        """Remove vectors; return how many there were and the new number of vectors."""
        index = self.changeable("remove")
        return await self._change(lambda: (index.remove_ids(ids), index.ntotal))

    async def _change(self, call: Callable[[], T]) -> T:
        try:
            return await self.in_turn(call)
        except ArgumentError as error:
            raise Problem(422, str(error)) from None
        except MemoryError:
            raise Problem(503, "not enough memory for more vectors") from None
        except OSError as error:
            LOG.error("a change could not be written: %s", error)
            raise Problem(503, f"the change could not be written: {error.strerror}") from None

    async def swap(self, name: Any, same_ids: bool) -> SwapReport:
        """Replace the index by one of the swap folder, if it passes the gate."""
        folder = self.settings.swap_folder
        if self.in_folder:
            raise Problem(
                403,
                "an index in a folder is not swapped; change it by /add, /upsert and /remove, or "
                "serve another folder",
            )
        if folder is None:
            raise Problem(403, "this service has no swap folder")
        index = self.loaded()
        assert isinstance(index, SwapIndex)
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

    def _batcher_of(self, now: Generation | FolderState) -> Batcher:
        """Return the batcher of a generation; each has its own, so that no batch mixes two."""
        if self._batcher is None or self._batcher[0] is not now:
            batcher = Batcher(now.index)
            self.metrics.watch(batchers=batcher)  # while the former one can still be read
            self._batcher = (now, batcher)
        return self._batcher[1]


def _served(source: Any) -> Served:
    if isinstance(source, SwapIndex):
        return source
    return ServedFolder(source) if isinstance(source, FolderIndex) else SwapIndex(source)
