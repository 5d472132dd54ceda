"""What a monitor is given: numbers, probes and a canary, checked; what it learns from some rows."""

from __future__ import annotations

from typing import Any

import numpy as np

from waterfill.arguments import Metric, as_int, as_number
from waterfill.codec import Codec
from waterfill.drift.canary import Canary
from waterfill.drift.recall import CanaryRecall
from waterfill.drift.sensitivity import Sensitivity
from waterfill.rows import FloatRows, Rows

LEARNT_ROWS = 3000
"""Rows that become a baseline, where there are more."""

_FEWEST_PROBES = 8
_FEWEST_PERMUTATIONS = 99


def checked_alpha(alpha: Any) -> float:
    """Return a probability of false alarms."""
    number = as_number("alpha", alpha, 0.0)
    if not 0 < number <= 0.2:
        raise ValueError(f"alpha={number} must be above 0 and at most 0.2")
    return number


def checked_permutations(permutations: Any) -> int:
    """Return a number of permutations."""
    number = as_int("permutations", permutations)
    if number < _FEWEST_PERMUTATIONS:
        raise ValueError(f"permutations={number} must be at least {_FEWEST_PERMUTATIONS}")
    return number


def baseline_recall(codec: Codec, canary: Any) -> CanaryRecall | None:
    """Return what a canary shows before any drift; measured, unless it was."""
    if canary is None or isinstance(canary, CanaryRecall):
        return canary
    if not isinstance(canary, Canary):
        raise TypeError(f"canary must be a Canary or CanaryRecall, got {type(canary).__name__}")
    return canary.measure(codec)


def probe_rows(d: int, probes: Any) -> FloatRows:
    """Return probes as rows."""
    rows = Rows(probes, "probes", d)
    if rows.n < _FEWEST_PROBES:
        raise ValueError(f"probes has {rows.n} rows; at least {_FEWEST_PROBES} are needed")
    return rows.take(np.arange(rows.n))


def learnt_sensitivity(
    codec: Codec, rows: Rows, chosen: Any, queries: Any, metric: Metric
) -> Sensitivity:
    """Return how recall answers to the error, learnt from the rows of a baseline."""
    numbers = np.arange(rows.n) if chosen is None else chosen
    if len(numbers) > LEARNT_ROWS:
        numbers = numbers[np.linspace(0, len(numbers) - 1, LEARNT_ROWS).astype(np.int64)]
    return Sensitivity.measure(codec, rows.take(numbers), queries, metric=metric)
