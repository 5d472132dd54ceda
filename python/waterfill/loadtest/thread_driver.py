"""A driver for functions: a thread for each request that is in flight."""

from __future__ import annotations

import inspect
import queue
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from waterfill.errors import AtCapacity
from waterfill.loadtest.steps import ANSWERED, FAILED, LOST, REFUSED, Closed, Open, Seen

_GRACE = 10.0  # seconds that the end waits for requests in flight
PAUSE = 0.01  # seconds, before a refused caller of a closed step asks again


class Threads:
    """Calls a function in threads, which wait for the next step between steps.

    Parameters
    ----------
    target : callable
        Is called without arguments.
    """

    def __init__(self, target: Callable[[], Any]) -> None:
        self._target = target
        self._work: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._changed = threading.Condition()
        self._threads: list[threading.Thread] = []
        self._idle = 0
        self._closed = False

    def run(self, step: Open | Closed) -> Seen:
        """Carry out a step, and wait for its answers."""
        record = Record(self._target)
        if isinstance(step, Open):
            cut, wait = self._open(step, record), step.patience
        else:
            cut, wait = self._keep(step, record), step.patience + step.seconds
        with self._changed:
            self._changed.wait_for(lambda: record.pending == 0, wait)
            return record.seen(cut)

    def close(self) -> None:
        """Send nothing more, and end all threads but those that wait for an answer for long."""
        self._closed = True
        for _ in self._threads:
            self._work.put(None)
        end = time.monotonic() + _GRACE
        for thread in self._threads:
            thread.join(max(0.0, end - time.monotonic()))

    def _open(self, step: Open, record: Record) -> bool:
        for due in step.due.tolist():
            wait = record.start + due - time.perf_counter()
            if wait > 0:
                time.sleep(wait)
            if record.pending >= step.most:
                return True
            self._send(record, partial(record.call, due))
        return False

    def _keep(self, step: Closed, record: Record) -> bool:
        left = iter(range(step.requests))

        def keep_asking() -> None:
            while not self._closed and time.perf_counter() - record.start < step.seconds:
                if next(left, None) is None:
                    return
                if record.call(None) == REFUSED:
                    time.sleep(PAUSE)

        for _ in range(step.in_flight):
            self._send(record, keep_asking)
        return False

    def _send(self, record: Record, call: Callable[[], object]) -> None:
        """Let a thread that is idle, or a new one, make a call."""

        def work() -> None:
            try:
                call()
            finally:
                with self._changed:
                    record.pending -= 1
                    self._idle += 1
                    if record.pending == 0:
                        self._changed.notify_all()

        with self._changed:
            record.pending += 1
            if self._idle:
                self._idle -= 1
            else:
                # A thread without an answer must not keep the process from its end.
                thread = threading.Thread(target=self._serve, daemon=True)
                self._threads.append(thread)
                thread.start()
        self._work.put(work)

    def _serve(self) -> None:
        while (work := self._work.get()) is not None:
            work()


class Record:
    """Requests of one step, as they end."""

    def __init__(self, target: Callable[[], Any]) -> None:
        self._target = target
        self._rows: list[tuple[float, float, float, int]] = []
        self._begun: dict[int, tuple[float, float]] = {}
        self._error: str | None = None
        self.pending = 0
        self.start = time.perf_counter()

    def call(self, due: float | None) -> int:
        """Make one request, write down when it was sent and ended, and return what became of it."""
        sent = time.perf_counter() - self.start
        due = sent if due is None else due
        key = threading.get_ident()
        self._begun[key] = (due, sent)
        outcome = ANSWERED
        try:
            require_answer(self._target())
        except AtCapacity:
            outcome = REFUSED
        except Exception as error:  # the target's own, whatever it is
            outcome = FAILED
            self.failed(error)
        self.ended(due, sent, outcome)
        del self._begun[key]
        return outcome

    def failed(self, error: Exception) -> None:
        """Remember the first error."""
        self._error = self._error or f"{type(error).__name__}: {error}"

    def ended(self, due: float, sent: float, outcome: int) -> None:
        """Write down a request that ends now."""
        now = np.inf if outcome == LOST else time.perf_counter() - self.start
        self._rows.append((due, sent, now, outcome))

    def seen(self, cut: bool) -> Seen:
        """Return all of it; what has not ended is lost."""
        elapsed = time.perf_counter() - self.start
        lost = [(due, sent, np.inf, LOST) for due, sent in self._begun.copy().values()]
        rows = np.array(sorted([*self._rows, *lost]), dtype=np.float64).reshape(-1, 4)
        due, sent, ended, outcome = (np.ascontiguousarray(each) for each in rows.T)
        return Seen(due, sent, ended, outcome.astype(np.uint8), cut, elapsed, self._error)


def require_answer(value: Any) -> None:
    """Refuse a coroutine that nobody awaits."""
    if inspect.iscoroutine(value):
        value.close()
        raise TypeError("target returned a coroutine: give an async def, or await it within")
