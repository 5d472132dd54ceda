"""Samples and histograms, and the tables of series that they are merged in."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from waterfill.metrics.families import BOUNDS, FAMILIES

BOUND_NAMES = (*(f"{bound:.9g}" for bound in BOUNDS), "+Inf")  # values of the label le
_ORDER = {name: place for place, name in enumerate(FAMILIES)}


@dataclass(frozen=True, slots=True)
class Histogram:
    """Durations, counted by bucket.

    Attributes
    ----------
    counts : tuple of int
        Durations in each bucket, not cumulative: one bucket below each of `BOUNDS`, and one above
        the last. A duration equal to a bound belongs to the next bucket.
    nanoseconds : int
        Sum of the durations. An integer, so that the sum does not depend on the order of addition.
    """

    counts: tuple[int, ...]
    nanoseconds: int

    @property
    def count(self) -> int:
        """Number of durations."""
        return sum(self.counts)

    @property
    def sum(self) -> float:
        """Sum of the durations in seconds."""
        return self.nanoseconds * 1e-9

    def cumulative(self) -> list[tuple[str, int]]:
        """Return each bound, and ``'+Inf'``, with the number of durations below it."""
        buckets, below = [], 0
        for name, count in zip(BOUND_NAMES, self.counts, strict=True):
            below += count
            buckets.append((name, below))
        return buckets

    def __add__(self, other: Histogram) -> Histogram:
        """Add bucket by bucket."""
        counts = tuple(a + b for a, b in zip(self.counts, other.counts, strict=True))
        return Histogram(counts, self.nanoseconds + other.nanoseconds)


Value = int | float | Histogram


class Sample(NamedTuple):
    """One value of one series.

    Attributes
    ----------
    name : str
        Name of the family: a key of `FAMILIES`, which has its type, labels and meaning.
    labels : dict of str
        Values of the labels.
    value : int, float or Histogram
        In the unit of the family.
    """

    name: str
    labels: dict[str, str]
    value: Value


Key = tuple[str, ...]  # name of the family, then the values of its labels in the family's order
Table = dict[Key, Value]


def as_samples(table: Table) -> tuple[Sample, ...]:
    """Return the series of a table in the order of `FAMILIES`."""
    return tuple(
        Sample(key[0], dict(zip(FAMILIES[key[0]].labels, key[1:], strict=True)), table[key])
        for key in sorted(table, key=lambda key: (_ORDER[key[0]], key))
    )


def add_to(table: Table, items: Iterable[tuple[Key, Value]]) -> None:
    """Add series to a table; merge those that it has already as their family says."""
    for key, value in items:
        table[key] = _merge(FAMILIES[key[0]].merge, table[key], value) if key in table else value


def _merge(method: str, first: Value, second: Value) -> Value:
    if isinstance(first, Histogram) and isinstance(second, Histogram):
        return first + second
    if isinstance(first, Histogram) or isinstance(second, Histogram):
        raise TypeError("cannot merge a histogram and a number")
    if method == "sum":
        return first + second
    return max(first, second) if method == "max" else min(first, second)


def counts_in(table: Table) -> Table:
    """Return the series that never decrease: counters and histograms."""
    return {key: value for key, value in table.items() if FAMILIES[key[0]].kind != "gauge"}


def counts_since(table: Table, start: Table) -> Table:
    """Return a table with the counters of an earlier one subtracted."""
    return {
        key: _subtract(value, start[key]) if key in start else value for key, value in table.items()
    }


def _subtract(value: Value, start: Value) -> Value:
    assert not isinstance(value, Histogram)  # limiters, which have them, restart at 0 by themselves
    assert not isinstance(start, Histogram)
    return value - start
