"""Service-level objectives, and statistical tests of whether a step met them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from waterfill._util.validation import as_number


@dataclass(frozen=True)
class Slo:
    """A service-level objective: how slow, and how often in vain.

    Attributes
    ----------
    p99 : float
        Seconds. 99 of 100 answers must come within them.
    errors : float
        The share of requests, from 0 to below 1, that may fail or be refused.

    Raises
    ------
    TypeError, ValueError
        If one of them is no number, or out of its range.
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
        return f"99 % within {1000 * self.p99:g} ms, at most {100 * self.errors:g} % in vain"


Verdict = Literal["good", "bad", "unclear"]

SLOW = 0.01
"""The share of answers that may be slower than a p99."""

_BLOCKS = 16  # that a step is cut into, to see how much its requests have in common
_LEAST_EFFECT = 2.0  # what a step with too few slow requests to tell is taken to have
_Z = NormalDist().inv_cdf(0.9)  # a bound is wrong once in ten


def design_effect(happened: NDArray[np.bool_]) -> float:
    """Return how many requests in turn tell as much as one alone.

    Slow requests come together, as a queue that is long for one is long for the next. So shares
    of blocks differ by more than they would by chance alone; the ratio of the variances is 1 for
    independent requests.
    """
    size = len(happened) // _BLOCKS
    share = float(happened.mean()) if len(happened) else 0.0
    if size == 0 or not 0 < share < 1:
        return _LEAST_EFFECT
    counts = happened[: size * _BLOCKS].reshape(_BLOCKS, size).sum(axis=1)
    effect = float(counts.var(ddof=1)) / (size * share * (1 - share))
    return min(max(effect, _LEAST_EFFECT), float(size))


def bounds(happened: NDArray[np.bool_]) -> tuple[float, float]:
    """Return Wilson's lower and upper bound of a share, each 90 % sure."""
    if not len(happened):
        return 0.0, 1.0
    n, share = len(happened) / design_effect(happened), float(happened.mean())
    middle = share + _Z**2 / (2 * n)
    spread = _Z * math.sqrt(share * (1 - share) / n + _Z**2 / (4 * n * n))
    scale = 1 + _Z**2 / n
    return (middle - spread) / scale, (middle + spread) / scale


def judge(happened: Any, allowed: float) -> Verdict:
    """Say whether a share is at most `allowed`.

    Parameters
    ----------
    happened : bool (n,)
        By request, in the order of time.
    allowed : float
        A share; of 0, every request is clear.
    """
    given = np.asarray(happened, dtype=bool)
    if allowed == 0 and len(given):
        return "bad" if given.any() else "good"
    low, high = bounds(given)
    if low > allowed:
        return "bad"
    return "good" if high <= allowed else "unclear"


def together(*verdicts: Verdict) -> Verdict:
    """Return the verdict on all: good if each is, bad if any is."""
    if "bad" in verdicts:
        return "bad"
    return "unclear" if "unclear" in verdicts else "good"
