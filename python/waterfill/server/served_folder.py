"""`ServedFolder`: an index in a folder, with what the service asks of a `SwapIndex`."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from waterfill.folder import FolderIndex
from waterfill.lifecycle.index_proxy import IndexProxy
from waterfill.managed.opening import open_index
from waterfill.server.settings import ServerSettings

LOG = logging.getLogger("waterfill.server")


@dataclass(frozen=True, eq=False)
class FolderState:
    """The only generation of an index in a folder: what `Generation` is of a `SwapIndex`."""

    index: FolderIndex
    number: int = 1
    changed: bool = False  # the folder keeps its changes


class ServedFolder(IndexProxy):
    """An index in a folder, which is changed but never swapped.

    A `SwapIndex` would read all codes when the service starts, to hash them.
    """

    def __init__(self, folder: FolderIndex) -> None:
        self._state = FolderState(folder)
        self._writing = folder._changes

    @classmethod
    def open(cls, path: Path, settings: ServerSettings) -> ServedFolder:
        """Open a folder for changes or, if the service is read-only, to read.

        Raises
        ------
        BlockingIOError
            If another process has it open for changes.
        ValueError, OSError
            As `open_index`.
        """
        mode: Literal["r", "a"] = "r" if settings.read_only else "a"
        try:
            return cls(open_index(path, mode, sync=settings.sync))
        except BlockingIOError as error:
            owner = str(error.strerror).partition(";")[0]
            raise BlockingIOError(
                error.errno, f"{owner}; end it first, or serve read-only (--read-only)", str(path)
            ) from None

    @property
    def index(self) -> FolderIndex:
        """The index in the folder."""
        return self._state.index

    def current(self) -> FolderState:
        """Return the index, with the number that the responses to searches have."""
        return self._state

    @contextmanager
    def writes_held(self) -> Iterator[None]:
        """Block changes by other threads."""
        with self._writing:
            yield

    async def follow(
        self, seconds: float, in_thread: Callable[[Callable[[], Any]], Awaitable[Any]]
    ) -> None:
        """Take in, every `seconds`, what the writer of the folder has done; never returns."""
        failed = False
        while True:
            await asyncio.sleep(seconds)
            try:
                await in_thread(self.index.refresh)
                failed = False
            except (OSError, ValueError, MemoryError) as error:
                if not failed:  # said once, and not every second
                    LOG.error("the folder cannot be refreshed: %s", error)
                failed = True
