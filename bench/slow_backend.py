"""A service over a slow backend at three times its capacity, after a published incident.

The backend has ten connections and answers 45 requests a minute at any concurrency; clients time
out after three minutes and send 150 a minute. Without a limiter all of them soon wait for answers
that come too late; with one, some are refused at once and the rest are answered.

``python bench/slow_backend.py --faster 20 --minutes 12`` divides all times by 20 (``--faster 1``
keeps them). Clients, service and backend are three processes over real sockets.
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
from load_generator import Outcome, Plan, sent
from results import write_json
from service_process import served
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

import waterfill as wf

CONNECTIONS = 10
CAPACITY, OFFERED = 45 / 60, 150 / 60  # a second
TIMEOUT = 180.0
SPREAD = 0.3  # of the logarithm of an answer's work


class Shared:
    """Capacity that all who work share evenly: an answer takes n times as long beside n - 1 others.

    Parameters
    ----------
    connections : int
        Beyond as many at once the whole becomes slower, in proportion.
    """

    def __init__(self, connections: int) -> None:
        self._connections = connections
        self._ends: list[tuple[float, int, asyncio.Future[None]]] = []  # by work done for each
        self._done, self._at, self._count = 0.0, time.monotonic(), 0
        self._timer: asyncio.TimerHandle | None = None

    async def work(self, seconds: float) -> None:
        """Do work that would take so long alone.

        Parameters
        ----------
        seconds : float
        """
        self._forward()
        self._count += 1
        ended = asyncio.get_running_loop().create_future()
        heapq.heappush(self._ends, (self._done + seconds, self._count, ended))
        self._set()
        await ended

    def _speed(self) -> float:
        """Return how much is done for each, a second."""
        count = len(self._ends)
        return min(1.0, self._connections / count) / count if count else 0.0

    def _forward(self) -> None:
        now = time.monotonic()
        self._done += (now - self._at) * self._speed()
        self._at = now

    def _set(self) -> None:
        if self._timer:
            self._timer.cancel()
        if self._ends:
            wait = max(self._ends[0][0] - self._done, 0.0) / self._speed()
            self._timer = asyncio.get_running_loop().call_later(wait, self._end)

    def _end(self) -> None:
        self._forward()
        while self._ends and self._ends[0][0] <= self._done + 1e-9:
            ended = heapq.heappop(self._ends)[2]
            if not ended.done():
                ended.set_result(None)
        self._set()


def backend(faster: float) -> Starlette:
    """Return what takes long.

    Parameters
    ----------
    faster : float

    Returns
    -------
    Starlette
    """
    shared, rng = Shared(CONNECTIONS), np.random.default_rng(1)

    async def answer(request: Request) -> Response:
        await request.body()
        spread = float(np.exp(SPREAD * rng.standard_normal() - SPREAD**2 / 2))  # mean 1
        await shared.work(spread / CAPACITY / faster)
        return Response(b"answer")

    return Starlette(routes=[Route("/", answer, methods=["POST"])])


def front(port: int, limit: int) -> Any:
    """Return the service, which asks the backend over as many connections as that takes.

    Parameters
    ----------
    port : int
        Of the backend.
    limit : int
        0 for no limiter: then requests wait for a connection.

    Returns
    -------
    callable
        An ASGI application.
    """
    import aiohttp

    kept: list[aiohttp.ClientSession] = []

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        connector = aiohttp.TCPConnector(limit=CONNECTIONS)
        patience = aiohttp.ClientTimeout(total=None)
        async with aiohttp.ClientSession(connector=connector, timeout=patience) as session:
            kept.append(session)
            yield

    async def ask(request: Request) -> Response:
        body = await request.body()
        async with kept[0].post(f"http://127.0.0.1:{port}/", data=body) as answer:
            return Response(await answer.read(), answer.status)

    app = Starlette(routes=[Route("/ask", ask, methods=["POST"])], lifespan=lifespan)
    return wf.ShedMiddleware(app, wf.Limiter(limit)) if limit else app


@dataclass(frozen=True)
class Case:
    """What was found; counts are of requests.

    Attributes
    ----------
    limit, faster, seconds : float
        `seconds` that the run took.
    offered, answered, refused, failed : int
        `failed`: neither an answer in time nor a clean 503.
    settled_offered, settled_failed : int
        The same of requests that came after the first three minutes, as long as clients wait.
    median, p99 : float
        Of answers; seconds of the case, which are as many times longer as it ran faster.
    by_minute : list of tuple
        Answered, refused, failed, of the requests that came in a minute of the case.
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


def played(limit: int, faster: float, minutes: float) -> Case:
    """Run the case with a limit, or without (0)."""
    with tempfile.TemporaryDirectory() as folder:
        bodies = Path(folder, "bodies.npy")
        np.save(bodies, np.zeros((1, 16), np.uint8))
        seconds = 60 * minutes / faster
        with (
            served(Path(__file__), "--serve", "backend", "--faster", faster) as behind,
            served(Path(__file__), "--serve", "front", "--backend", behind, "--limit", limit) as at,
        ):
            outcome = sent(
                Plan(at, "/ask", str(bodies), seconds, OFFERED * faster, timeout=TIMEOUT / faster)
            )
    return summed(outcome, limit, faster, minutes)


def summed(outcome: Outcome, limit: int, faster: float, minutes: float) -> Case:
    """Return a run's figures."""
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


def show(case: Case) -> None:
    """Print a line of figures."""
    admitted = case.answered + case.failed
    print(
        f"limit {case.limit or 'none':>4}  offered {case.offered}  answered {case.answered}  "
        f"refused {case.refused}  failed {case.failed} "
        f"({100 * case.failed / max(admitted, 1):.2f} % of the admitted; of all that came after "
        f"three minutes {100 * case.settled_failed / max(case.settled_offered, 1):.1f} %)  "
        f"median {case.median:.1f} s  p99 {case.p99:.1f} s  load {os.getloadavg()[0]:.1f}",
        flush=True,
    )


def main() -> None:
    """Run the case, or one of its servers."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--faster", type=float, default=20)
    parser.add_argument("--minutes", type=float, default=12, help="of the case")
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
        cases.append(played(limit, args.faster, args.minutes))
        show(cases[-1])
    if args.out:
        write_json(args.out, [asdict(case) for case in cases])


if __name__ == "__main__":
    main()
