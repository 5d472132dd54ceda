"""A driver for plain functions: one thread for each request in flight."""

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
from waterfill.loadtest.steps import (
    ANSWERED,
    FAILED,
    LOST,
    REFUSED,
    ClosedLoop,
    OpenLoop,
    Trace,
)

REFUSED_PAUSE = 0.01
"""Seconds before a refused caller of a closed loop sends its next request."""

_CLOSE_SECONDS = 10.0  # that `close` waits for requests in flight


class ThreadDriver:
    """Calls a function in threads, which are kept between steps.

    Parameters
    ----------
    target : callable
        Called without arguments.
    """

    def __init__(self, target: Callable[[], Any]) -> None:
        self._target = target
        self._work: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._changed = threading.Condition()
        self._threads: list[threading.Thread] = []
        self._idle = 0
        self._closed = False

    def run(self, step: OpenLoop | ClosedLoop) -> Trace:
        """Run a step and wait for its answers."""
        recorder = Recorder(self._target)
        if isinstance(step, OpenLoop):
            cut, wait = self._run_open(step, recorder), step.patience
        else:
            self._run_closed(step, recorder)
            cut, wait = False, step.patience + step.seconds
        with self._changed:
            self._changed.wait_for(lambda: recorder.pending == 0, wait)
            return recorder.trace(cut)

    def close(self) -> None:
        """Send no more requests, and join the threads; one without an answer is left behind."""
        self._closed = True
        for _ in self._threads:
            self._work.put(None)
        end = time.monotonic() + _CLOSE_SECONDS
        for thread in self._threads:
            thread.join(max(0.0, end - time.monotonic()))

    def _run_open(self, step: OpenLoop, recorder: Recorder) -> bool:
        """Send requests when they are due; return whether sending was cut short."""
        for due in step.due.tolist():
            wait = recorder.start + due - time.perf_counter()
            if wait > 0:
                time.sleep(wait)
            if recorder.pending >= step.max_pending:
                return True
            self._submit(recorder, partial(recorder.call, due))
        return False

    def _run_closed(self, step: ClosedLoop, recorder: Recorder) -> None:
        left = iter(range(step.max_requests))

        def send_requests() -> None:
            while not self._closed and time.perf_counter() - recorder.start < step.seconds:
                if next(left, None) is None:
                    return
                if recorder.call(None) == REFUSED:
                    time.sleep(REFUSED_PAUSE)

        for _ in range(step.in_flight):
            self._submit(recorder, send_requests)

    def _submit(self, recorder: Recorder, call: Callable[[], object]) -> None:
        """Run a call in an idle thread, or in a new one."""

        def work() -> None:
            try:
                call()
            finally:
                with self._changed:
                    recorder.pending -= 1
                    self._idle += 1
                    if recorder.pending == 0:
                        self._changed.notify_all()

        with self._changed:
            recorder.pending += 1
            if self._idle:
                self._idle -= 1
            else:
                # A daemon: a request without an answer must not keep the process alive.
                thread = threading.Thread(target=self._serve, daemon=True)
                self._threads.append(thread)
                thread.start()
        self._work.put(work)

    def _serve(self) -> None:
        while (work := self._work.get()) is not None:
            work()


class Recorder:
    """Records the requests of one step as they end."""

    def __init__(self, target: Callable[[], Any]) -> None:
        self._target = target
        self._rows: list[tuple[float, float, float, int]] = []
        self._pending_times: dict[int, tuple[float, float]] = {}  # due and sent, by thread
        self._error: str | None = None
        self.pending = 0
        self.start = time.perf_counter()

    def call(self, due: float | None) -> int:
        """Send one request, record it, and return its outcome."""
        sent = time.perf_counter() - self.start
        due = sent if due is None else due
        key = threading.get_ident()
        self._pending_times[key] = (due, sent)
        outcome = ANSWERED
        try:
            require_answer(self._target())
        except AtCapacity:
            outcome = REFUSED
        except Exception as error:  # any error of the target
            outcome = FAILED
            self.failed(error)
        self.ended(due, sent, outcome)
        del self._pending_times[key]
        return outcome

    def failed(self, error: Exception) -> None:
        """Keep the first error."""
        self._error = self._error or f"{type(error).__name__}: {error}"

    def ended(self, due: float, sent: float, outcome: int) -> None:
        """Record a request that ends now."""
        now = np.inf if outcome == LOST else time.perf_counter() - self.start
        self._rows.append((due, sent, now, outcome))

    def trace(self, cut: bool) -> Trace:
        """Return all requests; those that have not ended are lost."""
        elapsed = time.perf_counter() - self.start
        lost = [(due, sent, np.inf, LOST) for due, sent in self._pending_times.copy().values()]
        rows = np.array(sorted([*self._rows, *lost]), dtype=np.float64).reshape(-1, 4)
        due, sent, ended, outcome = (np.ascontiguousarray(column) for column in rows.T)
        return Trace(due, sent, ended, outcome.astype(np.uint8), cut, elapsed, self._error)


def require_answer(value: Any) -> None:
    """Raise TypeError if the target returned a coroutine, which would never be awaited."""
    if inspect.iscoroutine(value):
        value.close()
        raise TypeError(
            "target returned a coroutine: pass an async def, or await the coroutine in target"
        )
