"""The concurrency sweep: throughput and latency with 1, 2, 3, 4, 6, ... requests in flight."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from waterfill.loadtest.figures import Step
from waterfill.loadtest.slo import SLOW_SHARE, Slo
from waterfill.loadtest.step_plan import Findings, Steps

KNEE = 0.95
"""The share of the maximum throughput that is reached at the knee."""

_MIN_ANSWERS = 2000  # of a step: enough for a useful p99
_MAX_BAD_STEPS = 2  # consecutive steps outside the SLO before the sweep ends


def sweep(findings: Findings) -> Steps:
    """Keep 1, 2, 3, 4, 6, 8, 12, ... in flight until more cannot stay within the SLO."""
    settings = findings.settings
    throughput, bad_steps = 0.0, 0
    for in_flight in concurrency_levels(settings.max_in_flight):
        enough = _MIN_ANSWERS / throughput if throughput else settings.step_seconds
        seconds = min(max(enough, settings.step_seconds / 5), settings.step_seconds)
        rounds = findings.rounds(in_flight=in_flight)
        trace = yield findings.closed(in_flight, seconds)
        findings.take(rounds, trace, seconds)
        good = rounds.within()
        step = rounds.step("good" if good else "bad")
        findings.keep(step)
        throughput = max(throughput, step.achieved)
        bad_steps = 0 if good else bad_steps + 1
        # By Little's law the mean latency exceeds the SLO here, even if the answers that arrived
        # within the step were fast.
        saturated = in_flight > throughput * settings.slo.p99
        if saturated or bad_steps == _MAX_BAD_STEPS or step.errors + step.refused > 0.5:
            return
    findings.notes.append(f"max_in_flight={settings.max_in_flight} is still within the SLO")


def concurrency_levels(maximum: int) -> Iterator[int]:
    """Yield 1, 2, 3, 4, 6, 8, 12, 16, ... up to `maximum`."""
    power = 1
    yield 1
    while 2 * power <= maximum:
        power *= 2
        yield power
        if power + power // 2 <= maximum:
            yield power + power // 2


@dataclass(frozen=True)
class SweepResult:
    """Result of a sweep; the attributes are those of `CapacityReport`."""

    limit: int
    floor: int
    ceiling: int
    throughput: float


def sweep_result(steps: list[Step], slo: Slo) -> SweepResult | None:
    """Return the limits that the sweep's steps imply, or None if fewer than two were run."""
    swept = sorted((s for s in steps if s.in_flight is not None), key=lambda s: s.in_flight or 0)
    if len(swept) < 2:
        return None
    throughput = max(step.achieved for step in swept)
    knee = next(step.in_flight or 1 for step in swept if step.achieved >= KNEE * throughput)
    # An unfair lock can leave some requests waiting until the end of a step; only Little's law
    # shows these.
    ceiling = max(1, math.floor(throughput * slo.p99))
    limit = min(_limit(swept, slo), ceiling)
    return SweepResult(limit, min(knee, limit), ceiling, throughput)


def _limit(swept: list[Step], slo: Slo) -> int:
    """Return the largest number in flight whose p99 is within the SLO, interpolated linearly."""
    last = 1
    for before, step in pairwise(swept):
        assert before.in_flight is not None
        assert step.in_flight is not None
        if step.verdict == "good":
            last = step.in_flight
            continue
        if step.p99 is None or before.p99 is None or step.slow <= SLOW_SHARE:  # errors, not latency
            return last
        fraction = (slo.p99 - before.p99) / max(step.p99 - before.p99, 1e-12)
        gap = step.in_flight - before.in_flight
        return max(1, before.in_flight + math.floor(min(max(fraction, 0.0), 1.0) * gap))
    return last
