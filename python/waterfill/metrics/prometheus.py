"""Metrics for Prometheus: a collector for its Python client, and the text of one scrape."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from typing import Any, Protocol

from waterfill._util.optional import require
from waterfill.metrics.families import FAMILIES, Family
from waterfill.metrics.sample import Histogram, Sample


class Samples(Protocol):
    """What can be exported: `Metrics`, or `Shared`."""

    def samples(self) -> tuple[Sample, ...]:
        """Read all numbers now."""


class Collector:
    """What a ``prometheus_client.CollectorRegistry`` registers.

    ``prometheus_client.REGISTRY.register(Collector(metrics))``, once a process. It reads at scrape
    time. With several processes give it a `Shared`, not the client's own multiprocess mode, which
    knows no collectors.

    Parameters
    ----------
    source : Metrics or Shared

    Raises
    ------
    TypeError
        If it is neither.
    ImportError
        Without prometheus_client: the extra ``prometheus``.
    """

    def __init__(self, source: Samples) -> None:
        if not callable(getattr(source, "samples", None)):
            raise TypeError(f"source must be Metrics or Shared, got {type(source).__name__}")
        self._source = source
        self._core = require("prometheus_client.core", "Collector", "prometheus")

    def describe(self) -> Iterator[Any]:
        """Yield all families, empty: a registry asks once, which names are taken."""
        return map(self._empty, FAMILIES.values())

    def collect(self) -> Iterator[Any]:
        """Read all numbers, and yield them as families of prometheus_client."""
        for name, samples in groupby(self._source.samples(), lambda sample: sample.name):
            made = self._empty(FAMILIES[name])
            for sample in samples:
                _add(made, sample)
            yield made

    def _empty(self, family: Family) -> Any:
        kind: str = family.kind
        made = getattr(self._core, f"{kind.capitalize()}MetricFamily")
        return made(family.name, family.meaning, labels=family.labels)


def _add(made: Any, sample: Sample) -> None:
    values, value = list(sample.labels.values()), sample.value
    if isinstance(value, Histogram):
        made.add_metric(values, buckets=value.cumulative(), sum_value=value.sum)
    else:
        made.add_metric(values, value)


def expose(source: Samples, accept: str = "") -> tuple[bytes, str]:
    """Return one scrape, for an endpoint of your own.

    Parameters
    ----------
    source : Metrics or Shared
    accept : str
        The request's ``Accept`` header: OpenMetrics where it asks for that.

    Returns
    -------
    bytes
        Text in Prometheus' format.
    str
        Its content type.

    Raises
    ------
    TypeError
        If `source` is neither.
    ImportError
        Without prometheus_client: the extra ``prometheus``.
    """
    collector = Collector(source)
    exposition = require("prometheus_client.exposition", "expose", "prometheus")
    encode, content_type = exposition.choose_encoder(accept)
    text: bytes = encode(collector)
    return text, content_type
