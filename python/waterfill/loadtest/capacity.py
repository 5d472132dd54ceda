"""`capacity_test`: find the highest request rate and the concurrency that meet an SLO."""

from __future__ import annotations

import inspect
import math
import os
import platform
from collections.abc import Callable, Sequence
from importlib.metadata import version
from itertools import pairwise
from typing import Any

import numpy as np

from waterfill import _core
from waterfill._util.validation import as_int, as_number, as_positive_int
from waterfill.loadtest.concurrency_sweep import SweepResult, sweep, sweep_result
from waterfill.loadtest.figures import Step
from waterfill.loadtest.http_target import Url
from waterfill.loadtest.rate_search import RateSearch
from waterfill.loadtest.report import CapacityError, CapacityReport, GeneratorLateError
from waterfill.loadtest.slo import Slo
from waterfill.loadtest.step_plan import (
    BudgetSpent,
    Findings,
    LoadTestSettings,
    Steps,
    measure_unloaded,
)
from waterfill.loadtest.steps import Driver
from waterfill.training.manifest import utc_now

RATES = (10, 20, 40, 80, 150)
"""Requests per second of the default ramp."""


def capacity_test(
    target: Any,
    rates: Sequence[float] = RATES,
    step_seconds: float = 10.0,
    slo: Slo | None = None,
    *,
    max_seconds: float = 1200.0,
    max_requests: int = 1_000_000,
    max_rate: float = 10_000.0,
    max_in_flight: int = 512,
    tolerance: float | None = None,
    seed: int = 0,
    on_step: Callable[[Step], object] | None = None,
) -> CapacityReport:
    """Find the highest rate that a service answers within an SLO, and the concurrency for it.

    Requests arrive at random times (a Poisson process), whether or not earlier ones have been
    answered (an open model [1]_), and latency is measured from when a request was due. A ramp over
    `rates` brackets the rate at which the SLO breaks; bisection narrows the bracket. A rate is
    within the SLO if the upper Wilson bound [2]_ of the share of slow answers is, for as many
    requests as their correlation leaves (design effect [3]_). A sweep then keeps 1, 2, 3, 4, 6, ...
    requests in flight. A test takes some minutes, most of them near the limit.

    Parameters
    ----------
    target : callable or Url
        Called without arguments for each request. A ``def`` is called in threads; an
        ``async def`` in an event loop of its own. An exception counts as an error, `AtCapacity`
        as a refusal.
    rates : sequence of float
        Requests per second, ascending. If the first is too high, lower ones are tried; after the
        last, the rate is doubled.
    step_seconds : float
        Duration of one rate of the ramp. Where the verdict is close or unclear, a rate is offered
        up to 16 times as long. The first fifth of each round is warm-up and not counted.
    slo : Slo, optional
        The latency and the share of errors to keep within; by default `Slo()`.
    max_seconds : float
        Longest duration of the whole test. The report of a test that reaches it is not `complete`.
    max_requests : int
        Most requests of the whole test, likewise.
    max_rate : float
        The ramp does not go beyond this rate.
    max_in_flight : int
        Pending requests at which a step is stopped as overloaded.
    tolerance : float, optional
        Seconds that a request may be sent after it was due. By default a tenth of the SLO's p99,
        but at least 5 ms. A round with more than 1 % of later requests is repeated, at most twice.
    seed : int
        Seed of the request times.
    on_step : callable, optional
        Called with the `Step` after each step.

    Returns
    -------
    CapacityReport
        The capacity, and the figures of each step.

    Raises
    ------
    GeneratorLateError
        If requests cannot be sent when they are due.
    CapacityError
        If no rate is within the SLO, nothing is answered, or a bound was reached before any rate
        was found.
    TypeError, ValueError
        If an argument has the wrong type or is out of range.

    References
    ----------
    .. [1] B. Schroeder, A. Wierman and M. Harchol-Balter, "Open versus closed: a cautionary tale",
       NSDI, 2006.
    .. [2] E. B. Wilson, "Probable inference, the law of succession, and statistical inference",
       Journal of the American Statistical Association 22, 1927.
    .. [3] L. Kish, Survey Sampling, Wiley, 1965.
    """
    settings = read_settings(
        rates=rates,
        step_seconds=step_seconds,
        slo=Slo() if slo is None else slo,
        max_seconds=max_seconds,
        max_requests=max_requests,
        max_rate=max_rate,
        max_in_flight=max_in_flight,
        tolerance=tolerance,
        seed=seed,
    )
    test = CapacityTest(settings, on_step)
    driver = make_driver(target)
    try:
        test.run(driver)
    except CapacityError as error:
        error.report = test.report()
        raise
    finally:
        driver.close()
    return final_report(test)


def make_driver(target: Any) -> Driver:
    """Return the driver for a target: threads for a ``def``, an event loop for the others."""
    if isinstance(target, Url):
        from waterfill.loadtest.task_driver import TaskDriver

        return TaskDriver(target.client())
    if not callable(target) or inspect.isclass(target):
        raise TypeError(f"target must be a function or a Url, got {target!r}")
    functions = (target, getattr(target, "func", None), type(target).__call__)
    if any(inspect.isgeneratorfunction(f) or inspect.isasyncgenfunction(f) for f in functions):
        raise TypeError(f"target must not be a generator function, got {target!r}")
    if any(inspect.iscoroutinefunction(f) for f in functions):
        from waterfill.loadtest.task_driver import TaskDriver

        return TaskDriver(target)
    from waterfill.loadtest.thread_driver import ThreadDriver

    return ThreadDriver(target)


class CapacityTest:
    """A test in progress; `report` returns the result so far, also after an interruption."""

    def __init__(
        self, settings: LoadTestSettings, on_step: Callable[[Step], object] | None = None
    ) -> None:
        self.findings = Findings(settings)
        self._on_step = on_step

    def run(self, driver: Driver) -> None:
        """Run all steps with a driver, until the test is complete or its budget spent."""
        plan, reported = self._plan(), 0
        try:
            step = next(plan)
            while True:
                step = plan.send(driver.run(step))
                if self._on_step is not None:
                    for figures in self.findings.steps[reported:]:
                        self._on_step(figures)
                reported = len(self.findings.steps)
        except StopIteration:
            return
        finally:
            plan.close()

    def _plan(self) -> Steps:
        findings, late = self.findings, None
        proved = False
        try:
            yield from measure_unloaded(findings)
            try:
                yield from RateSearch(findings).run()
                proved = True
            except BudgetSpent:
                pass
            except GeneratorLateError as error:
                late = error  # the sweep can go on: a closed loop has no due times to miss
            yield from sweep(findings)
            findings.complete = proved
        except BudgetSpent:
            pass
        if late is not None:
            raise late

    def report(self) -> CapacityReport | None:
        """Return the result so far, or None while no rate is known to be within the SLO."""
        findings, settings = self.findings, self.findings.settings
        rate = findings.likely if findings.rate is None else findings.rate
        if rate is None or findings.unloaded is None:
            return None
        swept = sweep_result(findings.steps[1:], settings.slo)
        limits = swept or _limits_by_littles_law(rate, findings.unloaded, settings.slo)
        notes = list(dict.fromkeys(findings.notes))
        if findings.rate is None:
            notes.append(f"{rate:g} requests per second looked good, in a step too short to prove")
        if swept is None:
            notes.append("no concurrency sweep: limit, floor and ceiling are from Little's law")
        return CapacityReport(
            rate=rate,
            limit=limits.limit,
            floor=limits.floor,
            ceiling=limits.ceiling,
            unloaded=findings.unloaded,
            throughput=limits.throughput,
            slo=settings.slo,
            steps=tuple(findings.steps),
            complete=findings.complete and swept is not None,
            notes=tuple(notes),
            seed=settings.seed,
            seconds=findings.seconds,
            requests=findings.requests,
            machine=_machine(),
            created=utc_now(),
        )


def _limits_by_littles_law(rate: float, unloaded: float, slo: Slo) -> SweepResult:
    """Return limits for a rate without a sweep: requests in flight = rate x latency."""
    floor = max(1, math.ceil(rate * unloaded))
    return SweepResult(floor, floor, max(floor, math.floor(rate * slo.p99)), rate)


def final_report(test: CapacityTest) -> CapacityReport:
    """Return the report of a test that has ended, or raise CapacityError if there is none."""
    report = test.report()
    if report is None:
        raise CapacityError(
            "no rate is known to be within the SLO: " + "; ".join(test.findings.notes)
        )
    return report


def read_settings(
    *,
    rates: Any,
    step_seconds: Any,
    slo: Any,
    max_seconds: Any,
    max_requests: Any,
    max_rate: Any,
    max_in_flight: Any,
    tolerance: Any,
    seed: Any,
) -> LoadTestSettings:
    """Check the arguments of a test."""
    if not isinstance(slo, Slo):
        raise TypeError(f"slo must be a waterfill.loadtest.Slo, got {slo!r}")
    if isinstance(rates, str) or not isinstance(rates, Sequence | np.ndarray) or not len(rates):
        raise TypeError(f"rates must be a non-empty sequence of numbers, got {rates!r}")
    ramp = tuple(_positive(f"rates[{i}]", rate) for i, rate in enumerate(rates))
    if any(b <= a for a, b in pairwise(ramp)):
        raise ValueError(f"rates: expected ascending values, got {list(ramp)}")
    if as_int("seed", seed) < 0:
        raise ValueError(f"seed={seed} must be at least 0")
    default_tolerance = max(0.005, slo.p99 / 10)
    return LoadTestSettings(
        rates=ramp,
        step_seconds=_positive("step_seconds", step_seconds),
        slo=slo,
        seed=int(seed),
        max_seconds=_positive("max_seconds", max_seconds),
        max_requests=as_positive_int("max_requests", max_requests),
        max_rate=max(_positive("max_rate", max_rate), ramp[-1]),
        max_in_flight=as_positive_int("max_in_flight", max_in_flight),
        tolerance=default_tolerance if tolerance is None else _positive("tolerance", tolerance),
    )


def _positive(name: str, value: Any) -> float:
    number = as_number(name, value, 0, finite=True)
    if number == 0:
        raise ValueError(f"{name}=0 must be above 0")
    return number


def _machine() -> dict[str, Any]:
    """Return the properties of this machine and process that the figures depend on."""
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "cpus": os.cpu_count(),
        "isa": _core.isa(),
        "threads": _core.get_num_threads(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "waterfill": version("waterfill"),
    }
