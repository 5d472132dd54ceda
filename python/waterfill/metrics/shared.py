"""What several processes count, as one of them is asked."""

from __future__ import annotations

import atexit
import os
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakSet, finalize, ref

from waterfill._util.validation import as_file_name, as_number
from waterfill.metrics.counting import Running
from waterfill.metrics.files import Directory, Snapshot
from waterfill.metrics.registry import Metrics
from waterfill.metrics.sample import Sample, Table, as_samples, put

if TYPE_CHECKING:
    from typing_extensions import Self

_ERRORS = ("waterfill_scrape_errors_total", "shared")


class Shared:
    """Metrics of several processes of one machine, merged whenever one of them is asked.

    Each process publishes its numbers in a directory: once a second, when it is asked for all, and
    when it ends. `samples` publishes its own and adds up what all have left. So numbers of others
    are `interval` seconds old at most, and a process that is killed loses what it counted since.

    Counts and histograms of processes that ended stay: no sum goes backwards. Of gauges those of
    living processes are merged as `FAMILIES` says: summed up, or the largest, or the smallest.

    Make it before or after the fork, and call `start` in each process that serves: one that has not
    started reads what others left, and adds nothing. A child of one that has started is started.
    Safe to use from several threads. One for a directory and a process.

    Parameters
    ----------
    metrics : Metrics
    directory : str or path-like
        On a local disk or, better, in memory (``/dev/shm``, ``/run``); made if there is none. What
        lies there from before goes on counting.
    interval : float
        Seconds between two times that it publishes.

    Raises
    ------
    TypeError, ValueError
        For an argument of the wrong type or out of range.
    OSError
        If the directory cannot be made.
    ImportError
        Where there are no POSIX file locks.
    """

    def __init__(self, metrics: Metrics, directory: Any, *, interval: float = 1.0) -> None:
        if not isinstance(metrics, Metrics):
            raise TypeError(f"metrics must be a waterfill Metrics, got {type(metrics).__name__}")
        self._interval = as_number("interval", interval, 0.01, finite=True)
        self._metrics = metrics
        self._path = Path(os.fsdecode(as_file_name(directory)))
        self._directory = Directory(self._path)
        self._guard = threading.RLock()
        self._last: Table = {}
        self._started = self._closed = False
        self._begin()
        _alive.add(self)

    def _begin(self) -> None:
        """Be a process that has published nothing."""
        self._running = Running()
        self._errors = 0
        self._stop = threading.Event()

    def start(self) -> None:
        """Publish this process's numbers from now on.

        Raises
        ------
        RuntimeError
            If it is closed.
        OSError
            If nothing can be written there.
        """
        with self._guard:
            if self._closed:
                raise RuntimeError("Shared is closed: what it published counts as ended")
            if self._started:
                return
            self._publish()
            self._started = True
            self._run(first=self._interval)

    def samples(self) -> tuple[Sample, ...]:
        """Publish, and read what all processes have published.

        Returns
        -------
        tuple of Sample
            As `Metrics.samples`, of all processes; ``waterfill_workers`` says how many live. If the
            directory cannot be read, what it said last, and an error is counted.
        """
        with self._guard:
            try:
                if self._started:
                    self._publish()
                found = self._directory.read()
            except Exception:  # a scrape must not fail
                self._errors += 1
                self._last = dict(self._last) or self._metrics._table()
                put(self._last, [(_ERRORS, 1)])
                return as_samples(self._last)
            self._errors += found.unreadable
            table = found.table
            table["waterfill_workers",] = found.workers
            if found.oldest is not None:
                table["waterfill_snapshot_age_seconds",] = max(0.0, time.time() - found.oldest)
            self._last = table
            return as_samples(table)

    def publish(self) -> None:
        """Publish now, if it has started: before a process ends in a way that Python cannot see.

        Raises
        ------
        OSError
            If nothing can be written.
        """
        with self._guard:
            if self._started:
                self._publish()

    def close(self) -> None:
        """Publish for the last time; from now on what it counted is that of one that ended."""
        with self._guard:
            self._closed = True
            if self._started:
                self._started = False
                self._stop.set()
                try:
                    self._publish()
                finally:
                    self._directory.leave()

    def _publish(self) -> None:
        table = self._running.follow(self._with_errors(self._metrics._table()))
        self._directory.publish(Snapshot(table, time.time()))

    def _publish_quietly(self, stop: threading.Event) -> None:
        """Publish; what fails is counted."""
        with self._guard:
            if not stop.is_set():
                try:
                    self._publish()
                except Exception:
                    self._errors += 1

    def _with_errors(self, table: Table) -> Table:
        table[_ERRORS] = self._errors
        return table

    def _run(self, first: float) -> None:
        """Begin to publish now and then, for as long as somebody holds this."""
        arguments = (ref(self), self._stop, first, self._interval)
        finalize(self, self._stop.set).atexit = False
        threading.Thread(
            target=_keep, args=arguments, daemon=True, name="waterfill-metrics"
        ).start()

    def _after_fork(self) -> None:
        self._guard = threading.RLock()
        self._directory.forget()
        self._begin()
        if self._started:
            self._run(first=0)  # and enters there: a fork should not wait for a directory

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def __repr__(self) -> str:
        state = "closed" if self._closed else "started" if self._started else "not started"
        return f"Shared in {str(self._path)!r}: {state}"

    def __reduce__(self) -> Any:
        raise TypeError("Shared cannot be copied or pickled: each process has its own")


def _keep(shared: ref[Shared], stop: threading.Event, first: float, interval: float) -> None:
    seconds = first
    while not stop.wait(seconds):
        each = shared()
        if each is None:
            return
        each._publish_quietly(stop)
        del each
        seconds = interval


_alive: WeakSet[Shared] = WeakSet()
_forking: list[Shared] = []
_one_fork = threading.Lock()


def _before_fork() -> None:
    """Let no child be born with a file or a lock that another thread is about to close."""
    _one_fork.acquire()
    _forking.extend(_alive)
    for shared in _forking:
        shared._guard.acquire()


def _after_fork_in_parent() -> None:
    while _forking:
        _forking.pop()._guard.release()
    _one_fork.release()


def _after_fork_in_child() -> None:
    while _forking:
        _forking.pop()._after_fork()
    _one_fork.release()  # held by the thread that forked, which is this one


def _close_all() -> None:
    for shared in list(_alive):
        try:
            shared.close()
        except Exception:
            continue


atexit.register(_close_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before_fork,
        after_in_parent=_after_fork_in_parent,
        after_in_child=_after_fork_in_child,
    )
