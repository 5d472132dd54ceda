"""Generate load on an HTTP service from a separate process: open loop, or a fixed concurrency.

``python bench/load_generator.py PLAN.json OUT.npz`` sends the requests of the plan. It takes little
of a core that the service also needs: plain HTTP/1.1, persistent connections, one buffer a request.
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

# What became of a request beside the status of its answer.
TIMED_OUT, REFUSED_CONNECTION, BROKEN = 1, 2, 3

_IDLE = 4.0  # seconds after which a kept connection may be closed by the other side


@dataclass(frozen=True)
class Plan:
    """What to send.

    Attributes
    ----------
    port : int
    path : str
    bodies : str
        A .npy file; a row is the body of a request, as bytes.
    seconds : float
    rate : float
        Requests a second that begin by chance (Poisson), whatever became of those before. 0 for a
        closed loop of `clients` instead, each of which sends the next request after an answer.
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
    """What became of the requests of a plan, each an item of every array.

    Attributes
    ----------
    intended : float64 (n,)
        When it was due, in seconds from the beginning.
    late : float64 (n,)
        How much later it was sent: time that the generator lost.
    took : float64 (n,)
        From when it was due until its answer was there, or its client gave up.
    status : int16 (n,)
        Of the answer, or `TIMED_OUT`, `REFUSED_CONNECTION`, `BROKEN`. 503 only with Retry-After.
    """

    intended: NDArray[np.float64]
    late: NDArray[np.float64]
    took: NDArray[np.float64]
    status: NDArray[np.int16]


class _Connection(asyncio.Protocol):
    """One connection, with one request at a time on it."""

    def __init__(self, load: _Load) -> None:
        self._load = load
        self._transport: Any = None
        self._buffer = b""
        self._need = -1  # bytes of the whole answer, once they are known
        self.request: int | None = None
        self.idle_since = 0.0

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def send(self, request: int, data: bytes) -> None:
        self.request, self._buffer, self._need = request, b"", -1
        self._transport.write(data)

    def data_received(self, data: bytes) -> None:
        self._buffer = self._buffer + data if self._buffer else data
        if self._need < 0:
            end = self._buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            head = self._buffer[:end].lower()
            length = head.partition(b"content-length:")[2].partition(b"\r\n")[0]
            self._need = end + 4 + int(length or 0)
            self._head = head
        if len(self._buffer) >= self._need and self.request is not None:
            self._answered()

    def _answered(self) -> None:
        status, head = int(self._head[9:12]), self._head
        if status == 503 and b"retry-after:" not in head:
            status = BROKEN
        request, self.request = self.request, None
        keep = b"connection: close" not in head
        self.idle_since = time.perf_counter()
        if not keep:
            self._transport.close()
        self._load.ended(request, status, self if keep else None)

    def give_up(self) -> None:
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
    """The requests under way, and what became of the others."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        rows = np.load(plan.bodies)
        self._wires = [_wire(plan, row.tobytes()) for row in rows]
        self._free: list[_Connection] = []
        self._waiting: deque[tuple[float, int]] = deque()  # what may still time out, oldest first
        self._under_way: dict[int, _Connection | None] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._rows: list[list[float]] = []  # due, late, took, status
        self._again = False

    async def run(self) -> Outcome:
        self._start = time.perf_counter()
        sweep = asyncio.create_task(self._sweep())
        await (self._open() if self._plan.rate else self._closed())
        while self._under_way:
            await asyncio.sleep(0.01)
        sweep.cancel()
        for one in self._free:
            one.close()
        due, late, took, status = np.array(self._rows, np.float64).reshape(-1, 4).T
        return Outcome(due, late, took, status.astype(np.int16))

    async def _open(self) -> None:
        """Begin requests when they are due: several at once where the loop was held up."""
        rng = np.random.default_rng(self._plan.seed)
        count = int(self._plan.rate * self._plan.seconds * 1.5) + 100
        due = np.cumsum(rng.exponential(1 / self._plan.rate, count))
        for moment in due[due < self._plan.seconds].tolist():
            ahead = self._start + moment - time.perf_counter()
            if ahead > 0:
                await asyncio.sleep(ahead)
            self._begin(moment)

    async def _closed(self) -> None:
        self._again = True
        for _ in range(self._plan.clients):
            self._begin(time.perf_counter() - self._start)
        await asyncio.sleep(self._plan.seconds)
        self._again = False

    def _begin(self, due: float) -> None:
        now = time.perf_counter()
        request = len(self._rows)
        self._rows.append([due, now - self._start - due, 0.0, 0.0])
        self._under_way[request] = None
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
        if request in self._under_way:
            self._send(request, connection)
        else:  # its client has given up
            self._keep(connection)

    def _send(self, request: int, connection: _Connection) -> None:
        self._under_way[request] = connection
        connection.send(request, self._wires[request % len(self._wires)])

    def ended(self, request: int | None, status: int, connection: _Connection | None) -> None:
        """Note what became of a request; keep its connection if there still is one."""
        if connection is not None:
            self._keep(connection)
        if request is None or request not in self._under_way:
            return
        del self._under_way[request]
        row = self._rows[request]
        row[2:] = time.perf_counter() - self._start - row[0], status
        if self._again:
            self._begin(time.perf_counter() - self._start)

    def _keep(self, connection: _Connection) -> None:
        connection.idle_since = time.perf_counter()
        self._free.append(connection)

    async def _sweep(self) -> None:
        """Give up what is overdue."""
        while True:
            now = time.perf_counter()
            while self._waiting and self._waiting[0][0] <= now:
                _, request = self._waiting.popleft()
                if request in self._under_way:
                    connection = self._under_way[request]
                    self.ended(request, TIMED_OUT, None)
                    if connection is not None:
                        connection.give_up()
            await asyncio.sleep(0.005)


def _wire(plan: Plan, body: bytes) -> bytes:
    head = (
        f"POST {plan.path} HTTP/1.1\r\nHost: 127.0.0.1:{plan.port}\r\n"
        f"Content-Type: application/octet-stream\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def sent(plan: Plan) -> Outcome:
    """Send a plan's requests from another process.

    Parameters
    ----------
    plan : Plan

    Returns
    -------
    Outcome
    """
    with tempfile.TemporaryDirectory() as folder:
        given, taken = Path(folder, "plan.json"), Path(folder, "out.npz")
        given.write_text(json.dumps(asdict(plan)), encoding="utf-8")
        subprocess.run([sys.executable, __file__, given, taken], check=True)
        with np.load(taken) as arrays:
            return Outcome(**{name: arrays[name] for name in arrays.files})


def main() -> None:
    """Send what the plan of the command line says."""
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
