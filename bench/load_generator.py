"""An HTTP load generator in a separate process: an open loop, or a closed loop of clients.

``python bench/load_generator.py PLAN.json OUT.npz`` sends the requests of the plan. It leaves most
of a shared core to the service: plain HTTP/1.1, persistent connections, one buffer per request.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import tempfile
import time
from collections import deque
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Outcomes of a request without a valid response, in place of the HTTP status.
TIMED_OUT, REFUSED_CONNECTION, BROKEN = 1, 2, 3

_IDLE = 4.0  # seconds after which the server may close an idle connection


@dataclass(frozen=True)
class Plan:
    """The requests to send.

    Attributes
    ----------
    port : int
    path : str
    bodies : str
        A .npy file; the bytes of each row are the body of a request.
    seconds : float
    rate : float
        Requests per second of an open loop (Poisson arrivals). 0: a closed loop of `clients`, each
        of which sends its next request after a response.
    clients : int
    timeout : float
        Seconds after which a client gives up and closes the connection.
    seed : int
    """

    port: int
    path: str
    bodies: str
    seconds: float
    rate: float = 0.0
    clients: int = 1
    timeout: float = 2.0
    seed: int = 0


@dataclass(frozen=True)
class Outcome:
    """The outcomes of the requests of a plan, one array element per request.

    Attributes
    ----------
    intended : float64 (n,)
        When the request was due, in seconds from the start.
    late : float64 (n,)
        Delay of sending in seconds, caused by the generator.
    took : float64 (n,)
        Seconds from the due time until the response or the timeout.
    status : int16 (n,)
        HTTP status, `TIMED_OUT`, `REFUSED_CONNECTION` or `BROKEN`. A 503 without Retry-After is
        `BROKEN`.
    """

    intended: NDArray[np.float64]
    late: NDArray[np.float64]
    took: NDArray[np.float64]
    status: NDArray[np.int16]


class _Connection(asyncio.Protocol):
    """A connection that carries one request at a time."""

    def __init__(self, load: _Load) -> None:
        self._load = load
        self._transport: Any = None
        self._buffer = b""
        self._length = -1  # bytes of the response; -1 until its header is complete
        self.request: int | None = None
        self.idle_since = 0.0

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def send(self, request: int, data: bytes) -> None:
        self.request, self._buffer, self._length = request, b"", -1
        self._transport.write(data)

    def data_received(self, data: bytes) -> None:
        self._buffer = self._buffer + data if self._buffer else data
        if self._length < 0:
            end = self._buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            head = self._buffer[:end].lower()
            length = head.partition(b"content-length:")[2].partition(b"\r\n")[0]
            self._length = end + 4 + int(length or 0)
            self._head = head
        if len(self._buffer) >= self._length and self.request is not None:
            self._finish()

    def _finish(self) -> None:
        status, head = int(self._head[9:12]), self._head
        if status == 503 and b"retry-after:" not in head:
            status = BROKEN
        request, self.request = self.request, None
        keep = b"connection: close" not in head
        self.idle_since = time.perf_counter()
        if not keep:
            self._transport.close()
        self._load.ended(request, status, self if keep else None)

    def abort(self) -> None:
        self.request = None
        self._transport.abort()

    def usable(self, now: float) -> bool:
        return not self._transport.is_closing() and now - self.idle_since < _IDLE

    def close(self) -> None:
        self._transport.close()

    def connection_lost(self, error: Exception | None) -> None:
        if self.request is not None:
            request, self.request = self.request, None
            self._load.ended(request, BROKEN, None)


class _Load:
    """The requests in flight and the outcomes of the finished ones."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        rows = np.load(plan.bodies)
        self._requests = [_encode(plan, row.tobytes()) for row in rows]
        self._free: list[_Connection] = []
        self._waiting: deque[tuple[float, int]] = deque()  # deadline and request, oldest first
        self._in_flight: dict[int, _Connection | None] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._rows: list[list[float]] = []  # due, late, took, status
        self._closed_loop = False

    async def run(self) -> Outcome:
        self._start = time.perf_counter()
        expiry = asyncio.create_task(self._expire())
        await (self._open() if self._plan.rate else self._closed())
        while self._in_flight:
            await asyncio.sleep(0.01)
        expiry.cancel()
        for one in self._free:
            one.close()
        due, late, took, status = np.array(self._rows, np.float64).reshape(-1, 4).T
        return Outcome(due, late, took, status.astype(np.int16))

    async def _open(self) -> None:
        """Start requests when they are due; several at once if the event loop was delayed."""
        rng = np.random.default_rng(self._plan.seed)
        count = int(self._plan.rate * self._plan.seconds * 1.5) + 100
        due = np.cumsum(rng.exponential(1 / self._plan.rate, count))
        for moment in due[due < self._plan.seconds].tolist():
            delay = self._start + moment - time.perf_counter()
            if delay > 0:
                await asyncio.sleep(delay)
            self._begin(moment)

    async def _closed(self) -> None:
        self._closed_loop = True
        for _ in range(self._plan.clients):
            self._begin(time.perf_counter() - self._start)
        await asyncio.sleep(self._plan.seconds)
        self._closed_loop = False

    def _begin(self, due: float) -> None:
        now = time.perf_counter()
        request = len(self._rows)
        self._rows.append([due, now - self._start - due, 0.0, 0.0])
        self._in_flight[request] = None
        self._waiting.append((self._start + due + self._plan.timeout, request))
        while self._free:
            connection = self._free.pop()
            if connection.usable(now):
                self._send(request, connection)
                return
            connection.close()
        task = asyncio.get_running_loop().create_task(self._connect(request))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _connect(self, request: int) -> None:
        try:
            loop = asyncio.get_running_loop()
            _, connection = await loop.create_connection(
                lambda: _Connection(self), "127.0.0.1", self._plan.port
            )
        except OSError:
            self.ended(request, REFUSED_CONNECTION, None)
            return
        if request in self._in_flight:
            self._send(request, connection)
        else:  # the request has timed out
            self._release(connection)

    def _send(self, request: int, connection: _Connection) -> None:
        self._in_flight[request] = connection
        connection.send(request, self._requests[request % len(self._requests)])

    def ended(self, request: int | None, status: int, connection: _Connection | None) -> None:
        """Record the outcome of a request; reuse its connection if it is still open."""
        if connection is not None:
            self._release(connection)
        if request is None or request not in self._in_flight:
            return
        del self._in_flight[request]
        row = self._rows[request]
        row[2:] = time.perf_counter() - self._start - row[0], status
        if self._closed_loop:
            self._begin(time.perf_counter() - self._start)

    def _release(self, connection: _Connection) -> None:
        connection.idle_since = time.perf_counter()
        self._free.append(connection)

    async def _expire(self) -> None:
        """Time out overdue requests."""
        while True:
            now = time.perf_counter()
            while self._waiting and self._waiting[0][0] <= now:
                _, request = self._waiting.popleft()
                if request in self._in_flight:
                    connection = self._in_flight[request]
                    self.ended(request, TIMED_OUT, None)
                    if connection is not None:
                        connection.abort()
            await asyncio.sleep(0.005)


def _encode(plan: Plan, body: bytes) -> bytes:
    head = (
        f"POST {plan.path} HTTP/1.1\r\nHost: 127.0.0.1:{plan.port}\r\n"
        f"Content-Type: application/octet-stream\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def send_plan(plan: Plan) -> Outcome:
    """Send the requests of a plan from another process.

    Parameters
    ----------
    plan : Plan

    Returns
    -------
    Outcome
    """
    with tempfile.TemporaryDirectory() as folder:
        plan_path, result_path = Path(folder, "plan.json"), Path(folder, "out.npz")
        plan_path.write_text(json.dumps(asdict(plan)), encoding="utf-8")
        subprocess.run([sys.executable, __file__, plan_path, result_path], check=True)
        with np.load(result_path) as arrays:
            return Outcome(**{name: arrays[name] for name in arrays.files})


def main() -> None:
    """Send the requests of the plan named on the command line."""
    plan = Plan(**json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
    try:
        import uvloop
    except ImportError:
        run: Any = asyncio.run
    else:
        run = uvloop.run
    outcome = run(_Load(plan).run())
    np.savez(sys.argv[2], **asdict(outcome))


if __name__ == "__main__":
    main()
