"""How an adaptive limit moves within the bounds of its capacity report."""

from __future__ import annotations

from typing import Any, NamedTuple

from waterfill.loadtest.report import CapacityReport

_GAIN = 0.05  # the part of the relative error of the median that one update corrects
_AIM = 0.8  # of the latency at the report's limit, so that the limit does not stay at its ceiling


class Adaptation(NamedTuple):
    """The control law of one limit. Its target is fixed: a measured baseline would drift."""

    floor: int
    ceiling: int
    start: int
    target: float  # seconds that the median permit should be held

    def next_limit(self, limit: float, median: float, in_use: int) -> float:
        """Return the limit after another median latency, as limiter.cpp does."""
        ratio = self.target / median
        if ratio > 1 and 2 * in_use < limit:
            return limit  # at most half used: no evidence that a higher limit would be safe
        return self.clamp(limit * (1 + _GAIN * (min(max(ratio, 0.5), 1.5) - 1)))

    def clamp(self, limit: float) -> float:
        """Return the limit, moved to the nearer bound if it is beyond one."""
        return min(max(limit, float(self.floor)), float(self.ceiling))


def read_adaptation(adaptive: Any, limit: int) -> Adaptation | None:
    """Return the control law for a limiter's `adaptive` argument, or None if the limit is fixed.

    At full throughput a request takes `unloaded` with `floor` in flight, and longer in proportion
    to the number in flight above that.
    """
    if adaptive is None:
        return None
    if not isinstance(adaptive, CapacityReport):
        raise TypeError(f"adaptive must be a CapacityReport or None, got {adaptive!r}")
    adaptive.require_complete("adaptive")
    floor, ceiling = adaptive.floor, adaptive.ceiling
    if not floor <= limit <= ceiling:
        raise ValueError(
            f"limit={limit} must be from {floor} to {ceiling}, the floor and ceiling of adaptive"
        )
    target = max(_AIM * adaptive.unloaded * adaptive.limit / floor, adaptive.unloaded)
    return Adaptation(floor, ceiling, limit, target)
