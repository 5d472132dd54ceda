"""Values read from each kind of object, and from objects deleted, replaced or failing."""

from __future__ import annotations

import gc
import os
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import python_limiter
from support.metric_values import run, values

import waterfill as wf
from waterfill.metrics import BOUNDS, FAMILIES, Histogram
from waterfill.metrics.sources import as_histogram

R = "waterfill_requests_total"


@pytest.mark.parametrize("kind", [wf.Limiter, python_limiter.PythonLimiter], ids=["core", "python"])
def test_limiter_counts(kind):
    limiter = kind(4, name="retrieval", shares={"batch": 0.5})
    held = limiter.acquire(cost=3)
    assert limiter.try_acquire(priority="batch") is None
    assert limiter.try_acquire(cost=2) is None
    assert limiter.try_acquire(deadline=0) is None
    limiter.acquire()  # dropped: its finaliser releases it
    gc.collect()
    found = values(wf.Metrics(limiters=limiter))
    assert found[R, "retrieval", "default", "admitted"] == 2
    assert found[R, "retrieval", "default", "refused_capacity"] == 1
    assert found[R, "retrieval", "default", "refused_deadline"] == 1
    assert found[R, "retrieval", "batch", "refused_share"] == 1
    assert found["waterfill_requests_abandoned_total", "retrieval", "default"] == 1
    assert found["waterfill_in_flight", "retrieval"] == 3
    assert found["waterfill_limit", "retrieval"] == 4
    held.release()
    found = values(wf.Metrics(limiters=[limiter]))
    stats = limiter.stats()
    histogram = found["waterfill_request_seconds", "retrieval"]
    assert (
        histogram.count == 1 == found["waterfill_requests_released_total", "retrieval", "default"]
    )
    assert histogram.sum == pytest.approx(stats["latency"]["sum"], abs=1e-9)
    assert found["waterfill_in_flight", "retrieval"] == 0


@given(st.lists(st.integers(0, 2**38), max_size=60))
def test_exported_buckets_agree_with_the_bounds(durations):
    latencies = python_limiter.Latencies()
    for ns in durations:
        latencies.record(ns)
    histogram = as_histogram(latencies.counts, latencies.total)
    bounds = [round(bound * 1e9) for bound in BOUNDS]
    expected = [sum(ns < bound for ns in durations) for bound in bounds] + [len(durations)]
    assert [count for _, count in histogram.cumulative()] == expected
    assert histogram.count == len(durations)
    assert histogram.sum == pytest.approx(sum(durations) * 1e-9)


def test_limiters_of_one_name_are_summed():
    one, other = wf.Limiter(3, name="a"), wf.Limiter(4, name="a")
    one.acquire().release(), other.acquire().release()
    found = values(wf.Metrics(limiters=[one, other]))
    assert found["waterfill_limit", "a"] == 7
    assert found[R, "a", "default", "admitted"] == 2
    assert found["waterfill_request_seconds", "a"].count == 2


def test_batchers_and_caches(flat, queries_64):
    queries = queries_64
    cache = wf.CachedSearch(flat, max_entries=4)
    cache.search(queries[:3], 5), cache.search(queries[:5], 5)
    with wf.Batcher(flat) as batcher:
        batcher.search(queries[:1], 5)
        found = values(wf.Metrics(batchers={"b": batcher}, caches=cache))
    assert found["waterfill_batcher_searches_total", "b"] == 1
    assert found["waterfill_batcher_batches_total", "b"] == 1
    assert found["waterfill_batcher_waiting", "b"] == 0
    stats = cache.stats()
    assert found["waterfill_cache_queries_total", "default", "hit"] == stats.hits == 3
    assert found["waterfill_cache_queries_total", "default", "miss"] == stats.misses == 5
    assert found["waterfill_cache_evictions_total", "default"] == stats.evictions == 1
    assert found["waterfill_cache_entries", "default"] == stats.entries
    assert found["waterfill_cache_bytes", "default"] == stats.bytes


def test_index_and_swaps(flat, codec_64, base_64):
    live = wf.SwapIndex(flat)
    metrics = wf.Metrics(indexes={"texts": live, "plain": flat})
    found = values(metrics)
    assert found["waterfill_index_generation", "texts"] == 1
    assert found["waterfill_index_vectors", "texts"] == 1500
    assert found["waterfill_index_bytes", "plain"] == flat.nbytes
    assert ("waterfill_index_generation", "plain") not in found
    other = wf.IndexFlat(codec_64)
    other.add(base_64[:700])
    live.swap(other, same_ids=False)
    live.rollback()
    found = values(metrics)
    assert found["waterfill_index_generation", "texts"] == 3
    assert found["waterfill_index_swaps_total", "texts", "swap"] == 1
    assert found["waterfill_index_swaps_total", "texts", "rollback"] == 1
    assert values(metrics)["waterfill_index_swaps_total", "texts", "swap"] == 1


def test_last_report_of_a_monitor(base_64, queries_64, codec_64):
    base, queries = base_64, queries_64
    canary = wf.drift.Canary(queries, base[2000:3000])
    monitor = wf.DriftMonitor.from_codec(
        codec_64, base[2000:3400], queries=queries[:100], canary=canary
    )
    metrics = wf.Metrics(monitors={"texts": monitor})
    found = values(metrics)
    assert found["waterfill_drift_rows", "texts", "vectors"] == 0
    assert 0 < found["waterfill_canary_recall_baseline", "texts"] <= 1
    assert not any(key[0] == "waterfill_drift_alarm" for key in found)
    drifted = base[3400:].copy()
    drifted[:, 7] += 0.5
    monitor.update(drifted)
    monitor.update_queries(queries[100:])
    report = monitor.report(wf.drift.Canary(queries, base[2500:3500]))
    found = values(metrics)
    assert found["waterfill_drift_rows", "texts", "vectors"] == 1400
    assert found["waterfill_drift_error_ratio", "texts"] == report.error_ratio
    assert found["waterfill_drift_recall", "texts"] == report.cost.recall_now
    assert found["waterfill_drift_recall_gap_high", "texts"] == report.cost.gap_high
    assert found["waterfill_drift_recall_measured", "texts"] == 1
    for verdict in report.data.verdicts:
        key = "waterfill_drift_alarm", "texts", "vectors", verdict.family
        assert found[key] == verdict.alarm
    assert found["waterfill_drift_alarm", "texts", "vectors", "dimensions"] == 1
    assert ("waterfill_drift_alarm", "texts", "queries", "mean") in found
    low, mean, high = (found[f"waterfill_canary_recall{e}", "texts"] for e in ("_low", "", "_high"))
    assert low < mean < high
    assert mean == pytest.approx(float(monitor.last.canary.frozen[-1].mean()))
    metrics.watch(
        canaries={"texts": monitor.canary}
    )  # merged with that of the report by the minimum
    assert values(metrics)["waterfill_canary_recall", "texts"] <= mean


def test_deleted_objects_are_not_exported():
    metrics, limiter = wf.Metrics(), wf.Limiter(3, name="a")
    metrics.watch(limiters=limiter)
    assert ("waterfill_limit", "a") in values(metrics)
    del limiter
    gc.collect()
    assert ("waterfill_limit", "a") not in values(metrics)
    assert sum(v for k, v in values(metrics).items() if "errors" in k[0]) == 0


def test_failed_reads_are_left_out_and_counted(flat, monkeypatch):
    limiter = wf.Limiter(3)
    metrics = wf.Metrics(limiters=limiter, indexes=flat)
    monkeypatch.setattr(type(flat), "nbytes", property(lambda self: 1 // 0))
    for count in (1, 2):
        found = values(metrics)
        assert found["waterfill_scrape_errors_total", "index"] == count
        assert (
            "waterfill_index_vectors",
            "default",
        ) not in found  # all series of an object, or none
        assert found["waterfill_limit", "limiter"] == 3


def test_watch_replaces_an_object_of_the_same_name(flat, codec_64):
    empty = wf.IndexFlat(codec_64)
    metrics = wf.Metrics(indexes=flat)
    metrics.watch(indexes=empty)
    assert values(metrics)["waterfill_index_vectors", "default"] == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"limiters": 3}, "limiters: expected a Limiter, got int"),
        ({"limiters": ["a"]}, "limiters: expected a Limiter, got str"),
        ({"indexes": object()}, "indexes: expected an index or SwapIndex, got object"),
        ({"caches": {1: None}}, "caches: expected str keys, got 1"),
        ({"canaries": {"a": 1}}, r"canaries: expected a result of Canary\.measure, got int"),
    ],
)
def test_invalid_objects_raise(arguments, message):
    with pytest.raises(TypeError, match=message):
        wf.Metrics(**arguments)


def test_every_sample_belongs_to_a_family(flat):
    limiter = wf.Limiter(1)
    for sample in wf.Metrics(limiters=limiter, indexes=wf.SwapIndex(flat)).samples():
        family = FAMILIES[sample.name]
        assert tuple(sample.labels) == family.labels
        assert isinstance(sample.value, Histogram) == (family.kind == "histogram")


def test_concurrent_scrapes_never_decrease():
    limiter = wf.Limiter(1000, name="a")
    metrics = wf.Metrics(limiters=limiter)
    stop = threading.Event()

    def acquire_repeatedly():
        while not stop.is_set():
            limiter.acquire().release()

    threads = [threading.Thread(target=acquire_repeatedly) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        before = 0
        for _ in range(200):
            found = values(metrics)
            now = found["waterfill_request_seconds", "a"].count
            assert before <= now
            before = now
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    found = values(metrics)
    assert found[R, "a", "default", "admitted"] == found["waterfill_request_seconds", "a"].count


@given(
    steps=st.lists(
        st.tuples(st.sampled_from(["new", "delete", "count", "fail"]), st.integers(0, 2)),
        max_size=20,
    )
)
def test_sums_of_a_live_name_never_decrease(steps):
    """Limiters of one name are created, deleted, used, and fail to be read once."""
    metrics, living, total = wf.Metrics(), [], 0
    for step, place in steps:
        if step == "new":
            living.append(python_limiter.PythonLimiter(3, name="a"))
            metrics.watch(limiters=living[-1])
        elif step == "delete" and living:
            living.pop(place % len(living))
            total = total if living else 0
        elif step == "count" and living:
            living[place % len(living)].acquire().release()
            total += 1
        elif step == "fail" and living:
            one = living[place % len(living)]
            one._counts = lambda: 1 // 0
            assert values(metrics).get((R, "a", "default", "admitted"), 0) == total
            del one._counts, one
        assert values(metrics).get((R, "a", "default", "admitted"), 0) == total


def test_failed_read_is_not_counted_twice(monkeypatch):
    limiter = python_limiter.PythonLimiter(3, name="a")
    limiter.acquire().release()
    metrics = wf.Metrics(limiters=limiter)
    for _ in range(2):
        assert values(metrics)[R, "a", "default", "admitted"] == 1
        with monkeypatch.context() as patch:
            patch.setattr(limiter, "_counts", lambda: 1 // 0)
            found = values(metrics)
        assert found[R, "a", "default", "admitted"] == 1
        assert ("waterfill_limit", "a") not in found
    assert values(metrics)["waterfill_scrape_errors_total", "limiter"] == 2


def test_counts_continue_in_a_replacement_cache(flat, queries_64):
    queries = queries_64
    metrics = wf.Metrics(caches=(cache := wf.CachedSearch(flat)))
    cache.search(queries[:5], 3)
    metrics.watch(caches=(other := wf.CachedSearch(flat)))
    other.search(queries[:2], 3)
    assert values(metrics)["waterfill_cache_queries_total", "default", "miss"] == 7


FORK = """
import os
import numpy as np
import waterfill as wf
from support.metric_values import values
base = np.ascontiguousarray(np.load("samples/base.npy")[:1200, :64], "f4")
index = wf.IndexFlat(wf.Recipe(64, 16, effort="fast").train(base, "ip"))
live = wf.SwapIndex(index)
live.add(base)
cache, limiter = wf.CachedSearch(live), wf.Limiter(3, name="a")
limiter.acquire().release()
cache.search(base[:5], 3)
metrics = wf.Metrics(limiters=limiter, indexes=live, caches=cache)
child = os.fork()
if child == 0:
    found = values(metrics)
    assert found["waterfill_requests_total", "a", "default", "admitted"] == 0
    assert found["waterfill_cache_queries_total", "default", "miss"] == 0
    cache.search(base[4:7], 3)
    found = values(metrics)
    assert found["waterfill_cache_queries_total", "default", "miss"] == 3  # the child starts empty
    assert found["waterfill_cache_queries_total", "default", "hit"] == 0
    assert found["waterfill_index_vectors", "default"] == 1200
    os._exit(7)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
assert values(metrics)["waterfill_cache_queries_total", "default", "miss"] == 5
print("done")
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_forked_child_counts_from_0():
    assert run(FORK).strip() == "done"
