"""IndexFlat: scores, two-stage search, operations beside FAISS's, and concurrent additions."""

from __future__ import annotations

import copy
import threading

import faiss
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import trained
from support.numpy_reference import Reference

import waterfill as wf
from waterfill import _core

METRICS = ("ip", "l2")


def exhaustive(index: wf.IndexFlat) -> wf.IndexFlat:
    """Make every vector a candidate."""
    index.refine_factor = 10**6
    return index


def filled(codec: wf.Codec, x: np.ndarray, metric: str = "ip") -> wf.IndexFlat:
    index = wf.IndexFlat(codec, metric)
    index.add(x)
    return index


def best(scores: np.ndarray, k: int, metric: str) -> np.ndarray:
    return np.argsort(scores if metric == "l2" else -scores, axis=1, kind="stable")[:, :k]


@pytest.mark.parametrize("metric", METRICS)
def test_search_is_the_documented_score(small_codec, clustered, metric):
    x, q = clustered[:1500], clustered[1500:1560]
    codes = small_codec.encode(x)
    scores = Reference.of(small_codec).scores(q, codes, metric)
    distances, labels = exhaustive(filled(small_codec, x, metric)).search(q, 20)
    at_labels = np.take_along_axis(scores, labels, axis=1)
    tolerance = 1e-4 * np.abs(scores).max()
    np.testing.assert_allclose(distances, at_labels, atol=tolerance)
    expected = np.take_along_axis(scores, best(scores, 20, metric), axis=1)
    np.testing.assert_allclose(distances, expected, atol=tolerance)
    assert (np.diff(distances, axis=1) * (1 if metric == "l2" else -1) >= 0).all()


def test_constant_norm_l2_is_the_documented_score(codec_64, base_64, queries_64):
    codec, base, queries = codec_64, base_64[:2000], queries_64[:50]
    assert codec.plan.constant_norm == pytest.approx(1, abs=1e-3)
    scores = Reference.of(codec).scores(queries, codec.encode(base), "l2")
    index = filled(codec, base, "l2")
    assert index.code_size == len(codec.plan.groups) + 2
    assert index.bytes_per_vector >= index.code_size
    distances, labels = exhaustive(index).search(queries, 10)
    np.testing.assert_allclose(distances, np.take_along_axis(scores, labels, axis=1), atol=1e-4)
    np.testing.assert_allclose(distances, np.sort(scores, axis=1)[:, :10], atol=1e-4)


def test_cosine_is_inner_product_of_normalised_vectors(clustered):
    x, q = clustered[:2000], clustered[2000:2050]
    c = trained.trained(x, 8, normalize=True)
    distances, labels = exhaustive(filled(c, x * 7, "cosine")).search(q * 3, 5)
    unit = q / np.linalg.norm(q, axis=1, keepdims=True)
    scores = Reference.of(c).scores(unit, c.encode(x), "ip")
    np.testing.assert_allclose(distances, np.take_along_axis(scores, labels, axis=1), atol=1e-4)
    exact = unit @ (x / np.linalg.norm(x, axis=1, keepdims=True)).T
    assert np.abs(distances - np.take_along_axis(exact, labels, axis=1)).mean() < 0.1


def test_cosine_needs_unit_vectors_and_l2_needs_lengths(small_codec, clustered):
    with pytest.raises(ValueError, match=r"metric cosine needs.*set normalize"):
        wf.IndexFlat(small_codec, "cosine")
    with pytest.raises(ValueError, match="needs the metric cosine"):
        wf.IndexFlat(trained.trained(clustered, 4, normalize=True), "l2")


def test_zero_vectors_under_cosine_have_no_similarity(codec, base):
    with pytest.warns(RuntimeWarning, match="1 of 201"):  # the mean is near to zero
        index = filled(codec, np.vstack([np.zeros((1, 384), "f4"), base[:200]]), "cosine")
    distances, labels = index.search(base[:20], 201)
    assert np.abs(distances[labels == 0]).max() < 0.15
    assert (labels[:, 0] == np.arange(1, 21)).all()


@pytest.mark.parametrize("metric", METRICS)
def test_two_stages_find_what_the_full_score_finds(codec, base, queries, metric):
    index = filled(codec, base, metric)
    two_stage = index.search(queries, 10)[1]
    full = exhaustive(index).search(queries, 10)[1]
    kept = np.mean([len(set(a) & set(b)) / 10 for a, b in zip(two_stage, full, strict=True)])
    assert kept >= 0.99


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("n", [0, 1, 5, 31, 32, 33, 64, 65])
def test_shapes_dtypes_and_missing_are_faisss(small_codec, clustered, metric, n):
    x, q = clustered[:n], clustered[-3:]
    peer = faiss.IndexFlatIP(20) if metric == "ip" else faiss.IndexFlatL2(20)
    peer.add(x)
    index = filled(small_codec, x, metric)
    for k in (1, 10, 100):
        ours, theirs = index.search(q, k), peer.search(q, k)
        for a, b in zip(ours, theirs, strict=True):
            assert a.shape == b.shape
            assert a.dtype == b.dtype
        np.testing.assert_array_equal(ours[1] == -1, theirs[1] == -1)
        np.testing.assert_array_equal(ours[0][ours[1] == -1], theirs[0][theirs[1] == -1])
        for row in ours[1]:
            found = row[row >= 0]
            assert len(set(found)) == len(found) == min(n, k)
    assert len(index) == index.ntotal == n


def test_no_queries_give_no_rows(small_codec, clustered):
    distances, labels = filled(small_codec, clustered[:10]).search(clustered[:0], 3)
    assert distances.shape == labels.shape == (0, 3)


def test_equal_scores_come_by_rising_label(small_codec, clustered):
    x = np.repeat(clustered[:1], 1000, axis=0)
    for factor in (1, 1000):
        index = filled(small_codec, x)
        index.refine_factor = factor
        np.testing.assert_array_equal(index.search(clustered[:2], 50)[1], [range(50)] * 2)


@pytest.mark.parametrize("metric", METRICS)
def test_batches_threads_and_isas_do_not_change_results(codec, base, queries, metric):
    index = filled(codec, np.tile(base, (5, 1)), metric)
    q = queries[:70]
    expected = index.search(q, 12)
    for isa in _core.available_isas():
        _core.select_isa(isa)
        for threads in (1, 2, 5):
            wf.set_num_threads(threads)
            singles = [index.search(q[i : i + 1], 12) for i in range(6)]
            for got, want in zip(index.search(q, 12), expected, strict=True):
                np.testing.assert_array_equal(got, want)
            for part, want in enumerate(expected):
                np.testing.assert_array_equal(np.vstack([s[part] for s in singles]), want[:6])


def test_more_than_256_groups_are_summed_right():
    x = np.random.default_rng(0).standard_normal((400, 300)).astype("f4")
    c = wf.Codec.train(x, wf.Plan.waterfill(wf.analyze(x), code_bytes=299))
    index = filled(c, x)
    index.refine_factor = 33
    found = index.search(x[:50], 3)
    full = exhaustive(index).search(x[:50], 3)
    assert (found[1] == full[1]).mean() > 0.95
    assert (found[1][:, 0] == np.arange(50)).all()


@given(
    steps=st.lists(
        st.one_of(
            st.tuples(st.just("add"), st.integers(0, 70)),
            st.tuples(st.just("remove"), st.lists(st.integers(-5, 150), max_size=30)),
            st.tuples(st.just("reset"), st.just(0)),
        ),
        max_size=8,
    )
)
def test_operations_agree_with_faiss(small_codec, clustered, steps):
    """FAISS holds our decoded vectors; ids and order must agree at every step."""
    index, peer = wf.IndexFlat(small_codec), faiss.IndexFlatIP(20)
    at = 0
    for name, value in steps:
        if name == "add":
            x = clustered[at : at + value]
            at += value
            index.add(x)
            alpha = small_codec.alpha["ip"]
            peer.add(small_codec.decode(small_codec.encode(x), alpha=alpha))
        elif name == "remove":
            ids = np.array(value, dtype=np.int64)
            assert index.remove_ids(ids) == peer.remove_ids(ids)
        else:
            index.reset()
            peer.reset()
        assert index.ntotal == peer.ntotal
        if peer.ntotal:
            theirs = peer.reconstruct_n(0, peer.ntotal)
            np.testing.assert_array_equal(index.reconstruct_n(0, index.ntotal), theirs)
            ours, want = index.search(clustered[-4:], 5)[0], peer.search(clustered[-4:], 5)[0]
            np.testing.assert_allclose(ours, want, rtol=1e-3, atol=1e-3)


def test_removal_across_segments(small_codec, clustered):
    x = np.tile(clustered, (45, 1))[:131_100]  # two full segments and a little of a third
    index = filled(small_codec, x, "l2")
    codes = index._core.codes(0, len(x))
    np.testing.assert_array_equal(codes, small_codec.encode(x))
    gone = np.random.default_rng(1).choice(len(x), 66_000, replace=False)
    assert index.remove_ids(gone) == 66_000
    np.testing.assert_array_equal(
        index._core.codes(0, index.ntotal), np.delete(codes, gone, axis=0)
    )
    again = wf.IndexFlat(small_codec, "l2")
    again._core.append(np.delete(codes, gone, axis=0))
    for ours, want in zip(
        index.search(clustered[:9], 30), again.search(clustered[:9], 30), strict=True
    ):
        np.testing.assert_array_equal(ours, want)


def test_adding_is_all_or_nothing(small_codec, clustered):
    index = filled(small_codec, clustered[:100])
    before = index.search(clustered[:5], 10)
    x = np.ones((120_000, 20), dtype="f2")
    x[-1, 3] = np.nan
    with pytest.raises(ValueError, match="row 119999 "):
        index.add(x)
    assert index.ntotal == 100
    for a, b in zip(index.search(clustered[:5], 10), before, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("metric", ["ip", "cosine"])
def test_reconstructed_vectors_score_as_search_says(codec, base, queries, metric):
    index = filled(codec, base[:300], metric)
    distances, labels = index.search(queries[:5], 4)
    q = queries[:5] / np.linalg.norm(queries[:5], axis=1, keepdims=True)
    for i, row in enumerate(labels):
        for j, label in enumerate(row):
            assert index.reconstruct(label) @ q[i] == pytest.approx(distances[i, j], abs=1e-3)
    with pytest.raises(IndexError, match="key=300"):
        index.reconstruct(300)
    with pytest.raises(ValueError, match="reach beyond"):
        index.reconstruct_n(299, 2)


def test_l2_distances_are_not_negative(small_codec, clustered):
    index = filled(small_codec, clustered, "l2")
    decoded = index.reconstruct_n(0, 200)
    assert (index.search(decoded, 5)[0] >= 0).all()


def test_searches_beside_additions_see_whole_batches(small_codec, clustered):
    index = wf.IndexFlat(small_codec)
    sizes, errors = [], []

    def search() -> None:
        try:
            while index.ntotal < 30 * 200:
                labels = exhaustive(index).search(clustered[:1], 6000)[1]
                sizes.append(int((labels >= 0).sum()))
        except Exception as error:
            errors.append(error)

    workers = [threading.Thread(target=search) for _ in range(3)]
    for worker in workers:
        worker.start()
    for _ in range(30):
        index.add(clustered[:200])
    for worker in workers:
        worker.join(60)
    assert not errors
    assert all(size % 200 == 0 for size in sizes)


def test_any_memory_layout_is_read(small_codec, clustered):
    index = filled(small_codec, clustered[:50])
    expected = index.search(clustered[50:60], 5)[1]
    for q in (
        np.asfortranarray(clustered[50:60]),
        np.repeat(clustered[50:60], 2, axis=0)[::2],
        clustered[50:60].astype("f8"),
        clustered[50:60].tolist(),
    ):
        np.testing.assert_array_equal(index.search(q, 5)[1], expected)


def test_wrong_arguments_are_named(small_codec, clustered):
    index = filled(small_codec, clustered[:50])
    nan = clustered[:3].copy()
    nan[2, 2] = np.nan
    for call, error, message in (
        (lambda: index.search(clustered[:2, :5], 1), ValueError, "x has 5 dimensions, expected 20"),
        (lambda: index.search(clustered[0], 1), ValueError, r"x must have shape.*x\[None, :\]"),
        (lambda: index.search(clustered[:1], 0), ValueError, "k=0"),
        (lambda: index.search(clustered[:1], 2.0), TypeError, "k must be an int"),
        (lambda: index.search(clustered[:1], True), TypeError, "k must be an int"),
        (lambda: index.search(nan, 1), ValueError, "x: row 2 "),
        (lambda: index.add(clustered[:2].astype(complex)), TypeError, "complex"),
        (lambda: index.add("text"), TypeError, "x is a str, expected vectors; open a file with"),
        (lambda: index.remove_ids([1.5]), TypeError, "x must be integers"),
        (lambda: setattr(index, "refine_factor", 0), ValueError, "refine_factor=0"),
        (lambda: wf.IndexFlat(small_codec, "dot"), ValueError, "metric='dot'"),
        (lambda: wf.IndexFlat(None), TypeError, "codec must be"),
    ):
        with pytest.raises(error, match=message):
            call()
    assert index.ntotal == 50


def test_l2_holds_for_norms_that_training_did_not_see(base, queries, codec):
    """Norms are all 1 in the sample and 0.7 to 1.4 in the index: the scale byte holds them."""
    assert codec.plan.constant_norm > 0
    x = base * np.random.default_rng(0).uniform(0.7, 1.4, (len(base), 1)).astype("f4")
    index = wf.IndexFlat(codec, "l2")
    index.add(x)
    two_stage = index.search(queries, 10)[1]
    index.refine_factor = len(x)
    full = index.search(queries, 10)[1]
    kept = np.mean([len(set(a) & set(b)) / 10 for a, b in zip(two_stage, full, strict=True)])
    assert kept >= 0.95


def test_settings_of_a_copy_are_its_own(codec, base):
    index = wf.IndexFlat(codec)
    index.add(base[:50])
    index.refine_factor = 7
    again = copy.copy(index)
    again.refine_factor = 9
    assert index.refine_factor == 7
