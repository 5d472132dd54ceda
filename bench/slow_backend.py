"""A service over a slow backend at three times its capacity, after a published incident.

The backend has ten connections and answers 45 requests per minute at any concurrency. Clients send
150 requests per minute and time out after three minutes. Without a limiter, soon all requests time
out in the queue; with one, some are refused at once and the rest succeed.

``python bench/slow_backend.py --faster 20 --minutes 12`` divides all times by 20; ``--faster 1``
runs in real time. Clients, service and backend are three processes that use real sockets.
"""

from __future__ import annotations

import argparse
import asyncio
import heapq
import os
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import uvicorn
from load_generator import Outcome, Plan, send_plan
from results import write_json
from service_process import served
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

import waterfill as wf

CONNECTIONS = 10
CAPACITY, OFFERED = 45 / 60, 150 / 60  # per second
TIMEOUT = 180.0
SPREAD = 0.3  # standard deviation of the logarithm of the service time


class ProcessorSharing:
    """A processor-sharing server: n concurrent requests each run at 1/n of the full speed.

    Parameters
    ----------
    connections : int
        With more concurrent requests, total throughput falls in proportion.
    """

    def __init__(self, connections: int) -> None:
        self._connections = connections
        self._ends: list[tuple[float, int, asyncio.Future[None]]] = []  # ordered by work
        self._done, self._at, self._count = 0.0, time.monotonic(), 0
        self._timer: asyncio.TimerHandle | None = None

    async def work(self, seconds: float) -> None:
        """Wait until work that takes `seconds` at full speed is done.

        Parameters
        ----------
        seconds : float
        """
        self._advance()
        self._count += 1
        ended = asyncio.get_running_loop().create_future()
        heapq.heappush(self._ends, (self._done + seconds, self._count, ended))
        self._schedule()
        await ended

    def _speed(self) -> float:
        """Return the work done per request and second."""
        count = len(self._ends)
        return min(1.0, self._connections / count) / count if count else 0.0

    def _advance(self) -> None:
        now = time.monotonic()
        self._done += (now - self._at) * self._speed()
        self._at = now

    def _schedule(self) -> None:
        if self._timer:
            self._timer.cancel()
        if self._ends:
            wait = max(self._ends[0][0] - self._done, 0.0) / self._speed()
            self._timer = asyncio.get_running_loop().call_later(wait, self._end)

    def _end(self) -> None:
        self._advance()
        while self._ends and self._ends[0][0] <= self._done + 1e-9:
            ended = heapq.heappop(self._ends)[2]
            if not ended.done():
                ended.set_result(None)
        self._schedule()


def backend(faster: float) -> Starlette:
    """Return the slow backend.

    Parameters
    ----------
    faster : float
        Factor by which all times are divided.

    Returns
    -------
    Starlette
    """
    shared, rng = ProcessorSharing(CONNECTIONS), np.random.default_rng(1)

    async def answer(request: Request) -> Response:
        await request.body()
        spread = float(np.exp(SPREAD * rng.standard_normal() - SPREAD**2 / 2))  # mean 1
        await shared.work(spread / CAPACITY / faster)
        return Response(b"answer")

    return Starlette(routes=[Route("/", answer, methods=["POST"])])


def front(port: int, limit: int) -> Any:
    """Return the service, which calls the backend over `CONNECTIONS` connections.

    Parameters
    ----------
    port : int
        Port of the backend.
    limit : int
        Limit of the limiter. 0: no limiter, and requests wait for a connection.

    Returns
    -------
    callable
        An ASGI application.
    """
    import aiohttp

    sessions: list[aiohttp.ClientSession] = []

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        connector = aiohttp.TCPConnector(limit=CONNECTIONS)
        timeout = aiohttp.ClientTimeout(total=None)
        async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
            sessions.append(session)
            yield

    async def ask(request: Request) -> Response:
        body = await request.body()
        async with sessions[0].post(f"http://127.0.0.1:{port}/", data=body) as answer:
            return Response(await answer.read(), answer.status)

    app = Starlette(routes=[Route("/ask", ask, methods=["POST"])], lifespan=lifespan)
    return wf.ShedMiddleware(app, wf.Limiter(limit)) if limit else app


@dataclass(frozen=True)
class Case:
    """The results of a run; counts are numbers of requests.

    Attributes
    ----------
    limit, faster, seconds : float
        `seconds`: duration of the run.
    offered, answered, refused, failed : int
        `failed`: neither a response in time nor a clean 503.
    settled_offered, settled_failed : int
        The same for requests due after the first three minutes (the timeout of clients).
    median, p99 : float
        Latency of successful requests, in seconds of the case (times `faster`).
    by_minute : list of tuple
        Answered, refused and failed requests, by the minute of the case in which they were due.
    """

    limit: int
    faster: float
    seconds: float
    offered: int
    answered: int
    refused: int
    failed: int
    settled_offered: int
    settled_failed: int
    median: float
    p99: float
    by_minute: tuple[tuple[int, int, int], ...]


def run_case(limit: int, faster: float, minutes: float) -> Case:
    """Run the case with a limit, or without a limiter (0)."""
    with tempfile.TemporaryDirectory() as folder:
        bodies = Path(folder, "bodies.npy")
        np.save(bodies, np.zeros((1, 16), np.uint8))
        seconds = 60 * minutes / faster
        with (
            served(Path(__file__), "--serve", "backend", "--faster", faster) as backend_port,
            served(
                Path(__file__), "--serve", "front", "--backend", backend_port, "--limit", limit
            ) as port,
        ):
            outcome = send_plan(
                Plan(port, "/ask", str(bodies), seconds, OFFERED * faster, timeout=TIMEOUT / faster)
            )
    return summarize(outcome, limit, faster, minutes)


def summarize(outcome: Outcome, limit: int, faster: float, minutes: float) -> Case:
    """Return the figures of a run."""
    good, refused = outcome.status == 200, outcome.status == 503
    failed, due = ~(good | refused), outcome.intended * faster
    settled = due > TIMEOUT
    edges = np.arange(0, 60 * minutes + 1, 60)
    counts = (np.histogram(due[one], edges)[0].tolist() for one in (good, refused, failed))
    took = outcome.took[good] * faster
    return Case(
        limit,
        faster,
        60 * minutes / faster,
        len(due),
        int(good.sum()),
        int(refused.sum()),
        int(failed.sum()),
        int(settled.sum()),
        int((failed & settled).sum()),
        *(float(one) for one in np.percentile(took, [50, 99])),
        tuple(zip(*counts, strict=True)),
    )


def print_case(case: Case) -> None:
    """Print the figures of a case on one line."""
    admitted = case.answered + case.failed
    print(
        f"limit {case.limit or 'none':>4}  offered {case.offered}  answered {case.answered}  "
        f"refused {case.refused}  failed {case.failed} "
        f"({100 * case.failed / max(admitted, 1):.2f} % of admitted; of all due after three "
        f"minutes {100 * case.settled_failed / max(case.settled_offered, 1):.1f} %)  "
        f"median {case.median:.1f} s  p99 {case.p99:.1f} s  load {os.getloadavg()[0]:.1f}",
        flush=True,
    )


def main() -> None:
    """Run the case, or one of its servers."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--faster", type=float, default=20, help="factor by which times are divided"
    )
    parser.add_argument("--minutes", type=float, default=12, help="length of the case")
    parser.add_argument("--limits", type=int, nargs="+", default=[0, CONNECTIONS])
    parser.add_argument("--out", type=Path)
    parser.add_argument("--serve", choices=["backend", "front"], help=argparse.SUPPRESS)
    for name in ("port", "backend", "limit"):
        parser.add_argument(f"--{name}", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.serve:
        app = backend(args.faster) if args.serve == "backend" else front(args.backend, args.limit)
        uvicorn.run(
            app, port=args.port, log_level="error", access_log=False, timeout_keep_alive=600
        )
        return
    cases = []
    for limit in args.limits:
        cases.append(run_case(limit, args.faster, args.minutes))
        print_case(cases[-1])
    if args.out:
        write_json(args.out, [asdict(case) for case in cases])


if __name__ == "__main__":
    main()
