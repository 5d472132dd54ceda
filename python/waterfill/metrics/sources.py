"""One reader for each kind of object. Whatever waits for a search or a report is not asked."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from waterfill.drift.canary_recall import CanaryRecall
from waterfill.drift.monitor import DriftMonitor
from waterfill.drift.policy import Cost
from waterfill.drift.report import Look, Part
from waterfill.index.base import Index
from waterfill.lifecycle.swap import SwapIndex
from waterfill.metrics.families import BOUNDS
from waterfill.metrics.sample import Histogram, Key, Value
from waterfill.serving.batcher import Batcher
from waterfill.serving.cache import CachedSearch
from waterfill.serving.limiter_base import BUCKETS, LimiterBase, lower_bound

Items = Iterator[tuple[Key, Value]]

_OUTCOMES = ("admitted", "refused_capacity", "refused_share", "refused_deadline")
_DIGITS = 12  # of a hash
_WIDTH = 1.96  # deviations of a 95 % interval


class Reader(ABC):
    """Reads one object."""

    @abstractmethod
    def read(self, name: str, thing: Any) -> Items:
        """Read its numbers now."""

    def begin_anew(self, name: str, thing: Any) -> Items:
        """Return what it has counted, in a forked child, which counts from there on."""
        return self.read(name, thing)


def _folds() -> tuple[int, ...]:
    """Return for each bucket of a limiter the one of ours that it lies in; bounds are shared."""
    return tuple(
        sum(bound <= lower_bound(bucket) * (1 + 1e-12) for bound in BOUNDS)
        for bucket in range(BUCKETS)
    )


_FOLDS = _folds()


def folded(counts: list[int], seconds: float) -> Histogram:
    """Return a limiter's histogram with our buckets: the sum, and all counts, stay exact."""
    found = [0] * (len(BOUNDS) + 1)
    for place, count in zip(_FOLDS, counts, strict=True):
        found[place] += count
    return Histogram(tuple(found), round(seconds * 1e9))


class LimiterReader(Reader):
    """Reads a limiter."""

    def read(self, name: str, limiter: Any) -> Items:
        """Read counts as they are: `stats` names them one by one, in seventy times the time."""
        _, seconds, buckets, levels = limiter._counts()
        for priority, (*asked, released, abandoned) in zip(
            limiter._priorities, levels, strict=True
        ):
            for outcome, count in zip(_OUTCOMES, asked, strict=True):
                yield ("waterfill_requests_total", name, priority, outcome), count
            yield ("waterfill_requests_released_total", name, priority), released
            yield ("waterfill_requests_abandoned_total", name, priority), abandoned
        yield ("waterfill_request_seconds", name), folded(buckets, seconds)
        yield ("waterfill_in_flight", name), limiter.in_use
        yield ("waterfill_limit", name), limiter.limit

    def begin_anew(self, name: str, limiter: Any) -> Items:
        """Return nothing: a limiter begins at 0 by itself."""
        return iter(())


class BatcherReader(Reader):
    """Reads a batcher."""

    def read(self, name: str, batcher: Batcher) -> Items:
        """Read what a batcher has done."""
        stats = batcher.stats()
        yield ("waterfill_batcher_searches_total", name), stats.calls
        yield ("waterfill_batcher_batches_total", name), stats.batches
        yield ("waterfill_batcher_refused_total", name), stats.refused
        yield ("waterfill_batcher_waiting", name), stats.waiting


class CacheReader(Reader):
    """Reads a cache."""

    def read(self, name: str, cache: CachedSearch) -> Items:
        """Read what a cache has done."""
        stats = cache.stats()
        yield ("waterfill_cache_queries_total", name, "hit"), stats.hits
        yield ("waterfill_cache_queries_total", name, "miss"), stats.misses
        yield ("waterfill_cache_evictions_total", name), stats.evictions
        yield ("waterfill_cache_entries", name), stats.entries
        yield ("waterfill_cache_bytes", name), stats.bytes


@dataclass
class IndexReader(Reader):
    """Reads an index; of one that is swapped, it counts events that history will forget."""

    _seen: int = 1
    _codec: tuple[Any, str] = (None, "")  # the last one, and the digits of its fingerprint
    _counts: dict[str, int] = field(default_factory=lambda: {"swap": 0, "rollback": 0})

    def read(self, name: str, index: Any) -> Items:
        """Read size and generation."""
        contents = ""  # a hash of an index that nobody published would have to read all of it
        if isinstance(index, SwapIndex):
            now = index.current()
            contents = now.event.sha256[:_DIGITS]
            yield ("waterfill_index_generation", name), now.number
            yield ("waterfill_index_generation_oldest", name), now.number
            at = datetime.fromisoformat(now.event.at).timestamp()
            yield ("waterfill_index_published_timestamp_seconds", name), at
            yield from self.begin_anew(name, index)
            index = now.index
        yield ("waterfill_index_info", name, self._fingerprint(index), contents), 1
        yield ("waterfill_index_vectors", name), index.ntotal
        yield ("waterfill_index_bytes", name), index.nbytes

    def begin_anew(self, name: str, index: Any) -> Items:
        """Return swaps, and nothing that the core is asked for: a fork may find it locked."""
        if isinstance(index, SwapIndex):
            self._count(index)
            for what, count in self._counts.items():
                yield ("waterfill_index_swaps_total", name, what), count

    def _fingerprint(self, index: Any) -> str:
        """Return its first digits, which are worked out once a codec."""
        codec = index.codec
        if codec is not None and codec is not self._codec[0]:
            self._codec = codec, codec.fingerprint[:_DIGITS]
        return "" if codec is None else self._codec[1]

    def _count(self, index: SwapIndex) -> None:
        for event in index.history:
            if event.generation > self._seen:
                self._counts[event.what] += 1
                self._seen = event.generation


@dataclass
class MonitorReader(Reader):
    """Reads a monitor: its window, and the last report that somebody asked for, if any."""

    stale: Look | None = None  # of the process that this one was forked from

    def read(self, name: str, monitor: DriftMonitor) -> Items:
        """Read without the monitor's lock, which is held while it reports."""
        for stream, seen in (("vectors", monitor._data), ("queries", monitor._queries)):
            yield ("waterfill_drift_rows", name, stream), seen.window.n
            yield ("waterfill_drift_learning", name, stream), int(seen.learns > 0)
        look = monitor.last
        if look is not None and look is not self.stale:
            yield from _read_look(name, look)
            if look.canary is not None:
                yield from read_canary(name, look.canary)
        if monitor.canary is not None:
            yield ("waterfill_canary_recall_baseline", name), interval(monitor.canary)[0]

    def begin_anew(self, name: str, monitor: DriftMonitor) -> Items:
        """Return nothing; the parent's report is the parent's to export."""
        self.stale = monitor.last
        return iter(())


def _read_look(name: str, look: Look) -> Items:
    report = look.report
    yield ("waterfill_drift_report_timestamp_seconds", name), look.at
    yield ("waterfill_drift_model_changed", name), int(not report.model.same)
    yield from _read_part(name, "vectors", report.data)
    if report.queries is not None:
        yield from _read_part(name, "queries", report.queries)
    if report.error_ratio is not None:
        yield ("waterfill_drift_error_ratio", name), report.error_ratio
    if report.cost is not None:
        yield from _read_cost(name, report.cost)


def _read_part(name: str, stream: str, part: Part) -> Items:
    for verdict in part.verdicts:
        yield ("waterfill_drift_alarm", name, stream, verdict.family), int(verdict.alarm)
        yield ("waterfill_drift_p_value", name, stream, verdict.family), verdict.corrected


def _read_cost(name: str, cost: Cost) -> Items:
    yield ("waterfill_drift_recall", name), cost.recall_now
    yield ("waterfill_drift_recall_gap", name), cost.gap
    yield ("waterfill_drift_recall_gap_low", name), cost.gap_low
    yield ("waterfill_drift_recall_gap_high", name), cost.gap_high
    yield ("waterfill_drift_recall_measured", name), int(cost.measured)


def interval(measured: CanaryRecall) -> tuple[float, float, float]:
    """Return recall among the most vectors that it was measured with, and a 95 % interval.

    Over queries: what another draw of as many would have given.
    """
    shares = measured.frozen[-1].astype(float)
    mean = float(shares.mean())
    half = _WIDTH * float(shares.std()) / math.sqrt(max(1, len(shares) - 1))
    return mean, max(0.0, mean - half), min(1.0, mean + half)


def read_canary(name: str, measured: CanaryRecall) -> Items:
    """Read what was measured."""
    mean, low, high = interval(measured)
    yield ("waterfill_canary_recall", name), mean
    yield ("waterfill_canary_recall_low", name), low
    yield ("waterfill_canary_recall_high", name), high


class CanaryReader(Reader):
    """Reads what was measured with a canary, which does not change."""

    def read(self, name: str, measured: CanaryRecall) -> Items:
        """Read it."""
        return read_canary(name, measured)


@dataclass(frozen=True)
class Source:
    """A kind of objects.

    Attributes
    ----------
    name : str
        Of one: the label that tells them apart.
    types : tuple of type
    wanted : str
        What these are, for a message.
    reader : type
        One of them reads one object.
    weak : bool
        Whether an object goes from the export when nobody else holds it.
    """

    name: str
    types: tuple[type, ...]
    wanted: str
    reader: type[Reader]
    weak: bool = True


SOURCES = {
    "limiters": Source("limiter", (LimiterBase,), "a Limiter", LimiterReader),
    "indexes": Source("index", (Index, SwapIndex), "an index or SwapIndex", IndexReader),
    "monitors": Source("monitor", (DriftMonitor,), "a DriftMonitor", MonitorReader),
    "canaries": Source(
        "canary", (CanaryRecall,), "what Canary.measure returns", CanaryReader, weak=False
    ),
    "batchers": Source("batcher", (Batcher,), "a Batcher", BatcherReader),
    "caches": Source("cache", (CachedSearch,), "a CachedSearch", CacheReader),
}
