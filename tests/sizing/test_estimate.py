"""Estimates: how they follow from rates, and that rates are measured."""

from __future__ import annotations

from dataclasses import asdict, replace

import numpy as np
import pytest

import waterfill as wf
from waterfill.sizing import Rates, estimate, measure_rates, storage


def test_a_billion_vectors(rates):
    found = estimate(1e9, 768, 96, rates=rates, cores=32, node_memory="64GB", price_per_hour=2.0)
    assert found.storage == storage(
        10**9, 768, 96, segments=found.storage.segments, codec_bytes=rates.codec_bytes
    )
    assert found.storage.codes == pytest.approx(97e9, rel=0.001)
    assert found.storage.segments == 954
    assert (found.nodes, found.build_limit) == (2, "cores")
    encoding = found.build_hours - found.train_hours
    assert encoding * 3600 == pytest.approx(1e9 * rates.build_seconds / 32)
    assert found.build_cost == pytest.approx(2 * found.build_hours)
    assert found.cost_per_month == pytest.approx(2 * 2 * 730)
    assert found.queries_per_second == pytest.approx(32 / found.query_seconds)


def test_a_slow_disk_limits(rates):
    fast = estimate(1e8, 768, 96, rates=rates, cores=8, disk_mb_s=1e6)
    slow = estimate(1e8, 768, 96, rates=rates, cores=8, disk_mb_s=100)
    assert (fast.build_limit, slow.build_limit) == ("cores", "disk")
    moved = 1e8 * 4 * 768 + slow.storage.file_bytes
    assert (slow.build_hours - slow.train_hours) * 3600 == pytest.approx(moved / 100e6)
    assert slow.read_mb_s < 100


@pytest.mark.parametrize("lists", [0, 1024, 65_536])
def test_as_few_nodes_as_hold_all(rates, lists):
    for gigabytes in (3, 17, 1000):
        memory = gigabytes * 10**9
        found = estimate(1e9, 768, 96, lists=lists, rates=rates, node_memory=memory)
        assert found.node_bytes <= memory
        if found.nodes > 1:
            fewer = storage(
                -(-(10**9) // (found.nodes - 1)),
                768,
                96,
                lists=lists,
                codec_bytes=rates.codec_bytes,
            )
            assert fewer.memory_bytes > memory


def test_lists_make_queries_shorter_and_tails_follow_nodes(rates):
    flat = estimate(1e9, 768, 96, rates=rates)
    lists = estimate(1e9, 768, 96, lists=65_536, nprobe=64, rates=rates)
    assert lists.query_seconds < flat.query_seconds / 10
    few, many = (
        estimate(1e9, 768, 96, rates=rates, node_memory=memory, latencies=[0.01] * 99 + [1.0])
        for memory in ("200GB", "2GB")
    )
    assert few.latency.p50 < many.latency.p99
    assert many.latency.hedged_p99 < many.latency.p99


def test_training_of_many_lists_does_not_compare_rows_with_all(rates):
    few, many = (estimate(1e9, 768, 96, lists=n, rates=rates).train_hours for n in (4096, 65_536))
    assert few < many < 4 * few


def test_replicas_answer_more(rates):
    one, three = (estimate(1e8, 768, 96, rates=rates, replicas=n) for n in (1, 3))
    assert three.queries_per_second == pytest.approx(3 * one.queries_per_second)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"vectors": 0}, "vectors"),
        ({"vectors": 1.5}, "vectors=1.5: expected a whole number"),
        ({"vectors": float("nan")}, "vectors=nan"),
        ({"vectors": float("inf")}, "vectors=inf must be finite"),
        ({"k": 0}, "k"),
        ({"nprobe": 0}, "nprobe"),
        ({"replicas": 0}, "replicas"),
        ({"d": 700}, "measured for d=768, expected 700"),
        ({"metric": "l2"}, "measured for metric='ip'"),
        ({"refine": "int8"}, "measured for refine=''"),
        ({"source": "parquet"}, "measured for source='npy'"),
        ({"lists": 70_000}, "lists=70000: expected 0 to 65,536"),
        ({"ids": "uuid"}, "ids='uuid': expected one of positions"),
        ({"disk_mb_s": 0}, "disk_mb_s=0"),
        ({"node_memory": "1MB"}, "the codec and its lists alone take"),
    ],
)
def test_what_is_wrong_is_named(rates, changed, message):
    given = {"vectors": 1e6, "d": 768, "code_bytes": 96} | changed
    with pytest.raises((ValueError, TypeError), match=message):
        estimate(**given, rates=rates)


def test_rates_are_kept_as_json(rates, tmp_path):
    rates.save(tmp_path / "rates.json")
    assert Rates.load(tmp_path / "rates.json") == rates
    (tmp_path / "other.json").write_text("{}")
    with pytest.raises(ValueError, match=r"other\.json: expected the rates of a machine"):
        Rates.load(tmp_path / "other.json")


@pytest.fixture(scope="session")
def measured(tmp_path_factory):
    folder = tmp_path_factory.mktemp("measured")
    found = measure_rates(16, 8, metric="l2", refine="int8", source="parquet", folder=str(folder))
    assert not list(folder.iterdir())
    return found


@pytest.mark.slow
def test_rates_are_measured(measured):
    values = asdict(measured)
    times = {name: value for name, value in values.items() if name.endswith("_seconds")}
    assert all(value >= 0 for value in times.values())
    assert measured.build_seconds > measured.read_seconds > 0
    assert measured.scan_seconds > 0
    assert (measured.d, measured.code_bytes, measured.source) == (16, 8, "parquet")
    assert np.median(measured.spread) == pytest.approx(1, rel=0.05)
    assert measured.spread == sorted(measured.spread)
    codec = wf.Recipe(16, 8).train(np.random.default_rng(0).random((9000, 16)), "l2", cells=0)
    assert measured.codec_bytes == pytest.approx(len(codec.to_bytes()), rel=0.1)


@pytest.mark.slow
def test_more_costs_more(measured):
    given = {"metric": "l2", "refine": "int8", "source": "parquet", "rates": measured}
    small, large = (estimate(n, 16, 8, **given) for n in (1e6, 1e8))
    assert large.build_hours > small.build_hours
    assert large.query_seconds > small.query_seconds
    slower = estimate(1e8, 16, 8, **given | {"rates": replace(measured, build_seconds=1.0)})
    assert slower.build_hours > large.build_hours
