"""A driver for async functions: one task for each request in flight."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

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
from waterfill.loadtest.thread_driver import REFUSED_PAUSE, Recorder

_FINISH_SECONDS = 2.0  # for tasks that were cancelled to end


class TaskDriver:
    """Awaits an async function in an event loop of its own, in the caller's thread.

    Parameters
    ----------
    target : callable
        Called without arguments, and awaited. If it is also an async context manager, it is
        entered before the first step and left by `close`.

    Raises
    ------
    RuntimeError
        If an event loop already runs in this thread.
    """

    def __init__(self, target: Callable[[], Awaitable[Any]]) -> None:
        if asyncio._get_running_loop() is not None:
            raise RuntimeError(
                "an event loop runs in this thread, and a capacity test would block it: "
                "await asyncio.to_thread(capacity_test, ...)"
            )
        self._target, self._entered = target, False
        self._loop = asyncio.new_event_loop()

    def run(self, step: OpenLoop | ClosedLoop) -> Trace:
        """Run a step and wait for its answers."""
        return self._loop.run_until_complete(self._run(step))

    def close(self) -> None:
        """Cancel what is pending, and close the loop."""
        if self._loop.is_closed():
            return
        try:
            self._loop.run_until_complete(self._finish())
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
            self._loop.run_until_complete(self._loop.shutdown_default_executor())
        finally:
            self._loop.close()

    async def _run(self, step: OpenLoop | ClosedLoop) -> Trace:
        if not self._entered and hasattr(self._target, "__aenter__"):
            await self._target.__aenter__()
        self._entered = True
        recorder, tasks = Recorder(lambda: None), set[asyncio.Task[Any]]()
        cut = False
        if isinstance(step, OpenLoop):
            cut = await self._run_open(step, recorder, tasks)
        else:
            left = iter(range(step.max_requests))
            for _ in range(step.in_flight):
                task = asyncio.create_task(self._send_requests(step, left, recorder))
                task.add_done_callback(_retrieve)
                tasks.add(task)
        if tasks:
            wait = step.patience + (0 if isinstance(step, OpenLoop) else step.seconds)
            await asyncio.wait(set(tasks), timeout=wait)
        lost = [task for task in tasks if not task.done()]
        for task in lost:
            task.cancel()
        await asyncio.gather(*lost, return_exceptions=True)
        return recorder.trace(cut)

    async def _run_open(
        self, step: OpenLoop, recorder: Recorder, tasks: set[asyncio.Task[Any]]
    ) -> bool:
        """Send requests when they are due; return whether sending was cut short."""
        for due in step.due.tolist():
            wait = recorder.start + due - time.perf_counter()
            if wait > 0:
                await asyncio.sleep(wait)
            if len(tasks) >= step.max_pending:
                return True
            task = asyncio.create_task(self._send(due, recorder))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
            task.add_done_callback(_retrieve)
        return False

    async def _send_requests(
        self, step: ClosedLoop, left: Iterator[int], recorder: Recorder
    ) -> None:
        while time.perf_counter() - recorder.start < step.seconds:
            if next(left, None) is None:
                return
            if await self._send(None, recorder) == REFUSED:
                await asyncio.sleep(REFUSED_PAUSE)
            # A target that never waits would starve the other tasks and the timers.
            await asyncio.sleep(0)

    async def _send(self, due: float | None, recorder: Recorder) -> int:
        sent = time.perf_counter() - recorder.start
        due, outcome = sent if due is None else due, LOST
        try:
            await self._target()
            outcome = ANSWERED
        except AtCapacity:
            outcome = REFUSED
        except Exception as error:  # any error of the target
            outcome = FAILED
            recorder.failed(error)
        finally:
            recorder.ended(due, sent, outcome)
        return outcome

    async def _finish(self) -> None:
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        if others:
            # Not forever: Ctrl-C may come when the loop has taken the next step of a task from its
            # queue and not run it, and that task never ends.
            for task in (await asyncio.wait(others, timeout=_FINISH_SECONDS))[0]:
                _retrieve(task)
        if self._entered and hasattr(self._target, "__aexit__"):
            await self._target.__aexit__(None, None, None)


def _retrieve(task: asyncio.Task[Any]) -> None:
    """Retrieve the exception of a task: a KeyboardInterrupt in it is also raised by the loop."""
    if not task.cancelled():
        task.exception()
