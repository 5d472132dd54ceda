"""The decisions that the phases of a capacity test share, independent of any clock.

Generators yield steps and are sent the driver's trace of each, so that the real clock and a
simulated one lead to the same decisions.
"""

from __future__ import annotations

import math
from collections.abc import Generator
from dataclasses import dataclass, field

import numpy as np

from waterfill.loadtest.figures import Rounds, Step
from waterfill.loadtest.report import CapacityError, GeneratorLateError
from waterfill.loadtest.slo import Slo
from waterfill.loadtest.steps import LOST, ClosedLoop, OpenLoop, Trace

Steps = Generator[OpenLoop | ClosedLoop, Trace, None]
Measurement = Generator[OpenLoop | ClosedLoop, Trace, Rounds]

MAX_LATE_SHARE = 0.01
"""The share of requests that may be sent late."""

_MAX_REPEATS = 2  # of a round whose requests were sent late


class BudgetSpent(Exception):  # noqa: N818 - not an error: it ends a phase of the test
    """Not enough seconds or requests are left for the next step."""


@dataclass(frozen=True)
class LoadTestSettings:
    """Checked arguments of `capacity_test`, which documents them."""

    rates: tuple[float, ...]
    step_seconds: float
    slo: Slo
    seed: int
    max_seconds: float
    max_requests: int
    max_rate: float
    max_in_flight: int
    tolerance: float

    @property
    def patience(self) -> float:
        """Seconds to wait for pending answers when a step ends."""
        return max(30.0, 20 * self.slo.p99)


@dataclass
class Findings:
    """Everything that a test has found out so far, and what it has spent.

    Attributes
    ----------
    unloaded : float or None
        Median latency in seconds with one request in flight.
    rate : float or None
        The highest rate proved to be within the SLO.
    likely : float or None
        The highest rate of the ramp that looked good in a step too short to prove it.
    steps : list of Step
    notes : list of str
        Remarks about the test itself.
    seconds, requests
        Spent so far.
    error : str or None
        The first error of the target.
    """

    settings: LoadTestSettings
    unloaded: float | None = None
    rate: float | None = None
    likely: float | None = None
    steps: list[Step] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    complete: bool = False
    seconds: float = 0.0
    requests: int = 0
    error: str | None = None

    def __post_init__(self) -> None:
        self._rng = np.random.default_rng(self.settings.seed)

    def rounds(self, *, offered: float | None = None, in_flight: int | None = None) -> Rounds:
        """Return an empty collection for a rate (`offered`) or a number `in_flight`."""
        return Rounds(self.settings.slo, self.settings.tolerance, offered, in_flight)

    def open(self, rate: float, seconds: float, budget_share: float) -> OpenLoop:
        """Draw the times of requests; raise `BudgetSpent` if the budget's share is exceeded."""
        self._require(seconds, rate * seconds, budget_share)
        settings = self.settings
        due = np.sort(self._rng.uniform(0, seconds, self._rng.poisson(rate * seconds)))
        # This many are pending only if more than a twentieth of the step will be late.
        pending = math.ceil(rate * (4 * settings.slo.p99 + 0.05 * seconds)) + 32
        return OpenLoop(due, min(pending, settings.max_in_flight), settings.patience)

    def closed(self, in_flight: int, seconds: float, budget_share: float = 1.0) -> ClosedLoop:
        """Return a step; raise `BudgetSpent` if the budget's share is exceeded."""
        self._require(seconds, in_flight, budget_share)
        left = self.settings.max_requests - self.requests
        return ClosedLoop(in_flight, seconds, left, self.settings.patience)

    def take(self, rounds: Rounds, trace: Trace, seconds: float) -> None:
        """Count what a round spent, and add its trace to `rounds`."""
        self.seconds += trace.elapsed
        self.requests += len(trace.due)
        self.error = self.error or trace.error
        rounds.add(trace, seconds)
        if (trace.outcome == LOST).any():
            self.notes.append(
                f"requests without an answer {self.settings.patience:g} s after the end of a step"
            )
            raise BudgetSpent

    def keep(self, step: Step) -> None:
        """Append the figures of a step."""
        self.steps.append(step)

    def _require(self, seconds: float, requests: float, budget_share: float) -> None:
        settings = self.settings
        if self.seconds + seconds > budget_share * settings.max_seconds:
            self.notes.append(f"max_seconds={settings.max_seconds:g} was not enough")
            raise BudgetSpent
        if self.requests + requests > budget_share * settings.max_requests:
            self.notes.append(f"max_requests={settings.max_requests} was not enough")
            raise BudgetSpent


def measure_unloaded(findings: Findings) -> Steps:
    """Measure the latency with one request in flight."""
    settings = findings.settings
    rounds = findings.rounds(in_flight=1)
    trace = yield findings.closed(1, settings.step_seconds / 2)
    findings.take(rounds, trace, max(trace.elapsed, 1e-9))
    step = rounds.step(rounds.verdict())
    if step.p50 is None:
        cause = findings.error or "all were refused"
        raise CapacityError(f"the target answered no request: {cause}")
    findings.keep(step)
    findings.unloaded = step.p50
    if step.p50 > settings.slo.p99:
        raise CapacityError(
            f"one request at a time takes {1000 * step.p50:.3g} ms, more than the SLO of "
            f"{1000 * settings.slo.p99:g} ms: no rate is within it"
        )


def measure(
    findings: Findings, rate: float, lengths: tuple[float, ...], budget_share: float
) -> Measurement:
    """Offer a rate for rounds of these lengths (s) until it is clear whether it meets the SLO."""
    rounds = findings.rounds(offered=rate)
    for seconds in lengths:
        yield from _punctual_round(findings, rounds, rate, seconds, budget_share)
        if rounds.verdict() != "unclear":
            break
    return rounds


def _punctual_round(
    findings: Findings, rounds: Rounds, rate: float, seconds: float, budget_share: float
) -> Steps:
    """Add a round whose requests were sent when they were due, repeating it if they were late."""
    for _ in range(1 + _MAX_REPEATS):
        one = findings.rounds(offered=rate)
        step = findings.open(rate, seconds, budget_share)
        trace = yield step
        findings.take(one, trace, seconds)
        # A target that is too slow even when measured from sending is bad, late or not.
        punctual = one.late() <= MAX_LATE_SHARE
        if punctual or one.cut or one.verdict(from_sent=True) == "bad":
            rounds.add(trace, seconds)
            return
        findings.keep(one.step("unclear", "generator late"))
    raise GeneratorLateError(
        f"{100 * one.late():.1f} % of {rate:g} requests per second were sent more than "
        f"{1000 * findings.settings.tolerance:g} ms late: this process cannot keep up; "
        "offer less, or send from another machine"
    )
