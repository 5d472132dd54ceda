"""Workers: threads that encode shards, and one that writes segments, beside the caller's thread."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

from waterfill import _core

Task = TypeVar("Task")
Result = TypeVar("Result")

_TICK = 0.1  # seconds between calls of `tell`


class Stopped(Exception):  # noqa: N818 - no error: another worker has one, or the caller ends
    """The workers have been told to stop."""


class Stop:
    """Whether workers are to stop."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def set(self) -> None:
        """Let them stop."""
        self._event.set()

    def check(self) -> None:
        """Raise `Stopped` if it is set."""
        if self._event.is_set():
            raise Stopped


def run(
    tasks: Iterable[Task],
    workers: int,
    work: Callable[[], Callable[[Task, Stop], Result]],
    finish: Callable[[Result], None],
    tell: Callable[[], None],
) -> None:
    """Work on tasks in threads, and finish the results in one more; raise the first error.

    A worker goes on with its next task while the result of the last one is finished. It waits if
    that takes longer, so that each has at most two results in memory.

    Parameters
    ----------
    work : callable
        Called in each worker; returns what it calls with each task.
    finish : callable
        Called with one result at a time.
    tell : callable
        Called in the caller's thread, while the others work.
    """
    stop, errors = Stop(), list[BaseException]()
    upcoming, lock = iter(tasks), threading.Lock()

    def each() -> Iterator[Task]:
        while True:
            stop.check()
            with lock:
                try:
                    task = next(upcoming)
                except StopIteration:
                    return
            yield task

    def worker(writer: ThreadPoolExecutor) -> None:
        _core.set_own_threads(1)
        try:
            do = work()
            written: Future[None] | None = None
            for task in each():
                result = do(task, stop)
                if written is not None:
                    written.result()
                written = writer.submit(finish, result)
                del result
            if written is not None:
                written.result()
        except Stopped:
            pass
        except BaseException as error:
            errors.append(error)
            stop.set()

    with _writer() as writer:
        threads = [
            threading.Thread(target=worker, args=(writer,), name=f"waterfill-build-{i}")
            for i in range(workers)
        ]
        try:
            for thread in threads:
                thread.start()
            for thread in threads:
                while thread.is_alive():
                    thread.join(_TICK)
                    tell()
        finally:
            stop.set()
            for thread in threads:
                if thread.ident is not None:
                    thread.join()
    if errors:
        raise errors[0]


@contextmanager
def _writer() -> Iterator[ThreadPoolExecutor]:
    """Start the thread that writes segments."""
    with ThreadPoolExecutor(
        1, "waterfill-build-writer", initializer=_core.set_own_threads, initargs=(1,)
    ) as writer:
        yield writer


@contextmanager
def own_threads(n: int) -> Iterator[None]:
    """Let calls of this thread use `n` threads."""
    _core.set_own_threads(n)
    try:
        yield
    finally:
        _core.set_own_threads(0)
