"""Recall of an index that exists: against recall by hand, of every kind of index."""

from __future__ import annotations

import faiss
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import waterfill as wf
from waterfill.evaluation import measure_recall
from waterfill.evaluation.index_recall import _interval


def by_hand(index, base, queries, k, metric, ids=None):
    scores = {
        "ip": lambda: queries @ base.T,
        "l2": lambda: -np.square(queries[:, None] - base[None]).sum(2),
        "cosine": lambda: queries @ (base / np.linalg.norm(base, axis=1, keepdims=True)).T,
    }[metric]()
    truth = np.argsort(-scores, axis=1)[:, :k]
    truth = truth if ids is None else ids[truth]
    found = index.search(queries, k)[1]
    return np.mean([len({*a} & {*b}) / k for a, b in zip(found, truth, strict=True)])


@pytest.fixture(scope="module")
def small(clustered):
    return np.ascontiguousarray(clustered[:1000]), np.ascontiguousarray(clustered[1000:1080])


def trained(base, metric, nlist=None, ids=None, kind=None):
    if kind == "graph":
        index = wf.IndexHNSW(20, metric=metric)
        index.train(base)
    elif nlist is None:
        index = wf.IndexFlat(wf.Recipe(20, 6, effort="fast"), metric)
        index.train(base)
    else:
        index = wf.IndexIVF(wf.Recipe(20, 6, effort="fast"), nlist, metric=metric)
        index.train(base)
    if ids is None:
        index.add(base)
    else:
        index.add_with_ids(base, ids)
    return index


@pytest.mark.parametrize("metric", ["ip", "l2", "cosine"])
@pytest.mark.parametrize("options", [{}, {"nlist": 8}, {"kind": "graph"}], ids=str)
def test_it_is_the_recall_by_hand(small, metric, options):
    base, queries = small
    index = trained(base, metric, **options)
    found = measure_recall(index, base, queries, 7)
    assert found.recall == pytest.approx(by_hand(index, base, queries, 7, metric))
    assert found.recall == pytest.approx(found.shares.mean())
    assert 0 <= found.low <= found.recall <= found.high <= 1
    assert (found.k, found.queries, found.vectors) == (7, 80, 1000)
    assert str(found).startswith(f"recall@7 {found.recall:.3f} (")


@pytest.mark.parametrize("factory", ["Flat", "IVF8,SQ8", "L2norm,SQ8", "IDMap2,SQ4"])
@pytest.mark.parametrize("metric", ["ip", "l2"])
def test_an_index_of_faiss(small, factory, metric):
    base, queries = small
    index = faiss.index_factory(20, factory, {"ip": 0, "l2": 1}[metric])
    index.train(base)
    ids = None
    if factory.startswith("IDMap"):
        ids = np.arange(1000) * 7
        index.add_with_ids(base, ids)
    else:
        index.add(base)
    compared = "cosine" if factory.startswith("L2norm") and metric == "ip" else metric
    if factory.startswith("L2norm") and metric == "l2":
        base = base / np.linalg.norm(base, axis=1, keepdims=True)
        queries = queries / np.linalg.norm(queries, axis=1, keepdims=True)
    found = measure_recall(index, base, queries, ids=ids)
    assert found.recall == pytest.approx(by_hand(index, base, queries, 10, compared, ids), abs=2e-3)
    assert found.recall > (0.95 if factory in ("Flat", "L2norm,SQ8") else 0.3)


def test_rows_that_the_index_lacks_do_not_count(small):
    base, queries = small
    ids = np.arange(1000) + 50
    index = trained(base, "l2", ids=ids)
    index.remove_ids(ids[::3])
    kept = np.delete(np.arange(1000), np.s_[::3])
    found = measure_recall(index, base, queries, ids=ids)
    assert found.vectors == len(kept)
    assert found.recall == pytest.approx(by_hand(index, base[kept], queries, 10, "l2", ids[kept]))


def test_a_folder(small, tmp_path):
    base, queries = small
    index = trained(base, "ip")
    with wf.open_index(tmp_path / "corpus.wfx", "a", codec=index.codec, metric="ip") as folder:
        folder.add(base)
        found = measure_recall(folder, base, queries)
    assert found.recall == measure_recall(index, base, queries).recall


def test_duplicates_of_a_neighbour_are_as_good(small):
    base, queries = small
    many = np.repeat(base[:40], 25, axis=0)
    index = faiss.IndexIDMap2(faiss.IndexFlatL2(20))
    index.add_with_ids(many[::-1].copy(), np.arange(1000)[::-1].copy())  # finds other duplicates
    assert measure_recall(index, many, queries).recall == 1


def test_queries_are_drawn_if_there_are_many(small):
    base, queries = small
    index = trained(base, "ip")
    found = measure_recall(index, base, queries, max_queries=20, seed=3)
    chosen = np.sort(np.random.default_rng(3).choice(80, 20, replace=False))
    every = measure_recall(index, base, queries)
    np.testing.assert_array_equal(found.shares, every.shares[chosen])
    assert found.high - found.low > every.high - every.low


def test_intervals_hold_what_they_say():
    rng = np.random.default_rng(0)
    held, runs = 0, 2000
    for _ in range(runs):
        own = rng.beta(8, 2, size=60)  # queries differ
        low, high = _interval(rng.binomial(10, own) / 10, 10)
        held += low <= 0.8 <= high
    assert 0.93 < held / runs < 0.97


@given(st.lists(st.integers(0, 5), min_size=1, max_size=40))
def test_an_interval_has_the_mean_in_it(hits):
    shares = np.array(hits) / 5
    low, high = _interval(shares, 5)
    assert 0 <= low <= shares.mean() + 1e-12
    assert shares.mean() - 1e-12 <= high <= 1
    assert high > low


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda i, b, q: measure_recall(i, b[:900], q), ValueError, "base lacks 100 of the 1000"),
        (
            lambda i, b, q: measure_recall(i, b, q, ids=np.arange(1000) + 1),
            ValueError,
            "base lacks 1 of the 1000 vectors",
        ),
        (lambda i, b, q: measure_recall(i, b, q[:, :3]), ValueError, "queries has 3 dimensions"),
        (lambda i, b, q: measure_recall(i, b, q[:0]), ValueError, "queries has no rows"),
        (lambda i, b, q: measure_recall(i, b, q, 1001), ValueError, "k=1001 must be at most"),
        (lambda i, b, q: measure_recall(i, b, q, 0), ValueError, "k"),
        (lambda i, b, q: measure_recall(i, b, q, ids=[1, 2]), ValueError, "expected 1000 integers"),
        (
            lambda i, b, q: measure_recall(i, b, q, ids=np.zeros(1000, int)),
            ValueError,
            "expected each id once",
        ),
    ],
)
def test_wrong_arguments_are_named(small, call, error, message):
    base, queries = small
    with pytest.raises(error, match=message):
        call(trained(base, "ip"), base, queries)


@pytest.mark.parametrize("factory", ["IDMap,Flat", "IDMap2,Flat", "IVF4,Flat", "RR20,IVF4,Flat"])
def test_faiss_ids_without_rows_are_named(small, factory):
    base, queries = small
    index = faiss.index_factory(20, factory, faiss.METRIC_INNER_PRODUCT)
    index.train(base)
    index.add_with_ids(base, np.arange(1000) + 1)  # which a search of few queries may not show
    with pytest.raises(ValueError, match="base lacks 1 of the 1000 vectors of the index; pass ids"):
        measure_recall(index, base, queries)
    more = np.vstack([base, base[:5]])  # rows that the index lacks do not count
    if "IVF" in factory:
        faiss.extract_index_ivf(index).nprobe = 4
    found = measure_recall(index, more, queries, ids=np.arange(1005) + 1)
    assert found.recall > 0.999
    assert found.vectors == 1000
