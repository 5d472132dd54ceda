"""Canaries: the cost of drift in recall, measured with current vectors."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
from support.trained import trained

import waterfill as wf
from waterfill.drift.canary import Canary
from waterfill.drift.canary_recall import CanaryRecall
from waterfill.evaluation.ground_truth import true_neighbours

GOLDEN = Path(__file__).parents[1] / "golden"


def changed(canary: Canary, change) -> Canary:
    return Canary(change(canary.queries), change(canary.vectors), canary.k, canary.metric)


def test_gap_is_zero_without_drift(young, base, queries):
    new, recalls = base[2000:], []
    for seed in range(2):
        rows = np.random.default_rng(seed).permutation(len(new))
        order = np.random.default_rng(seed).permutation(len(queries))
        recalls += [
            Canary(queries[order[i::2]], new[rows[1400 * i : 1400 * (i + 1)]]).measure(young)
            for i in (0, 1)
        ]
    costs = [a.cost(b) for a in recalls for b in recalls if a is not b]
    covered = [cost.gap_low <= 0 <= cost.gap_high for cost in costs]
    assert np.mean(covered) >= 0.9
    assert max(cost.gap_low for cost in costs) < 0.01


def test_rotation_has_a_gap(young, halves, baseline, rotation):
    now = changed(halves[1], lambda x: x @ rotation).measure(young, baseline)
    cost = now.cost(baseline)
    assert cost.measured
    assert cost.gap_low > 0.05
    assert cost.gap_low < cost.gap < cost.gap_high
    before = halves[1].measure(young).cost(baseline)
    assert cost.recall_now < before.recall_now - 0.05
    assert cost.recall_if_retrained == pytest.approx(cost.recall_now + cost.gap)
    # A codec trained on rotated vectors would have the recall that this one had before.
    assert cost.gap_low <= before.recall_now - cost.recall_now <= cost.gap_high


def test_larger_norms_have_no_gap(young, halves, baseline):
    cost = changed(halves[1], lambda x: x * np.float32(1.1)).measure(young, baseline).cost(baseline)
    assert cost.gap_low <= 0.005
    assert abs(cost.gap) < 0.02


def test_recall_now_agrees_with_an_index(young, halves, baseline):
    canary = halves[0]
    index = wf.IndexFlat(young)
    index.add(canary.vectors[:700])
    truth = true_neighbours(canary.vectors[:700], canary.queries, "ip", 10)
    found = index.search(canary.queries, 10)[1]
    recall = (found[:, :, None] == truth[:, None]).any(axis=1).mean()
    assert baseline.cost().recall_now == pytest.approx(recall, abs=0.03)
    assert baseline.sizes[-1] == 700


def test_gap_without_a_baseline_is_a_lower_bound(young, halves, baseline, rotation):
    now = changed(halves[1], lambda x: x @ rotation).measure(young)
    bare, full = now.cost(), now.cost(baseline)
    assert bare.gap < full.gap
    assert "at least" in bare.words
    assert "baseline" in full.words
    assert baseline.cost().gap < 0


def test_gap_is_extrapolated_to_larger_collections(young, halves, baseline, rotation):
    now = changed(halves[1], lambda x: x @ rotation).measure(young, baseline)
    costs = [now.cost(baseline, size) for size in (None, 700, 100_000, 10_000_000)]
    assert costs[0] == costs[1]
    assert [cost.size for cost in costs] == [700, 700, 100_000, 10_000_000]
    assert costs[0].recall_now >= costs[2].recall_now >= costs[3].recall_now
    widths = [cost.gap_high - cost.gap_low for cost in costs]
    assert widths[0] <= widths[2] + 1e-9
    assert all(0 <= cost.recall_if_retrained <= 1 for cost in costs)
    assert now.cost(baseline, 5).size == 700


def test_measurement_is_deterministic(young, halves, baseline):
    repeated = halves[0].measure(young, baseline)
    np.testing.assert_array_equal(repeated.frozen, baseline.frozen)
    np.testing.assert_array_equal(repeated.retrained, baseline.retrained)
    assert repeated.cost(baseline) == repeated.cost(baseline)


def test_serialised_recall_is_small_and_reads_back(baseline):
    text = json.dumps(baseline.to_dict())
    assert len(text) < 100_000
    for read in (
        CanaryRecall.from_dict(json.loads(text)),
        pickle.loads(pickle.dumps(baseline)),
    ):
        assert read.cost(baseline, 10_000) == baseline.cost(baseline, 10_000)
        assert (read.sizes, read.vectors, read.k, read.metric) == ((350, 700), 1400, 10, "ip")
    cost = baseline.cost()
    assert type(cost)(**cost.to_dict()) == cost
    assert "recall" in str(cost)


def test_canary_uses_the_number_of_vectors_of_the_baseline(young, base, queries, baseline):
    more = Canary(queries[:70], base[2000:])
    assert more.measure(young, baseline).vectors == baseline.vectors
    fewer = Canary(queries, base[2000:3100])
    with pytest.raises(
        ValueError,
        match="vectors: expected at least 1400 rows, as in the baseline's canary, got 1100",
    ):
        fewer.measure(young, baseline)


@pytest.mark.parametrize("metric", ["l2", "cosine"])
def test_other_metrics(base, queries, metric):
    x = base[:1500]
    codec = trained(x, 8, normalize=metric == "cosine", cells=16, metric=metric, effort="fast")
    factor = np.float32(3) if metric == "cosine" else np.float32(1)
    measured = Canary(queries * factor, base[2000:3000] * factor, 5, metric).measure(codec)
    recall = measured.cost().recall_now
    assert 0.3 < recall < 0.95
    assert (measured.k, measured.metric) == (5, metric)


def test_classic_plans_and_training_queries(clustered):
    x, new = clustered[:1500], clustered[1500:2700]
    plan = wf.Plan.classic(wf.analyze(x), 0.1, 0.6, by="dimensions")
    classic = wf.Codec.train(x, plan, effort="fast")
    with_queries = trained(x, 7, queries=clustered[2700:], effort="fast")
    for codec in (classic, with_queries):
        cost = Canary(clustered[2800:], new).measure(codec).cost()
        assert abs(cost.gap) < 0.1


def test_codec_without_a_manifest():
    arrays = np.load(GOLDEN / "1.0-waterfill-l2.npz")
    codec = wf.read_index(GOLDEN / "1.0-waterfill-l2.wf").codec
    assert codec.manifest is None
    x = np.random.default_rng(0).standard_normal((1100, codec.d)).astype(np.float32)
    x = x * arrays[arrays.files[0]].std().astype(np.float32)
    measured = Canary(x[:100], x[100:], 3, "l2").measure(codec)
    assert measured.cost().recall_if_retrained > 0


def test_invalid_arguments_raise(young, base, queries, baseline):
    vectors = base[:1000]
    with pytest.raises(ValueError, match="vectors: expected at least 1000 rows, got 999"):
        Canary(queries, base[:999])
    with pytest.raises(ValueError, match="vectors: expected at least 2000 rows, got 1000"):
        Canary(queries, vectors, k=100)
    with pytest.raises(ValueError, match="queries: expected at least 64 rows, got 63"):
        Canary(queries[:63], vectors)
    with pytest.raises(ValueError, match="queries has 3 dimensions, expected 64"):
        Canary(queries[:, :3], vectors)
    with pytest.raises(ValueError, match="metric='dot'"):
        Canary(queries, vectors, metric="dot")
    with pytest.raises(ValueError, match="k=0"):
        Canary(queries, vectors, k=0)
    with pytest.raises(TypeError, match="k must be an int"):
        Canary(queries, vectors, k=1.5)
    broken = vectors.copy()
    broken[7, 3] = np.nan
    with pytest.raises(ValueError, match=r"vectors.*7"):
        Canary(queries, broken)
    canary = Canary(queries, vectors)
    with pytest.raises(TypeError, match=r"codec must be a waterfill\.Codec, got str"):
        canary.measure("codec")
    with pytest.raises(ValueError, match="vectors has 10 dimensions"):
        Canary(queries[:, :10], vectors[:, :10]).measure(young)
    with pytest.raises(ValueError, match=r"expected at least 1400 rows, .*, got 1000"):
        canary.measure(young, baseline)
    with pytest.raises(ValueError, match="baseline: expected k=5 as in this canary, got 10"):
        Canary(queries, base[:1400], k=5).measure(young, baseline)
    with pytest.raises(TypeError, match="size must be an int"):
        baseline.cost(baseline, size=2.5)
    with pytest.raises(ValueError, match="size=0"):
        baseline.cost(baseline, size=0)
    good = baseline.to_dict()
    for bad in ({}, []):
        with pytest.raises(ValueError, match="data: expected what to_dict"):
            CanaryRecall.from_dict(bad)
    for bad in ({**good, "frozen": [1, 2]}, {**good, "sizes": [1]}):
        with pytest.raises(ValueError, match=r"data: expected .* rows of recall, one per size"):
            CanaryRecall.from_dict(bad)
