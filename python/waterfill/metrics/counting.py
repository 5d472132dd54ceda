"""Counters that never go backwards, and counters from a point in time on."""

from __future__ import annotations

from waterfill.metrics.families import FAMILIES
from waterfill.metrics.sample import Histogram, Key, Table, Value, plus


def is_counted(key: Key) -> bool:
    """Tell whether a series only grows."""
    return FAMILIES[key[0]].kind != "gauge"


class Running:
    """Counters of a process whose sources come and go.

    A limiter that is gone, and another of its name that begins at 0, must not take back what was
    counted: what a sum over processes has lost once, Prometheus takes for a restart of them all.
    """

    def __init__(self) -> None:
        self._last: Table = {}
        self._before: Table = {}  # of sources that are gone, or began anew

    def follow(self, table: Table) -> Table:
        """Return gauges as they are, and counters with all that was counted before."""
        for key, last in self._last.items():
            now = table.get(key)
            if now is None or _fell(last, now):
                before = self._before.get(key)
                self._before[key] = last if before is None else _plus(before, last)
        self._last = {key: value for key, value in table.items() if is_counted(key)}
        found = dict(table)
        for key, before in self._before.items():
            own = table.get(key)
            found[key] = before if own is None else _plus(before, own)
        return found


def since(table: Table, start: Table) -> Table:
    """Return a table whose counters begin at those of another."""
    return {
        key: _minus(value, start[key]) if key in start else value for key, value in table.items()
    }


def _fell(last: Value, now: Value) -> bool:
    if isinstance(last, Histogram) and isinstance(now, Histogram):
        return now.nanoseconds < last.nanoseconds or any(
            b < a for a, b in zip(last.counts, now.counts, strict=True)
        )
    assert not isinstance(last, Histogram)
    assert not isinstance(now, Histogram)
    return now < last


def _plus(one: Value, other: Value) -> Value:
    if isinstance(one, Histogram) and isinstance(other, Histogram):
        return plus(one, other)
    assert not isinstance(one, Histogram)
    assert not isinstance(other, Histogram)
    return one + other


def _minus(value: Value, start: Value) -> Value:
    assert not isinstance(value, Histogram)
    assert not isinstance(start, Histogram)
    return value - start
