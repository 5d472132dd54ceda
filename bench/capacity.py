"""Accuracy of capacity tests on services of known capacity, simulated or real.

``python bench/capacity.py`` prints the true capacity of each service model at the SLO, from a long
independent simulation, and the deviation of capacity tests with different seeds from it.
``--real`` uses threads, sleeps and a real clock instead; it takes ten minutes.
"""

from __future__ import annotations

import argparse
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray
from support.simulated_service import Draw, SimulatedService, constant, exponential, lognormal

import waterfill as wf
from waterfill.loadtest.capacity import CapacityTest, final_report, read_settings

P99 = 0.2
TRUE_REQUESTS = 400_000


@dataclass(frozen=True)
class Model:
    """A queueing model: its name, number of servers and service time distribution."""

    name: str
    servers: int
    draw: Draw
    mean: float


MODELS = (
    Model("M/M/1", 1, exponential(0.02), 0.02),
    Model("M/M/2", 2, exponential(0.025), 0.025),
    Model("M/M/4", 4, exponential(0.03), 0.03),
    Model("M/D/2", 2, constant(0.04), 0.04),
    Model("M/D/8", 8, constant(0.1), 0.1),
    Model("M/G/4, lognormal", 4, lognormal(0.03, 0.7), 0.03),
    Model("M/G/8, lognormal", 8, lognormal(0.05, 0.5), 0.05),
)


def slow_share(model: Model, rate: float, gaps: NDArray, times: NDArray) -> float:
    """Return the share of requests slower than the SLO, by Kiefer and Wolfowitz (1955)."""
    left = [0.0] * model.servers  # remaining work of each server, ascending
    slow = 0
    for gap, service in zip((gaps / rate).tolist(), times.tolist(), strict=True):
        left = [max(0.0, work - gap) for work in left]
        total = left[0] + service
        slow += total > P99
        left[0] = total
        left.sort()
    return slow / len(gaps)


def true_capacity(model: Model, requests: int = TRUE_REQUESTS, seed: int = 99) -> float:
    """Return the rate at which 1 % of requests are slower than the SLO."""
    rng = np.random.default_rng(seed)
    gaps, times = rng.exponential(1.0, requests), model.draw(rng, requests)
    low, high = 0.0, model.servers / model.mean
    while high - low > 0.004 * high:
        rate = (low + high) / 2
        if slow_share(model, rate, gaps, times) <= 0.01:
            low = rate
        else:
            high = rate
    return (low + high) / 2


def settings(seed: int, **overrides: object):
    """Return the settings of a capacity test; defaults except for `seed` and `overrides`."""
    defaults = {
        "rates": (10, 20, 40, 80, 150),
        "step_seconds": 10.0,
        "slo": wf.loadtest.Slo(P99),
        "max_seconds": 1200.0,
        "max_requests": 1_000_000,
        "max_rate": 10_000.0,
        "max_in_flight": 512,
        "tolerance": None,
    }
    return read_settings(seed=seed, **(defaults | overrides))


def simulated(model: Model, seed: int, step_seconds: float = 10.0) -> wf.loadtest.CapacityReport:
    """Test a simulated service and return the report."""
    overrides = {"step_seconds": step_seconds, "max_seconds": 120 * step_seconds}
    test = CapacityTest(settings(seed, **overrides))
    test.run(SimulatedService(model.servers, model.draw, seed=1_000 + seed))
    return final_report(test)


def real(model: Model, seed: int) -> wf.loadtest.CapacityReport:
    """Test a service of sleeping threads in this process, in steps of 3 s; return the report."""
    rng, lock = np.random.default_rng(seed), threading.Lock()

    def draw_service_time() -> float:
        with lock:
            return float(model.draw(rng, 1)[0])

    with ThreadPoolExecutor(model.servers) as servers:
        return wf.capacity_test(
            lambda: servers.submit(time.sleep, draw_service_time()).result(),
            step_seconds=3.0,
            slo=wf.loadtest.Slo(P99),
            tolerance=P99 / 4,
            seed=seed,
        )


def table(run: Callable[[Model, int], wf.loadtest.CapacityReport], models, seeds: int) -> None:
    """Print a Markdown table with one row per model."""
    print("| service | saturation | capacity at the SLO | measured, median | within 10 % | "
          "limit (floor, ceiling) | seconds |")  # fmt: skip
    print("|---|--:|--:|--:|--:|--:|--:|")
    for model in models:
        truth = true_capacity(model)
        reports = [run(model, seed) for seed in range(seeds)]
        rates = np.array([report.rate for report in reports])
        near = int((np.abs(rates / truth - 1) <= 0.1).sum())
        limit, floor, ceiling, seconds = (
            np.median([getattr(report, name) for report in reports])
            for name in ("limit", "floor", "ceiling", "seconds")
        )
        print(
            f"| {model.name} | {model.servers / model.mean:.0f} | {truth:.1f} | "
            f"{np.median(rates):.1f} ({rates.min():.1f} to {rates.max():.1f}) | "
            f"{near} of {seeds} | {limit:.0f} ({floor:.0f}, {ceiling:.0f}) | {seconds:.0f} |",
            flush=True,
        )


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=60, help="capacity tests per model")
    parser.add_argument("--real", action="store_true", help="test real threads")
    parser.add_argument(
        "--step-seconds", type=float, default=10.0, help="length of a step of simulated tests"
    )
    parser.add_argument("--only", help="test only the model with this name")
    args = parser.parse_args()
    if args.real:
        table(real, (MODELS[2], MODELS[4], MODELS[6]), 1)
    else:
        chosen = [model for model in MODELS if args.only in (None, model.name)]
        table(partial(simulated, step_seconds=args.step_seconds), chosen, args.seeds)


if __name__ == "__main__":
    main()
