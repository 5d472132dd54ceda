"""Limiters under overload, simulated: answers in time, as % of the possible ones.

``python bench/limits.py`` tests a simulated service with `CapacityTest`, gives the report to each
kind of limiter, and lets requests arrive: at the usual rate, three times that rate, a fifth above
capacity for twenty minutes, and at the usual rate while the service is three times slower.
"""

from __future__ import annotations

import argparse
import heapq
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from capacity import settings
from support.python_limiter import Latencies
from support.simulated_service import SimulatedService, lognormal

import waterfill as wf
from waterfill.loadtest.capacity import CapacityTest, final_report
from waterfill.serving.adaptation import read_adaptation

SERVERS, MEAN, SIGMA = 8, 0.05, 0.5
FULL = SERVERS / MEAN
SLO = wf.loadtest.Slo(0.5)


class Unlimited:
    """Takes on all."""

    def admits(self, now: float, in_use: int) -> bool:
        """Say whether one more is taken on."""
        return True

    def released(self, now: float, seconds: float, in_use: int) -> None:
        """Learn how long one was held, and how many were in use until then."""


class Static(Unlimited):
    """So many at once."""

    def __init__(self, limit: float) -> None:
        self.limit = float(limit)

    def admits(self, now: float, in_use: int) -> bool:
        """Say whether one more is taken on."""
        return in_use < math.floor(self.limit)


class RateLimit(Unlimited):
    """So many a second: a bucket of tokens for one second."""

    def __init__(self, rate: float) -> None:
        self.rate = self.tokens = rate
        self.last = 0.0

    def admits(self, now: float, in_use: int) -> bool:
        """Say whether one more is taken on."""
        self.tokens = min(self.rate, self.tokens + self.rate * (now - self.last))
        self.last = now
        if self.tokens < 1:
            return False
        self.tokens -= 1
        return True


class Aimd(Static):
    """One more after each answer in time, a tenth less after one that is late."""

    def released(self, now: float, seconds: float, in_use: int) -> None:
        """Learn."""
        if seconds > SLO.p99:
            self.limit = max(1.0, self.limit * 0.9)
        elif 2 * in_use >= self.limit:
            self.limit += 1


class Vegas(Static):
    """As TCP Vegas: keeps a queue that it estimates from the shortest time ever seen."""

    least = math.inf

    def released(self, now: float, seconds: float, in_use: int) -> None:
        """Learn."""
        self.least = min(self.least, seconds)
        if 2 * in_use < self.limit:
            return
        queued = math.ceil(self.limit * (1 - self.least / seconds))
        step = max(1.0, math.log10(self.limit))
        if queued < 3 * step:
            self.limit += step
        elif queued > 6 * step:
            self.limit = max(1.0, self.limit - step)


class Gradient2(Static):
    """As Netflix's: how the time of now compares with its own average of long."""

    long = 0.0

    def released(self, now: float, seconds: float, in_use: int) -> None:
        """Learn."""
        self.long = seconds if self.long == 0 else self.long + (seconds - self.long) * 2 / 601
        if self.long / seconds > 2:
            self.long *= 0.95
        if 2 * in_use < self.limit:
            return
        gradient = max(0.5, min(1.0, 1.5 * self.long / seconds))
        self.limit = max(1.0, 0.8 * self.limit + 0.2 * (self.limit * gradient + 4))


class Anchored(Static):
    """`Limiter(adaptive=report)`: how the recent median compares with that of the report."""

    def __init__(self, report: wf.loadtest.CapacityReport, *, floor: int | None = None) -> None:
        super().__init__(report.limit)
        law = read_adaptation(report, report.limit)
        self.law = law if floor is None else law._replace(floor=floor)
        self.latencies = Latencies()

    def released(self, now: float, seconds: float, in_use: int) -> None:
        """Learn."""
        if self.latencies.record(round(seconds * 1e9)):
            self.limit = self.law.next_limit(self.limit, self.latencies.median, in_use)


@dataclass(frozen=True)
class Load:
    """How many come, as a multiple of what can be done, and how much longer the service takes."""

    name: str
    offered: float
    slower: float
    seconds: float


LOADS = (
    Load("as ever (0.8)", 0.8, 1, 300),
    Load("3 x", 3, 1, 120),
    Load("1.2 x, 20 min", 1.2, 1, 1200),
    Load("service 3 x slower", 0.8, 3, 600),
)
BEFORE = 60.0  # seconds as ever, which are not counted


def goodput(policy: Unlimited, load: Load, seed: int = 0) -> float:
    """Return answers within the SLO's p99, as a share of what came or could be done."""
    rng = np.random.default_rng(seed)
    early = rng.uniform(0, BEFORE, rng.poisson(0.8 * FULL * BEFORE))
    count = rng.poisson(load.offered * FULL * load.seconds)
    times = np.sort(np.concatenate([early, rng.uniform(BEFORE, BEFORE + load.seconds, count)]))
    needed = lognormal(MEAN, SIGMA)(rng, len(times)) * np.where(times < BEFORE, 1, load.slower)
    free, ends = [0.0] * SERVERS, []
    good = 0
    for now, service in zip(times.tolist(), needed.tolist(), strict=True):
        while ends and ends[0][0] <= now:
            end, began = heapq.heappop(ends)
            policy.released(end, end - began, len(ends) + 1)
        if not policy.admits(now, len(ends)):
            continue
        end = max(now, heapq.heappop(free)) + service
        heapq.heappush(free, end)
        heapq.heappush(ends, (end, now))
        good += now >= BEFORE and end - now <= SLO.p99
    possible = min(load.offered, 1 / load.slower) * FULL * load.seconds
    return good / possible


def policies(report: wf.loadtest.CapacityReport) -> dict[str, Callable[[], Unlimited]]:
    """Return ways of limiting, each to be begun anew."""
    return {
        "no limiter": Unlimited,
        "static, from the report": lambda: Static(report.limit),
        "rate limit, 95 % of the capacity": lambda: RateLimit(0.95 * FULL),
        "AIMD": lambda: Aimd(report.limit),
        "Vegas": lambda: Vegas(report.limit),
        "Gradient2": lambda: Gradient2(report.limit),
        "adaptive, from the report": lambda: Anchored(report),
        "the same without a floor": lambda: Anchored(report, floor=1),
    }


def tested() -> wf.loadtest.CapacityReport:
    """Return the report of the service as ever."""
    test = CapacityTest(settings(0, slo=SLO))
    test.run(SimulatedService(SERVERS, lognormal(MEAN, SIGMA), seed=1))
    return final_report(test)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    args = parser.parse_args()
    report = tested()
    print(str(report).split("\n\n")[0], "\n")
    print("| answers in time, % |", " | ".join(load.name for load in LOADS), "|")
    print("|---|" + "--:|" * len(LOADS))
    for name, make in policies(report).items():
        found = [
            np.median([goodput(make(), load, seed) for seed in range(args.seeds)]) for load in LOADS
        ]
        print(f"| {name} |", " | ".join(f"{100 * share:.1f}" for share in found), "|", flush=True)


if __name__ == "__main__":
    main()
