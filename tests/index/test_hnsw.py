"""Graphs: what they find, additions, removals, selectors, and errors that name the way."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

import waterfill as wf
from waterfill import _core

Vectors = NDArray[np.float32]


def scores_of(x: Vectors, q: Vectors, metric: str) -> Vectors:
    """Return similarities: the larger, the nearer."""
    if metric == "cosine":
        x, q = (y / np.linalg.norm(y, axis=1, keepdims=True) for y in (x, q))
    if metric != "l2":
        return q @ x.T
    return -np.square(q[:, None] - x[None]).sum(axis=2)


def filled(x: Vectors, metric: str = "ip", links: int = 16, effort: int = 60) -> wf.IndexHNSW:
    index = wf.IndexHNSW(x.shape[1], links, metric)
    index.hnsw.efConstruction = effort
    index.train(x)
    index.add(x)
    return index


def found_of(index: Any, x: Vectors, q: Vectors, metric: str) -> float:
    """Return the share of the ten nearest that a search finds."""
    truth = np.argsort(-scores_of(x, q, metric), axis=1, kind="stable")[:, :10]
    ids = index.search(q, 10)[1]
    return float(np.mean([len(np.intersect1d(a, b)) / 10 for a, b in zip(ids, truth, strict=True)]))


@pytest.fixture(scope="module")
def sample(minilm: tuple[Vectors, Vectors]) -> wf.IndexHNSW:
    return filled(minilm[0], links=32, effort=200)


@pytest.mark.parametrize("metric", ["ip", "l2", "cosine"])
def test_recall(base: Vectors, queries: Vectors, sample: wf.IndexHNSW, metric: str) -> None:
    index = sample if metric == "ip" else filled(base[:2000] * 3, metric)
    x = base if metric == "ip" else base[:2000] * 3
    assert found_of(index, x, queries, metric) >= 0.97
    distances = index.search(queries, 10)[0]
    assert (np.diff(distances) >= 0).all() if metric == "l2" else (np.diff(distances) <= 0).all()


def test_more_effort_finds_more(base: Vectors, queries: Vectors, sample: wf.IndexHNSW) -> None:
    params = [wf.SearchParametersHNSW(efSearch=effort) for effort in (10, 30, 200)]
    truth = np.argsort(-(queries @ base.T), axis=1)[:, :10]
    hits = [np.isin(sample.search(queries, 10, params=one)[1], truth).sum() for one in params]
    assert hits[0] < hits[1] <= hits[2]


def test_scores_are_those_of_the_vectors(base: Vectors, queries: Vectors) -> None:
    for metric in ("ip", "l2"):
        distances, ids = filled(base[:1500], metric).search(queries, 5)
        exact = np.abs(np.take_along_axis(scores_of(base[:1500], queries, metric), ids, 1))
        np.testing.assert_allclose(distances, exact, atol=0.01)


def test_norms_that_vary(base: Vectors, queries: Vectors) -> None:
    x = base[:2000] * np.random.default_rng(3).uniform(0.5, 2, (2000, 1)).astype(np.float32)
    index = filled(x, "ip", 32)
    index.hnsw.efSearch = 200
    assert found_of(index, x, queries, "ip") >= 0.9


def test_any_dimensions() -> None:
    rng = np.random.default_rng(5)
    for d in (1, 2, 51, 53, 103, 104, 105, 168, 169):
        x = rng.standard_normal((300, d)).astype(np.float32)
        assert found_of(filled(x, "l2"), x, x[:20], "l2") >= 0.9, d


def test_threads_and_instruction_sets_give_the_same_graph(base_64: Vectors) -> None:
    before, isa = wf.get_num_threads(), _core.isa()
    files = []
    try:
        for threads, name in ((1, isa), (3, isa), (2, "scalar")):
            wf.set_num_threads(threads)
            _core.select_isa(name)
            index = filled(base_64[:800])
            index.remove_ids(np.arange(0, 800, 3))
            files.append(index._trained().to_bytes(64, 60).tobytes())
    finally:
        wf.set_num_threads(before)
        _core.select_isa(isa)
    assert files[0] == files[1] == files[2]


def test_equal_vectors(base_64: Vectors) -> None:
    x = np.concatenate([np.repeat(base_64[:1], 300, axis=0), base_64[:300]])
    index = filled(x)
    ids = index.search(base_64[1:50], 1)[1][:, 0]
    assert (ids == np.arange(301, 350)).mean() >= 0.95
    assert index.search(base_64[:1], 5)[1].max() <= 300  # one of them, at least


def test_fewer_vectors_than_asked(base_64: Vectors) -> None:
    index = wf.IndexHNSW(64)
    index.train(base_64)
    assert index.search(base_64[:2], 3)[1].tolist() == [[-1] * 3] * 2
    index.add(base_64[:2])
    distances, ids = index.search(base_64[:1], 3)
    assert ids[0, 0] == 0
    assert ids[0, 2] == -1
    assert distances[0, 2] == -np.finfo(np.float32).max


@given(
    steps=st.lists(
        st.one_of(
            st.integers(1, 40), st.lists(st.integers(0, 150), min_size=1, max_size=30, unique=True)
        ),
        min_size=1,
        max_size=8,
    ),
    explicit=st.booleans(),
    seed=st.integers(0, 99),
)
def test_what_is_removed_is_not_found(
    steps: list[int | list[int]], explicit: bool, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((60, 7)).astype(np.float32)
    index = wf.IndexHNSW(7, 4, "l2")
    index.train(x)
    held: dict[int, Vectors] = {}
    for step in steps:
        if isinstance(step, int):
            new = rng.standard_normal((step, 7)).astype(np.float32)
            numbers = rng.permutation(1000)[:step] + 1000 * len(held) if explicit else None
            if numbers is None:
                index.add(new)
                numbers = np.arange(len(held), len(held) + step)
            else:
                index.add_with_ids(new, numbers)
            held |= dict(zip(numbers.tolist(), new, strict=True))
        else:
            gone = np.array(list(held), np.int64)[[i for i in step if i < len(held)]]
            assert index.remove_ids(gone) == len(gone)
            held = {key: value for key, value in held.items() if key not in set(gone.tolist())}
            if not explicit:
                held = dict(enumerate(held.values()))
    assert index.ntotal == len(held)
    assert index.ids().tolist() == list(held)
    distances, ids = index.search(x[:3], 200)
    for row, scores in zip(ids, distances, strict=True):
        assert set(row[row != -1].tolist()) <= set(held)
        assert len(set(row[row != -1].tolist())) == (row != -1).sum()
        assert (np.diff(scores) >= 0).all()
    for position in range(index.ntotal):
        linked = index.neighbors(position)
        assert len(linked) <= 4
        assert ((linked >= 0) & (linked < index.ntotal) & (linked != position)).all()
    if held:
        stored = index.reconstruct_batch(np.array(list(held)))
        limit = 0.1 * np.abs(np.stack(list(held.values()))).max()
        np.testing.assert_allclose(stored, np.stack(list(held.values())), atol=max(limit, 0.05))


def test_removals_keep_recall(base: Vectors, queries: Vectors) -> None:
    index = filled(base[:3000])
    gone = np.random.default_rng(1).permutation(3000)[:1500]
    assert index.remove_ids(gone) == 1500
    assert found_of(index, np.delete(base[:3000], gone, axis=0), queries, "ip") >= 0.95


@pytest.mark.parametrize("share", [0.001, 0.05, 0.5])
def test_selectors(base: Vectors, queries: Vectors, sample: wf.IndexHNSW, share: float) -> None:
    ids = np.flatnonzero(np.random.default_rng(2).random(len(base)) < share)
    for sel in (wf.IDSelectorBatch(ids), wf.IDSelectorNot(wf.IDSelectorBatch(ids))):
        chosen = ids if isinstance(sel, wf.IDSelectorBatch) else np.delete(np.arange(4800), ids)
        found = sample.search(queries, 10, params=wf.SearchParametersHNSW(sel=sel))[1]
        assert np.isin(found[found != -1], chosen).all()
        truth = chosen[np.argsort(-(queries @ base[chosen].T), axis=1)[:, :10]]
        hits = np.mean([np.isin(a, b).mean() for a, b in zip(truth, found, strict=True)])
        assert hits >= 0.97


def test_a_radius(base: Vectors, queries: Vectors, sample: wf.IndexHNSW) -> None:
    distances, ids = sample.search(queries[:20], 10, params=wf.SearchParametersHNSW(efSearch=500))
    for i in range(20):
        radius = float(distances[i, 5])
        limits, within, near = sample.range_search(queries[i : i + 1], radius)
        assert limits.tolist() == [0, len(near)]
        assert (within > radius).all()
        assert set(ids[i, :5]) >= set(near.tolist()) >= set(ids[i, :4].tolist())


def test_ids_and_reconstruction(base_64: Vectors) -> None:
    index = wf.index_factory(64, "IDMap2,WFHNSW8", "ip")
    index.train(base_64)
    with pytest.raises(wf.MissingIdError, match="add_with_ids"):
        index.add(base_64[:5])
    index.add_with_ids(base_64[:50], np.arange(50) * 10)
    assert index.has_ids
    np.testing.assert_allclose(index.reconstruct(70), base_64[7], atol=0.02)
    np.testing.assert_array_equal(index.reconstruct_n(3, 2), index.reconstruct_batch([30, 40]))
    distances, ids, vectors = index.search_and_reconstruct(base_64[:4], 60)
    assert np.isnan(vectors[ids == -1]).all()
    np.testing.assert_array_equal(vectors[0, 0], index.reconstruct(int(ids[0, 0])))
    np.testing.assert_array_equal(index.assign(base_64[:4], 60), ids)
    with pytest.raises(wf.MissingIdError, match="key=7"):
        index.reconstruct(7)
    index.reset()
    assert index.ntotal == 0
    assert distances.shape == (4, 60)


def test_policies(base_64: Vectors) -> None:
    x = base_64[:40].copy()
    x[3, 2] = np.nan
    index = wf.IndexHNSW(64, 8)
    with pytest.raises(ValueError, match="row 3"):
        index.train(x)
    with pytest.warns(RuntimeWarning, match="row 3"):
        index.train(x, policy="drop")
    with pytest.raises(ValueError, match="row 3"):
        index.add(x)
    with pytest.warns(RuntimeWarning, match="row 3"):
        index.add(x, policy="quarantine")
    assert index.ntotal == 39
    assert len(index.quarantine) == 1
    with pytest.warns(RuntimeWarning, match="row 3"):
        assert index.search(x, 2, policy="drop")[1][3].tolist() == [-1, -1]
    with pytest.raises(ValueError, match="row 3"):
        index.search(x, 2)


def test_errors_name_the_way(base_64: Vectors) -> None:
    index = wf.IndexHNSW(64)
    with pytest.raises(wf.NotTrainedError, match="train"):
        index.add(base_64)
    index.train(base_64)
    for call, kind, message in (
        (lambda: wf.IndexHNSW(64, 1), ValueError, "M=1 must be 2 to 256"),
        (lambda: index.search(base_64, 0), ValueError, "k"),
        (lambda: index.search(base_64[:, :3], 1), ValueError, "3 dimensions, expected 64"),
        (lambda: setattr(index.hnsw, "efSearch", 0), ValueError, "efSearch"),
        (lambda: setattr(index, "efSearch", 5), AttributeError, "no attribute 'efSearch'"),
        (lambda: index.merge_from, AttributeError, "add the vectors of one to the other"),
        (lambda: index.codec, AttributeError, "IndexIVF has a codec"),
        (
            lambda: index.search(base_64, 1, params=wf.SearchParameters(nprobe=3)),
            ValueError,
            "efSearch",
        ),
        (
            lambda: index.search(base_64, 1, params=wf.SearchParameters(target_recall=0.9)),
            ValueError,
            "target_recall is a setting of other indexes",
        ),
        (lambda: index.nprobe, AttributeError, "a graph has hnsw.efSearch"),
        (lambda: wf.Batcher(index), TypeError, "IndexFlat, IndexIVF or SwapIndex, got IndexHNSW"),
        (lambda: wf.SwapIndex(index), TypeError, "IndexFlat or IndexIVF of waterfill"),
        (lambda: wf.to_faiss(index), TypeError, "IndexFlat or IndexIVF of waterfill"),
        (lambda: index.search(base_64, 1, params=4), TypeError, "SearchParametersHNSW"),
        (lambda: wf.SearchParametersHNSW(sel=3), TypeError, "IDSelector"),
    ):
        with pytest.raises(kind, match=message):
            call()


@pytest.mark.parametrize("text", ["WFHNSW24", "HNSW24,SQ8", "HNSW24_SQ8", "IDMap,WFHNSW24"])
def test_factory(text: str) -> None:
    index = wf.index_factory(20, text)
    assert isinstance(index, wf.IndexHNSW)
    assert (index.M, index.d, index.metric) == (24, 20, "l2")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("WFHNSW1", "2 to 256"),
        ("HNSW32", "SQ8"),
        ("HNSW32,WF48", "8 bits per dimension"),
        ("WFHNSW32,Refine(fp16)", "re-ranks by the rows that it keeps"),
    ],
)
def test_factory_errors(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        wf.index_factory(20, text)


def test_the_metric_by_number_before_training(base_64: Vectors) -> None:
    index = wf.IndexHNSW(64, 8)
    index.metric_type = 1
    assert (index.metric, index.metric_type) == ("l2", 1)
    index.train(base_64[:200])
    index.metric_type = 1
    with pytest.raises(ValueError, match="the metric of a trained index is 'l2'"):
        index.metric_type = 0
    index.add(base_64[:200])
    distances, ids = index.search(base_64[:5], 1)
    assert ids[:, 0].tolist() == [0, 1, 2, 3, 4]
    assert (distances < 0.01).all()


def test_a_search_with_reconstruction_fills_arrays(base_64: Vectors) -> None:
    index = filled(base_64[:20])
    arrays = np.empty((3, 25), "f4"), np.empty((3, 25), np.int64), np.empty((3, 25, 64), "f4")
    given = dict(zip("DIR", arrays, strict=True))
    found = index.search_and_reconstruct(base_64[:3], 25, **given)
    assert all(one is other for one, other in zip(found, arrays, strict=True))
    ids, vectors = arrays[1:]
    np.testing.assert_array_equal(vectors[:, :20], index.reconstruct_n()[ids[:, :20]])
    assert (ids[:, 20:] == -1).all()
    assert np.isnan(vectors[:, 20:]).all()
    with pytest.raises(ValueError, match=r"R must have shape \(3, 25, 64\)"):
        index.search_and_reconstruct(base_64[:3], 25, R=np.empty((3, 25, 63), "f4"))
