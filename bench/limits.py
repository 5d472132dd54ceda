"""Simulated limiters under overload: responses in time, as a percentage of those possible.

``python bench/limits.py`` tests a simulated service with `CapacityTest`, configures each kind of
limiter from the report, and simulates four loads: 80 % of capacity, three times the capacity, 20 %
above it for twenty minutes, and 80 % while the service is three times slower.
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
    """No limit: admits every request."""

    def admits(self, now: float, in_use: int) -> bool:
        """Return whether to admit one more request."""
        return True

    def released(self, now: float, seconds: float, in_use: int) -> None:
        """Update the limit with the latency of a finished request and the permits then in use."""


class Static(Unlimited):
    """A constant limit of concurrent requests."""

    def __init__(self, limit: float) -> None:
        self.limit = float(limit)

    def admits(self, now: float, in_use: int) -> bool:
        """Return whether to admit one more request."""
        return in_use < math.floor(self.limit)


class RateLimit(Unlimited):
    """A rate limit: a token bucket with one second of tokens."""

    def __init__(self, rate: float) -> None:
        self.rate = self.tokens = rate
        self.last = 0.0

    def admits(self, now: float, in_use: int) -> bool:
        """Return whether to admit one more request."""
        self.tokens = min(self.rate, self.tokens + self.rate * (now - self.last))
        self.last = now
        if self.tokens < 1:
            return False
        self.tokens -= 1
        return True


class Aimd(Static):
    """AIMD: adds 1 after a response in time, subtracts a tenth after a late one."""

    def released(self, now: float, seconds: float, in_use: int) -> None:
        """Update the limit with a finished request."""
        if seconds > SLO.p99:
            self.limit = max(1.0, self.limit * 0.9)
        elif 2 * in_use >= self.limit:
            self.limit += 1


class Vegas(Static):
    """Like TCP Vegas: estimates the queue length from the shortest latency and bounds it."""

    least = math.inf

    def released(self, now: float, seconds: float, in_use: int) -> None:
        """Update the limit with a finished request."""
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
    """Like Netflix's Gradient2: compares the latency with its long-term average."""

    long = 0.0

    def released(self, now: float, seconds: float, in_use: int) -> None:
        """Update the limit with a finished request."""
        self.long = seconds if self.long == 0 else self.long + (seconds - self.long) * 2 / 601
        if self.long / seconds > 2:
            self.long *= 0.95
        if 2 * in_use < self.limit:
            return
        gradient = max(0.5, min(1.0, 1.5 * self.long / seconds))
        self.limit = max(1.0, 0.8 * self.limit + 0.2 * (self.limit * gradient + 4))


class Anchored(Static):
    """`Limiter(adaptive=report)`: compares the recent median latency with the report's."""

    def __init__(self, report: wf.loadtest.CapacityReport, *, floor: int | None = None) -> None:
        super().__init__(report.limit)
        law = read_adaptation(report, report.limit)
        self.law = law if floor is None else law._replace(floor=floor)
        self.latencies = Latencies()

    def released(self, now: float, seconds: float, in_use: int) -> None:
        """Update the limit with a finished request."""
        if self.latencies.record(round(seconds * 1e9)):
            self.limit = self.law.next_limit(self.limit, self.latencies.median, in_use)


@dataclass(frozen=True)
class Load:
    """An offered load as a multiple of capacity, and the slowdown of the service."""

    name: str
    offered: float
    slower: float
    seconds: float


LOADS = (
    Load("normal (0.8)", 0.8, 1, 300),
    Load("3 x", 3, 1, 120),
    Load("1.2 x, 20 min", 1.2, 1, 1200),
    Load("service 3 x slower", 0.8, 3, 600),
)
BEFORE = 60.0  # seconds of normal load, not counted


def goodput(policy: Unlimited, load: Load, seed: int = 0) -> float:
    """Return responses within the SLO's p99, as a share of those possible."""
    rng = np.random.default_rng(seed)
    early = rng.uniform(0, BEFORE, rng.poisson(0.8 * FULL * BEFORE))
    count = rng.poisson(load.offered * FULL * load.seconds)
    times = np.sort(np.concatenate([early, rng.uniform(BEFORE, BEFORE + load.seconds, count)]))
    service_times = lognormal(MEAN, SIGMA)(rng, len(times)) * np.where(
        times < BEFORE, 1, load.slower
    )
    free, in_flight = [0.0] * SERVERS, []
    good = 0
    for now, service in zip(times.tolist(), service_times.tolist(), strict=True):
        while in_flight and in_flight[0][0] <= now:
            end, start = heapq.heappop(in_flight)
            policy.released(end, end - start, len(in_flight) + 1)
        if not policy.admits(now, len(in_flight)):
            continue
        end = max(now, heapq.heappop(free)) + service
        heapq.heappush(free, end)
        heapq.heappush(in_flight, (end, now))
        good += now >= BEFORE and end - now <= SLO.p99
    possible = min(load.offered, 1 / load.slower) * FULL * load.seconds
    return good / possible


def policies(report: wf.loadtest.CapacityReport) -> dict[str, Callable[[], Unlimited]]:
    """Return the limiters by name, as functions that create a fresh one."""
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


def make_report() -> wf.loadtest.CapacityReport:
    """Test the service at its normal speed; return the report."""
    test = CapacityTest(settings(0, slo=SLO))
    test.run(SimulatedService(SERVERS, lognormal(MEAN, SIGMA), seed=1))
    return final_report(test)


def main() -> None:
    """Run the simulations and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5, help="simulations per median")
    args = parser.parse_args()
    report = make_report()
    print(str(report).split("\n\n")[0], "\n")
    print("| responses in time, % |", " | ".join(load.name for load in LOADS), "|")
    print("|---|" + "--:|" * len(LOADS))
    for name, make in policies(report).items():
        shares = [
            np.median([goodput(make(), load, seed) for seed in range(args.seeds)]) for load in LOADS
        ]
        print(f"| {name} |", " | ".join(f"{100 * share:.1f}" for share in shares), "|", flush=True)


if __name__ == "__main__":
    main()
