"""What is stored, what is asked, and what should be found."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from waterfill.data.rows import Rows
from waterfill.evaluation.ground_truth import true_neighbours
from waterfill.evaluation.sample_split import Draw, accuracy, split_sample

METRICS = ("ip", "l2", "cosine")


def scores(base: np.ndarray, queries: np.ndarray, metric: str) -> np.ndarray:
    base, queries = base.astype(np.float64), queries.astype(np.float64)
    if metric == "l2":
        return -np.square(queries[:, None] - base[None]).sum(axis=2)
    if metric == "cosine":
        base = base / np.linalg.norm(base, axis=1, keepdims=True)
    return queries @ base.T


@pytest.mark.parametrize("metric", METRICS)
def test_neighbours_are_the_true_ones(sample, metric):
    base, queries = sample[:3900], sample[3900:]  # the first blocks and a part of one
    base = np.vstack([base, base[:700] * 1.5])
    found = true_neighbours(base, queries, metric, 7)
    assert (found.shape, found.dtype) == ((100, 7), np.int64)
    all_scores = scores(base, queries, metric)
    best = -np.sort(-all_scores, axis=1)[:, :7]
    np.testing.assert_allclose(np.take_along_axis(all_scores, found, 1), best, rtol=1e-4, atol=1e-3)
    assert all(len(set(row)) == 7 for row in found.tolist())


def test_fewer_rows_than_neighbours_are_all_found(sample):
    assert sorted(true_neighbours(sample[:3], sample[5:6], "ip", 10)[0]) == [0, 1, 2]


@pytest.mark.parametrize("metric", METRICS)
def test_copies_of_a_neighbour_count_as_it(sample, metric):
    x = np.tile(sample[:400], (5, 1))
    split = split_sample(x, sample[500:600], metric, 3, 0)
    own = {row.tobytes(): [] for row in split.base}
    for i, row in enumerate(split.base):
        own[row.tobytes()].append(i)
    # Each neighbour's last copy instead of the one that exact search happened to give.
    other = np.array([[own[split.base[i].tobytes()][-1] for i in row] for row in split.truth])
    assert (other != split.truth).any()
    np.testing.assert_array_equal(split.hits(other), 3)
    np.testing.assert_array_equal(split.hits(np.full_like(split.truth, -1)), 0)
    far = np.argsort(scores(split.base, split.queries, metric), axis=1)[:, :3]
    np.testing.assert_array_equal(split.hits(far), 0)


def test_queries_are_not_stored(sample):
    split = split_sample(sample, None, "ip", 10, 3)
    stored, asked = ({row.tobytes() for row in part} for part in (split.base, split.queries))
    assert (len(split.base), len(split.queries)) == (3600, 400)
    assert not stored & asked
    assert split.training_queries is None


@pytest.mark.parametrize(
    ("given", "asked", "training"), [(50, 50, 0), (80, 40, 40), (3000, 500, 2500)]
)
def test_queries_that_train_do_not_judge(sample, given, asked, training):
    queries = np.random.default_rng(0).standard_normal((given, 24)).astype(np.float32)
    split = split_sample(sample, queries, "ip", 10, 3)
    trained = split.training_queries if training else np.empty((0, 24), np.float32)
    assert (len(split.base), len(split.queries), len(trained)) == (4000, asked, training)
    everything = {row.tobytes() for row in np.vstack([split.queries, trained])}
    assert len(everything) == asked + training
    assert everything <= {row.tobytes() for row in queries}


def test_the_same_draw_gives_the_same_rows(sample):
    split = split_sample(sample, sample[:90], "ip", 10, 3)
    again = Draw(**split.draw.to_dict())
    rows, queries = Rows(sample), Rows(sample[:90])
    np.testing.assert_array_equal(again.stored_rows(rows), split.base)
    np.testing.assert_array_equal(again.asked_rows(rows, queries), split.queries)
    np.testing.assert_array_equal(again.training_rows(queries), split.training_queries)
    other = split_sample(sample, None, "ip", 10, 4)
    assert not np.array_equal(other.base, split_sample(sample, None, "ip", 10, 3).base)


@given(st.integers(1, 20).flatmap(lambda k: st.tuples(st.just(k), st.integers(0, k))))
def test_forgiving_accuracy_is_the_published_one(case):
    k, found = case
    hits = np.array([found])
    assert accuracy(hits, k)[0] == found / k
    expected = 1 if found >= k / 2 else found / k
    assert accuracy(hits, k, "forgiving_accuracy")[0] == expected
