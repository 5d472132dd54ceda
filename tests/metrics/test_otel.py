"""Export to OpenTelemetry: a reader collects the values of the samples."""

from __future__ import annotations

import gc

import pytest
from support.metric_values import values

import waterfill as wf
from waterfill.metrics import FAMILIES, Histogram
from waterfill.metrics.otel import instrument

sdk = pytest.importorskip("opentelemetry.sdk.metrics")


@pytest.fixture
def reader():
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader

    return InMemoryMetricReader()


@pytest.fixture
def meter(reader):
    provider = sdk.MeterProvider([reader], shutdown_on_exit=False)
    yield provider.get_meter("test")
    provider.shutdown()


def collected(reader):
    """Return all points by the name of the instrument and the values of attributes."""
    data = reader.get_metrics_data()
    found = {}
    for resource in [] if data is None else data.resource_metrics:
        for scope in resource.scope_metrics:
            for metric in scope.metrics:
                for point in metric.data.data_points:
                    found[(metric.name, *point.attributes.values())] = point.value
    return found


def expected(source):
    found = {}
    for (name, *labels), value in values(source).items():
        short = name.removeprefix("waterfill_").removesuffix("_total").replace("_", ".")
        if isinstance(value, Histogram):
            found[(f"waterfill.{short}.sum", *labels)] = value.sum
            found[(f"waterfill.{short}.count", *labels)] = value.count
            for le, count in value.cumulative():
                found[(f"waterfill.{short}.bucket", *labels, le)] = count
        else:
            found[(f"waterfill.{short}", *labels)] = value
    return found


def test_reader_collects_the_samples(reader, meter, flat):
    limiter = wf.Limiter(4, name="a", shares={"batch": 0.5})
    metrics = wf.Metrics(limiters=limiter, indexes=flat)
    instrument(metrics, meter)
    for _ in range(3):
        limiter.acquire(priority="batch").release()
        assert collected(reader) == expected(metrics)


def test_one_collection_reads_once(reader, meter, monkeypatch):
    limiter = wf.Limiter(4, name="a")
    metrics = wf.Metrics(limiters=limiter)
    instrument(metrics, meter)
    reads = []
    table = metrics._table
    monkeypatch.setattr(metrics, "_table", lambda: reads.append(1) or table())
    monkeypatch.setattr(
        "waterfill.metrics.otel._MAX_AGE", 60
    )  # so that a slow machine reads once, too
    for count in (1, 2, 3):
        collected(reader)
        assert len(reads) == count


def test_deleted_metrics_report_nothing(reader, meter):
    metrics = wf.Metrics(limiters=wf.Limiter(1))
    instrument(metrics, meter)
    assert ("waterfill.build.info" in {key[0] for key in collected(reader)}) is True
    del metrics
    gc.collect()
    assert collected(reader) == {}


def test_units_and_names(reader, meter):
    limiter = wf.Limiter(1)
    metrics = wf.Metrics(limiters=limiter)
    instrument(metrics, meter)
    data = reader.get_metrics_data()
    (scope,) = data.resource_metrics[0].scope_metrics
    units = {metric.name: metric.unit for metric in scope.metrics}
    assert units["waterfill.request.seconds.sum"] == "s"
    assert units["waterfill.requests"] == "1"
    described = {metric.description for metric in scope.metrics}
    assert described <= {family.meaning for family in FAMILIES.values()}


def test_invalid_types_raise(meter):
    with pytest.raises(TypeError, match=r"metrics: expected wf\.Metrics, got int"):
        instrument(3, meter)


def test_default_meter_is_the_global_one():
    metrics = wf.Metrics()
    instrument(metrics)  # no provider is set, so nothing is exported
