"""The cost of a scrape of a limiter, an index, a monitor and a cache, without peers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from corpora import Corpus
from pytest_benchmark.fixture import BenchmarkFixture

import waterfill as wf
from waterfill.metrics.multiprocess import Publisher

Record = Callable[[str, Callable[[], Any]], None]


@pytest.fixture(scope="module")
def exported(corpus: Corpus) -> dict[str, Any]:
    """Return the exported objects; the fixture keeps them alive."""
    rows = corpus.base[:8000]
    index = wf.IndexFlat(wf.Recipe(rows.shape[1], 24, effort="fast").train(rows[:4000], "ip"))
    index.add(corpus.base)
    live = wf.SwapIndex(index)
    monitor = wf.DriftMonitor.from_codec(index.codec, rows[4000:6000])
    monitor.update(rows[6000:])
    monitor.report()
    limiter = wf.Limiter(12, name="retrieval", shares={"batch": 0.5})
    for _ in range(1000):
        limiter.acquire().release()
    cache = wf.CachedSearch(live)
    cache.search(rows[:100], 10)
    return {"limiters": limiter, "indexes": live, "monitors": monitor, "caches": cache}


@pytest.fixture(scope="module")
def metrics(exported: dict[str, Any]) -> wf.Metrics:
    """Return the metrics of all exported objects."""
    return wf.Metrics(**exported)


@pytest.fixture
def record(benchmark: BenchmarkFixture) -> Record:
    """Return a function that measures one kind of scrape."""

    def measure(name: str, scrape: Callable[[], Any]) -> None:
        benchmark.group = "metrics: one scrape"
        benchmark.extra_info.update(library="waterfill", name=name, items=1)
        benchmark(scrape)

    return measure


@pytest.fixture
def publisher(metrics: wf.Metrics, tmp_path: Path) -> Iterator[Publisher]:
    """Return one of four publishers that have all published, as in four workers."""
    pytest.importorskip("prometheus_client")
    publishers = [Publisher(metrics, tmp_path, interval=60) for _ in range(4)]
    for each in publishers:
        each.publish()
    yield publishers[0]
    for each in publishers:
        each.close()


def test_samples(record: Record, metrics: wf.Metrics) -> None:
    """Collect the samples only."""
    record("samples", metrics.samples)


def test_expose(record: Record, metrics: wf.Metrics) -> None:
    """Render the Prometheus text format; most time goes to prometheus_client."""
    prometheus = pytest.importorskip("waterfill.metrics.prometheus")
    pytest.importorskip("prometheus_client")
    record("expose", lambda: prometheus.expose(metrics))


def test_merge(record: Record, publisher: Publisher, tmp_path: Path) -> None:
    """Merge four workers into the Prometheus text format."""
    client = pytest.importorskip("prometheus_client")
    multiprocess = pytest.importorskip("prometheus_client.multiprocess")
    registry = client.CollectorRegistry()
    multiprocess.MultiProcessCollector(registry, path=str(tmp_path))
    record("merge of four workers", lambda: client.generate_latest(registry))


def test_publish(record: Record, publisher: Publisher) -> None:
    """Publish, as a worker does once per second."""
    record("publish", publisher.publish)


def test_limiter_samples(record: Record) -> None:
    """Collect the samples of a limiter only."""
    limiter = wf.Limiter(12)
    metrics = wf.Metrics(limiters=limiter)
    record("samples of a limiter", metrics.samples)
