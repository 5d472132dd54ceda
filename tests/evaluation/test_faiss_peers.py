"""Measurements of FAISS's own indexes."""

from __future__ import annotations

import faiss
import numpy as np
import pytest

import waterfill as wf
from waterfill.evaluation.faiss_peers import Peer, measure_peers


@pytest.fixture(autouse=True)
def _one_thread():
    wf.set_num_threads(1)  # several threads of FAISS are slow on a busy machine


def nearest(base, queries, metric, k=10):
    index = faiss.IndexFlat(base.shape[1], {"ip": 0, "l2": 1}[metric])
    index.add(base)
    return index.search(queries, k)[1]


@pytest.mark.parametrize(("d", "size"), [(64, 16), pytest.param(384, 24, marks=pytest.mark.slow)])
def test_all_types_take_part(base, queries, base_64, queries_64, d, size):
    base, queries = (base, queries) if d == 384 else (base_64, queries_64)
    names = []
    peers = measure_peers(
        *(base, queries, nearest(base, queries, "ip")),
        metric="ip",
        k=10,
        sizes=[size],
        progress=names.append,
    )
    found = {peer.name: peer for peer in peers}
    assert list(found) == names
    assert peers.left_out == {}
    assert {peer.family for peer in peers} == {"PQ", "PQ 4 bits", "OPQ", "RaBitQ", "SQ"}
    pq, pq4, opq = f"PQ{size}x8", f"PQ{2 * size}x4fs", f"OPQ{size},PQ{size}x8"
    sizes = {name: peer.bytes_per_vector for name, peer in found.items()}
    assert sizes[pq] == sizes[pq4] == sizes[opq] == size
    assert sizes["SQ8"] == d
    assert found["SQ8"].recall > 0.98
    assert found["SQ8"].recall > found["SQ4"].recall > found[pq].recall > 0.4
    assert "rotation learnt from 4,096" in found[opq].remark
    for peer in peers:
        assert min(peer.queries_per_second, peer.encode_rate, peer.train_seconds) > 0


def test_recall_is_that_of_faiss_itself(base_64, queries_64):
    some, truth = base_64[:200], nearest(base_64[:200], queries_64, "l2")
    peers = measure_peers(some, queries_64, truth, metric="l2", k=10, sizes=[8])
    index = faiss.index_factory(64, "SQ4", faiss.METRIC_L2)
    index.train(some)
    index.add(some)
    labels = index.search(queries_64, 10)[1]
    recall = np.mean([len(set(a) & set(b)) / 10 for a, b in zip(labels, truth, strict=True)])
    assert next(peer for peer in peers if peer.name == "SQ4").recall == pytest.approx(recall)


def test_cosine_is_the_inner_product_of_directions(base_64, queries_64):
    some = base_64[:200] * np.linspace(0.1, 9, 200, dtype=np.float32)[:, None]
    truth = nearest(base_64[:200], queries_64, "ip")
    peers = measure_peers(some, queries_64, truth, metric="cosine", k=10, sizes=[8])
    assert next(peer for peer in peers if peer.name == "SQ8").recall > 0.98


@pytest.mark.parametrize("d", [1, 9])  # no divisors, and some
def test_any_number_of_dimensions(d):
    x = np.random.default_rng(0).standard_normal((700, d)).astype(np.float32)
    peers = measure_peers(x, x[:20], nearest(x, x[:20], "l2", 3), metric="l2", k=3)
    assert "SQ8" in {peer.name for peer in peers}
    assert all(peers.left_out.values())


def test_few_rows_leave_types_out_with_a_reason(base_64, queries_64):
    some = base_64[:100]
    truth = nearest(some, queries_64, "ip")
    peers = measure_peers(some, queries_64, truth, metric="ip", k=10, sizes=[16])
    assert peers.left_out["PQ16x8"] == "100 rows are fewer than 256 centroids"
    assert "OPQ16,PQ16x8" in peers.left_out
    assert {"PQ32x4fs", "SQ8"} <= {peer.name for peer in peers}


def test_a_type_that_faiss_does_not_know_is_left_out(base_64, queries_64, monkeypatch):
    make = faiss.index_factory

    def older(d, name, metric):
        return make(d, name.replace("RaBitQ", "NoSuch"), metric)

    monkeypatch.setattr(faiss, "index_factory", older)
    some = base_64[:300]
    truth = nearest(some, queries_64, "ip")
    peers = measure_peers(some, queries_64, truth, metric="ip", k=10, sizes=[8])
    assert "SQ8" in {peer.name for peer in peers}
    assert len(peers.left_out) == 3
    assert all("FAISS:" in reason for reason in peers.left_out.values())


def test_threads_are_those_of_waterfill_and_restored(base_64, queries_64):
    some, seen = base_64[:200], []
    before = faiss.omp_get_max_threads()
    wf.set_num_threads(1)
    faiss.omp_set_num_threads(2)
    try:
        measure_peers(
            *(some, queries_64, nearest(some, queries_64, "ip")),
            metric="ip",
            k=10,
            sizes=[8],
            progress=lambda _: seen.append(faiss.omp_get_max_threads()),
        )
        assert set(seen) == {1}
        assert faiss.omp_get_max_threads() == 2
    finally:
        faiss.omp_set_num_threads(before)


def test_families():
    def family(name):
        return Peer(name, 1, 1, 1, 1, 1).family

    assert family("RR384,RaBitQfs2") == "RaBitQ"
    assert family("OPQ8,PQ8x8") == "OPQ"
    assert family("PQ96x4fs") == "PQ 4 bits"


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (
            {"truth": np.zeros((3, 2), np.int64)},
            ValueError,
            r"truth must have shape \(5, 3 or more",
        ),
        ({"truth": np.zeros((5, 3))}, TypeError, "truth must hold integers"),
        ({"metric": "dot"}, ValueError, "metric='dot'"),
        ({"k": 0}, ValueError, "k=0"),
        ({"sizes": [0]}, ValueError, "sizes=0"),
        ({"queries": np.zeros((5, 4), np.float32)}, ValueError, "queries"),
        ({"base": np.zeros((0, 8), np.float32)}, ValueError, "base has no rows"),
    ],
)
def test_bad_input(change, error, message):
    x = np.random.default_rng(0).standard_normal((40, 8)).astype(np.float32)
    arguments = {
        "base": x,
        "queries": x[:5],
        "truth": np.zeros((5, 3), np.int64),
        "metric": "ip",
        "k": 3,
    }
    with pytest.raises(error, match=message):
        measure_peers(**{**arguments, **change})
