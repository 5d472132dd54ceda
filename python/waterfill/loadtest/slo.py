"""Service-level objectives, and the statistical test of whether a step meets one."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from waterfill._util.validation import as_number

Verdict = Literal["good", "bad", "unclear"]

SLOW_SHARE = 0.01
"""The share of answers that may be slower than the p99, by its definition."""

_BLOCKS = 16  # of consecutive requests, whose shares are compared for the design effect
_MIN_DESIGN_EFFECT = 2.0  # also assumed where too few requests are slow to estimate it
_Z = NormalDist().inv_cdf(0.9)  # one-sided 90 % bounds


@dataclass(frozen=True)
class Slo:
    """A service-level objective: a latency, and a share of errors.

    Attributes
    ----------
    p99 : float
        Seconds within which 99 % of the answers must arrive.
    errors : float
        Share of the requests, in [0, 1), that may fail, and that may be refused.

    Raises
    ------
    TypeError, ValueError
        If an attribute is not a number or out of range.
    """

    p99: float = 0.2
    errors: float = 0.01

    def __post_init__(self) -> None:
        p99 = as_number("p99", self.p99, 0, finite=True)
        errors = as_number("errors", self.errors, 0)
        if p99 == 0:
            raise ValueError("p99=0 must be above 0 seconds")
        if errors >= 1:
            raise ValueError(f"errors={self.errors} must be below 1")
        object.__setattr__(self, "p99", p99)
        object.__setattr__(self, "errors", errors)

    def __str__(self) -> str:
        return f"99 % within {1000 * self.p99:g} ms, at most {100 * self.errors:g} % errors"


def design_effect(events: NDArray[np.bool_]) -> float:
    """Return the factor by which correlation reduces the effective number of requests.

    Slow requests are correlated: a queue that is long for one is long for the next. The shares of
    consecutive blocks then vary more than those of independent requests; the design effect is the
    ratio of these variances (Kish, 1965).
    """
    size = len(events) // _BLOCKS
    share = float(events.mean()) if len(events) else 0.0
    if size == 0 or not 0 < share < 1:
        return _MIN_DESIGN_EFFECT
    counts = events[: size * _BLOCKS].reshape(_BLOCKS, size).sum(axis=1)
    effect = float(counts.var(ddof=1)) / (size * share * (1 - share))
    return min(max(effect, _MIN_DESIGN_EFFECT), float(size))


def bounds(events: NDArray[np.bool_]) -> tuple[float, float]:
    """Return lower and upper 90 % confidence bounds of a share (Wilson, 1927)."""
    if not len(events):
        return 0.0, 1.0
    n, share = len(events) / design_effect(events), float(events.mean())
    middle = share + _Z**2 / (2 * n)
    spread = _Z * math.sqrt(share * (1 - share) / n + _Z**2 / (4 * n * n))
    scale = 1 + _Z**2 / n
    return (middle - spread) / scale, (middle + spread) / scale


def judge(events: Any, allowed: float) -> Verdict:
    """Return whether the share of events is at most `allowed`.

    Parameters
    ----------
    events : bool (n,)
        Whether the event happened, by request, in the order of time.
    allowed : float
        A share. If it is 0, the verdict is exact: no event may happen.
    """
    happened = np.asarray(events, dtype=bool)
    if allowed == 0 and len(happened):
        return "bad" if happened.any() else "good"
    low, high = bounds(happened)
    if low > allowed:
        return "bad"
    return "good" if high <= allowed else "unclear"


def combine_verdicts(*verdicts: Verdict) -> Verdict:
    """Return 'good' if all are good, 'bad' if any is bad, else 'unclear'."""
    if "bad" in verdicts:
        return "bad"
    return "unclear" if "unclear" in verdicts else "good"
