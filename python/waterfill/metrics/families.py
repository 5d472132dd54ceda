"""What is exported: names, types, labels, and how the numbers of several processes become one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["counter", "gauge", "histogram"]
Merge = Literal["sum", "max", "min"]

_FIRST, _LAST = 16, 36  # powers of two, in nanoseconds: 66 microseconds to 69 seconds
BOUNDS: tuple[float, ...] = tuple(2**power * 1e-9 for power in range(_FIRST, _LAST + 1))


@dataclass(frozen=True)
class Family:
    """All series of one name.

    Attributes
    ----------
    name : str
        As Prometheus has it; that of a counter ends in ``_total``.
    kind : {'counter', 'gauge', 'histogram'}
    labels : tuple of str
    meaning : str
    merge : {'sum', 'max', 'min'}
        What becomes of the same series of several processes, or of several objects of one name.
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
    _counter("requests_released", "limiter priority", "Permits that were released."),
    _counter(
        "requests_abandoned",
        "limiter priority",
        "Permits that their finaliser gave back: each is a mistake in the calling code.",
    ),
    Family(
        "waterfill_request_seconds",
        "histogram",
        ("limiter",),
        "For how long permits were held, of those released.",
        "sum",
    ),
    _gauge("in_flight", "limiter", "sum", "Cost of all permits that are held."),
    _gauge("limit", "limiter", "sum", "What may be in flight at once."),
    _counter("batcher_searches", "batcher", "Searches that were answered."),
    _counter("batcher_batches", "batcher", "Searches of the index that this took."),
    _counter("batcher_refused", "batcher", "Searches that found the queue full."),
    _gauge("batcher_waiting", "batcher", "sum", "Searches in the queue."),
    _counter("cache_queries", "cache result", "Queries that were remembered (hit) or not (miss)."),
    _counter("cache_evictions", "cache", "Results forgotten to stay within the limits."),
    _gauge("cache_entries", "cache", "sum", "Results that are remembered."),
    _gauge("cache_bytes", "cache", "sum", "Memory of these."),
    _gauge("index_vectors", "index", "max", "Vectors of the index in use."),
    _gauge("index_bytes", "index", "sum", "Memory of its vectors, ids and rows to refine with."),
    _gauge(
        "index_info",
        "index codec contents",
        "max",
        "1; the codec's fingerprint, and the SHA-256 of what was published; twelve digits of each.",
    ),
    _gauge("index_generation", "index", "max", "Number of the generation in use."),
    _gauge(
        "index_generation_oldest", "index", "min", "The same, of the worker that is farthest back."
    ),
    _gauge(
        "index_published_timestamp_seconds",
        "index",
        "max",
        "When that generation was published, since the epoch.",
    ),
    _counter("index_swaps", "index what", "Generations published: by swap or by rollback."),
    _gauge("drift_rows", "monitor stream", "sum", "Rows in the window: vectors or queries."),
    _gauge(
        "drift_learning", "monitor stream", "max", "1 while rows that come become the baseline."
    ),
    _gauge("drift_alarm", "monitor stream family", "max", "1 if the last report's family alarms."),
    _gauge(
        "drift_p_value",
        "monitor stream family",
        "min",
        "Of that family, over all families and looks.",
    ),
    _gauge(
        "drift_model_changed",
        "monitor",
        "max",
        "1 if the last report finds another embedding model, or two.",
    ),
    _gauge(
        "drift_error_ratio",
        "monitor",
        "max",
        "Quantization error of the window, times the baseline's.",
    ),
    _gauge(
        "drift_recall", "monitor", "min", "Recall now, by the last report: measured or estimated."
    ),
    _gauge("drift_recall_gap", "monitor", "max", "Recall that retraining would win back."),
    _gauge("drift_recall_gap_low", "monitor", "max", "Lower end of its interval."),
    _gauge("drift_recall_gap_high", "monitor", "max", "Upper end of its interval."),
    _gauge("drift_recall_measured", "monitor", "max", "1 if these were measured, 0 if estimated."),
    _gauge(
        "drift_report_timestamp_seconds", "monitor", "max", "Time of the last report, since epoch."
    ),
    _gauge("canary_recall", "canary", "min", "Recall of a canary, by the codec in use."),
    _gauge("canary_recall_low", "canary", "min", "Lower end of its 95 % interval over queries."),
    _gauge("canary_recall_high", "canary", "min", "Upper end of its 95 % interval over queries."),
    _gauge("canary_recall_baseline", "canary", "min", "The same when the monitor was made."),
    _gauge("build_info", "version isa", "max", "1; the version, and the instruction set in use."),
    _counter("scrape_errors", "source", "Sources that could not be read, one a scrape."),
    _gauge("workers", "", "sum", "Processes whose numbers are in this scrape."),
    _gauge("snapshot_age_seconds", "", "max", "Age of the oldest of these processes' numbers."),
)
FAMILIES: dict[str, Family] = {family.name: family for family in _ALL}
