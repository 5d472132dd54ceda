"""A service that is simulated, event by event: what a test decides, with no time passing."""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable

import numpy as np

from waterfill.loadtest.steps import ANSWERED, REFUSED, Closed, Open, Seen

Draw = Callable[[np.random.Generator, int], "np.ndarray"]


class SimulatedService:
    """Some servers and one queue, first come first served.

    Parameters
    ----------
    servers : int
    draw : callable
        Takes a generator of random numbers and n; returns n seconds of service.
    seed : int
    limit : int, optional
        Requests that are taken on at once; others are refused.
    """

    def __init__(self, servers: int, draw: Draw, seed: int = 0, limit: int | None = None) -> None:
        self._servers, self._draw, self._limit = servers, draw, limit
        self._rng = np.random.default_rng(seed)

    def run(self, step: Open | Closed) -> Seen:
        """Carry out a step."""
        return self._open(step) if isinstance(step, Open) else self._closed(step)

    def close(self) -> None:
        """Do nothing."""

    def _open(self, step: Open) -> Seen:
        due, service = step.due, self._draw(self._rng, len(step.due))
        ended, outcome = due.copy(), np.full(len(due), ANSWERED, np.uint8)
        free = [0.0] * self._servers
        inside: list[float] = []
        sent = 0
        for i, (now, needed) in enumerate(zip(due.tolist(), service.tolist(), strict=True)):
            while inside and inside[0] <= now:
                heapq.heappop(inside)
            if len(inside) >= step.most:
                break
            sent = i + 1
            if self._limit is not None and len(inside) >= self._limit:
                outcome[i] = REFUSED
                continue
            end = max(now, heapq.heappop(free)) + needed
            heapq.heappush(free, end)
            heapq.heappush(inside, end)
            ended[i] = end
        due, ended = due[:sent], ended[:sent]
        elapsed = float(ended.max(initial=0.0))
        return Seen(due, due, ended, outcome[:sent], sent < len(step.due), elapsed)

    def _closed(self, step: Closed) -> Seen:
        free = [0.0] * self._servers
        ready = [0.0] * step.in_flight  # when each of those in flight sends again
        sent: list[float] = []
        ended: list[float] = []
        pool: list[float] = []
        while len(sent) < step.requests:
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
        return Seen(starts, starts, ends, outcome, False, float(ends.max(initial=0.0)))


def exponential(mean: float) -> Draw:
    """Return a draw of exponential times: M/M/c."""
    return lambda rng, n: rng.exponential(mean, n)


def constant(mean: float) -> Draw:
    """Return a draw of equal times: M/D/c."""
    return lambda rng, n: np.full(n, mean)


def lognormal(mean: float, sigma: float) -> Draw:
    """Return a draw of lognormal times, whose logarithms have the deviation sigma: M/G/c."""
    return lambda rng, n: rng.lognormal(math.log(mean) - sigma**2 / 2, sigma, n)
