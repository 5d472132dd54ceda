"""The thread that maintains a managed index in the background."""

from __future__ import annotations

import logging
import threading
import weakref
from typing import TYPE_CHECKING

from waterfill import _core
from waterfill.managed.record import Event

if TYPE_CHECKING:
    from waterfill.managed.index import ManagedIndex

LOG = logging.getLogger("waterfill.managed")

_RETRY_SECONDS = 60.0  # after an error


class Stopped(BaseException):
    """The index is being closed."""


class Worker:
    """Runs the maintenance of an index whenever something has changed.

    Parameters
    ----------
    index : ManagedIndex
        Only a weak reference is kept between two runs: an index that nobody uses is freed.
    share : float
        Of the time of one core, above 0 and at most 1.
    """

    def __init__(self, index: ManagedIndex, share: float) -> None:
        self._index = weakref.ref(index)
        self._work = _core.BackgroundWork(share)
        self._changed = threading.Event()
        self._thread = threading.Thread(
            target=self._run, name=f"waterfill-maintenance-{index.path}", daemon=True
        )
        weakref.finalize(index, self._end)
        self._thread.start()

    def wake(self) -> None:
        """Look whether there is something to do."""
        self._changed.set()

    def stop(self) -> None:
        """End the thread: within a fraction of a second, wherever it is."""
        self._end()
        if self._thread is not threading.current_thread():
            self._thread.join()

    def _end(self) -> None:
        self._work.stop()
        self._changed.set()

    def _run(self) -> None:
        _core.set_own_threads(1)
        self._work.begin()
        pause: float | None = None
        while True:
            self._changed.wait(pause)
            self._changed.clear()
            if self._work.stopped:
                return
            pause = None
            try:
                self._maintain()
            except (Stopped, KeyboardInterrupt):  # the core raises the latter
                return
            except Exception as error:
                pause = _RETRY_SECONDS
                self._report(error)

    def _maintain(self) -> None:
        index = self._index()
        if index is not None:
            index._maintenance.run(self._between)

    def _between(self) -> None:
        if self._work.pause():
            raise Stopped

    def _report(self, error: Exception) -> None:
        """Keep an error: searches and changes go on, and the work is tried again."""
        LOG.warning("maintenance failed and is tried again: %s", error, exc_info=error)
        index = self._index()
        if index is None or self._work.stopped:
            return
        try:
            index._note(index._state, Event("failed", str(error), index.ntotal))
        except (OSError, ValueError):
            LOG.warning("the error could not be recorded", exc_info=True)
