"""The registry of one process: which objects are exported, and their current values."""

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
from waterfill.metrics.sample import (
    Histogram,
    Key,
    Sample,
    Table,
    Value,
    add_to,
    as_samples,
    counts_in,
    counts_since,
)
from waterfill.metrics.sources import SOURCES, Reader, Source

DEFAULT = "default"


@dataclass
class _Watched:
    """One object and the name that it is exported under."""

    source: Source
    name: str
    get: Callable[[], Any]  # returns None once the object is deleted
    reader: Reader
    start: Table = field(default_factory=dict)  # counts at the fork, in a child
    last: Table = field(default_factory=dict)  # counts of the last read

    def read(self) -> Table:
        """Return the current values; none if the object is gone."""
        instance = self.get()
        table: Table = {}
        if instance is not None:
            add_to(table, filter(_is_finite, self.reader.read(self.name, instance)))
        table = counts_since(table, self.start)
        self.last = counts_in(table)
        return table

    def restart(self) -> None:
        """Count from 0, in a forked child."""
        instance, self.last = self.get(), {}
        if instance is not None:
            self.start = counts_in(dict(self.reader.restart(self.name, instance)))


def _is_finite(item: tuple[Key, Value]) -> bool:
    return isinstance(item[1], Histogram) or math.isfinite(item[1])


class Metrics:
    """Metrics of limiters, indexes, drift monitors, batchers and caches of this process.

    The objects count by themselves, and `samples` reads their counts, so a request costs nothing
    extra. Objects are held weakly: one that is deleted is no longer exported, but its counts stay
    in the sum while another object has its name. An object that cannot be read is exported with
    the counts of its last read, and ``waterfill_scrape_errors_total`` goes up by one.

    `waterfill.metrics.prometheus`, `waterfill.metrics.multiprocess` and `waterfill.metrics.otel`
    export it; `waterfill.metrics.FAMILIES` describes the families. Safe to use from several
    threads. A forked child counts from 0; create it before the fork.

    Parameters
    ----------
    limiters : Limiter or iterable of Limiter, optional
        Exported by their `name`; limiters of the same name are added up.
    indexes : SwapIndex, IndexFlat, IndexIVF, or mapping of str to these, optional
        A single object is named ``'default'``, here and below.
    monitors : DriftMonitor or mapping, optional
        Exported from their last report; a scrape does not compute one.
    canaries : CanaryRecall or mapping, optional
        Results of `Canary.measure`, held strongly. A monitor with a canary exports its result by
        itself.
    batchers : Batcher or mapping, optional
        Exported by the names in the mapping.
    caches : CachedSearch or mapping, optional
        Likewise.

    Raises
    ------
    TypeError
        If an object has the wrong type.
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
        self._ended: Table = {}  # counts of deleted objects, while others have their names
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
        _instances.add(self)

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
        """Export more objects.

        An index, monitor, canary, batcher or cache replaces one of the same name.

        Parameters
        ----------
        limiters : Limiter or iterable of Limiter, optional
            As for the class.
        indexes : SwapIndex, IndexFlat, IndexIVF, or mapping of str to these, optional
            As for the class.
        monitors : DriftMonitor or mapping, optional
            As for the class.
        canaries : CanaryRecall or mapping, optional
            As for the class.
        batchers : Batcher or mapping, optional
            As for the class.
        caches : CachedSearch or mapping, optional
            As for the class.

        Raises
        ------
        TypeError
            If an object has the wrong type. Nothing is changed in that case.
        """
        by_kind = {
            "indexes": indexes,
            "monitors": monitors,
            "canaries": canaries,
            "batchers": batchers,
            "caches": caches,
        }
        entries: list[tuple[tuple[Any, ...], _Watched]] = [
            ((kind, name), _watch(kind, name, instance))
            for kind, objects in by_kind.items()
            for name, instance in _by_name(kind, objects)
        ]
        entries += [
            (
                ("limiters", id(limiter)),
                _watch("limiters", getattr(limiter, "name", DEFAULT), limiter),
            )
            for limiter in _as_limiters(limiters)
        ]
        with self._lock:
            for key, entry in entries:
                if key in self._watched:
                    self._read(self._watched[key])
                    self._retire(key)
                self._watched[key] = entry

    def samples(self) -> tuple[Sample, ...]:
        """Read all values now.

        Returns
        -------
        tuple of Sample
            In the order of `FAMILIES`. An object that cannot be read does not make this fail.
        """
        return as_samples(self._table())

    def _table(self) -> Table:
        """Read all values, by series."""
        table: Table = {("waterfill_build_info", installed_version(), _core.isa()): 1}
        with self._lock:  # readers of indexes count swaps
            for key, entry in list(self._watched.items()):
                if entry.get() is None:
                    self._retire(key)
                else:
                    add_to(table, self._read(entry).items())
            # Prometheus interprets a decreasing counter as a restart, so sums keep these counts.
            self._ended = {key: value for key, value in self._ended.items() if key in table}
            add_to(table, self._ended.items())
            for name, count in self._errors.items():
                table["waterfill_scrape_errors_total", name] = count
        return table

    def _read(self, entry: _Watched) -> Table:
        """Read an object; if that fails, return the counts of its last read and no gauges."""
        try:
            return entry.read()
        except Exception:  # one bad object must not take away the metrics of the others
            self._errors[entry.source.name] += 1
            return entry.last

    def _retire(self, key: tuple[Any, ...]) -> None:
        add_to(self._ended, self._watched.pop(key).last.items())

    def _after_fork(self) -> None:
        self._ended = {}
        self._lock = threading.Lock()  # another thread of the parent may have held it
        self._errors = dict.fromkeys(self._errors, 0)
        for entry in self._watched.values():
            try:
                entry.restart()
            except Exception:
                self._errors[entry.source.name] += 1

    def __repr__(self) -> str:
        return f"Metrics of {len(self._watched)} objects"

    def __reduce__(self) -> Any:
        raise TypeError("Metrics cannot be copied or pickled: each process makes its own")


def as_metrics(metrics: Any) -> Metrics:
    """Return `metrics`, or raise a TypeError if it has the wrong type."""
    if not isinstance(metrics, Metrics):
        raise TypeError(f"metrics: expected wf.Metrics, got {type(metrics).__name__}")
    return metrics


def _watch(kind: str, name: str, instance: Any) -> _Watched:
    source = SOURCES[kind]
    if not isinstance(instance, source.types):
        raise TypeError(f"{kind}: expected {source.expected}, got {type(instance).__name__}")
    get = ref(instance) if source.weak else lambda: instance
    return _Watched(source, name, get, source.reader())


def _by_name(kind: str, objects: Any) -> Iterable[tuple[str, Any]]:
    if objects is None:
        return
    if not isinstance(objects, Mapping):
        yield DEFAULT, objects
        return
    for name, instance in objects.items():
        if not isinstance(name, str):
            raise TypeError(f"{kind}: expected str keys, got {name!r}")
        yield name, instance


def _as_limiters(limiters: Any) -> list[Any]:
    source = SOURCES["limiters"]
    if isinstance(limiters, source.types):
        return [limiters]
    if not isinstance(limiters, Iterable):
        raise TypeError(f"limiters: expected {source.expected}, got {type(limiters).__name__}")
    return list(limiters)


_instances: WeakSet[Metrics] = WeakSet()


def _after_fork_in_child() -> None:
    for metrics in list(_instances):
        metrics._after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
