"""Export to OpenTelemetry by observable instruments, which its readers call when they collect.

OpenTelemetry has no observable histogram, and a recording one would cost time in each request. So
the latency histogram is exported as in Prometheus: counters of the requests below each bound
(attribute ``le``), of all requests, and of their seconds.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any
from weakref import ref

from waterfill._util.optional import require
from waterfill.metrics.families import FAMILIES, Family
from waterfill.metrics.registry import Metrics, as_metrics
from waterfill.metrics.sample import Histogram, Sample, Value

_MAX_AGE = 1.0  # seconds that one reading serves the instruments of a collection
_UNITS = {"seconds": "s", "bytes": "By"}

Point = tuple[float, dict[str, str]]
PointsOf = Callable[[Value], Iterable[Point]]


def instrument(metrics: Metrics, meter: Any = None) -> None:
    """Create an observable instrument for each family.

    Names have dots and no ``_total``: ``waterfill_requests_total`` is ``waterfill.requests``, with
    its labels as attributes. A histogram is three counters: ``.bucket``, ``.sum`` and ``.count``.
    `metrics` is held weakly: instruments cannot be removed, but report nothing once it is deleted.

    Parameters
    ----------
    metrics : Metrics
        What the instruments report.
    meter : opentelemetry.metrics.Meter, optional
        By default that of the global provider, named ``waterfill``.

    Raises
    ------
    TypeError
        If `metrics` has the wrong type.
    ImportError
        Without opentelemetry-api: the extra ``otel``.
    """
    collection = _Collection(as_metrics(metrics))
    api = require("opentelemetry.metrics", "instrument", "otel")
    if meter is None:
        meter = api.get_meter("waterfill")
    for family in FAMILIES.values():
        for suffix, unit, points_of in _instruments(family):
            name = "waterfill." + _short(family).replace("_", ".") + suffix
            gauge = family.kind == "gauge"
            create = meter.create_observable_gauge if gauge else meter.create_observable_counter
            callback = _callback(collection, family.name, suffix, points_of, api.Observation)
            create(name, callbacks=[callback], unit=unit, description=family.meaning)


def _short(family: Family) -> str:
    return family.name.removeprefix("waterfill_").removesuffix("_total")


def _instruments(family: Family) -> list[tuple[str, str, PointsOf]]:
    """Return the instruments of a family: suffix of the name, unit, and points of a value."""
    if family.kind == "histogram":
        return [(".bucket", "1", _buckets), (".sum", "s", _sum), (".count", "1", _count)]
    unit = next((u for word, u in _UNITS.items() if _short(family).endswith(word)), "1")
    return [("", unit, _number)]


def _number(value: Value) -> Iterator[Point]:
    assert not isinstance(value, Histogram)
    yield value, {}


def _buckets(value: Value) -> Iterator[Point]:
    assert isinstance(value, Histogram)
    for bound, count in value.cumulative():
        yield count, {"le": bound}


def _sum(value: Value) -> Iterator[Point]:
    assert isinstance(value, Histogram)
    yield value.sum, {}


def _count(value: Value) -> Iterator[Point]:
    assert isinstance(value, Histogram)
    yield value.count, {}


def _callback(
    collection: _Collection, name: str, suffix: str, points_of: PointsOf, observation: Any
) -> Callable[..., Any]:
    def observe(_options: object) -> list[Any]:
        return [
            observation(number, {**sample.labels, **more})
            for sample in collection.samples(name, name + suffix)
            for number, more in points_of(sample.value)
        ]

    return observe


class _Collection:
    """The samples of one collection: a reader calls each instrument, and all must agree."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = ref(metrics)
        self._lock = threading.Lock()
        self._served: set[str] = set()  # instruments that read these samples
        self._at = -_MAX_AGE
        self._samples: dict[str, list[Sample]] = {}

    def samples(self, name: str, instrument: str) -> list[Sample]:
        """Return the samples of a family; read new ones if this instrument has read the last."""
        with self._lock:
            now = time.monotonic()
            if instrument in self._served or now - self._at > _MAX_AGE:
                self._read()
                self._at = now
            self._served.add(instrument)
            return self._samples.get(name, [])

    def _read(self) -> None:
        metrics = self._metrics()
        self._served, self._samples = set(), {}
        for sample in () if metrics is None else metrics.samples():
            self._samples.setdefault(sample.name, []).append(sample)
