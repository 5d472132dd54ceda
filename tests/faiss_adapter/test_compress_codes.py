"""Compressing FAISS indexes that keep codes: decoded with a warning, or from the given vectors."""

from __future__ import annotations

import warnings

import faiss
import numpy as np
import pytest

import waterfill as wf
from waterfill.faiss.stored_vectors import stored_vectors

D = 20
IDS = np.random.default_rng(2).permutation(10**6)[:3000] * 5 - 7
LOSSY = [
    "PQ4x5",
    "PQ4x4fs",
    "SQ8",
    "SQfp16",
    "RaBitQ",
    "LSQ3x4",
    "IVF16,PQ4x5",
    "IVF16,PQ4x4fs",
    "IVF16,SQ8",
    "IVF16,RaBitQ",
    "IMI2x2,PQ4x5",
    "HNSW8_SQ8",
    "OPQ4,PQ4x5",
    "PCA8,Flat",
    "PCA8,IVF16,SQ8",
    "L2norm,PQ4x5",
    "PQ4x5,Refine(SQ8)",
]
WHOLE = ["OPQ4,IVF16,PQ4x5,Refine(Flat)", "RR20,Flat", "Pad32,Flat", "RR20,IVF16,Flat"]


def made(factory, x, metric=faiss.METRIC_L2, ids=None):
    index = quick(faiss.index_factory(D, factory, metric))
    if ids is not None and "IVF" not in factory:
        index = faiss.IndexIDMap2(index)
    index.train(x)
    if ids is None:
        index.add(x)
    else:
        index.add_with_ids(x, ids)
    return index


def quick(index):
    """Leave out steps of training that take seconds."""
    if isinstance(index, faiss.IndexPreTransform):
        first = faiss.downcast_VectorTransform(index.chain.at(0))
        if isinstance(first, faiss.OPQMatrix):
            first.niter = 1
        quick(faiss.downcast_index(index.index))
    elif isinstance(index, faiss.IndexRefine):
        quick(faiss.downcast_index(index.base_index))
    elif hasattr(index, "pq"):
        index.pq.cp.niter = 3
        if hasattr(index, "do_polysemous_training"):
            index.do_polysemous_training = False
    return index


def decoded(index):
    return stored_vectors(index).read().read(0, index.ntotal)


@pytest.mark.parametrize("factory", LOSSY)
def test_codes_are_decoded_with_a_warning(clustered, factory):
    index = made(factory, clustered)
    want = index.reconstruct_n(0, len(clustered))
    np.testing.assert_array_equal(decoded(index), want)
    numbers = np.array([5, 2, 2900])
    # A batch may be multiplied in another order.
    np.testing.assert_allclose(stored_vectors(index).read().take(numbers), want[numbers], atol=1e-5)
    with pytest.warns(
        RuntimeWarning, match=r"index: .* keeps .*decoded.*rows= to avoid it"
    ) as seen:
        ours = wf.compress(index, 8)
    assert seen[0].filename == __file__
    assert (ours.ntotal, ours.d, ours.metric, ours.has_ids) == (3000, D, "l2", False)
    assert isinstance(ours, wf.IndexIVF) == ("IVF" in factory or "IMI" in factory)
    exact = faiss.IndexFlatL2(D)
    exact.add(want)
    truth = exact.search(want[:100], 10)[1]
    if isinstance(ours, wf.IndexIVF):
        ours.nprobe = ours.nlist
    found = ours.search(want[:100], 10)[1]
    shares = [len({*a} & {*b}) / 10 for a, b in zip(found, truth, strict=True)]
    assert np.mean(shares) > 0.3


@pytest.mark.parametrize("factory", WHOLE)
def test_whole_vectors_are_read_without_a_warning(clustered, factory):
    index = made(factory, clustered)
    np.testing.assert_allclose(decoded(index), clustered, atol=1e-4)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ours = wf.compress(index, 8)
    if "IVF" in factory:
        assert (ours.nlist, ours.nprobe) == (16, 1)


def test_lists_behind_a_rotation_stay_the_same(clustered):
    index = made("OPQ4,IVF16,PQ4x5", clustered)
    lists = faiss.extract_index_ivf(index)
    lists.nprobe = 3
    with pytest.warns(RuntimeWarning, match="IndexIVFPQ keeps codes of 4 bytes"):
        ours = wf.compress(index, 8)
    assert (ours.nlist, ours.nprobe) == (16, 3)
    rotated = index.chain.at(0).apply_py(clustered)
    theirs = lists.quantizer.search(rotated, 1)[1][:, 0]
    assert (ours.quantizer.search(clustered, 1)[1][:, 0] == theirs).mean() > 0.999


@pytest.mark.parametrize("factory", ["PQ4x5", "IVF16,PQ4x5", "L2norm,PQ4x5", "PCA8,IVF16,SQ8"])
def test_ids_are_kept(clustered, factory):
    index = made(factory, clustered, ids=IDS) if "PCA" not in factory else None
    if index is None:
        index = faiss.index_factory(D, factory)
        index.train(clustered)
        index.add_with_ids(clustered, IDS)
    with pytest.warns(RuntimeWarning, match="decoded"):
        ours = wf.compress(index, 8)
    assert ours.has_ids
    np.testing.assert_array_equal(np.sort(ours.ids(0, 3000)), np.sort(IDS))
    want = stored_vectors(index)
    near = want.read().read(0, 200)
    if isinstance(ours, wf.IndexIVF):
        ours.nprobe = 16
    found = ours.search(near, 5)[1]
    assert (found == want.ids[:200, None]).any(1).mean() > 0.5


def test_normalising_with_inner_products_is_the_cosine(clustered):
    index = made("L2norm,Flat", clustered, faiss.METRIC_INNER_PRODUCT)
    ours = wf.compress(index, 16)
    assert ours.metric == "cosine"
    theirs = index.search(clustered[:50] * 3, 10)
    found = ours.search(clustered[:50] * 3, 10)
    np.testing.assert_allclose(found[0], theirs[0], atol=0.05)


def test_a_mean_that_inner_products_were_without_is_told(clustered):
    index = made("PCA20,Flat", clustered, faiss.METRIC_INNER_PRODUCT)
    with pytest.warns(RuntimeWarning, match="inner products were of vectors without their mean"):
        wf.compress(index, 8)


@pytest.mark.parametrize("factory", ["PQ4x5", "IVF16,PQ4x5", "OPQ4,PQ4x5", "PCAW8,Flat", "LSH"])
def test_given_rows_take_the_place_of_codes(clustered, factory):
    index = made(factory, clustered)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ours = wf.compress(index, 10, rows=clustered.astype(np.float64))
    assert ours.ntotal == 3000
    if isinstance(ours, wf.IndexIVF):
        ours.nprobe = ours.nlist
    exact = faiss.IndexFlatL2(D)
    exact.add(clustered)
    truth = exact.search(clustered[:200], 10)[1]
    found = ours.search(clustered[:200], 10)[1]
    assert np.mean([len({*a} & {*b}) for a, b in zip(found, truth, strict=True)]) > 6.5


def test_rows_find_more_than_decoded_vectors(base, queries):
    index = quick(faiss.index_factory(384, "PQ24x8", faiss.METRIC_INNER_PRODUCT))
    index.train(base[:2000])
    index.add(base)
    truth = np.argsort(-(queries @ base.T), axis=1)[:, :10]

    def recall(found):
        return np.mean([len({*a} & {*b}) / 10 for a, b in zip(found[1], truth, strict=True)])

    with pytest.warns(RuntimeWarning, match="24 bytes"):
        lost = recall(wf.compress(index, 48).search(queries, 10))
    kept = recall(wf.compress(index, 48, rows=base).search(queries, 10))
    assert lost < recall(index.search(queries, 10)) + 0.05
    assert kept > lost + 0.1


def test_rows_are_matched_by_ids(clustered):
    index = made("IVF16,PQ4x5", clustered, ids=IDS)
    with pytest.raises(ValueError, match=r"with ids from .*; pass row_ids="):
        wf.compress(index, 8, rows=clustered)
    order = np.random.default_rng(3).permutation(3000)
    more = np.concatenate([clustered[order], clustered[:7] + 1])
    ids = np.concatenate([IDS[order], np.arange(7) + 10**9])
    ours = wf.compress(index, 10, rows=more, row_ids=ids)
    ours.nprobe = 16
    assert (ours.search(clustered, 3)[1] == IDS[:, None]).any(1).mean() > 0.95


def test_numbers_of_rows_are_ids_where_vectors_were_removed(clustered):
    index = made("IVF16,PQ4x5", clustered)
    index.remove_ids(np.arange(100, 200))
    ours = wf.compress(index, 10, rows=clustered)
    assert ours.ntotal == 2900
    ours.nprobe = 16
    kept = np.delete(np.arange(3000), np.arange(100, 200))
    assert (ours.search(clustered[kept], 3)[1] == kept[:, None]).any(1).mean() > 0.95


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({}, TypeError, r"PCAMatrix cannot be undone; pass the vectors themselves as rows="),
        ({"rows": np.eye(D)}, ValueError, "rows has 20 rows, expected 3000"),
        ({"rows": np.zeros((3000, 4))}, ValueError, "rows has 4 dimensions, expected 20"),
        ({"row_ids": np.arange(3000)}, TypeError, "row_ids are the ids of rows; pass rows"),
        (
            {"rows": np.zeros((3000, D)), "row_ids": np.arange(2999)},
            ValueError,
            "row_ids: expected 3000 integers",
        ),
        (
            {"rows": np.zeros((3000, D)), "row_ids": np.arange(3000) + 1},
            ValueError,
            "row_ids: 1 of the 3000 ids of the index are missing, the first is 0",
        ),
    ],
)
def test_what_cannot_be_done_names_the_way_out(clustered, options, error, message):
    with pytest.raises(error, match=message):
        wf.compress(made("PCAW8,Flat", clustered), 8, **options)


def test_other_rows_are_refused(clustered):
    index = made("PQ4x5", clustered)
    with pytest.raises(ValueError, match=r"rows: of 256 that were compared, only \d+ are nearer"):
        wf.compress(index, 8, rows=clustered[::-1])


def test_a_row_that_is_not_finite_is_named_or_left_out(clustered):
    index = made("PQ4x5", clustered)
    rows = clustered.copy()
    rows[17] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        wf.compress(index, 8, rows=rows)
    with pytest.warns(RuntimeWarning, match="1 of 3000 rows"):
        ours = wf.compress(index, 8, rows=rows, policy="drop")
    assert 17 not in ours.ids(0, 2999)


def test_lists_without_decoding_are_refused(clustered):
    quantizer = faiss.IndexFlatL2(D)
    index = faiss.IndexIVFFlatDedup(quantizer, D, 16)
    index.train(clustered)
    index.add(clustered)
    with pytest.raises(TypeError, match=r"IndexIVFFlatDedup cannot decode .* rows="):
        wf.compress(index, 8)
    assert wf.compress(index, 8, rows=clustered).nlist == 16
