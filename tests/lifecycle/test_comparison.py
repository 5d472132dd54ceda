"""Comparison of two indexes, checked with NumPy."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import waterfill as wf
from waterfill.lifecycle.comparison import mean, overlap_per_query

K = 10


def test_measures_agree_with_numpy(old, good, stored, queries):
    found = wf.lifecycle.compare(old, good, queries, K, vectors=stored, timed=30)
    ids = [index.search(queries, K)[1] for index in (old, good)]
    truth = np.argsort(-queries @ stored.T, axis=1, kind="stable")[:, :K]
    overlap = [len(set(a) & set(b)) / K for a, b in zip(*ids, strict=True)]
    recalls = [
        np.array([len(set(a) & set(b)) / K for a, b in zip(truth, each, strict=True)])
        for each in ids
    ]
    assert found.overlap.value == pytest.approx(np.mean(overlap))
    assert found.old.recall.value == pytest.approx(recalls[0].mean())
    assert found.new.recall.value == pytest.approx(recalls[1].mean())
    change = recalls[1] - recalls[0]
    half = 1.96 * change.std(ddof=1) / np.sqrt(len(change))
    assert found.recall_change.value == pytest.approx(change.mean())
    assert found.recall_change.low == pytest.approx(change.mean() - half)
    assert found.recall_change.high == pytest.approx(change.mean() + half)
    assert found.same_first == (ids[0][:, 0] == ids[1][:, 0]).mean()
    assert found.queries == len(queries)
    assert found.old.bytes_per_vector == old.bytes_per_vector
    assert 0 < found.old.median_seconds <= found.old.p99_seconds
    assert found.latency_ratio == found.new.median_seconds / found.old.median_seconds


def test_index_compared_with_itself(good, queries):
    found = wf.lifecycle.compare(good, good, queries, timed=0)
    assert (found.overlap.value, found.overlap.low, found.same_first) == (1, 1, 1)
    assert found.recall_change is None
    assert found.old.recall is None
    assert found.latency_ratio is None
    assert "not known" in found.summary()


@pytest.mark.parametrize("metric", ["ip", "l2", "cosine"])
@pytest.mark.parametrize("own_ids", [False, True])
def test_true_neighbours_from_refinement_rows(metric, own_ids, stored, fresh, queries):
    rows = stored * np.random.default_rng(0).uniform(0.5, 2, (len(stored), 1)).astype(np.float32)
    codec = wf.Recipe(64, 8, effort="fast").train(fresh, metric)
    index = wf.IndexFlat(codec, metric, refine="float32", k_factor=1e6)
    index.add_with_ids(rows, np.arange(len(rows)) * 3 + 9) if own_ids else index.add(rows)
    found = wf.lifecycle.compare(index, index, queries, timed=0)
    assert found.old.recall.value > 0.999  # it scores all of them exactly
    assert found.truth == "float32 refinement rows of the old index"
    plain = wf.IndexFlat(codec, metric)
    plain.add_with_ids(rows, index.ids())
    by_rows = wf.lifecycle.compare(plain, index, queries, timed=0)
    by_vectors = wf.lifecycle.compare(plain, index, queries, vectors=rows, timed=0)
    by_ids = wf.lifecycle.compare(
        plain, index, queries, truth=index.search(queries, K + 5)[1], timed=0
    )
    assert by_rows.truth == "float32 refinement rows of the new index"
    assert by_rows.recall_change == by_vectors.recall_change
    assert by_ids.recall_change.value == pytest.approx(by_rows.recall_change.value, abs=2e-3)


def test_fewer_vectors_than_neighbours(old_codec, stored, queries):
    index = wf.IndexFlat(old_codec)
    index.add(stored[:4])
    assert wf.lifecycle.compare(index, index, queries, K, vectors=stored[:4]).new.recall.value == 1
    index.reset()
    assert wf.lifecycle.compare(index, index, queries, K).overlap.value == 1


def test_comparison_as_json_text_and_html(old, good, queries):
    found = wf.lifecycle.compare(old, good, queries, vectors=None)
    data = json.loads(json.dumps(found.to_dict()))
    assert data["overlap"]["value"] == found.overlap.value
    assert data["old"]["fingerprint"] == old.codec.fingerprint
    assert repr(found) == found.summary()
    assert "overlap@10" in found._repr_html_()


def test_mismatched_arguments_raise(old, good, stored, queries, clustered):
    with pytest.raises(TypeError, match="new must be an IndexFlat or IndexIVF"):
        wf.lifecycle.compare(old, stored, queries)
    other = wf.IndexFlat(old.codec, "l2")
    with pytest.raises(ValueError, match="metric 'ip' as in old, got 64 and metric 'l2'"):
        wf.lifecycle.compare(old, other, queries)
    with pytest.raises(ValueError, match=r"truth: expected shape \(\d+, 10 or more\)"):
        wf.lifecycle.compare(old, good, queries, truth=np.zeros((3, 10), int))
    with pytest.raises(TypeError, match="truth: expected integer ids, got dtype float64"):
        wf.lifecycle.compare(old, good, queries, truth=np.zeros((len(queries), 10)))
    with pytest.raises(ValueError, match="in order of position"):
        wf.lifecycle.compare(old, good, queries, vectors=stored[::-1])
    with pytest.raises(ValueError, match="queries: expected at least 1 row, got 0"):
        wf.lifecycle.compare(old, good, queries[:0])
    with pytest.raises(ValueError, match="timed=-1 must be at least 0"):
        wf.lifecycle.compare(old, good, queries, timed=-1)


@given(st.integers(0, 2**32 - 1), st.integers(1, 12), st.integers(1, 30))
def test_overlap_per_query_agrees_with_sets(seed, k, n):
    rng = np.random.default_rng(seed)
    reference, found = (rng.permuted(np.tile(np.arange(40), (n, 1)), axis=1)[:, :k] for _ in "ab")
    reference[rng.random(reference.shape) < 0.1] = -1
    shares = overlap_per_query(reference, found)
    for share, a, b in zip(shares, reference, found, strict=True):
        valid = set(a) - {-1}
        assert share == (pytest.approx(len(valid & set(b)) / len(valid)) if valid else 1.0)
    middle = mean(shares)
    assert middle.low <= middle.value <= middle.high
