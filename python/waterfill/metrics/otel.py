"""Metrics for OpenTelemetry: observable instruments, which its readers ask when they collect.

There is no observable histogram in OpenTelemetry, and one that is recorded into would have to be
told of each request. So the latency histogram goes out as Prometheus' clients have it: counters of
what lies below each bound (attribute ``le``), of the seconds, and of the requests.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any
from weakref import ref

from waterfill._util.optional import require
from waterfill.metrics.families import FAMILIES, Family
from waterfill.metrics.prometheus import Samples
from waterfill.metrics.sample import Histogram, Sample, Value

_AGE = 1.0  # seconds that the numbers of one pass may be used for
_UNITS = {"seconds": "s", "bytes": "By"}

Point = tuple[float, dict[str, str]]
Part = Callable[[Value], Iterable[Point]]


def instrument(source: Samples, meter: Any = None) -> None:
    """Make instruments for all families.

    Names have dots and no ``_total``: ``waterfill_requests_total`` is ``waterfill.requests``, with
    its labels as attributes. A histogram is three counters: ``.bucket``, ``.sum`` and ``.count``.
    The source is held weakly: instruments cannot be taken back, but say nothing once it is gone.

    Parameters
    ----------
    source : Metrics or Shared
    meter : opentelemetry.metrics.Meter, optional
        By default that of the global provider, named ``waterfill``.

    Raises
    ------
    TypeError
        If `source` is neither.
    ImportError
        Without opentelemetry-api: the extra ``otel``.
    """
    if not callable(getattr(source, "samples", None)):
        raise TypeError(f"source must be Metrics or Shared, got {type(source).__name__}")
    api = require("opentelemetry.metrics", "instrument", "otel")
    chosen = api.get_meter("waterfill") if meter is None else meter
    one_pass = _Pass(source)
    for family in FAMILIES.values():
        for suffix, unit, part in _parts(family):
            name = "waterfill." + _short(family).replace("_", ".") + suffix
            gauge = family.kind == "gauge"
            make = chosen.create_observable_gauge if gauge else chosen.create_observable_counter
            callback = _callback(one_pass, family.name, suffix, part, api.Observation)
            make(name, callbacks=[callback], unit=unit, description=family.meaning)


def _short(family: Family) -> str:
    return family.name.removeprefix("waterfill_").removesuffix("_total")


def _parts(family: Family) -> list[tuple[str, str, Part]]:
    """Return instruments: what is added to the name, the unit, and the numbers of a value."""
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


def _callback(one_pass: _Pass, name: str, suffix: str, part: Part, made: Any) -> Callable[..., Any]:
    def observe(_options: object) -> list[Any]:
        return [
            made(number, {**sample.labels, **more})
            for sample in one_pass.samples(name, name + suffix)
            for number, more in part(sample.value)
        ]

    return observe


class _Pass:
    """The numbers of one collection: a reader asks instrument by instrument, and all agree."""

    def __init__(self, source: Samples) -> None:
        self._source = ref(source)
        self._lock = threading.Lock()
        self._asked: set[str] = set()
        self._at = -_AGE
        self._found: dict[str, list[Sample]] = {}

    def samples(self, name: str, instrument: str) -> list[Sample]:
        """Return the samples of a name, new ones if this instrument has had those at hand."""
        with self._lock:
            now = time.monotonic()
            if instrument in self._asked or now - self._at > _AGE:
                self._read()
                self._at = now
            self._asked.add(instrument)
            return self._found.get(name, [])

    def _read(self) -> None:
        source = self._source()
        self._asked, self._found = set(), {}
        for sample in () if source is None else source.samples():
            self._found.setdefault(sample.name, []).append(sample)
