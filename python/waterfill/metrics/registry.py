"""What is exported of one process: objects, and their numbers when somebody asks."""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakSet, ref

from waterfill import _core
from waterfill._util.version import installed_version
from waterfill.metrics.counting import is_counted, since
from waterfill.metrics.sample import Histogram, Key, Sample, Table, Value, as_samples, put
from waterfill.metrics.sources import SOURCES, Reader, Source

DEFAULT = "default"


@dataclass
class _Watched:
    """One object, under the name that its numbers are exported by."""

    source: Source
    name: str
    get: Callable[[], Any]  # None once it is gone
    reader: Reader
    start: Table = field(default_factory=dict)  # counts that a forked child was born with
    last: Table = field(default_factory=dict)  # counts as they were read

    def read(self) -> Table:
        """Return its numbers; none if it is gone."""
        thing = self.get()
        table: Table = {}
        if thing is not None:
            put(table, filter(_known, self.reader.read(self.name, thing)))
        table = since(table, self.start)
        self.last = {key: value for key, value in table.items() if is_counted(key)}
        return table

    def begin_anew(self) -> None:
        """Count from now on, in a forked child."""
        thing, self.last = self.get(), {}
        if thing is not None:
            items = self.reader.begin_anew(self.name, thing)
            self.start = {key: value for key, value in items if is_counted(key)}


def _known(item: tuple[Key, Value]) -> bool:
    return isinstance(item[1], Histogram) or math.isfinite(item[1])


class Metrics:
    """Numbers of limiters, indexes, monitors, batchers and caches, read when somebody asks.

    Nothing is counted here, so that a request costs nothing more: the objects count, and `samples`
    reads what they have. They are held weakly, and one that is gone is no longer exported; while
    another has its name, its counts stay in the sum. One that cannot be read is exported with the
    counts that it had, and counted in ``waterfill_scrape_errors_total``.

    `waterfill.metrics.prometheus` and `waterfill.metrics.otel` export it; `FAMILIES` says what the
    names mean. Safe to use from several threads. In a forked child it counts from 0, as limiters
    do: make it before the fork.

    Parameters
    ----------
    limiters : Limiter or iterable of Limiter, optional
        They have names; what has the same name is summed up.
    indexes : SwapIndex, IndexFlat, IndexIVF, or mapping of str to these, optional
        One alone is called ``'default'``, here and below.
    monitors : DriftMonitor or mapping, optional
        What the last report of each said; a scrape makes none.
    canaries : CanaryRecall or mapping, optional
        What `Canary.measure` returned. These are kept. A monitor that was given a canary exports
        what came of it by itself.
    batchers : Batcher or mapping, optional
    caches : CachedSearch or mapping, optional

    Raises
    ------
    TypeError
        If something is of another kind.
    """

    def __init__(
        self,
        *,
        limiters: Any = (),
        indexes: Any = None,
        monitors: Any = None,
        canaries: Any = None,
        batchers: Any = None,
        caches: Any = None,
    ) -> None:
        self._watched: dict[tuple[Any, ...], _Watched] = {}
        self._ended: Table = {}  # counts of what is gone, while others have its names
        self._errors = dict.fromkeys((source.name for source in SOURCES.values()), 0)
        self._lock = threading.Lock()
        self.watch(
            limiters=limiters,
            indexes=indexes,
            monitors=monitors,
            canaries=canaries,
            batchers=batchers,
            caches=caches,
        )
        _alive.add(self)

    def watch(
        self,
        *,
        limiters: Any = (),
        indexes: Any = None,
        monitors: Any = None,
        canaries: Any = None,
        batchers: Any = None,
        caches: Any = None,
    ) -> None:
        """Export these, too; of what is not a limiter, in the place of another of its name.

        Parameters
        ----------
        limiters, indexes, monitors, canaries, batchers, caches
            As of the class.

        Raises
        ------
        TypeError
            If something is of another kind. Nothing has changed then.
        """
        given = {
            "indexes": indexes,
            "monitors": monitors,
            "canaries": canaries,
            "batchers": batchers,
            "caches": caches,
        }
        found: list[tuple[tuple[Any, ...], _Watched]] = [
            ((kind, name), _watched(kind, name, thing))
            for kind, things in given.items()
            for name, thing in _named(kind, things)
        ]
        found += [
            (("limiters", id(limiter)), _watched("limiters", limiter.name, limiter))
            for limiter in _each_limiter(limiters)
        ]
        with self._lock:
            for key, each in found:
                if key in self._watched:
                    self._read(self._watched[key])
                    self._retire(key)
                self._watched[key] = each

    def samples(self) -> tuple[Sample, ...]:
        """Read all numbers now.

        Returns
        -------
        tuple of Sample
            Family by family. It never fails for an object that does.
        """
        return as_samples(self._table())

    def _table(self) -> Table:
        """Read all numbers, by series."""
        table: Table = {("waterfill_build_info", installed_version(), _core.isa()): 1}
        with self._lock:  # readers of swaps count
            for key, each in list(self._watched.items()):
                if each.get() is None:
                    self._retire(key)
                else:
                    put(table, self._read(each).items())
            # Prometheus takes a sum that falls for one that began anew.
            self._ended = {key: value for key, value in self._ended.items() if key in table}
            put(table, self._ended.items())
            for name, count in self._errors.items():
                table["waterfill_scrape_errors_total", name] = count
        return table

    def _read(self, each: _Watched) -> Table:
        """Read an object; of one that fails the counts as they were, and no gauges."""
        try:
            return each.read()
        except Exception:  # whatever it is, the other numbers are wanted all the more
            self._errors[each.source.name] += 1
            return each.last

    def _retire(self, key: tuple[Any, ...]) -> None:
        put(self._ended, self._watched.pop(key).last.items())

    def _begin_anew(self) -> None:
        self._ended = {}
        self._lock = threading.Lock()  # another thread of the parent may have held it
        self._errors = dict.fromkeys(self._errors, 0)
        for each in self._watched.values():
            try:
                each.begin_anew()
            except Exception:
                self._errors[each.source.name] += 1

    def __repr__(self) -> str:
        return f"Metrics of {len(self._watched)} objects"

    def __reduce__(self) -> Any:
        raise TypeError("Metrics cannot be copied or pickled: each process has its own")


def _watched(kind: str, name: str, thing: Any) -> _Watched:
    source = SOURCES[kind]
    if not isinstance(thing, source.types):
        raise TypeError(f"{kind} must have {source.wanted}, got {type(thing).__name__}")
    return _Watched(source, name, ref(thing) if source.weak else lambda: thing, source.reader())


def _named(kind: str, things: Any) -> Iterable[tuple[str, Any]]:
    if things is None:
        return
    if not isinstance(things, Mapping):
        yield DEFAULT, things
        return
    for name, thing in things.items():
        if not isinstance(name, str):
            raise TypeError(f"{kind} must have str as keys, got {name!r}")
        yield name, thing


def _each_limiter(limiters: Any) -> list[Any]:
    if isinstance(limiters, SOURCES["limiters"].types):
        return [limiters]
    if not isinstance(limiters, Iterable):
        raise TypeError(f"limiters must be Limiters, got {type(limiters).__name__}")
    found = list(limiters)
    for each in found:
        if not isinstance(each, SOURCES["limiters"].types):
            raise TypeError(f"limiters must be Limiters, got {type(each).__name__}")
    return found


_alive: WeakSet[Metrics] = WeakSet()


def _begin_all_anew() -> None:
    for metrics in list(_alive):
        metrics._begin_anew()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_all_anew)
