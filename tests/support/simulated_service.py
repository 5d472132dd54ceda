"""A discrete-event simulation of a service, to drive a capacity test without waiting."""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable

import numpy as np

from waterfill.loadtest.steps import ANSWERED, REFUSED, ClosedLoop, OpenLoop, Trace

Draw = Callable[[np.random.Generator, int], "np.ndarray"]


class SimulatedService:
    """Servers with one first-come, first-served queue: a driver for capacity tests.

    Parameters
    ----------
    servers : int
    draw : callable
        ``draw(rng, n)`` returns n service times in seconds.
    seed : int
    limit : int, optional
        Requests admitted at once; others are refused.
    """

    def __init__(self, servers: int, draw: Draw, seed: int = 0, limit: int | None = None) -> None:
        self._servers, self._draw, self._limit = servers, draw, limit
        self._rng = np.random.default_rng(seed)

    def run(self, step: OpenLoop | ClosedLoop) -> Trace:
        """Run a step."""
        return self._run_open(step) if isinstance(step, OpenLoop) else self._run_closed(step)

    def close(self) -> None:
        """Do nothing."""

    def _run_open(self, step: OpenLoop) -> Trace:
        due, service = step.due, self._draw(self._rng, len(step.due))
        ended, outcome = due.copy(), np.full(len(due), ANSWERED, np.uint8)
        free = [0.0] * self._servers
        pending: list[float] = []  # ends of admitted requests
        sent = 0
        for i, (now, needed) in enumerate(zip(due.tolist(), service.tolist(), strict=True)):
            while pending and pending[0] <= now:
                heapq.heappop(pending)
            if len(pending) >= step.max_pending:
                break
            sent = i + 1
            if self._limit is not None and len(pending) >= self._limit:
                outcome[i] = REFUSED
                continue
            end = max(now, heapq.heappop(free)) + needed
            heapq.heappush(free, end)
            heapq.heappush(pending, end)
            ended[i] = end
        due, ended = due[:sent], ended[:sent]
        elapsed = float(ended.max(initial=0.0))
        return Trace(due, due, ended, outcome[:sent], sent < len(step.due), elapsed)

    def _run_closed(self, step: ClosedLoop) -> Trace:
        free = [0.0] * self._servers
        ready = [0.0] * step.in_flight  # when each client sends its next request
        sent: list[float] = []
        ended: list[float] = []
        pool: list[float] = []
        while len(sent) < step.max_requests:
            now = heapq.heappop(ready)
            if now >= step.seconds:
                break
            if not pool:
                pool = self._draw(self._rng, 1024).tolist()
            end = max(now, heapq.heappop(free)) + pool.pop()
            heapq.heappush(free, end)
            heapq.heappush(ready, end)
            sent.append(now)
            ended.append(end)
        starts, ends = np.array(sent), np.array(ended)
        outcome = np.full(len(sent), ANSWERED, np.uint8)
        return Trace(starts, starts, ends, outcome, False, float(ends.max(initial=0.0)))


def exponential(mean: float) -> Draw:
    """Return exponential service times: M/M/c."""
    return lambda rng, n: rng.exponential(mean, n)


def constant(mean: float) -> Draw:
    """Return constant service times: M/D/c."""
    return lambda rng, n: np.full(n, mean)


def lognormal(mean: float, sigma: float) -> Draw:
    """Return lognormal service times; sigma is the deviation of their logarithm: M/G/c."""
    return lambda rng, n: rng.lognormal(math.log(mean) - sigma**2 / 2, sigma, n)
