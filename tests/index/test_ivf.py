"""Inverted lists: which of them a search looks at, quantizers of FAISS, ids, files, shards."""

from __future__ import annotations

import copy
import pickle
import threading

import faiss
import numpy as np
import pytest
from support import trained

import waterfill as wf
from waterfill.index.coarse_quantizer import CoarseQuantizer

METRICS = ("ip", "l2")
NLIST = 24


def exhaustive(index: wf.IndexFlat | wf.IndexIVF) -> wf.IndexFlat | wf.IndexIVF:
    """Make every vector of the probed lists a candidate."""
    index.refine_factor, index.prune_sigma = 10**6, float("inf")
    return index


@pytest.fixture(scope="module")
def ivf_codec(clustered) -> wf.Codec:
    return trained.trained(clustered, 8, cells=NLIST)


def filled(codec: wf.Codec, x: np.ndarray, metric: str = "ip", **kwargs) -> wf.IndexIVF:
    index = wf.IndexIVF(codec, NLIST, metric=metric, **kwargs)
    index.add(x)
    return exhaustive(index)


def quantizer(codec: wf.Codec, metric: str) -> faiss.Index:
    index = (faiss.IndexFlatL2 if metric == "l2" else faiss.IndexFlatIP)(codec.d)
    index.add(codec._core.arrays["centroids"])
    return index


@pytest.mark.parametrize("metric", METRICS)
def test_all_lists_give_what_a_flat_index_gives(ivf_codec, clustered, metric):
    x, q = clustered[:2000], clustered[2000:2060]
    flat = exhaustive(wf.IndexFlat(ivf_codec, metric))
    flat.add(x)
    index = filled(ivf_codec, x, metric)
    index.nprobe = NLIST
    for ours, expected in zip(index.search(q, 15), flat.search(q, 15), strict=True):
        np.testing.assert_array_equal(ours, expected)
    for ours, expected in zip(index.range_search(q, 5.0), flat.range_search(q, 5.0), strict=True):
        np.testing.assert_array_equal(ours, expected)


@pytest.mark.parametrize("metric", METRICS)
def test_all_candidates_are_scored_in_full_where_as_many_are_asked_for(
    ivf_codec, clustered, metric
):
    index = wf.IndexIVF(ivf_codec, NLIST, quantizer(ivf_codec, metric), metric=metric)
    full = wf.IndexFlat(ivf_codec, metric)
    for first in range(0, 2400, 60):
        x, q = clustered[first : first + 60], clustered[2400:2600]
        index.reset()
        full.reset()
        exhaustive(index).add(x)
        exhaustive(full).add_sa_codes(index.codes())
        index.nprobe = 7
        probed = index.quantizer.search(q, 7)[1]
        lists = index.quantizer.search(x, 1)[1][:, 0]
        found, order = index.search(q, 5)[1], full.search(q, len(x))[1]
        for row, ranked, own in zip(found, order, probed, strict=True):
            best = ranked[np.isin(lists[ranked], own)][:5]
            np.testing.assert_array_equal(row[row != -1], best)


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("metric", METRICS)
def test_a_search_looks_at_the_lists_that_the_quantizer_names(
    ivf_codec, clustered, metric, threads
):
    x, q = clustered[:2000], clustered[2000:2150]
    index = filled(ivf_codec, x, metric, quantizer=quantizer(ivf_codec, metric))
    index.nprobe = 3
    wf.set_num_threads(threads)
    distances, labels = index.search(q, 5)
    members = index.quantizer.search(x, 1)[1][:, 0]
    probed = index.quantizer.search(q, 3)[1]
    full = exhaustive(wf.IndexFlat(ivf_codec, metric))
    full.add_sa_codes(index.codes())
    every, order = full.search(q, len(x))
    for i in range(len(q)):
        inside = np.isin(members[order[i]], probed[i])
        np.testing.assert_allclose(distances[i], every[i][inside][:5], rtol=1e-4, atol=1e-4)
        assert np.isin(members[labels[i]], probed[i]).all()
    lims, near, ids = index.range_search(q[:5], every[0, 40])
    for i in range(5):
        found = ids[lims[i] : lims[i + 1]]
        assert np.isin(members[found], probed[i]).all()
        beyond = near[lims[i] : lims[i + 1]] < every[0, 40]
        assert (beyond if metric == "l2" else ~beyond).all()
    assert len(ids) > 0


@pytest.mark.parametrize("metric", METRICS)
def test_more_probes_find_more(base, queries, metric):
    index = wf.IndexIVF(wf.Recipe(384, 48), 48, metric=metric)
    index.train(base)
    index.add(base)
    exact = (faiss.IndexFlatL2 if metric == "l2" else faiss.IndexFlatIP)(384)
    exact.add(base)
    truth = exact.search(queries, 10)[1]
    recalls = []
    for nprobe in (1, 4, 16, 48):
        index.nprobe = nprobe
        found = index.search(queries, 10)[1]
        recalls.append(
            np.mean([len(set(a) & set(b)) / 10 for a, b in zip(found, truth, strict=True)])
        )
    assert recalls == sorted(recalls)
    assert recalls[0] > 0.15
    assert recalls[2] > 0.70
    assert recalls[3] > 0.80


def test_a_graph_finds_the_lists(clustered):
    graph = faiss.IndexHNSWFlat(20, 16)
    index = wf.IndexIVF(wf.Recipe(20, 8), 200, graph, metric="l2")
    assert not index.is_trained
    index.train(clustered)
    index.add(clustered)
    assert graph.ntotal == 200
    assert index.list_sizes().sum() == len(clustered)
    assert index.get_list_size(7) == index.list_sizes()[7]
    index.nprobe = 100
    _, labels = index.search(clustered[:200], 1)
    assert np.mean(labels[:, 0] == np.arange(200)) > 0.8


def test_centroids_that_a_quantizer_brings_are_kept(clustered):
    centroids = clustered[::100]
    given = faiss.IndexFlatL2(20)
    given.add(centroids)
    index = wf.IndexIVF(wf.Recipe(20, 8), len(centroids), given, metric="l2")
    index.train(clustered)
    np.testing.assert_array_equal(index.codec._core.arrays["centroids"], centroids)
    index.add(clustered)
    nearest = given.search(clustered, 1)[1][:, 0]
    np.testing.assert_array_equal(index.list_sizes(), np.bincount(nearest, minlength=30))


def test_many_lists(clustered):
    """Labels of sparse lists are kept in two bytes."""
    index = wf.IndexIVF(wf.Recipe(20, 8), 2500, metric="l2")
    index.train(clustered)
    index.add(clustered)
    index.nprobe = 2500
    flat = exhaustive(wf.IndexFlat(index.codec, "l2"))
    flat.add(clustered)
    for ours, expected in zip(
        exhaustive(index).search(clustered[:50], 5), flat.search(clustered[:50], 5), strict=True
    ):
        np.testing.assert_array_equal(ours, expected)
    np.testing.assert_array_equal(index.reconstruct_n(), flat.reconstruct_n())


def test_ids_stay_with_their_vectors(ivf_codec, clustered):
    index = filled(ivf_codec, clustered[:100])
    assert index.remove_ids(np.arange(0, 100, 2)) == 50
    np.testing.assert_array_equal(index.ids(), np.arange(1, 100, 2))
    index.add_with_ids(clustered[100:103], [7_000_000_000, -5, 3])
    np.testing.assert_array_equal(index.ids(50), [7_000_000_000, -5, 3])
    codes = ivf_codec.encode(clustered[[102, 101]])
    expected = ivf_codec.decode(codes, alpha=ivf_codec.alpha["ip"])
    np.testing.assert_array_equal(index.reconstruct_batch([3, -5]), expected)
    with pytest.raises(wf.MissingIdError, match="key=4 "):
        index.reconstruct(4)
    index.reset()
    index.add(clustered[:3])
    np.testing.assert_array_equal(index.ids(), [0, 1, 2])


@pytest.mark.parametrize("metric", METRICS)
def test_a_filter_looks_further_where_little_is_left(ivf_codec, clustered, metric):
    x, q = clustered[:2500], clustered[2500:2600]
    index = filled(ivf_codec, x, metric)
    index.nprobe = 2
    few = np.arange(0, len(x), 100)
    sel = wf.IDSelectorBatch(few)
    found = index.search(q, 10, params=wf.SearchParameters(sel=sel))
    index.nprobe = NLIST
    expected = index.search(q, 10, params=wf.SearchParameters(sel=sel))
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-5, atol=1e-4)
    np.testing.assert_array_equal(found[1], expected[1])
    assert np.isin(found[1], few).all()


def test_shards_become_one(ivf_codec, clustered):
    whole = filled(ivf_codec, clustered, "l2")
    shards = [copy.deepcopy(wf.IndexIVF(ivf_codec, NLIST, metric="l2")) for _ in range(3)]
    for i, shard in enumerate(shards):
        part = np.arange(i * 1000, (i + 1) * 1000)
        shard.add_with_ids(clustered[part], part)
    merged = exhaustive(shards[0])
    for shard in shards[1:]:
        merged.merge_from(shard)
        assert shard.ntotal == 0
    assert merged.ntotal == 3000
    for index in (whole, merged):
        index.nprobe = 5
    for ours, expected in zip(
        merged.search(clustered[:40], 7), whole.search(clustered[:40], 7), strict=True
    ):
        np.testing.assert_array_equal(ours, expected)
    np.testing.assert_array_equal(merged.reconstruct(2345), whole.reconstruct(2345))


def test_merges_crosswise_do_not_wait_for_each_other(ivf_codec, clustered):
    pair = [filled(ivf_codec, part) for part in (clustered[:100], clustered[100:200])]

    def merge(into: wf.IndexIVF, other: wf.IndexIVF) -> None:
        for _ in range(300):
            into.merge_from(other)

    workers = [threading.Thread(target=merge, args=order) for order in (pair, pair[::-1])]
    for worker in workers:
        worker.daemon = True  # one that waits must not keep the tests from ending
        worker.start()
    for worker in workers:
        worker.join(60)
    assert not any(worker.is_alive() for worker in workers)
    assert sum(index.ntotal for index in pair) == 200


@pytest.mark.parametrize("with_quantizer", [False, True])
def test_files_and_pickles_keep_all(ivf_codec, clustered, tmp_path, with_quantizer):
    given = quantizer(ivf_codec, "l2") if with_quantizer else None
    index = filled(ivf_codec, clustered[:500], "l2", quantizer=given)
    index.add_with_ids(clustered[500:600], np.arange(9000, 9100))
    index.nprobe = 7
    wf.write_index(index, tmp_path / "a.wf")
    again = wf.read_index(tmp_path / "a.wf")
    assert isinstance(again, wf.IndexIVF)
    for other in (exhaustive(again), pickle.loads(pickle.dumps(index)), copy.deepcopy(index)):
        assert (other.nprobe, other.nlist, other.metric) == (7, NLIST, "l2")
        assert isinstance(other.quantizer, CoarseQuantizer) is (given is None)
        np.testing.assert_array_equal(other.ids(), index.ids())
        for ours, expected in zip(
            other.search(clustered[:30], 5), index.search(clustered[:30], 5), strict=True
        ):
            np.testing.assert_array_equal(ours, expected)
    wf.write_index(again, tmp_path / "b.wf")
    assert (tmp_path / "a.wf").read_bytes() == (tmp_path / "b.wf").read_bytes()


def test_what_is_refused(ivf_codec, clustered):
    recipe = wf.Recipe(20, 8)
    wrong = faiss.IndexFlatL2(20)
    wrong.add(clustered[:5])
    for call, error, message in (
        (lambda: wf.IndexIVF(recipe, 0), ValueError, "nlist=0"),
        (lambda: wf.IndexIVF(recipe, 70_000), ValueError, "nlist=70000 must be at most 65536"),
        (lambda: wf.IndexIVF(recipe, 2.0), TypeError, "nlist must be an int"),
        (lambda: wf.IndexIVF(ivf_codec, 5), ValueError, "codec has 24 cells, expected nlist=5"),
        (lambda: wf.IndexIVF("PQ", 5), TypeError, "codec must be"),
        (lambda: wf.IndexIVF(recipe, 6, wrong), ValueError, "quantizer has 5 vectors, expected"),
        (lambda: wf.IndexIVF(recipe, 6, "HNSW"), TypeError, "quantizer must be a faiss.Index"),
        (lambda: wf.IndexIVF(recipe, 6, faiss.IndexFlatL2(4)), ValueError, "4 dimensions"),
        (lambda: wf.IndexIVF(recipe, 6).add(clustered), wf.NotTrainedError, "call train"),
        (lambda: wf.IndexIVF(recipe, 6).search(clustered, 1), RuntimeError, "call train"),
        (lambda: wf.IndexIVF(recipe, 60).train(clustered[:9]), ValueError, "9 rows, too few"),
        (lambda: setattr(wf.IndexIVF(recipe, 6), "nprobe", 0), ValueError, "nprobe=0"),
        (lambda: filled(ivf_codec, clustered[:9]).get_list_size(1.5), TypeError, "list_no must"),
        (lambda: filled(ivf_codec, clustered[:9]).get_list_size(24), IndexError, "list_no=24"),
    ):
        with pytest.raises(error, match=message):
            call()


def test_a_quantizer_with_other_centroids_is_refused(ivf_codec):
    other = quantizer(ivf_codec, "l2")
    other.reset()
    other.add(ivf_codec._core.arrays["centroids"] + 1)
    with pytest.raises(ValueError, match="other centroids"):
        wf.IndexIVF(ivf_codec, NLIST, other)


@pytest.mark.parametrize(
    ("number", "add_id", "message"),
    [
        (2**63 - 5, 10, r"add_id 10 takes id 9223372036854775803 of the other index beyond int64"),
        (
            7,
            -8,
            r"add_id -8 takes id 7 of the other index to -1, which stands for a missing result",
        ),
    ],
)
def test_a_merge_makes_no_ids_that_cannot_be(ivf_codec, clustered, number, add_id, message):
    index, other = filled(ivf_codec, clustered[:20]), wf.IndexIVF(ivf_codec, NLIST)
    other.add_with_ids(clustered[20:22], [3, number])
    with pytest.raises(ValueError, match=message):
        index.merge_from(other, add_id)
    assert (index.ntotal, other.ntotal) == (20, 2)
    np.testing.assert_array_equal(other.ids(), [3, number])


def test_what_is_kept_of_a_filter_follows_the_index(ivf_codec, clustered):
    sel = wf.SearchParameters(sel=wf.IDSelectorRange(500, 1700))
    other = wf.SearchParameters(sel=wf.IDSelectorRange(0, 300))
    q = clustered[2500:2560]
    index, grown = filled(ivf_codec, clustered[:1000]), filled(ivf_codec, clustered[:2000])
    index.nprobe = grown.nprobe = 5
    before = index.search(q, 10, params=sel)
    np.testing.assert_array_equal(index.search(q, 10, params=sel)[1], before[1])
    assert (index.search(q, 10, params=other)[1] < 300).all()
    index.add(clustered[1000:2000])
    for ours, expected in zip(
        index.search(q, 10, params=sel), grown.search(q, 10, params=sel), strict=True
    ):
        np.testing.assert_array_equal(ours, expected)
    index.remove_ids(wf.IDSelectorRange(500, 900))
    assert (index.search(q, 10, params=sel)[1] >= 900).all()


@pytest.mark.parametrize("metric", METRICS)
def test_candidates_left_out_are_not_missed(base_64, queries_64, metric):
    base, queries = base_64, queries_64
    index = wf.IndexIVF(trained.trained(base, 16, cells=16), 16, metric=metric)
    index.add(base)
    index.nprobe, index.prune_sigma, index.refine_factor = 16, float("inf"), 60
    flat = wf.IndexFlat(index.codec, metric)  # which scores all candidates in full
    flat.add(base)
    flat.prune_sigma, flat.refine_factor = float("inf"), 60
    found, expected = index.search(queries, 10)[1], flat.search(queries, 10)[1]
    shared = sum(len(set(a) & set(b)) for a, b in zip(found, expected, strict=True))
    assert shared >= 0.99 * found.size
