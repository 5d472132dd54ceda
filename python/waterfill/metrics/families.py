"""Families of metrics: name, type, labels, meaning, and how processes are merged."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["counter", "gauge", "histogram"]
Merge = Literal["sum", "max", "min"]

_FIRST, _LAST = 16, 36  # powers of two, in nanoseconds: 66 microseconds to 69 seconds
BOUNDS: tuple[float, ...] = tuple(2**power * 1e-9 for power in range(_FIRST, _LAST + 1))
"""Upper bounds of the buckets of histograms, in seconds: powers of two of nanoseconds."""


@dataclass(frozen=True)
class Family:
    """All series of one name.

    Attributes
    ----------
    name : str
        Name in Prometheus; that of a counter ends in ``_total``.
    kind : {'counter', 'gauge', 'histogram'}
        Prometheus's type.
    labels : tuple of str
        Names of the labels.
    meaning : str
        The help text.
    merge : {'sum', 'max', 'min'}
        How the same series of several processes, or of several objects of one name, are merged.
    """

    name: str
    kind: Kind
    labels: tuple[str, ...]
    meaning: str
    merge: Merge


def _counter(name: str, labels: str, meaning: str) -> Family:
    return Family(f"waterfill_{name}_total", "counter", tuple(labels.split()), meaning, "sum")


def _gauge(name: str, labels: str, merge: Merge, meaning: str) -> Family:
    return Family(f"waterfill_{name}", "gauge", tuple(labels.split()), meaning, merge)


_ALL = (
    _counter(
        "requests",
        "limiter priority outcome",
        "Requests: admitted, refused_capacity, refused_share, refused_deadline.",
    ),
    _counter("requests_released", "limiter priority", "Permits released."),
    _counter(
        "requests_abandoned",
        "limiter priority",
        "Permits released by their finaliser: each is a bug in the calling code.",
    ),
    Family(
        "waterfill_request_seconds",
        "histogram",
        ("limiter",),
        "How long released permits were held.",
        "sum",
    ),
    _gauge("in_flight", "limiter", "sum", "Cost of all permits held now."),
    _gauge("limit", "limiter", "sum", "Cost that may be in flight at once."),
    _counter("batcher_searches", "batcher", "Searches answered."),
    _counter("batcher_batches", "batcher", "Batches searched to answer them."),
    _counter("batcher_refused", "batcher", "Searches refused because the queue was full."),
    _gauge("batcher_waiting", "batcher", "sum", "Searches in the queue."),
    _counter("cache_queries", "cache result", "Queries found in the cache (hit) or not (miss)."),
    _counter("cache_evictions", "cache", "Results evicted to stay within the limits."),
    _gauge("cache_entries", "cache", "sum", "Results in the cache."),
    _gauge("cache_bytes", "cache", "sum", "Memory of the results."),
    _gauge("index_vectors", "index", "max", "Vectors of the index in use."),
    _gauge("index_bytes", "index", "sum", "Memory of its codes, ids and refine rows."),
    _gauge(
        "index_info",
        "index codec contents",
        "max",
        "Always 1; labels have 12 digits of the codec's fingerprint and of the index's SHA-256.",
    ),
    _gauge("index_generation", "index", "max", "Number of the generation in use."),
    _gauge("index_generation_oldest", "index", "min", "Lowest generation in use by any worker."),
    _gauge(
        "index_published_timestamp_seconds",
        "index",
        "max",
        "Time the generation in use was published, since the epoch.",
    ),
    _counter("index_swaps", "index what", "Generations published, by swap or rollback."),
    _gauge("drift_rows", "monitor stream", "sum", "Rows in the window: vectors or queries."),
    _gauge(
        "drift_learning", "monitor stream", "max", "1 while new rows still extend the baseline."
    ),
    _gauge(
        "drift_alarm",
        "monitor stream family",
        "max",
        "1 if this family of tests raised an alarm in the last report.",
    ),
    _gauge(
        "drift_p_value",
        "monitor stream family",
        "min",
        "P-value of the family, corrected for all families and reports.",
    ),
    _gauge(
        "drift_model_changed",
        "monitor",
        "max",
        "1 if the last report found a changed embedding model.",
    ),
    _gauge(
        "drift_error_ratio",
        "monitor",
        "max",
        "Quantization error of the window divided by that of the baseline.",
    ),
    _gauge("drift_recall", "monitor", "min", "Recall in the last report, measured or estimated."),
    _gauge("drift_recall_gap", "monitor", "max", "Recall that retraining would recover."),
    _gauge("drift_recall_gap_low", "monitor", "max", "Lower bound of the recall gap."),
    _gauge("drift_recall_gap_high", "monitor", "max", "Upper bound of the recall gap."),
    _gauge(
        "drift_recall_measured",
        "monitor",
        "max",
        "1 if recall and gap were measured, 0 if estimated.",
    ),
    _gauge(
        "drift_report_timestamp_seconds",
        "monitor",
        "max",
        "Time of the last report, since the epoch.",
    ),
    _gauge("canary_recall", "canary", "min", "Recall of the canary with the codec in use."),
    _gauge("canary_recall_low", "canary", "min", "Lower bound of its 95 % interval over queries."),
    _gauge("canary_recall_high", "canary", "min", "Upper bound of its 95 % interval over queries."),
    _gauge(
        "canary_recall_baseline",
        "canary",
        "min",
        "Recall of the canary when the monitor was created.",
    ),
    _gauge(
        "build_info",
        "version isa",
        "max",
        "Always 1; labels have the version and the instruction set in use.",
    ),
    _counter("scrape_errors", "source", "Reads of a source that failed."),
    _gauge("workers", "", "sum", "Processes that publish metrics."),
    _gauge(
        "snapshot_timestamp_seconds",
        "",
        "min",
        "Time of the oldest publication of a live process, since the epoch.",
    ),
)
FAMILIES: dict[str, Family] = {family.name: family for family in _ALL}
"""The families of metrics by name."""
