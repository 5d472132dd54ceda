"""Export to Prometheus: a collector for its Python client, and the text of one scrape."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from typing import Any

from waterfill._util.optional import require
from waterfill.metrics.families import FAMILIES, Family
from waterfill.metrics.registry import Metrics, as_metrics
from waterfill.metrics.sample import Histogram, Sample


class Collector:
    """A collector to register in a ``prometheus_client.CollectorRegistry``.

    ``prometheus_client.REGISTRY.register(Collector(metrics))``, once per process. It reads
    `metrics` at each scrape. prometheus_client's multiprocess mode ignores collectors; use
    `waterfill.metrics.multiprocess.Publisher` there.

    Parameters
    ----------
    metrics : Metrics
        What is collected.

    Raises
    ------
    TypeError
        If it has the wrong type.
    ImportError
        Without prometheus_client: the extra ``prometheus``.
    """

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = as_metrics(metrics)
        self._core = require("prometheus_client.core", "Collector", "prometheus")

    def describe(self) -> Iterator[Any]:
        """Return all families without samples; a registry checks their names for duplicates."""
        return map(self._empty, FAMILIES.values())

    def collect(self) -> Iterator[Any]:
        """Read all values.

        Yields
        ------
        prometheus_client.Metric
            A family with its samples.
        """
        for name, samples in groupby(self._metrics.samples(), lambda sample: sample.name):
            metric = self._empty(FAMILIES[name])
            for sample in samples:
                _add(metric, sample)
            yield metric

    def _empty(self, family: Family) -> Any:
        kind: str = family.kind
        metric_family = getattr(self._core, f"{kind.capitalize()}MetricFamily")
        return metric_family(family.name, family.meaning, labels=family.labels)


def _add(metric: Any, sample: Sample) -> None:
    labels, value = list(sample.labels.values()), sample.value
    if isinstance(value, Histogram):
        metric.add_metric(labels, buckets=value.cumulative(), sum_value=value.sum)
    else:
        metric.add_metric(labels, value)


def expose(metrics: Metrics, accept: str = "") -> tuple[bytes, str]:
    """Return the text of one scrape, for an endpoint of your own.

    Parameters
    ----------
    metrics : Metrics
        What is exposed.
    accept : str, default ''
        The request's ``Accept`` header. The format is OpenMetrics if it asks for that.

    Returns
    -------
    bytes
        The text.
    str
        Its content type.

    Raises
    ------
    TypeError
        If `metrics` has the wrong type.
    ImportError
        Without prometheus_client: the extra ``prometheus``.
    """
    collector = Collector(metrics)
    exposition = require("prometheus_client.exposition", "expose", "prometheus")
    encode, content_type = exposition.choose_encoder(accept)
    text: bytes = encode(collector)
    return text, content_type
