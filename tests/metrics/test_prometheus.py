"""Export to Prometheus: the text is valid and has the values of the samples."""

from __future__ import annotations

import re

import pytest
from support.metric_values import values

import waterfill as wf
from waterfill.metrics import BOUNDS, FAMILIES, Histogram
from waterfill.metrics.prometheus import Collector, expose

client = pytest.importorskip("prometheus_client")


@pytest.fixture
def limiter():
    limiter = wf.Limiter(4, name='a "quoted"\nname', shares={"batch": 0.5})
    for _ in range(5):
        limiter.acquire(priority="batch").release()
    return limiter


def parsed(text):
    from prometheus_client.parser import text_string_to_metric_families

    return {family.name: family for family in text_string_to_metric_families(text)}


def test_text_agrees_with_the_samples(limiter, flat):
    metrics = wf.Metrics(limiters=limiter, indexes=wf.SwapIndex(flat))
    text, content_type = expose(metrics)
    assert content_type.startswith("text/plain; version=")
    found = parsed(text.decode())
    for (name, *labels), value in values(metrics).items():
        family = found[name.removesuffix("_total")]
        assert family.type == FAMILIES[name].kind
        assert family.documentation == FAMILIES[name].meaning
        own = [
            sample for sample in family.samples
            if [sample.labels[label] for label in FAMILIES[name].labels] == labels
        ]  # fmt: skip
        if not isinstance(value, Histogram):
            assert [sample.value for sample in own] == [value]
            continue
        buckets = [sample.value for sample in own if sample.name.endswith("_bucket")]
        assert buckets == [count for _, count in value.cumulative()]
        bounds = [float(sample.labels["le"]) for sample in own if "le" in sample.labels]
        assert bounds[:-1] == pytest.approx(BOUNDS, rel=1e-8)
        rest = {sample.name: sample.value for sample in own if "le" not in sample.labels}
        assert rest == {f"{name}_count": value.count, f"{name}_sum": value.sum}


def test_accept_header_selects_openmetrics():
    from prometheus_client.openmetrics.parser import text_string_to_metric_families

    limiter = wf.Limiter(3)
    text, content_type = expose(
        wf.Metrics(limiters=limiter), "application/openmetrics-text; version=1.0.0"
    )
    assert content_type.startswith("application/openmetrics-text")
    names = [family.name for family in text_string_to_metric_families(text.decode())]
    assert "waterfill_requests" in names


def test_collector_is_registered_once_and_read_at_each_scrape(limiter):
    registry = client.CollectorRegistry()
    metrics = wf.Metrics(limiters=limiter)
    registry.register(Collector(metrics))
    with pytest.raises(ValueError, match="Duplicated"):
        registry.register(Collector(metrics))
    labels = {"limiter": limiter.name, "priority": "batch", "outcome": "admitted"}
    assert registry.get_sample_value("waterfill_requests_total", labels) == 5
    limiter.acquire(priority="batch").release()
    assert registry.get_sample_value("waterfill_requests_total", labels) == 6


def test_invalid_types_raise():
    with pytest.raises(TypeError, match=r"metrics: expected wf\.Metrics, got int"):
        Collector(3)


UNITS = ("seconds", "bytes", "total", "ratio", "info")


def test_names_follow_the_conventions():
    """Conventions of the Prometheus guide: base units, suffixes and letters."""
    for name, family in FAMILIES.items():
        assert name == family.name
        assert re.fullmatch(r"waterfill_[a-z]+(_[a-z]+)*", name)
        assert name.endswith("_total") == (family.kind == "counter")
        assert not name.endswith(("_count", "_sum", "_bucket", "_created"))
        assert not re.search(r"milli|micro|nano|minute|kilo|mega|percent|gauge|counter", name)
        assert family.meaning.endswith(".")
        assert all(re.fullmatch(r"[a-z]+", label) for label in family.labels)
        assert family.merge == "sum" or family.kind == "gauge"
        for unit in UNITS:
            assert unit not in name.split("_")[:-1] or unit in ("seconds", "bytes")
