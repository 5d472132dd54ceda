"""Numbers as they are read, merged and handed out."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from waterfill.metrics.families import BOUNDS, FAMILIES


@dataclass(frozen=True, slots=True)
class Histogram:
    """Durations, by bucket.

    Attributes
    ----------
    counts : tuple of int
        Of each bucket alone: those of `BOUNDS`, and one of what is beyond. A duration that is a
        bound to the nanosecond is in the next one.
    nanoseconds : int
        The sum; an integer, so that no order of adding gives another.
    """

    counts: tuple[int, ...]
    nanoseconds: int

    @property
    def count(self) -> int:
        """How many there are; `sum` says how long they are together."""
        return sum(self.counts)

    @property
    def sum(self) -> float:
        """Seconds of all of them."""
        return self.nanoseconds * 1e-9

    def cumulative(self) -> list[tuple[str, int]]:
        """Return for each bound, and infinity, how many lie below it."""
        found, below = [], 0
        for name, own in zip(_NAMES, self.counts, strict=True):
            below += own
            found.append((name, below))
        return found


_NAMES = (*(f"{bound:.9g}" for bound in BOUNDS), "+Inf")
_ORDER = {name: place for place, name in enumerate(FAMILIES)}
Value = int | float | Histogram


class Sample(NamedTuple):
    """One number, or one histogram.

    Attributes
    ----------
    name : str
        A key of `FAMILIES`, which has type, labels and meaning.
    labels : dict of str
    value : int, float or Histogram
    """

    name: str
    labels: dict[str, str]
    value: Value


Key = tuple[str, ...]  # the name, and the values of the labels in the order of the family's
Table = dict[Key, Value]


def as_samples(table: Table) -> tuple[Sample, ...]:
    """Return what stands in a table, family by family."""
    return tuple(
        Sample(key[0], dict(zip(FAMILIES[key[0]].labels, key[1:], strict=True)), table[key])
        for key in sorted(table, key=lambda key: (_ORDER[key[0]], key))
    )


def put(table: Table, items: Iterable[tuple[Key, Value]]) -> None:
    """Add to a table; what is there already is merged as its family says."""
    for key, value in items:
        before = table.get(key)
        table[key] = value if before is None else _merged(FAMILIES[key[0]].merge, before, value)


def _merged(how: str, one: Value, other: Value) -> Value:
    if isinstance(one, Histogram) and isinstance(other, Histogram):
        return plus(one, other)
    if isinstance(one, Histogram) or isinstance(other, Histogram):
        raise TypeError("a histogram and a number are not one series")
    if how == "sum":
        return one + other
    return max(one, other) if how == "max" else min(one, other)


def plus(one: Histogram, other: Histogram) -> Histogram:
    """Return both together."""
    counts = tuple(a + b for a, b in zip(one.counts, other.counts, strict=True))
    return Histogram(counts, one.nanoseconds + other.nanoseconds)
