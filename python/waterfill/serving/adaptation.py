"""How an adaptive limit moves: anchored to a capacity report, and clamped to its bounds."""

from __future__ import annotations

from typing import Any, NamedTuple

from waterfill.loadtest.report import CapacityReport

_STEP = 0.05  # the part of the way to where the median should be that a limit goes at once
_AIM = 0.8  # of the time at the report's limit, so that the limit does not live at its ceiling


class Adaptation(NamedTuple):
    """The law of one limit. Nothing of it ever moves: a baseline that does drifts away."""

    floor: int
    ceiling: int
    start: int
    target: float  # seconds that the median permit should be held for

    def next(self, limit: float, median: float, in_use: int) -> float:
        """Return the limit after another median, as limiter.cpp does."""
        ratio = self.target / median
        if ratio > 1 and 2 * in_use < limit:
            return limit  # half used at most, it says nothing of a higher one
        moved = limit * (1 + _STEP * (min(max(ratio, 0.5), 1.5) - 1))
        return self.clamped(moved)

    def clamped(self, limit: float) -> float:
        """Return the limit, or the bound that it is beyond."""
        return min(max(limit, float(self.floor)), float(self.ceiling))


def anchored(adaptive: Any, limit: int) -> Adaptation | None:
    """Return the law of a limit that starts as given, or None where it does not move.

    At full throughput a request takes `unloaded` with `floor` in flight, and longer in proportion
    to what is in flight above that.
    """
    if adaptive is None:
        return None
    if not isinstance(adaptive, CapacityReport):
        raise TypeError(f"adaptive must be a CapacityReport or None, got {adaptive!r}")
    floor, ceiling = adaptive.floor, adaptive.ceiling
    if not floor <= limit <= ceiling:
        raise ValueError(
            f"limit={limit} must be from {floor} to {ceiling}, the floor and ceiling of adaptive"
        )
    target = max(_AIM * adaptive.unloaded * adaptive.limit / floor, adaptive.unloaded)
    return Adaptation(floor, ceiling, limit, target)
