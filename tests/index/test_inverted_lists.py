"""The methods of a faiss.IndexIVF: they do what FAISS's do, on the same lists."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import waterfill as wf
from waterfill.index.coarse_quantizer import CoarseQuantizer

faiss = pytest.importorskip("faiss")

NLIST = 16
METRICS = ("ip", "l2")
Make = Callable[..., Any]


@pytest.fixture(scope="module")
def make(base_64: NDArray[np.float32]) -> Make:
    codecs: dict[str, wf.Codec] = {}

    def make(metric: Any = "l2", n: int = 2000, refine: Any = None) -> Any:
        if metric not in codecs:
            codecs[metric] = wf.Recipe(64, 16).train(base_64[:3000], metric, cells=NLIST)
        index = wf.IndexIVF(codecs[metric], NLIST, metric=metric, refine=refine)
        index.add(base_64[:n])
        index.nprobe = 4
        return index

    return make


def lists_of(index: Any, x: NDArray[np.float32]) -> NDArray[np.int64]:
    """Return the list of each vector, the last byte of its code."""
    return index.sa_encode(x)[:, -1].astype(np.int64)


# The coarse quantizer.


@pytest.mark.parametrize("metric", METRICS)
def test_the_quantizer_searches_centroids_as_faiss(
    make: Make, queries_64: NDArray[np.float32], metric: str
) -> None:
    index = make(metric)
    quantizer = index.quantizer
    assert isinstance(quantizer, CoarseQuantizer)
    stock = faiss.IndexFlat(64, 1 if metric == "l2" else 0)
    stock.add(index.codec._core.routing_vectors)
    assert (quantizer.ntotal, quantizer.d, quantizer.metric_type, quantizer.is_trained) == (
        stock.ntotal, 64, stock.metric_type, True
    )  # fmt: skip
    for k in (1, 5, NLIST + 3):
        ours, theirs = (each.search(queries_64[:50], k) for each in (quantizer, stock))
        np.testing.assert_array_equal(ours[1], theirs[1])
        np.testing.assert_allclose(ours[0], theirs[0], rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(quantizer.reconstruct_n(2, 3), stock.reconstruct_n(2, 3))
    np.testing.assert_array_equal(quantizer.assign(queries_64[:9]), stock.assign(queries_64[:9], 1))
    with pytest.raises(wf.MissingIdError, match="beyond 16 centroids"):
        quantizer.reconstruct(16)
    assert wf.IndexIVF(wf.Recipe(64, 16), NLIST).quantizer is None


@pytest.mark.parametrize("metric", METRICS)
def test_all_lists_in_any_order_find_the_same(
    make: Make, queries_64: NDArray[np.float32], metric: str
) -> None:
    index, q = make(metric), queries_64[:50]
    index.nprobe = NLIST
    # Coarse scores of `search` have estimated list terms, those of given lists exact ones: with all
    # vectors as candidates, full scores decide.
    index.refine_factor, index.prune_sigma = 10**6, float("inf")
    expected = index.search(q, 10)
    order = np.argsort(np.random.default_rng(0).random((50, NLIST)), axis=1)
    for found in (
        index.search_preassigned(q, 10, order),
        index.search_preassigned(q, 10, *reversed(index.quantizer.search(q, NLIST))),
    ):
        for ours, theirs in zip(found, expected, strict=True):
            np.testing.assert_array_equal(ours, theirs)
    radius = float(np.median(expected[0][:, -1]))
    for ours, theirs in zip(
        index.range_search_preassigned(q, radius, order),
        index.range_search(q, radius),
        strict=True,
    ):
        np.testing.assert_array_equal(ours, theirs)


def test_only_the_given_lists_are_searched(
    make: Make, base_64: NDArray[np.float32], queries_64: NDArray[np.float32]
) -> None:
    index, q = make(), queries_64[:50]
    owner = lists_of(index, base_64[:2000])
    given = index.quantizer.search(q, 2)[1]
    given[::2, 1] = -1
    found = index.search_preassigned(q, 2000, given, np.zeros((50, 2)))[1]
    for row, lists in zip(found, given, strict=True):
        members = np.flatnonzero(np.isin(owner, lists[lists >= 0]))
        np.testing.assert_array_equal(np.sort(row[row >= 0]), members)
    limits, _, ids = index.range_search_preassigned(q, 1e9, given)
    for i, lists in enumerate(given):
        members = np.flatnonzero(np.isin(owner, lists[lists >= 0]))
        np.testing.assert_array_equal(ids[int(limits[i]) : int(limits[i + 1])], members)
    for lists, message in (
        (given[:3], r"Iq must have shape \(50, nprobe\)"),
        (given + NLIST, "numbers of lists from 0 to 15"),
        (given.astype(float), "Iq must be integers"),
    ):
        with pytest.raises((ValueError, TypeError), match=message):
            index.search_preassigned(q, 3, lists)


# Changes.


def test_vectors_are_updated_under_their_ids(make: Make, base_64: NDArray[np.float32]) -> None:
    for refine in (None, "float16"):
        index = make(refine=refine)
        ids = np.array([7, 1900, 0])
        index.update_vectors(ids, base_64[2500:2503])
        assert index.ntotal == 2000
        np.testing.assert_array_equal(np.sort(index.ids()), np.arange(2000))
        np.testing.assert_array_equal(index.search(base_64[2500:2503], 1)[1][:, 0], ids)
        before = index.reconstruct_n()
        for keys, x, error, message in (
            ([7, 5000], base_64[:2], wf.MissingIdError, "id 5000 is not in the index"),
            ([7, 7], base_64[:2], ValueError, "an id is given twice"),
            ([7], base_64[:2], ValueError, "expected 2 ids"),
            ([7], np.full((1, 64), np.nan, "f4"), ValueError, "NaN"),
        ):
            with pytest.raises(error, match=message):
                index.update_vectors(np.array(keys), x)
        np.testing.assert_array_equal(index.reconstruct_n(), before)


def test_rows_of_the_caller_cannot_be_updated(make: Make, base_64: NDArray[np.float32]) -> None:
    index = make(refine=np.ascontiguousarray(base_64))
    with pytest.raises(ValueError, match="whose rows would stay"):
        index.update_vectors([7], base_64[9:10])
    assert index.search(base_64[7:8], 1)[1][0, 0] == 7


@pytest.mark.parametrize("refine", [None, "float32"])
def test_vectors_are_added_to_given_lists(
    make: Make, base_64: NDArray[np.float32], refine: Any
) -> None:
    index, x = make(n=0, refine=refine), np.ascontiguousarray(base_64[:300])
    given = np.random.default_rng(0).integers(0, NLIST, 300)
    ids = np.arange(300) + 9
    index.add_core(300, x, ids, given)
    index.add_core(300, faiss.swig_ptr(x), None, faiss.swig_ptr(given))
    np.testing.assert_array_equal(index.list_sizes(), 2 * np.bincount(given, minlength=NLIST))
    assert len(np.unique(index.ids())) == 600
    found = index.search_preassigned(x, 2, given[:, None])[1]
    assert np.mean(found[:, 0] == ids) + np.mean(found[:, 1] == ids) > 0.95
    with pytest.raises(ValueError, match="lists from 0 to 15"):
        index.add_core(300, x, None, given + NLIST)


def test_contrib_reads_and_fills_the_lists(
    make: Make, base_64: NDArray[np.float32], queries_64: NDArray[np.float32]
) -> None:
    from faiss.contrib import ivf_tools

    index, x, q = make(n=0), np.ascontiguousarray(base_64[:500]), queries_64[:20]
    ivf_tools.add_preassigned(index, x, lists_of(index, x))
    whole = make(n=500)
    np.testing.assert_array_equal(index.reconstruct_n(), whole.reconstruct_n())
    lists = whole.quantizer.search(q, whole.nprobe)[1]
    for ours, theirs in zip(
        ivf_tools.search_preassigned(index, q, 5, lists),
        whole.search_preassigned(q, 5, lists),
        strict=True,
    ):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize(
    ("kind", "a1", "a2"),
    [(0, 100, 900), (1, 3, 2), (2, 500, 1500), (2, 0, 2000), (3, 4, 1), (4, 3, 9), (4, 5, 5)],
)
def test_subsets_are_those_of_faiss(
    make: Make, base_64: NDArray[np.float32], kind: int, a1: int, a2: int
) -> None:
    ours, other = make(), make(n=0)
    quantizer = faiss.IndexFlatL2(64)
    quantizer.add(ours.codec._core.arrays["centroids"])
    theirs, copied = (faiss.IndexIVFFlat(quantizer, 64, NLIST) for _ in range(2))
    x = np.ascontiguousarray(base_64[:2000])
    lists = lists_of(ours, x)
    theirs.add_core(2000, faiss.swig_ptr(x), None, faiss.swig_ptr(lists))
    ours.copy_subset_to(other, kind, a1, a2)
    theirs.copy_subset_to(copied, kind, a1, a2)
    assert other.ntotal == copied.ntotal
    expected = [
        faiss.rev_swig_ptr(copied.invlists.get_ids(i), copied.invlists.list_size(i)).copy()
        for i in range(NLIST)
        if copied.invlists.list_size(i)
    ]
    np.testing.assert_array_equal(
        np.sort(other.ids()), np.sort(np.concatenate([np.empty(0, np.int64), *expected]))
    )
    assert ours.ntotal == 2000
    for key in other.ids()[:5]:
        np.testing.assert_array_equal(other.reconstruct(int(key)), ours.reconstruct(int(key)))


def test_subsets_that_are_refused(make: Make) -> None:
    for kind, a1, a2 in ((5, 0, 1), (-1, 0, 1), (1, 0, 0), (3, 0, 0), (2, 9, 5000)):
        with pytest.raises(ValueError, match="subset"):
            make().copy_subset_to(make(n=0), kind, a1, a2)
    with pytest.raises(ValueError, match="expected refine='float16', got None"):
        make(refine="float16").copy_subset_to(make(n=0), 0, 0, 9)


@pytest.mark.parametrize("refine", ["float16", "int8"])
def test_subsets_keep_their_rows(make: Make, refine: str) -> None:
    ours, other = make(refine=refine), make(n=0, refine=refine)
    ours.copy_subset_to(other, 1, 7, 3)
    expected = ours.reconstruct_n()[other.ids()]
    np.testing.assert_allclose(other.reconstruct_n(), expected, atol=2e-3)


# Lists and settings.


def test_sorted_ids(make: Make, base_64: NDArray[np.float32]) -> None:
    index = make()
    assert index.check_ids_sorted()
    index.add_with_ids(base_64[:1], [-5])
    assert not index.check_ids_sorted()
    index.reset()
    assert index.check_ids_sorted()


def test_codes_of_the_results(make: Make, queries_64: NDArray[np.float32]) -> None:
    index, q = make(n=8), queries_64[:5]
    index.nprobe = NLIST
    distances, ids, codes = index.search_and_return_codes(q, 9, include_listnos=True)
    for ours, theirs in zip((distances, ids), index.search(q, 9), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    np.testing.assert_array_equal(codes[:, :8], index.codes()[ids[:, :8]])
    np.testing.assert_array_equal(codes[:, 8], 0)
    out = np.empty((5, 9, codes.shape[2] - 1), np.uint8)
    assert index.search_and_return_codes(q, 9, codes=out)[2] is out
    np.testing.assert_array_equal(out, codes[..., :-1])


def test_settings_without_an_effect_are_refused_and_others_accepted(make: Make) -> None:
    index = make()
    for kind in (faiss.DirectMap.NoMap, faiss.DirectMap.Array, faiss.DirectMap.Hashtable):
        index.set_direct_map_type(kind)
    index.cp.min_points_per_centroid = 5
    index.own_fields = True
    for call, error, message in (
        (lambda: index.set_direct_map_type(7), ValueError, r"type of faiss\.DirectMap"),
        (lambda: setattr(index.cp, "niter", 5), AttributeError, "Recipe"),
        (lambda: setattr(index, "by_residual", False), ValueError, "relative to"),
        (lambda: setattr(index, "metric_type", 0), ValueError, "metric of a trained index"),
    ):
        with pytest.raises(error, match=message):
            call()
    empty = wf.IndexIVF(wf.Recipe(64, 16), NLIST, metric="l2")
    empty.metric_type = faiss.METRIC_INNER_PRODUCT
    assert empty.metric == "ip"


@pytest.mark.parametrize("metric", [*METRICS, "cosine"])
def test_the_size_of_a_code_is_known_before_training(
    base_64: NDArray[np.float32], metric: Any
) -> None:
    index = wf.IndexIVF(wf.Recipe(64, 16), NLIST, metric=metric)
    sizes = index.code_size, index.sa_code_size()
    index.train(base_64[:2000])
    assert sizes == (index.code_size, index.sa_code_size())
    assert index.sa_encode(base_64[:1]).shape[1] == sizes[1]
    flat = wf.IndexFlat(wf.Recipe(64, 16), metric)
    assert flat.code_size == sizes[0]
    with pytest.raises(wf.NotTrainedError, match="chooses the cells"):
        flat.sa_code_size()


@pytest.mark.parametrize("metric", [*METRICS, "cosine"])
@pytest.mark.parametrize("refine", [None, "float32"])
def test_a_distance_computer_agrees_with_a_search(
    make: Make, queries_64: NDArray[np.float32], metric: str, refine: Any
) -> None:
    index = make(metric, refine=refine)
    index.nprobe = NLIST
    distances, ids = index.search(queries_64[:1], 20)
    computer = index.get_distance_computer()
    with pytest.raises(RuntimeError, match="set_query"):
        computer(0)
    for query in (queries_64[0], faiss.swig_ptr(np.ascontiguousarray(queries_64[0]))):
        computer.set_query(query)
        np.testing.assert_allclose(
            [computer(int(i)) for i in ids[0]], distances[0], rtol=1e-3, atol=1e-3
        )
    a, b = index.reconstruct_n(3, 1)[0], index.reconstruct_n(9, 1)[0]
    expected = ((a - b) ** 2).sum() if metric == "l2" else a @ b
    assert computer.symmetric_dis(3, 9) == pytest.approx(float(expected), rel=1e-5)


def test_the_nearest_lists_are_probed_for_l2(
    make: Make, base_64: NDArray[np.float32], queries_64: NDArray[np.float32]
) -> None:
    """A list that reaches far is not nearer for it: short and long vectors have lists, too."""
    factors = np.exp(np.random.default_rng(0).normal(size=3000))[:, None].astype(np.float32)
    x = base_64[:3000] * factors
    index = wf.IndexIVF(wf.Recipe(64, 16), NLIST, metric="l2")
    index.train(x)
    index.add(x)
    index.prune_sigma = float("inf")
    exact = ((queries_64[:100, None] - x) ** 2).sum(axis=2).argsort(axis=1)[:, :10]
    for probes, least in ((2, 0.7), (4, 0.75)):
        index.nprobe = probes
        found = index.search(queries_64[:100], 10)[1]
        given = index.search_preassigned(
            queries_64[:100], 10, index.quantizer.search(queries_64[:100], probes)[1]
        )[1]
        assert np.mean([len({*a} & {*b}) for a, b in zip(found, given, strict=True)]) > 9.7
        assert np.mean([len({*a} & {*b}) for a, b in zip(found, exact, strict=True)]) > 10 * least
