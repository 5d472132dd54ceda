"""What a service counts, as Prometheus reads it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric


class Counts:
    """A collector that looks when it is asked, and costs nothing otherwise.

    Parameters
    ----------
    service : Service
    """

    def __init__(self, service: Any) -> None:
        self._service = service

    def collect(self) -> Iterator[Metric]:
        """Yield what has been counted."""
        counts = self._service.limiter.stats()
        for name, words in (("limit", "Requests taken on at once"), ("in_use", "In use now")):
            yield GaugeMetricFamily(f"waterfill_{name}", words, counts[name])
        admitted = CounterMetricFamily(
            "waterfill_admitted", "Requests taken on", labels=["priority"]
        )
        for priority, count in counts["admitted"].items():
            admitted.add_metric([priority], count)
        yield admitted
        refused = CounterMetricFamily(
            "waterfill_refused", "Requests refused", labels=["priority", "reason"]
        )
        for priority, reasons in counts["refused"].items():
            for reason, count in reasons.items():
                refused.add_metric([priority, reason], count)
        yield refused
        index = self._service.index
        if index is not None:
            now = index.current()
            yield GaugeMetricFamily("waterfill_vectors", "In the index", now.index.ntotal)
            yield GaugeMetricFamily("waterfill_generation", "Of the index", now.number)


def render(service: Any) -> bytes:
    """Return all of it as text."""
    registry = CollectorRegistry()
    registry.register(Counts(service))
    return generate_latest(registry)
