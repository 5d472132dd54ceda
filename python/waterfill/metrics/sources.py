"""Readers of each kind of object. None of them waits for a search or a report."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from waterfill.drift.canary_recall import CanaryRecall
from waterfill.drift.monitor import DriftMonitor
from waterfill.drift.report import LastReport, StreamReport
from waterfill.drift.retrain_policy import Cost
from waterfill.index.base import Index
from waterfill.lifecycle.swap import SwapIndex
from waterfill.metrics.families import BOUNDS
from waterfill.metrics.sample import Histogram, Key, Value
from waterfill.serving.batcher import Batcher
from waterfill.serving.cache import CachedSearch
from waterfill.serving.limiter_base import BUCKETS, LimiterBase, lower_bound

Items = Iterator[tuple[Key, Value]]

_OUTCOMES = ("admitted", "refused_capacity", "refused_share", "refused_deadline")
_DIGITS = 12  # hexadecimal digits of a hash in labels
_QUANTILE = 1.96  # of the normal distribution, for a 95 % interval


class Reader(ABC):
    """Reads one object."""

    @abstractmethod
    def read(self, name: str, instance: Any) -> Items:
        """Yield the current values of an object."""

    def restart(self, name: str, instance: Any) -> Items:
        """Return the counts at a fork, which the child subtracts from those that it reads."""
        return self.read(name, instance)


def _exported_buckets() -> tuple[int, ...]:
    """Return, for each bucket of a limiter, the exported bucket that it lies in."""
    return tuple(
        sum(bound <= lower_bound(bucket) * (1 + 1e-12) for bound in BOUNDS)
        for bucket in range(BUCKETS)
    )


_EXPORTED_BUCKETS = _exported_buckets()


def as_histogram(counts: list[int], seconds: float) -> Histogram:
    """Return a limiter's histogram in the exported buckets, whose bounds it shares."""
    exported = [0] * (len(BOUNDS) + 1)
    for bucket, count in zip(_EXPORTED_BUCKETS, counts, strict=True):
        exported[bucket] += count
    return Histogram(tuple(exported), round(seconds * 1e9))


class LimiterReader(Reader):
    """Reads a limiter."""

    def read(self, name: str, limiter: Any) -> Items:
        """Read the counts of the core; `stats`, which names each, takes 70 times as long."""
        _, seconds, buckets, levels = limiter._counts()
        for priority, (*outcomes, released, abandoned) in zip(
            limiter._priorities, levels, strict=True
        ):
            for outcome, count in zip(_OUTCOMES, outcomes, strict=True):
                yield ("waterfill_requests_total", name, priority, outcome), count
            yield ("waterfill_requests_released_total", name, priority), released
            yield ("waterfill_requests_abandoned_total", name, priority), abandoned
        yield ("waterfill_request_seconds", name), as_histogram(buckets, seconds)
        yield ("waterfill_in_flight", name), limiter.in_use
        yield ("waterfill_limit", name), limiter.limit

    def restart(self, name: str, limiter: Any) -> Items:
        """Return nothing: a limiter restarts at 0 by itself."""
        return iter(())


class BatcherReader(Reader):
    """Reads a batcher."""

    def read(self, name: str, batcher: Batcher) -> Items:
        """Yield the counts and the length of the queue."""
        stats = batcher.stats()
        yield ("waterfill_batcher_searches_total", name), stats.calls
        yield ("waterfill_batcher_batches_total", name), stats.batches
        yield ("waterfill_batcher_refused_total", name), stats.refused
        yield ("waterfill_batcher_waiting", name), stats.waiting


class CacheReader(Reader):
    """Reads a cache."""

    def read(self, name: str, cache: CachedSearch) -> Items:
        """Yield the counts and the size."""
        stats = cache.stats()
        yield ("waterfill_cache_queries_total", name, "hit"), stats.hits
        yield ("waterfill_cache_queries_total", name, "miss"), stats.misses
        yield ("waterfill_cache_evictions_total", name), stats.evictions
        yield ("waterfill_cache_entries", name), stats.entries
        yield ("waterfill_cache_bytes", name), stats.bytes


@dataclass
class IndexReader(Reader):
    """Reads an index; of a `SwapIndex` it counts swaps, as its history is bounded."""

    _last_generation: int = 1
    _codec: tuple[Any, str] = (None, "")  # the last codec and the digits of its fingerprint
    _counts: dict[str, int] = field(default_factory=lambda: {"swap": 0, "rollback": 0})

    def read(self, name: str, index: Any) -> Items:
        """Yield size and generation."""
        contents = ""  # known of published indexes only: hashing takes a pass over the index
        if isinstance(index, SwapIndex):
            generation = index.current()
            contents = generation.event.sha256[:_DIGITS]
            yield ("waterfill_index_generation", name), generation.number
            yield ("waterfill_index_generation_oldest", name), generation.number
            at = datetime.fromisoformat(generation.event.at).timestamp()
            yield ("waterfill_index_published_timestamp_seconds", name), at
            yield from self.restart(name, index)
            index = generation.index
        yield ("waterfill_index_info", name, self._fingerprint(index), contents), 1
        yield ("waterfill_index_vectors", name), index.ntotal
        yield ("waterfill_index_bytes", name), index.nbytes

    def restart(self, name: str, index: Any) -> Items:
        """Yield counts of swaps only: at a fork another thread may hold a lock of the core."""
        if isinstance(index, SwapIndex):
            self._count(index)
            for what, count in self._counts.items():
                yield ("waterfill_index_swaps_total", name, what), count

    def _fingerprint(self, index: Any) -> str:
        """Return the first digits of its codec's fingerprint, computed once per codec."""
        codec = index.codec
        if codec is not None and codec is not self._codec[0]:
            self._codec = codec, codec.fingerprint[:_DIGITS]
        return "" if codec is None else self._codec[1]

    def _count(self, index: SwapIndex) -> None:
        for event in index.history:
            if event.generation > self._last_generation:
                self._counts[event.what] += 1
                self._last_generation = event.generation


@dataclass
class MonitorReader(Reader):
    """Reads a drift monitor: its window and its last report, if any."""

    inherited: LastReport | None = None  # the last report of the process that this was forked from

    def read(self, name: str, monitor: DriftMonitor) -> Items:
        """Yield values without the monitor's lock, which is held during a report."""
        streams = {"vectors": monitor._data, "queries": monitor._queries}
        for stream, monitored in streams.items():
            yield ("waterfill_drift_rows", name, stream), monitored.window.n
            yield ("waterfill_drift_learning", name, stream), int(monitored.rows_to_learn > 0)
        last = monitor.last
        if last is not None and last is not self.inherited:
            yield from _read_report(name, last)
            if last.canary is not None:
                yield from read_canary(name, last.canary)
        if monitor.canary is not None:
            yield ("waterfill_canary_recall_baseline", name), interval(monitor.canary)[0]

    def restart(self, name: str, monitor: DriftMonitor) -> Items:
        """Return nothing; the parent exports its own report."""
        self.inherited = monitor.last
        return iter(())


def _read_report(name: str, last: LastReport) -> Items:
    report = last.report
    yield ("waterfill_drift_report_timestamp_seconds", name), last.at
    yield ("waterfill_drift_model_changed", name), int(not report.model.same)
    yield from _read_stream(name, "vectors", report.data)
    if report.queries is not None:
        yield from _read_stream(name, "queries", report.queries)
    if report.error_ratio is not None:
        yield ("waterfill_drift_error_ratio", name), report.error_ratio
    if report.cost is not None:
        yield from _read_cost(name, report.cost)


def _read_stream(name: str, stream: str, found: StreamReport) -> Items:
    for verdict in found.verdicts:
        yield ("waterfill_drift_alarm", name, stream, verdict.family), int(verdict.alarm)
        yield ("waterfill_drift_p_value", name, stream, verdict.family), verdict.corrected


def _read_cost(name: str, cost: Cost) -> Items:
    yield ("waterfill_drift_recall", name), cost.recall_now
    yield ("waterfill_drift_recall_gap", name), cost.gap
    yield ("waterfill_drift_recall_gap_low", name), cost.gap_low
    yield ("waterfill_drift_recall_gap_high", name), cost.gap_high
    yield ("waterfill_drift_recall_measured", name), int(cost.measured)


def interval(measured: CanaryRecall) -> tuple[float, float, float]:
    """Return recall at the largest measured size, and its 95 % interval over draws of queries."""
    shares = measured.frozen[-1].astype(float)
    mean = float(shares.mean())
    half = _QUANTILE * float(shares.std()) / math.sqrt(max(1, len(shares) - 1))
    return mean, max(0.0, mean - half), min(1.0, mean + half)


def read_canary(name: str, measured: CanaryRecall) -> Items:
    """Yield the recall of a measurement and its interval."""
    mean, low, high = interval(measured)
    yield ("waterfill_canary_recall", name), mean
    yield ("waterfill_canary_recall_low", name), low
    yield ("waterfill_canary_recall_high", name), high


class CanaryReader(Reader):
    """Reads a canary measurement, which never changes."""

    def read(self, name: str, measured: CanaryRecall) -> Items:
        """Yield recall and its interval."""
        return read_canary(name, measured)


@dataclass(frozen=True)
class Source:
    """A kind of object that can be exported.

    Attributes
    ----------
    name : str
        The label that distinguishes objects of this kind.
    types : tuple of type
    expected : str
        Description of `types` for error messages.
    reader : type of Reader
        One instance reads one object.
    weak : bool, default True
        Whether objects are held weakly.
    """

    name: str
    types: tuple[type, ...]
    expected: str
    reader: type[Reader]
    weak: bool = True


SOURCES = {
    "limiters": Source("limiter", (LimiterBase,), "a Limiter", LimiterReader),
    "indexes": Source("index", (Index, SwapIndex), "an index or SwapIndex", IndexReader),
    "monitors": Source("monitor", (DriftMonitor,), "a DriftMonitor", MonitorReader),
    "canaries": Source(
        "canary", (CanaryRecall,), "a result of Canary.measure", CanaryReader, weak=False
    ),
    "batchers": Source("batcher", (Batcher,), "a Batcher", BatcherReader),
    "caches": Source("cache", (CachedSearch,), "a CachedSearch", CacheReader),
}
