"""A driver for async functions: a task for each request that is in flight."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

from waterfill.errors import AtCapacity
from waterfill.loadtest.steps import ANSWERED, FAILED, LOST, REFUSED, Closed, Open, Seen
from waterfill.loadtest.thread_driver import PAUSE, Record


class Tasks:
    """Awaits an async function in an event loop of its own, in the caller's thread.

    Parameters
    ----------
    target : callable
        Is called without arguments, and awaited. If it is an async context manager, too, it is
        entered first.

    Raises
    ------
    RuntimeError
        If an event loop runs in this thread already.
    """

    def __init__(self, target: Callable[[], Awaitable[Any]]) -> None:
        if asyncio._get_running_loop() is not None:
            raise RuntimeError(
                "an event loop runs in this thread, which a capacity test would hold up: "
                "await asyncio.to_thread(capacity_test, ...)"
            )
        self._target, self._entered = target, False
        self._loop = asyncio.new_event_loop()

    def run(self, step: Open | Closed) -> Seen:
        """Carry out a step, and wait for its answers."""
        return self._loop.run_until_complete(self._run(step))

    def close(self) -> None:
        """Cancel what is left, and close the loop."""
        if self._loop.is_closed():
            return
        try:
            self._loop.run_until_complete(self._end())
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
            self._loop.run_until_complete(self._loop.shutdown_default_executor())
        finally:
            self._loop.close()

    async def _run(self, step: Open | Closed) -> Seen:
        if not self._entered and hasattr(self._target, "__aenter__"):
            await self._target.__aenter__()
        self._entered = True
        record, tasks = Record(lambda: None), set[asyncio.Task[Any]]()
        cut = False
        if isinstance(step, Open):
            cut = await self._open(step, record, tasks)
        else:
            left = iter(range(step.requests))
            for _ in range(step.in_flight):
                tasks.add(asyncio.create_task(self._keep_asking(step, left, record)))
        if tasks:
            wait = step.patience + (0 if isinstance(step, Open) else step.seconds)
            await asyncio.wait(set(tasks), timeout=wait)
        late = [task for task in tasks if not task.done()]
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)
        return record.seen(cut)

    async def _open(self, step: Open, record: Record, tasks: set[asyncio.Task[Any]]) -> bool:
        for due in step.due.tolist():
            wait = record.start + due - time.perf_counter()
            if wait > 0:
                await asyncio.sleep(wait)
            if len(tasks) >= step.most:
                return True
            task = asyncio.create_task(self._ask(due, record))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
        return False

    async def _keep_asking(self, step: Closed, left: Any, record: Record) -> None:
        while time.perf_counter() - record.start < step.seconds:
            if next(left, None) is None:
                return
            if await self._ask(None, record) == REFUSED:
                await asyncio.sleep(PAUSE)
            # One that never waits would keep the others, and the clock, from their turn.
            await asyncio.sleep(0)

    async def _ask(self, due: float | None, record: Record) -> int:
        sent = time.perf_counter() - record.start
        due, outcome = sent if due is None else due, LOST
        try:
            await self._target()
            outcome = ANSWERED
        except AtCapacity:
            outcome = REFUSED
        except Exception as error:  # the target's own, whatever it is
            outcome = FAILED
            record.failed(error)
        finally:
            record.ended(due, sent, outcome)
        return outcome

    async def _end(self) -> None:
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        if self._entered and hasattr(self._target, "__aexit__"):
            await self._target.__aexit__(None, None, None)
