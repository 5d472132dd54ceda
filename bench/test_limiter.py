"""The cost of a permit, compared with `threading.Semaphore`, anyio and aiolimiter.

A round is CALLS calls by a single thread or task, without contention. aiolimiter limits a rate, not
concurrency, and has no release; it shows the cost of an ``async with``.
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
    """Return a function that measures a round of a step and labels it with the library."""

    def measure(step: str, name: str, calls: Round) -> None:
        benchmark.group = f"limiter: {step}"
        library = "waterfill" if name.startswith("waterfill") else "peer"
        benchmark.extra_info.update(library=library, name=name, items=CALLS)
        benchmark(calls)

    return measure


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    """Return an asyncio event loop."""
    loop = asyncio.new_event_loop()
    yield loop
    loop.close()


def round_in_loop(loop: asyncio.AbstractEventLoop, calls: Callable[[], Awaitable[None]]) -> Round:
    """Return a round that runs in a task of the loop."""

    async def main() -> None:
        await calls()

    return lambda: loop.run_until_complete(main())


def display_name(kind: Any) -> str:
    """Return the name of a waterfill limiter in the table."""
    return "waterfill" if kind is wf.Limiter else "waterfill, Python alone"


@ours
def test_hold(record: Record, kind: Any) -> None:
    """Acquire and release."""
    limiter = kind(LIMIT)

    def calls() -> None:
        for _ in range(CALLS):
            limiter.acquire().release()

    record("acquire and release", display_name(kind), calls)


def test_hold_semaphore(record: Record) -> None:
    """Acquire and release a semaphore without waiting."""
    semaphore = threading.Semaphore(LIMIT)

    def calls() -> None:
        for _ in range(CALLS):
            semaphore.acquire(blocking=False)
            semaphore.release()

    record("acquire and release", "threading.Semaphore", calls)


def test_hold_anyio(record: Record, loop: asyncio.AbstractEventLoop) -> None:
    """Acquire and release an anyio limiter in a task."""
    anyio = pytest.importorskip("anyio")

    async def calls() -> None:
        limiter = anyio.CapacityLimiter(LIMIT)
        for _ in range(CALLS):
            limiter.acquire_nowait()
            limiter.release()

    record("acquire and release", "anyio.CapacityLimiter", round_in_loop(loop, calls))


@ours
def test_with(record: Record, loop: asyncio.AbstractEventLoop, kind: Any) -> None:
    """``with`` in a task, with all arguments."""
    limiter = kind(LIMIT, shares={"batch": 0.5})

    async def calls() -> None:
        for _ in range(CALLS):
            with limiter.acquire(priority="batch", deadline=1.0, cost=2):
                pass

    record("with, in a task", display_name(kind), round_in_loop(loop, calls))


def test_with_anyio(record: Record, loop: asyncio.AbstractEventLoop) -> None:
    """``async with`` an anyio limiter."""
    anyio = pytest.importorskip("anyio")

    async def calls() -> None:
        limiter = anyio.CapacityLimiter(LIMIT)
        for _ in range(CALLS):
            async with limiter:
                pass

    record("with, in a task", "anyio.CapacityLimiter", round_in_loop(loop, calls))


def test_with_aiolimiter(record: Record, loop: asyncio.AbstractEventLoop) -> None:
    """``async with`` an aiolimiter, far below its rate."""
    aiolimiter = pytest.importorskip("aiolimiter")

    async def calls() -> None:
        limiter = aiolimiter.AsyncLimiter(1e12, 1)
        for _ in range(CALLS):
            async with limiter:
                pass

    record("with, in a task", "aiolimiter.AsyncLimiter", round_in_loop(loop, calls))


@ours
def test_refuse(record: Record, kind: Any) -> None:
    """Refuse without an exception."""
    limiter = kind(1)
    permit = limiter.acquire()

    def calls() -> None:
        for _ in range(CALLS):
            limiter.try_acquire()

    record("refuse", display_name(kind), calls)
    permit.release()


def test_refuse_semaphore(record: Record) -> None:
    """Refuse with a semaphore."""
    semaphore = threading.Semaphore(0)

    def calls() -> None:
        for _ in range(CALLS):
            semaphore.acquire(blocking=False)

    record("refuse", "threading.Semaphore", calls)


@ours
def test_refuse_with_an_error(record: Record, kind: Any) -> None:
    """Refuse with an exception that is caught."""
    limiter = kind(1)
    permit = limiter.acquire()

    def calls() -> None:
        for _ in range(CALLS):
            with contextlib.suppress(wf.AtCapacity):
                limiter.acquire()

    record("refuse with an error", display_name(kind), calls)
    permit.release()


def test_refuse_with_an_error_anyio(record: Record, loop: asyncio.AbstractEventLoop) -> None:
    """Refuse with an exception of anyio."""
    anyio = pytest.importorskip("anyio")

    async def calls() -> None:
        limiter = anyio.CapacityLimiter(1)
        limiter.acquire_on_behalf_of_nowait(limiter)
        for _ in range(CALLS):
            with contextlib.suppress(anyio.WouldBlock):
                limiter.acquire_nowait()

    record("refuse with an error", "anyio.CapacityLimiter", round_in_loop(loop, calls))
