"""What a permit costs, beside `threading.Semaphore`, anyio and aiolimiter.

A round is CALLS calls, for one thread or task that meets no other. aiolimiter bounds a rate, not
what is in use, and has no release; it stands for what an ``async with`` costs.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

import waterfill as wf

CALLS = 5_000
LIMIT = 12

Round = Callable[[], None]
Record = Callable[[str, str, Round], None]

ours = pytest.mark.parametrize("kind", [wf.Limiter], ids=["core"])


@pytest.fixture
def record(benchmark: BenchmarkFixture) -> Record:
    """Return a function that measures a round of a step, and says whose it is."""

    def measure(step: str, name: str, calls: Round) -> None:
        benchmark.group = f"limiter: {step}"
        library = "waterfill" if name.startswith("waterfill") else "peer"
        benchmark.extra_info.update(library=library, name=name, items=CALLS)
        benchmark(calls)

    return measure


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    """Return an event loop of asyncio."""
    loop = asyncio.new_event_loop()
    yield loop
    loop.close()


def in_loop(loop: asyncio.AbstractEventLoop, calls: Callable[[], Awaitable[None]]) -> Round:
    """Return a round that a task of the loop makes."""

    async def main() -> None:
        await calls()

    return lambda: loop.run_until_complete(main())


def name_of(kind: Any) -> str:
    """Return what a limiter of ours is called in the table."""
    return "waterfill" if kind is wf.Limiter else "waterfill, Python alone"


@ours
def test_hold(record: Record, kind: Any) -> None:
    """Acquire and release."""
    limiter = kind(LIMIT)

    def calls() -> None:
        for _ in range(CALLS):
            limiter.acquire().release()

    record("acquire and release", name_of(kind), calls)


def test_hold_semaphore(record: Record) -> None:
    """The same of the standard library, not waiting either."""
    semaphore = threading.Semaphore(LIMIT)

    def calls() -> None:
        for _ in range(CALLS):
            semaphore.acquire(blocking=False)
            semaphore.release()

    record("acquire and release", "threading.Semaphore", calls)


def test_hold_anyio(record: Record, loop: asyncio.AbstractEventLoop) -> None:
    """The same of anyio, in a task."""
    anyio = pytest.importorskip("anyio")

    async def calls() -> None:
        limiter = anyio.CapacityLimiter(LIMIT)
        for _ in range(CALLS):
            limiter.acquire_nowait()
            limiter.release()

    record("acquire and release", "anyio.CapacityLimiter", in_loop(loop, calls))


@ours
def test_with(record: Record, loop: asyncio.AbstractEventLoop, kind: Any) -> None:
    """``with``, in a task, all arguments given."""
    limiter = kind(LIMIT, shares={"batch": 0.5})

    async def calls() -> None:
        for _ in range(CALLS):
            with limiter.acquire(priority="batch", deadline=1.0, cost=2):
                pass

    record("with, in a task", name_of(kind), in_loop(loop, calls))


def test_with_anyio(record: Record, loop: asyncio.AbstractEventLoop) -> None:
    """``async with`` of anyio."""
    anyio = pytest.importorskip("anyio")

    async def calls() -> None:
        limiter = anyio.CapacityLimiter(LIMIT)
        for _ in range(CALLS):
            async with limiter:
                pass

    record("with, in a task", "anyio.CapacityLimiter", in_loop(loop, calls))


def test_with_aiolimiter(record: Record, loop: asyncio.AbstractEventLoop) -> None:
    """``async with`` of aiolimiter, far below its rate."""
    aiolimiter = pytest.importorskip("aiolimiter")

    async def calls() -> None:
        limiter = aiolimiter.AsyncLimiter(1e12, 1)
        for _ in range(CALLS):
            async with limiter:
                pass

    record("with, in a task", "aiolimiter.AsyncLimiter", in_loop(loop, calls))


@ours
def test_refuse(record: Record, kind: Any) -> None:
    """A refusal without an exception."""
    limiter = kind(1)
    permit = limiter.acquire()

    def calls() -> None:
        for _ in range(CALLS):
            limiter.try_acquire()

    record("refuse", name_of(kind), calls)
    permit.release()


def test_refuse_semaphore(record: Record) -> None:
    """The same of the standard library."""
    semaphore = threading.Semaphore(0)

    def calls() -> None:
        for _ in range(CALLS):
            semaphore.acquire(blocking=False)

    record("refuse", "threading.Semaphore", calls)


@ours
def test_refuse_with_an_error(record: Record, kind: Any) -> None:
    """A refusal as an exception that is caught."""
    limiter = kind(1)
    permit = limiter.acquire()

    def calls() -> None:
        for _ in range(CALLS):
            with contextlib.suppress(wf.AtCapacity):
                limiter.acquire()

    record("refuse with an error", name_of(kind), calls)
    permit.release()


def test_refuse_with_an_error_anyio(record: Record, loop: asyncio.AbstractEventLoop) -> None:
    """The same of anyio."""
    anyio = pytest.importorskip("anyio")

    async def calls() -> None:
        limiter = anyio.CapacityLimiter(1)
        limiter.acquire_on_behalf_of_nowait(limiter)
        for _ in range(CALLS):
            with contextlib.suppress(anyio.WouldBlock):
                limiter.acquire_nowait()

    record("refuse with an error", "anyio.CapacityLimiter", in_loop(loop, calls))
