"""Compressing a FAISS index: every kind, its ids, and the memory that it takes."""

from __future__ import annotations

import subprocess
import sys

import faiss
import numpy as np
import pytest

import waterfill as wf
from waterfill.faiss import compress
from waterfill.faiss.stored_vectors import stored_vectors

METRICS = {"ip": faiss.METRIC_INNER_PRODUCT, "l2": faiss.METRIC_L2}
IDS = np.random.default_rng(2).permutation(10**6)[:3000] * 5 - 7


def recall(index, peer, queries, k=10):
    ours, theirs = index.search(queries, k)[1], peer.search(queries, k)[1]
    return np.mean([len(set(a) & set(b)) / k for a, b in zip(ours, theirs, strict=True)])


def flat(x, metric, ids=None, wrap=faiss.IndexIDMap2):
    index = faiss.IndexFlat(x.shape[1], METRICS[metric])
    if ids is None:
        index.add(x)
        return index
    index = wrap(index)
    index.add_with_ids(x, ids)
    return index


def lists(x, metric, ids=None, nlist=16):
    made = {"l2": faiss.IndexFlatL2, "ip": faiss.IndexFlatIP}[metric](x.shape[1])
    index = faiss.IndexIVFFlat(made, x.shape[1], nlist, METRICS[metric])
    index.train(x)
    if ids is None:
        index.add(x)
    else:
        index.add_with_ids(x, ids)
    index.nprobe = 5
    return index


def graph(x, metric):
    index = faiss.IndexHNSWFlat(x.shape[1], 8, METRICS[metric])
    index.add(x)
    return index


@pytest.mark.parametrize("block_bytes", [100, 10_000, 1 << 24])
@pytest.mark.parametrize(
    ("make", "ids"),
    [
        (flat, None),
        (flat, IDS),
        (lists, None),
        (lists, IDS),
        ("lists behind a map", IDS),
    ],
    ids=["flat", "flat, ids", "lists", "lists, ids", "lists behind a map"],
)
def test_vectors_are_read_where_they_lie(clustered, monkeypatch, make, ids, block_bytes):
    monkeypatch.setattr(compress, "_BLOCK_BYTES", block_bytes)
    if callable(make):
        index = make(clustered, "l2", ids)
    else:
        inner = lists(clustered, "l2")
        inner.remove_ids(np.arange(3000))
        index = faiss.IndexIDMap(inner)
        index.add_with_ids(clustered, IDS)
    source = stored_vectors(index)
    parts = list(compress.blocks(source))
    assert max(block.nbytes for _, block in parts) <= max(block_bytes, 4 * 20)
    if make is flat:  # not copied
        kept = faiss.downcast_index(index.index if ids is not None else index).get_xb()
        kept = faiss.rev_swig_ptr(kept, clustered.size)
        assert np.shares_memory(parts[0][1], kept)
        assert np.shares_memory(source.sample(0), kept)
    rows = np.vstack([block for _, block in parts])
    if ids is None:
        assert source.ids is None
        np.testing.assert_array_equal(rows, clustered)
    else:
        order = np.argsort(np.concatenate([part for part, _ in parts]))
        np.testing.assert_array_equal(rows[order], clustered[np.argsort(ids)])
    sample = source.sample(0)
    at = {row.tobytes() for row in clustered}
    assert len(sample) == 3000
    assert all(row.tobytes() in at for row in sample)


@pytest.mark.parametrize("metric", METRICS)
def test_a_flat_index_becomes_what_training_by_hand_gives(clustered, metric):
    made = wf.compress(flat(clustered, metric), 8, seed=4)
    assert isinstance(made, wf.IndexFlat)
    expected = wf.IndexFlat(wf.Recipe(20, 8, seed=4).train(clustered, metric), metric)
    expected.add(clustered)
    assert made.codec.fingerprint == expected.codec.fingerprint
    assert (made.ntotal, made.d, made.metric) == (3000, 20, metric)
    np.testing.assert_array_equal(made.reconstruct_n(0, 3000), expected.reconstruct_n(0, 3000))
    assert recall(made, flat(clustered, metric), clustered[:200]) > 0.6


def test_a_graph_becomes_a_flat_index(clustered):
    made = wf.compress(graph(clustered, "l2"), 8)
    same = wf.compress(flat(clustered, "l2"), 8)
    np.testing.assert_array_equal(made.reconstruct_n(0, 3000), same.reconstruct_n(0, 3000))


def test_a_plan_may_be_given(clustered):
    plan = wf.Plan.classic(wf.analyze(clustered), 0.2, 0.6, by="dimensions")
    made = wf.compress(flat(clustered, "ip"), plan=plan, seed=1)
    assert made.codec.plan == plan
    assert made.codec.fingerprint == wf.Codec.train(clustered, plan, 1, metric="ip").fingerprint


@pytest.mark.parametrize("wrap", [faiss.IndexIDMap, faiss.IndexIDMap2])
def test_ids_of_a_map_are_kept(clustered, wrap):
    peer = flat(clustered, "l2", IDS, wrap)
    made = wf.compress(peer, 8)
    assert made.has_ids
    np.testing.assert_array_equal(made.ids(0, 3000), IDS)
    assert recall(made, peer, clustered[:200]) > 0.6


def test_ids_of_a_map_are_kept_even_if_they_are_positions(clustered):
    made = wf.compress(flat(clustered, "l2", np.arange(3000)), 8)
    assert made.has_ids
    made.remove_ids(np.array([0]))
    np.testing.assert_array_equal(made.ids(0, 2999), np.arange(1, 3000))


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("ids", [None, IDS], ids=["positions", "own ids"])
def test_lists_keep_centroids_probes_and_ids(clustered, metric, ids):
    peer = lists(clustered, metric, ids)
    made = wf.compress(peer, 8)
    assert isinstance(made, wf.IndexIVF)
    assert (made.nlist, made.nprobe, made.ntotal, made.metric) == (16, 5, 3000, metric)
    assert made.has_ids == (ids is not None)
    kept = np.sort(made.ids(0, 3000))
    np.testing.assert_array_equal(kept, np.arange(3000) if ids is None else np.sort(ids))
    assert recall(made, peer, clustered[:200]) > 0.6
    row = int(kept[17])
    at = row if ids is None else int(np.flatnonzero(ids == row)[0])
    error = np.linalg.norm(made.reconstruct(row) - clustered[at])
    assert error < 0.5 * np.linalg.norm(clustered[at])


def test_lists_behind_a_map(clustered):
    inner = lists(clustered, "l2")
    inner.reset()
    peer = faiss.IndexIDMap(inner)
    peer.add_with_ids(clustered, IDS)
    made = wf.compress(peer, 8)
    np.testing.assert_array_equal(np.sort(made.ids(0, 3000)), np.sort(IDS))
    assert recall(made, peer, clustered[:200]) > 0.6


def test_new_lists_may_be_made(clustered):
    made = wf.compress(flat(clustered, "l2", IDS), 8, nlist=8)
    assert isinstance(made, wf.IndexIVF)
    assert made.nlist == 8
    made.nprobe = 8
    assert recall(made, flat(clustered, "l2", IDS), clustered[:200]) > 0.6


def test_new_lists_are_trained_with_the_given_options(clustered):
    plan = wf.Plan.waterfill(wf.analyze(clustered), 6)
    options = {"queries": clustered[:64], "effort": "fast"}
    made = wf.compress(flat(clustered, "l2"), plan=plan, nlist=8, seed=5, **options)
    expected = wf.Codec.train(clustered, plan, 5, cells=8, metric="l2", **options)
    assert made.codec.fingerprint == expected.fingerprint


def test_the_original_may_be_deleted(clustered):
    peer = lists(clustered, "l2", IDS)
    made = wf.compress(peer, 8)
    before = made.search(clustered[:50], 5)
    del peer
    for ours, want in zip(made.search(clustered[:50], 5), before, strict=True):
        np.testing.assert_array_equal(ours, want)


def test_the_index_is_not_changed(clustered):
    for peer in (flat(clustered, "l2", IDS), lists(clustered, "ip"), graph(clustered, "ip")):
        before = faiss.serialize_index(peer)
        wf.compress(peer, 4)
        np.testing.assert_array_equal(faiss.serialize_index(peer), before)


def other_metric():
    index = faiss.IndexFlat(4, faiss.METRIC_L1)
    index.add(np.eye(4, dtype="f4"))
    return index


def with_nan():
    x = np.eye(4, dtype="f4")
    x[2, 1] = np.nan
    index = faiss.IndexFlatL2(4)
    index.add(x)
    return index


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: wf.compress(np.eye(4)), TypeError, "got ndarray; for vectors in an array call"),
        (lambda: wf.compress([1]), TypeError, "index must be a faiss.Index.*, got list$"),
        (
            lambda: wf.compress(wf.index_factory(8, "WF4")),
            TypeError,
            "got IndexFlat of waterfill, which is compressed already$",
        ),
        (
            lambda: wf.compress(faiss.IndexBinaryFlat(8)),
            TypeError,
            "index must be a faiss.Index of float vectors, got IndexBinaryFlat",
        ),
        (lambda: wf.compress(faiss.IndexPQ(4, 2, 8), 2), ValueError, "no vectors"),
        (lambda: wf.compress(other_metric(), 2), ValueError, "got metric_type=2"),
        (lambda: wf.compress(faiss.IndexFlatL2(4), 2), ValueError, "no vectors"),
        (lambda: wf.compress(with_nan(), 2), ValueError, "row 2 "),
        (lambda: wf.compress(flat(np.eye(4, dtype="f4"), "ip"), 5), ValueError, "code_bytes=5"),
        (lambda: wf.compress(flat(np.eye(4, dtype="f4"), "ip"), plan=3), TypeError, "plan must be"),
        (
            lambda: wf.compress(lists(np.eye(4, dtype="f4"), "l2", nlist=1), 2, nlist=3),
            ValueError,
            "nlist=3: an index with lists keeps its 1; leave nlist out",
        ),
        (
            lambda: wf.compress(flat(np.eye(4, dtype="f4"), "ip"), 2, nlist=5),
            ValueError,
            "nlist=5 must be at most the 4 vectors",
        ),
    ],
)
def test_wrong_arguments_are_named(call, error, message):
    with pytest.raises(error, match=message):
        call()


RUN = """
import re, sys
import faiss, numpy as np, waterfill as wf
kind, n = sys.argv[1], int(sys.argv[2])
rng = np.random.default_rng(0)
index = faiss.IndexFlatL2(128)
if kind == "lists":
    cells = faiss.IndexFlatL2(128)
    index = faiss.IndexIVFFlat(cells, 128, 256)
    index.train(rng.standard_normal((256 * 39, 128), dtype=np.float32))
for first in range(0, n, 50_000):
    index.add(rng.standard_normal((50_000, 128), dtype=np.float32))
status = lambda name: int(re.search(name + r":\\s*(\\d+) kB", open("/proc/self/status").read())[1])
open("/proc/self/clear_refs", "w").write("5")  # the peak so far is forgotten
before = status("VmRSS")
made = wf.compress(index, 48, nlist=None)
assert made.ntotal == n
print(status("VmHWM") - before, made.nbytes // 1024)
"""


@pytest.mark.slow
@pytest.mark.memory
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("kind", ["flat", "lists"])
def test_a_million_vectors_take_little_memory_beside_their_codes(kind):
    done = subprocess.run(
        [sys.executable, "-c", RUN, kind, "1000000"], capture_output=True, text=True, timeout=900
    )
    assert done.returncode == 0, done.stderr
    peak, codes = map(int, done.stdout.split())
    assert codes > 48_000_000 // 1024
    assert peak - codes < 200_000_000 // 1024


@pytest.mark.parametrize("policy", ["drop", "quarantine"])
def test_vectors_that_cannot_be_used_are_left_out(clustered, policy):
    x = clustered[:600].copy()
    x[[5, 400]] = np.nan
    flat = faiss.IndexFlatL2(20)
    flat.add(x)
    with pytest.raises(ValueError, match="NaN"):
        wf.compress(flat, 6)
    with pytest.warns(RuntimeWarning, match="2 of 600 rows are left out"):
        index = wf.compress(flat, 6, policy=policy)
    assert index.ntotal == 598
    kept = np.delete(np.arange(600), [5, 400])
    np.testing.assert_array_equal(index.ids(), kept)  # the others keep their positions as ids
    found = index.search(x[kept], 1)[1][:, 0]
    assert np.mean(found == kept) > 0.8
    if policy == "quarantine":
        np.testing.assert_array_equal(index.quarantine[0].ids, [5, 400])
    with pytest.raises(ValueError, match="policy='skip'"):
        wf.compress(flat, 6, policy="skip")
