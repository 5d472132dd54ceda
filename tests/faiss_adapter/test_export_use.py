"""Exported indexes in use: distances, radii, vectors that FAISS adds, removals, FAISS's tools."""

from __future__ import annotations

import numpy as np
import pytest
from faiss.contrib import factory_tools, ivf_tools
from support import trained
from support.exports import K, filled, nearest, overlap, probe_all_lists

import waterfill as wf

faiss = pytest.importorskip("faiss")

ADDED = 240  # of 4,800 vectors
SHAPES = {"flat": (0, 0), "cells": (64, 0), "lists": (0, 32)}  # cells of a codec, lists


def make(
    x: np.ndarray, metric: str, shape: str, code_bytes: int = 24
) -> wf.IndexFlat | wf.IndexIVF:
    cells, nlist = SHAPES[shape]
    if not nlist:
        return filled(x, metric, code_bytes, cells)
    index = wf.IndexIVF(
        trained.trained(x, code_bytes, cells=nlist, effort="fast"), nlist, metric=metric
    )
    index.nprobe = nlist // 2
    index.add(x)
    return index


def within(index: object, queries: np.ndarray, radius: float) -> set[tuple[int, int]]:
    """The pairs of a query and a vector within the radius."""
    limits, _, labels = index.range_search(queries, radius)
    return {
        *zip(np.repeat(np.arange(len(queries)), np.diff(limits.astype(int))), labels, strict=True)
    }


@pytest.mark.parametrize("offsets", [True, False])
@pytest.mark.parametrize("shape", SHAPES)
def test_l2_distances_are_distances(base, queries, shape, offsets):
    """Not shifted: a radius finds what it finds in the index."""
    index = make(base, "l2", shape)
    made = wf.to_faiss(index, offsets=offsets)
    distances, found = made.search(queries, K)
    true = np.square(queries[:, None] - base[found]).sum(axis=2)
    assert abs(np.median(distances / true) - 1) < (0.05 if offsets else 0.2)
    if not offsets:
        return
    exact = faiss.IndexFlatL2(base.shape[1])
    exact.add(base)
    radius = float(np.median(exact.search(queries, K)[0][:, -1]))
    truth, native, exported = (within(each, queries, radius) for each in (exact, index, made))
    for part in (lambda found: found, lambda found: truth):  # precision, recall
        shares = [len(found & truth) / len(part(found)) for found in (exported, native)]
        assert shares[0] >= shares[1] - 0.1


def test_l2_distances_with_spread_norms(clustered):
    """Scales of a sixth to four times the mean: the hardest case for one common scale."""
    index = filled(clustered, "l2", 16)
    queries = clustered[::15] + 0.05
    distances, found = wf.to_faiss(index).search(queries, K)
    true = np.square(queries[:, None] - clustered[found]).sum(axis=2)
    assert abs(np.median((distances + 0.1) / (true + 0.1)) - 1) < 0.1


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("metric", ["ip", "l2"])
def test_vectors_that_faiss_adds_do_not_outrank_the_others(base, queries, metric, shape):
    order = np.random.default_rng(0).permutation(len(base))
    x = base[order]
    n = len(x) - ADDED
    index = make(x[:n], metric, shape, code_bytes=48)
    made = wf.to_faiss(index)
    before = overlap(made.search(queries, K)[1], nearest(x[:n], queries, "ip"))
    made.add(x[n:])
    exact, found = nearest(x, queries, "ip"), made.search(queries, K)[1]
    ratio = np.mean(found >= n) / np.mean(exact >= n)
    # FAISS encodes for L2 so that a vector's distance to its code is small: too small, if anything.
    assert 0.5 < ratio < (1.6 if metric == "ip" else 3.5)
    assert overlap(found, exact) >= before - (0.02 if metric == "ip" else 0.06)


def test_positions_in_lists_cannot_be_removed(base_64, queries_64, tmp_path):
    """The others would not move up, as they do in an IndexFlat."""
    x = base_64[:2400]
    index = filled(x, "ip", 24, 64)
    made = wf.to_faiss(index)
    with pytest.raises(RuntimeError, match="remove not supported"):
        made.remove_ids(np.arange(10))
    np.testing.assert_allclose(made.reconstruct(7), made.reconstruct_n(0, 8)[7], atol=1e-6)
    assert made.reconstruct(7) @ x[7] > 0.8
    made.add(base_64[2400:2500])
    assert made.ntotal == 2500
    faiss.write_index(made, str(tmp_path / "index.faiss"))
    for copy in (made, faiss.clone_index(made), faiss.read_index(str(tmp_path / "index.faiss"))):
        assert copy.reconstruct(2450) @ base_64[2450] > 0.8
        with pytest.raises(RuntimeError, match="remove not supported"):
            copy.remove_ids(np.arange(10))
        np.testing.assert_array_equal(copy.search(queries_64, K)[1], made.search(queries_64, K)[1])


def test_positions_of_an_ivf_index_stay_ids(base_64):
    index = make(base_64, "ip", "lists")
    made = probe_all_lists(wf.to_faiss(index))
    assert made.remove_ids(np.arange(10)) == 10
    assert (made.search(base_64[10:20], 1)[1][:, 0] == np.arange(10, 20)).all()


@pytest.mark.parametrize("metric", ["ip", "l2"])
@pytest.mark.parametrize("shape", ["cells", "lists"])
def test_faiss_ivf_tools_read_exports(base_64, queries_64, metric, shape):
    made = wf.to_faiss(make(base_64, metric, shape))
    assert made.chain.size() == 1
    transform = faiss.downcast_VectorTransform(made.chain.at(0))
    ivf = faiss.extract_index_ivf(made)
    coarse, lists = ivf.quantizer.search(transform.apply(queries_64), ivf.nprobe)
    found = ivf_tools.search_preassigned(made, queries_64, K, lists, coarse)
    expected = made.search(queries_64, K)
    np.testing.assert_array_equal(found[1], expected[1])
    np.testing.assert_array_equal(found[0], expected[0])


@pytest.mark.parametrize("metric", ["ip", "l2"])
@pytest.mark.parametrize("shape", SHAPES)
def test_faiss_names_exports(base_64, metric, shape):
    made = wf.to_faiss(make(base_64, metric, shape))
    inner = faiss.downcast_index(made.index)
    quantizer = {"flat": "", "lists": "IVF32,"}
    quantizer["cells"] = "IVF64," if metric == "l2" else f"IVF64(PCA{made.d},Flat),"
    name = f"PCA{inner.d},{quantizer[shape]}PQ{inner.pq.M}x8"
    assert factory_tools.reverse_index_factory(made) == name


def test_lists_are_probed_by_inner_products(base_64):
    """If norms vary, the lists that are nearest by L2 contain few of the neighbours."""
    factors = np.exp(np.random.default_rng(1).normal(size=len(base_64)) / 2)
    x = base_64 * factors[:, None].astype(np.float32)
    index = wf.IndexIVF(trained.trained(x, 24, cells=32, effort="fast"), 32, metric="ip")
    index.add(x)
    index.nprobe = 4
    q, centroids = base_64[:200], index.quantizer.reconstruct_n(0, 32)
    exact = nearest(x, q, "ip")

    def found(metric):
        lists = nearest(centroids, q, metric)[:, :4].astype(np.int64)
        return overlap(index.search_preassigned(q, K, lists, None)[1], exact)

    exported = overlap(wf.to_faiss(index).search(q, K)[1], exact)
    assert exported >= found("ip") - 0.05  # the codes of FAISS's types are a little coarser
    assert exported >= found("l2") + 0.02
