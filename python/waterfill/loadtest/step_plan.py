"""What a capacity test asks for next: decisions alone, by no clock.

Generators yield steps and are sent what a driver saw of them, so that the same decisions are made
by the real clock and by a simulated one.
"""

from __future__ import annotations

import math
from collections.abc import Generator
from dataclasses import dataclass, field

import numpy as np

from waterfill.loadtest.figures import Rounds, Step
from waterfill.loadtest.report import CapacityError, GeneratorLateError
from waterfill.loadtest.slo import Slo
from waterfill.loadtest.steps import LOST, Closed, Open, Seen

Steps = Generator[Open | Closed, Seen, None]
Measured = Generator[Open | Closed, Seen, Rounds]

LATE = 0.01
"""The share of requests that may be sent late."""

_AGAIN = 2  # times that a round is made again whose requests were sent late


class Spent(Exception):  # noqa: N818 - no error: seconds or requests are at an end
    """There is no time left for the next step."""


@dataclass(frozen=True)
class LoadTestSettings:
    """What a test was asked to do; `capacity_test` says what each means."""

    rates: tuple[float, ...]
    step_seconds: float
    slo: Slo
    seed: int
    max_seconds: float
    max_requests: int
    most_rate: float
    most_in_flight: int
    tolerance: float

    @property
    def patience(self) -> float:
        """Seconds to wait for what is without an answer when a step ends."""
        return max(30.0, 20 * self.slo.p99)


@dataclass
class Findings:
    """What is known so far.

    Attributes
    ----------
    unloaded : float or None
        Median seconds of an answer while nothing else is in flight.
    rate : float or None
        The highest rate that is within the SLO.
    likely : float or None
        One of the ramp that looked as if it were, for too short a time to be sure.
    steps : list of Step
    notes : list of str
        What to know about the test itself.
    seconds, requests
        Spent so far.
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

    def open(self, rate: float, seconds: float, until: float) -> Open:
        """Draw the times of requests; raise `Spent` if there is no time for them."""
        self._require(seconds, rate * seconds, until)
        settings = self.settings
        due = np.sort(self._rng.uniform(0, seconds, self._rng.poisson(rate * seconds)))
        # So many wait only where a twentieth of the step and more comes too late.
        most = math.ceil(rate * (4 * settings.slo.p99 + 0.05 * seconds)) + 32
        return Open(due, min(most, settings.most_in_flight), settings.patience)

    def closed(self, in_flight: int, seconds: float, until: float = 1.0) -> Closed:
        """Return a step; raise `Spent` if there is no time for it."""
        self._require(seconds, in_flight, until)
        left = self.settings.max_requests - self.requests
        return Closed(in_flight, seconds, left, self.settings.patience)

    def take(self, rounds: Rounds, seen: Seen, seconds: float) -> None:
        """Count what a round took, and take it in."""
        self.seconds += seen.elapsed
        self.requests += len(seen.due)
        self.error = self.error or seen.error
        rounds.add(seen, seconds)
        if (seen.outcome == LOST).any():
            self.notes.append(
                f"requests without an answer {self.settings.patience:g} s after the end of a step"
            )
            raise Spent

    def keep(self, step: Step) -> None:
        """Write a step down."""
        self.steps.append(step)

    def _require(self, seconds: float, requests: float, until: float) -> None:
        settings = self.settings
        if self.seconds + seconds > until * settings.max_seconds:
            self.notes.append(f"max_seconds={settings.max_seconds:g} were not enough")
            raise Spent
        if self.requests + requests > until * settings.max_requests:
            self.notes.append(f"max_requests={settings.max_requests} were not enough")
            raise Spent


def unloaded(findings: Findings) -> Steps:
    """Find how long an answer takes while nothing else is in flight."""
    settings = findings.settings
    rounds = findings.rounds(in_flight=1)
    seen = yield findings.closed(1, settings.step_seconds / 2)
    findings.take(rounds, seen, max(seen.elapsed, 1e-9))
    step = rounds.step(rounds.verdict())
    if step.p50 is None:
        raise CapacityError(f"no request had an answer: {findings.error or 'all were refused'}")
    findings.keep(step)
    findings.unloaded = step.p50
    if step.p50 > settings.slo.p99:
        raise CapacityError(
            f"one request at a time takes {1000 * step.p50:.3g} ms, more than the SLO of "
            f"{1000 * settings.slo.p99:g} ms: no rate is within it"
        )


def measure(findings: Findings, rate: float, lengths: tuple[float, ...], until: float) -> Measured:
    """Offer a rate for rounds of these lengths, until it is clear whether it is within the SLO."""
    rounds = findings.rounds(offered=rate)
    for seconds in lengths:
        yield from _on_time(findings, rounds, rate, seconds, until)
        if rounds.verdict() != "unclear":
            break
    return rounds


def _on_time(
    findings: Findings, rounds: Rounds, rate: float, seconds: float, until: float
) -> Steps:
    """Take in a round whose requests were sent when they were due."""
    for _ in range(1 + _AGAIN):
        one = findings.rounds(offered=rate)
        step = findings.open(rate, seconds, until)
        seen = yield step
        findings.take(one, seen, seconds)
        # A target that is slow in itself is bad, whoever else was late.
        if one.late() <= LATE or one.cut or one.verdict(from_sent=True) == "bad":
            rounds.add(seen, seconds)
            return
        findings.keep(one.step("unclear", "generator late"))
    raise GeneratorLateError(
        f"{100 * one.late():.1f} % of {rate:g} requests a second were sent more than "
        f"{1000 * findings.settings.tolerance:g} ms late: this process cannot keep up; "
        "offer less, or send from another machine"
    )
