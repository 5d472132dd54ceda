"""The cost per request of the limiter middleware for ASGI, compared with other middleware.

A round is CALLS sequential requests to an application that responds at once, called as a server
calls it, without a socket.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

import waterfill as wf

CALLS = 2_000
LIMIT = 12

App = Callable[[Any, Any, Any], Awaitable[None]]
Record = Callable[[str, str, App], None]

SCOPE = {
    "type": "http",
    "asgi": {"version": "3.0", "spec_version": "2.4"},
    "http_version": "1.1",
    "method": "POST",
    "path": "/search",
    "root_path": "",
    "query_string": b"",
    "headers": [],
}
START = {"type": "http.response.start", "status": 200, "headers": []}
BODY = {"type": "http.response.body", "body": b"{}"}


async def bare(scope: Any, receive: Any, send: Any) -> None:
    """Send an empty JSON response."""
    await send(START)
    await send(BODY)


async def receive() -> dict[str, Any]:
    """Return an empty request."""
    return {"type": "http.request", "body": b"", "more_body": False}


async def send(message: Any) -> None:
    """Discard a part of the response."""


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    """Return an asyncio event loop."""
    loop = asyncio.new_event_loop()
    yield loop
    loop.close()


@pytest.fixture
def record(benchmark: BenchmarkFixture, loop: asyncio.AbstractEventLoop) -> Record:
    """Return a function that measures requests to an application and labels its library."""

    def measure(step: str, name: str, app: App) -> None:
        async def calls() -> None:
            for _ in range(CALLS):
                await app(SCOPE, receive, send)

        benchmark.group = f"middleware: {step}"
        library = "waterfill" if name.startswith("waterfill") else "peer"
        benchmark.extra_info.update(library=library, name=name, items=CALLS)
        benchmark(lambda: loop.run_until_complete(calls()))

    return measure


def test_bare(record: Record) -> None:
    """The application without middleware."""
    record("admitted", "bare application", bare)


def test_shed(record: Record) -> None:
    """`ShedMiddleware` with its defaults."""
    record("admitted", "waterfill", wf.ShedMiddleware(bare, wf.Limiter(LIMIT)))


def test_shed_with_functions(record: Record) -> None:
    """`ShedMiddleware` with a function of the request for each argument."""
    app = wf.ShedMiddleware(
        bare,
        wf.Limiter(LIMIT),
        priority=lambda scope: "default",
        deadline=lambda scope: 10.0,
        cost=lambda scope: 2,
    )
    record("admitted", "waterfill, three functions", app)


def test_anyio(record: Record) -> None:
    """A plain ASGI wrapper with anyio's limiter, which queues requests."""
    anyio = pytest.importorskip("anyio")
    limiters: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if not limiters:  # the limiter belongs to an event loop
            limiters.append(anyio.CapacityLimiter(LIMIT))
        async with limiters[0]:
            await bare(scope, receive, send)

    record("admitted", "anyio.CapacityLimiter", app)


def test_base_http_middleware(record: Record) -> None:
    """Starlette's `BaseHTTPMiddleware` with waterfill's limiter."""
    base = pytest.importorskip("starlette.middleware.base")
    limiter = wf.Limiter(LIMIT)

    class Shed(base.BaseHTTPMiddleware):  # type: ignore[misc,name-defined]
        async def dispatch(self, request: Any, call_next: Any) -> Any:
            """Hold a permit during the request."""
            with limiter.acquire():
                return await call_next(request)

    record("admitted", "Starlette's BaseHTTPMiddleware", Shed(bare))


def test_refuse(record: Record) -> None:
    """Refuse a request."""
    limiter = wf.Limiter(1)
    with limiter.acquire():
        record("refused", "waterfill", wf.ShedMiddleware(bare, limiter))
