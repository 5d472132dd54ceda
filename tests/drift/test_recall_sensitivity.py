"""Estimate of the recall that a larger error costs, without a canary."""

from __future__ import annotations

import json
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import waterfill as wf
from waterfill.drift.recall_sensitivity import Sensitivity, _rotation, relative_error


@pytest.fixture(scope="module")
def sensitivity(young, base, queries) -> Sensitivity:
    return Sensitivity.measure(young, base[2000:], queries)


@given(st.integers(1, 9), st.floats(-360, 360), st.integers(0, 2**32 - 1))
def test_rotation_keeps_inner_products(d, degrees, seed):
    rng = np.random.default_rng(seed)
    matrix = _rotation(np.linalg.qr(rng.standard_normal((d, d)))[0], degrees)
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(d), atol=1e-5)
    x = rng.standard_normal(d)
    left = (x[: d - 1] if d % 2 else x) @ x[: d - 1 if d % 2 else d]
    if d > 1 and d % 2 == 0:
        assert x @ matrix @ x == pytest.approx(left * np.cos(np.deg2rad(degrees)), abs=1e-4)


def test_recall_falls_as_the_error_grows(sensitivity, young, base):
    assert sensitivity.ratios[0] == 1
    assert sensitivity.ratios[-1] > 1.3
    assert sensitivity.recalls[0] - sensitivity.recalls[-1] > 0.1
    assert list(sensitivity.ratios) == sorted(sensitivity.ratios)
    assert list(sensitivity.recalls) == sorted(sensitivity.recalls, reverse=True)
    assert 0 < sensitivity.error < 1
    assert sensitivity.size == len(base[2000:])
    assert sensitivity.error == pytest.approx(relative_error(young, base[2000:]), rel=1e-4)


def test_another_rotation_is_within_the_interval(sensitivity, young, base, queries, rotation):
    ratio = relative_error(young, base[2000:] @ rotation) / sensitivity.error
    index = wf.IndexFlat(young)
    index.add(base[2000:] @ rotation)
    plain = wf.IndexFlat(young)
    plain.add(base[2000:])
    truth = np.argsort(-(queries @ base[2000:].T), axis=1)[:, :10]
    recalls = [
        (searched.search(rows, 10)[1][:, :, None] == truth[:, None]).any(axis=1).mean()
        for searched, rows in ((plain, queries), (index, queries @ rotation))
    ]
    cost = sensitivity.estimate(ratio)
    assert cost.gap_low <= recalls[0] - recalls[1] <= cost.gap_high
    assert cost.gap == pytest.approx(recalls[0] - recalls[1], abs=0.05)


@given(st.lists(st.floats(0, 1e6), min_size=2, max_size=8))
def test_a_larger_error_never_costs_less(sensitivity, ratios):
    costs = [sensitivity.estimate(ratio) for ratio in sorted(ratios)]
    assert all(a.gap <= b.gap for a, b in pairwise(costs))
    for cost in costs:
        assert not cost.measured
        assert 0 == cost.gap_low <= cost.gap <= cost.gap_high
        assert cost.recall_if_retrained == pytest.approx(sensitivity.recalls[0])
        assert "estimated" in cost.words


def test_no_loss_without_growth_of_the_error(sensitivity):
    for ratio in (0, 0.5, 1):
        assert sensitivity.estimate(ratio).gap == 0


@pytest.mark.parametrize("metric", ["ip", "l2", "cosine"])
def test_queries_default_to_reference_rows(clustered, metric):
    plan = wf.Plan.waterfill(wf.analyze(clustered, normalize=metric == "cosine"), 7)
    codec = wf.Codec.train(clustered[:1500], plan)
    measured = Sensitivity.measure(codec, clustered[1500:], k=5, metric=metric)
    assert (measured.size, measured.k) == (1200, 5)
    assert measured.recalls[0] > 0.3


def test_to_dict_reads_back(sensitivity):
    assert Sensitivity.from_dict(json.loads(json.dumps(sensitivity.to_dict()))) == sensitivity
    good = sensitivity.to_dict()
    for bad in ({}, [], {**good, "ratios": [1]}, {**good, "more": 1}):
        with pytest.raises(ValueError, match="data: expected what to_dict"):
            Sensitivity.from_dict(bad)


def test_relative_error_does_not_depend_on_scale(base):
    x = base[:1500]
    codecs = [
        wf.Codec.train(rows, wf.Plan.waterfill(wf.analyze(rows), 16), cells=0)
        for rows in (x, x * np.float32(8))
    ]
    errors = [relative_error(codecs[0], x), relative_error(codecs[1], x * np.float32(8))]
    assert errors[0] == pytest.approx(errors[1], rel=0.01)
    assert relative_error(codecs[0], x[:1].repeat(3, axis=0)) < 1e9


def test_invalid_arguments_raise(young, base, sensitivity):
    with pytest.raises(TypeError, match="codec must be"):
        Sensitivity.measure(None, base)
    with pytest.raises(
        ValueError, match="reference: expected at least 200 rows for k=10, got 192 besides 48"
    ):
        Sensitivity.measure(young, base[:240])
    with pytest.raises(ValueError, match="queries: expected at least 1 row, got 0"):
        Sensitivity.measure(young, base, base[:0])
    with pytest.raises(ValueError, match="reference has 3 dimensions"):
        Sensitivity.measure(young, base[:, :3])
    with pytest.raises(ValueError, match="metric='dot'"):
        Sensitivity.measure(young, base, metric="dot")
    for bad in (-1, np.nan, np.inf):
        with pytest.raises(ValueError, match="error_ratio"):
            sensitivity.estimate(bad)
    with pytest.raises(TypeError, match="error_ratio"):
        sensitivity.estimate("2")
    with pytest.raises(ValueError, match="x: expected at least 1 row, got 0"):
        relative_error(young, base[:0])
