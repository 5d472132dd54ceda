"""Recall among more vectors than there are."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import waterfill as wf
from waterfill.evaluation.recall_extrapolation import Growth, Optimism, measure_growth, optimism_of
from waterfill.evaluation.sample_split import split_sample

tables = st.lists(
    st.lists(st.floats(0, 1), min_size=4, max_size=4), min_size=1, max_size=5
).map(np.array)  # fmt: skip


def growth(table: np.ndarray, optimism: Optimism | None = None) -> Growth:
    sizes = tuple(1000 * 2**i for i in range(len(table)))
    return Growth(sizes, tuple(table.mean(axis=1)), optimism, table)


optimisms = st.none() | st.builds(Optimism, st.floats(0, 3), st.floats(-1, 1))


@given(tables, optimisms, st.integers(1, 10**12), st.integers(1, 10**12))
def test_recall_falls_with_size_and_lies_in_its_interval(table, optimism, a, b):
    line = growth(table, optimism)
    few, many = line.at(min(a, b)), line.at(max(a, b))
    assert many.recall <= few.recall + 1e-12
    for each in (few, many):
        assert 0 <= each.low <= each.recall <= each.high <= 1


def test_what_was_measured_is_expected():
    table = np.tile([[0.9], [0.85], [0.8]], (1, 50))
    assert growth(table).at(4000).recall == pytest.approx(0.8)
    assert growth(table, Optimism(1, -1)).at(4000).recall == pytest.approx(0.8)
    own = growth(table).at(8000).recall
    assert 0.7 < own < 0.76
    # Of 8,000 vectors half are new: half of the gap lower, and on a line of their own.
    slope = np.log(own / (1 - own)) - np.log(4)
    for gap, new_slope in ((0.0, slope), (0.6, slope), (0.6, -0.2)):
        new = np.log(4) - 0.5 * gap + 0.7 * new_slope + 0.3 * slope
        expected = (own + min(own, 1 / (1 + np.exp(-new)))) / 2
        found = growth(table, Optimism(gap, new_slope)).at(8000).recall
        assert found == pytest.approx(expected)


def test_the_interval_widens_with_distance():
    rng = np.random.default_rng(0)
    table = rng.binomial(10, [[0.9], [0.88], [0.86]], (3, 500)) / 10
    spans = [
        e.high - e.low
        for e in (growth(table, Optimism(0.3, -0.05)).at(n) for n in (4000, 10**5, 10**8))
    ]
    assert spans == sorted(spans)
    assert 0.01 < spans[0] < 0.04


def test_sizes_are_parts_of_the_sample(sample):
    split = split_sample(sample, None, "l2", 10, 0)
    codec = wf.Codec.train(split.base, wf.Plan.waterfill(wf.analyze(split.base), 6))
    index = wf.IndexFlat(codec, "l2")
    index.add(split.base)
    line = measure_growth(index, split, 3, None)
    assert line.sizes == (225, 450, 900, 1800, 3600)
    hits = split.hits(index.search(split.queries, 10)[1])
    assert line.recalls[-1] == pytest.approx(hits.mean() / 10)
    # A part searched as an index of its own.
    part = wf.IndexFlat(codec, "l2")
    part.add(split.base[900:1800])
    found = part.search(split.queries, 10)[1]
    truth = split.truth_among(900, 900)
    assert truth.min() >= 900
    assert truth.max() < 1800
    own = measure_growth(index, split, 1, None)
    first = split.hits(index.search(split.queries, 10, params=wf.SearchParameters(
        sel=wf.IDSelectorRange(0, 900)))[1], split.truth_among(0, 900))  # fmt: skip
    assert own.recalls[2] == pytest.approx(first.mean() / 10)
    assert split.hits(900 + found, truth).mean() / 10 == pytest.approx(line.recalls[2], abs=0.05)


def test_new_vectors_are_found_less_well(sample):
    split = split_sample(sample[:1500], None, "l2", 10, 0)
    half = len(split.base) // 2
    codec = wf.Codec.train(split.base[:half], wf.Plan.waterfill(wf.analyze(split.base), 6))
    index = wf.IndexFlat(codec, "l2")
    index.add(split.base)
    seen = optimism_of(index, split, 4)
    assert 0.02 < seen.gap < 2
    assert -0.5 < seen.slope < 0.1


@pytest.mark.parametrize("code_bytes", [16, 48])
def test_real_recall_is_foretold(base, queries, code_bytes):
    """From 1,400 sentence embeddings to 4,800."""
    result = wf.optimize(base[:1400], max_bytes=code_bytes, time_budget=0)
    index = wf.IndexFlat(result.codec)
    index.add(base)
    truth = np.argsort(-queries @ base.T, axis=1)[:, :10]
    found = index.search(queries, 10)[1]
    recall = np.mean([np.isin(a, b).mean() for a, b in zip(truth, found, strict=True)])
    expected = result.expected_recall(4800)
    assert abs(recall - expected.recall) < 0.06
    assert expected.low - 0.03 < recall < expected.high + 0.03
