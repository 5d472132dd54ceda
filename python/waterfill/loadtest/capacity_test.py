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
from waterfill.loadtest.concurrency_sweep import limits, sweep
from waterfill.loadtest.figures import Step
from waterfill.loadtest.rate_search import RateSearch
from waterfill.loadtest.report import CapacityError, CapacityReport, GeneratorLateError
from waterfill.loadtest.slo import Slo
from waterfill.loadtest.step_plan import Findings, LoadTestSettings, Spent, Steps, unloaded
from waterfill.loadtest.steps import Driver
from waterfill.training.manifest import utc_now


def driver_of(target: Any) -> Driver:
    """Return what sends requests to a target: threads, or an event loop."""
    from waterfill.loadtest.http_target import Url

    if isinstance(target, Url):
        from waterfill.loadtest.task_driver import Tasks

        return Tasks(target.client())
    if not callable(target) or inspect.isclass(target):
        raise TypeError(f"target must be a function or a Url, got {target!r}")
    kinds = (target, getattr(target, "func", None), type(target).__call__)
    if any(inspect.isgeneratorfunction(f) or inspect.isasyncgenfunction(f) for f in kinds):
        raise TypeError(f"target must not be a generator function, got {target!r}")
    if any(inspect.iscoroutinefunction(f) for f in kinds):
        from waterfill.loadtest.task_driver import Tasks

        return Tasks(target)
    from waterfill.loadtest.thread_driver import Threads

    return Threads(target)


RATES = (10, 20, 40, 80, 150)


class CapacityTest:
    """A test that can be stopped: `report` says what is known by then."""

    def __init__(
        self, settings: LoadTestSettings, on_step: Callable[[Step], object] | None = None
    ) -> None:
        self.findings = Findings(settings)
        self._on_step = on_step

    def run(self, driver: Driver) -> None:
        """Let a driver carry out the steps, until all is known or time is up."""
        plan, told = self._plan(), 0
        try:
            step = next(plan)
            while True:
                step = plan.send(driver.run(step))
                if self._on_step is not None:
                    for each in self.findings.steps[told:]:
                        self._on_step(each)
                told = len(self.findings.steps)
        except StopIteration:
            return
        finally:
            plan.close()

    def _plan(self) -> Steps:
        findings, late = self.findings, None
        try:
            yield from unloaded(findings)
            try:
                yield from RateSearch(findings).run()
                findings.complete = True
            except Spent:
                pass
            except GeneratorLateError as error:
                late = error  # what is kept in flight is sent when an answer comes, never late
            yield from sweep(findings)
        except Spent:
            findings.complete = False
        if late is not None:
            raise late

    def report(self) -> CapacityReport | None:
        """Return what is known, or None while no rate is known to be within the SLO."""
        findings, settings = self.findings, self.findings.settings
        rate = findings.likely if findings.rate is None else findings.rate
        if rate is None or findings.unloaded is None:
            return None
        found = limits(findings.steps[1:], settings.slo)
        notes = list(dict.fromkeys(findings.notes))
        if findings.rate is None:
            notes.append(f"{rate:g} requests a second looked good, for too short a time to be sure")
        if found is None:
            # Little's law: a rate and the time that each request takes give how many are inside.
            least = max(1, math.ceil(rate * findings.unloaded))
            most = max(least, math.floor(rate * settings.slo.p99))
            floor, limit, ceiling, throughput = least, least, most, rate
            notes.append("nothing swept: limit, floor and ceiling are those of Little's law")
        else:
            floor, limit, ceiling = found.floor, found.limit, found.ceiling
            throughput = found.throughput
        return CapacityReport(
            rate=rate,
            limit=limit,
            floor=floor,
            ceiling=ceiling,
            unloaded=findings.unloaded,
            throughput=throughput,
            slo=settings.slo,
            steps=tuple(findings.steps),
            complete=findings.complete and found is not None,
            notes=tuple(notes),
            seed=settings.seed,
            seconds=findings.seconds,
            requests=findings.requests,
            machine=machine(),
            created=utc_now(),
        )


def capacity_test(
    target: Any,
    rates: Sequence[float] = RATES,
    step_seconds: float = 10.0,
    slo: Slo | None = None,
    *,
    max_seconds: float = 1200.0,
    max_requests: int = 1_000_000,
    most_rate: float = 10_000.0,
    most_in_flight: int = 512,
    tolerance: float | None = None,
    seed: int = 0,
    on_step: Callable[[Step], object] | None = None,
) -> CapacityReport:
    """Find how many requests a second a service answers within an SLO, and how many at once.

    Requests come at random times, as many a second as asked for, whether or not earlier ones have
    an answer, and a latency counts from when its request was due. A ramp over `rates` brackets the
    rate at which the SLO breaks; the bracket is then halved. Last, requests are kept in flight, 1,
    2, 3, 4, 6, ... of them. Takes some minutes, most of them near the limit.

    Parameters
    ----------
    target : callable or Url
        What to ask, without arguments. A ``def`` is called in threads; an ``async def`` in an event
        loop of its own. An exception is an error, and `AtCapacity` a refusal.
    rates : sequence of float
        Requests a second, rising. If the first is too many, fewer are tried; after the last, twice
        as many.
    step_seconds : float
        Of a rung of the ramp; where the answer is near or unclear, steps are up to 16 times as long
        in all. The first fifth of each is left out.
    slo : Slo, optional
    max_seconds : float
    max_requests : int
        Bounds of the whole test. One that ends by them has a report that is not `complete`.
    most_rate : float
        Where doubling ends.
    most_in_flight : int
        Requests that may be without an answer before a step is given up as overloaded.
    tolerance : float, optional
        Seconds that a request may be sent after it was due: by default a tenth of the SLO's p99,
        5 ms at least. A round in which more than 1 % are later is made again, twice at most.
    seed : int
        Of the times of requests.
    on_step : callable, optional
        Is told the figures of each step.

    Returns
    -------
    CapacityReport

    Raises
    ------
    GeneratorLateError
        If requests cannot be sent when they are due.
    CapacityError
        If no rate is within the SLO, nothing is answered at all, or the bounds were reached before
        anything was known.
    TypeError, ValueError
        If an argument is of another kind, or out of its range.
    """
    settings = read_settings(
        rates=rates,
        step_seconds=step_seconds,
        slo=Slo() if slo is None else slo,
        max_seconds=max_seconds,
        max_requests=max_requests,
        most_rate=most_rate,
        most_in_flight=most_in_flight,
        tolerance=tolerance,
        seed=seed,
    )
    test = CapacityTest(settings, on_step)
    driver = driver_of(target)
    try:
        test.run(driver)
    except CapacityError as error:
        error.report = test.report()
        raise
    finally:
        driver.close()
    return finished(test)


def finished(test: CapacityTest) -> CapacityReport:
    """Return the report of a test that has ended, or raise CapacityError if nothing is known."""
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
    most_rate: Any,
    most_in_flight: Any,
    tolerance: Any,
    seed: Any,
) -> LoadTestSettings:
    """Check what a test was asked to do."""
    if not isinstance(slo, Slo):
        raise TypeError(f"slo must be a waterfill.Slo, got {slo!r}")
    if isinstance(rates, str) or not isinstance(rates, Sequence | np.ndarray) or not len(rates):
        raise TypeError(f"rates must be a sequence of numbers, got {rates!r}")
    given = tuple(_positive(f"rates[{i}]", rate) for i, rate in enumerate(rates))
    if any(b <= a for a, b in pairwise(given)):
        raise ValueError(f"rates={list(given)} must rise")
    if as_int("seed", seed) < 0:
        raise ValueError(f"seed={seed} must be at least 0")
    usual = max(0.005, slo.p99 / 10)
    return LoadTestSettings(
        rates=given,
        step_seconds=_positive("step_seconds", step_seconds),
        slo=slo,
        seed=int(seed),
        max_seconds=_positive("max_seconds", max_seconds),
        max_requests=as_positive_int("max_requests", max_requests),
        most_rate=max(_positive("most_rate", most_rate), given[-1]),
        most_in_flight=as_positive_int("most_in_flight", most_in_flight),
        tolerance=usual if tolerance is None else _positive("tolerance", tolerance),
    )


def _positive(name: str, value: Any) -> float:
    number = as_number(name, value, 0, finite=True)
    if number == 0:
        raise ValueError(f"{name}=0 must be above 0")
    return number


def machine() -> dict[str, Any]:
    """Return where this runs, as far as figures depend on it."""
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "cpus": os.cpu_count(),
        "isa": _core.isa(),
        "threads": _core.get_num_threads(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "waterfill": version("waterfill"),
    }
