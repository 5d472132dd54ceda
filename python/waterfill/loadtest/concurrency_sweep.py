"""How much in flight is enough, and how much is too much."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from waterfill.loadtest.figures import Step
from waterfill.loadtest.slo import SLOW, Slo
from waterfill.loadtest.step_plan import Findings, Steps

KNEE = 0.95
"""The part of the most throughput that is had at the knee."""

_WANTED = 2000  # answers of a step, for a p99 that is worth something
_BEYOND = 2  # steps in turn that break the SLO before the sweep ends


def sweep(findings: Findings) -> Steps:
    """Keep 1, 2, 3, 4, 6, 8, 12, ... in flight, until more is of no use."""
    settings = findings.settings
    pace, beyond = 0.0, 0
    for in_flight in in_flights(settings.most_in_flight):
        wanted = _WANTED / pace if pace else settings.step_seconds
        seconds = min(max(wanted, settings.step_seconds / 5), settings.step_seconds)
        rounds = findings.rounds(in_flight=in_flight)
        seen = yield findings.closed(in_flight, seconds)
        findings.take(rounds, seen, seconds)
        good = rounds.within()
        step = rounds.step("good" if good else "bad")
        findings.keep(step)
        pace = max(pace, step.achieved)
        beyond = 0 if good else beyond + 1
        # By Little's law more take longer than that on average, whatever those that ended took.
        enough = in_flight > pace * settings.slo.p99
        if enough or beyond == _BEYOND or step.errors + step.refused > 0.5:
            return
    findings.notes.append(f"most_in_flight={settings.most_in_flight} is still within the SLO")


def in_flights(most: int) -> Iterator[int]:
    """Yield 1, 2, 3, 4, 6, 8, 12, 16, ... up to `most`."""
    power = 1
    yield 1
    while 2 * power <= most:
        power *= 2
        yield power
        if power + power // 2 <= most:
            yield power + power // 2


@dataclass(frozen=True)
class Limits:
    """What the steps of a sweep say; `CapacityReport` has the meaning of each."""

    limit: int
    floor: int
    ceiling: int
    throughput: float


def limits(steps: list[Step], slo: Slo) -> Limits | None:
    """Return what a sweep says of how much may be in flight, or None where there was none."""
    swept = sorted((s for s in steps if s.in_flight is not None), key=lambda s: s.in_flight or 0)
    if len(swept) < 2:
        return None
    most = max(step.achieved for step in swept)
    knee = next(step.in_flight or 1 for step in swept if step.achieved >= KNEE * most)
    # Where some are left waiting until the end, as by an unfair lock, only Little's law shows it.
    ceiling = max(1, math.floor(most * slo.p99))
    limit = min(_limit(swept, slo), ceiling)
    return Limits(limit, min(knee, limit), ceiling, most)


def _limit(swept: list[Step], slo: Slo) -> int:
    """Return the most in flight whose p99 is within the SLO, between two steps by a line."""
    last = 1
    for before, step in pairwise(swept):
        assert before.in_flight is not None
        assert step.in_flight is not None
        if step.verdict == "good":
            last = step.in_flight
            continue
        if step.p99 is None or before.p99 is None or step.slow <= SLOW:  # errors, not time
            return last
        share = (slo.p99 - before.p99) / max(step.p99 - before.p99, 1e-12)
        gap = step.in_flight - before.in_flight
        return max(1, before.in_flight + math.floor(min(max(share, 0.0), 1.0) * gap))
    return last
