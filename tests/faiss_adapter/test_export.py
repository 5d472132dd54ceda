"""Exported indexes: stock FAISS computes the score of docs/faiss-export.md and finds as much."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from support import trained
from support.exports import (
    K,
    check_scores,
    empty,
    filled,
    nearest,
    overlap,
    probe_all_lists,
    take_apart,
)

import waterfill as wf

faiss = pytest.importorskip("faiss")

CODE_BYTES = 24


@dataclass(frozen=True)
class Setup:
    """How an index is made, and the recall@10 of its export at 384 dimensions.

    It is at least `recall`, and that of the index less `loss`.
    """

    metric: str
    recall: float
    loss: float = 0.03
    cells: int = 0  # of a codec
    nlist: int = 0  # of an IndexIVF
    graph: bool = False  # as its quantizer
    ids: bool = False


SETUPS = {
    "ip": Setup("ip", 0.62),
    "l2": Setup("l2", 0.62),
    "cosine, ids": Setup("cosine", 0.62, ids=True),
    "ip, cells": Setup("ip", 0.65, cells=64),
    "l2, 300 cells": Setup("l2", 0.63, loss=0.05, cells=300),
    "ip, lists, ids": Setup("ip", 0.6, nlist=32, ids=True),
    "l2, lists": Setup("l2", 0.6, nlist=32),
    "cosine, lists of a graph, ids": Setup("cosine", 0.6, nlist=32, graph=True, ids=True),
}


@dataclass(frozen=True)
class Case:
    """An index, its exports with and without offsets, and the queries to search with."""

    index: wf.IndexFlat | wf.IndexIVF
    queries: np.ndarray
    setup: Setup
    paths: dict[bool, Path]

    def exported(self, offsets: bool = True) -> faiss.Index:
        """Return the exported index, read anew."""
        return faiss.read_index(str(self.paths[offsets]))


def export_case(setup: Setup, x: np.ndarray, queries: np.ndarray, directory: Path) -> Case:
    # Under cosine, norms differ a little, so that normalization has an effect.
    factor = np.linspace(0.5, 2, len(x), dtype=np.float32)[:, None]
    index = make_index(setup, x * factor if setup.metric == "cosine" else x)
    paths = {offsets: directory / f"offsets={offsets}.faiss" for offsets in (True, False)}
    for offsets, path in paths.items():
        wf.export_faiss(index, path, offsets=offsets)
    return Case(index, queries, setup, paths)


def make_index(setup: Setup, x: np.ndarray) -> wf.IndexFlat | wf.IndexIVF:
    if setup.nlist:
        plan = wf.Plan.waterfill(
            wf.analyze(x, normalize=setup.metric == "cosine"), code_bytes=CODE_BYTES
        )
        graph = faiss.IndexHNSWFlat(x.shape[1], 16) if setup.graph else None
        codec = trained.train(x, plan, cells=setup.nlist)
        index = wf.IndexIVF(codec, setup.nlist, graph, metric=setup.metric)
        index.nprobe = setup.nlist // 2
    else:
        index = empty(x, setup.metric, CODE_BYTES, setup.cells)
    if not setup.ids:
        index.add(x)
        return index
    # Ids in no order, and labels that a removal has moved.
    index.add_with_ids(x[:100], np.arange(100) - 1000)
    index.add_with_ids(x, np.random.default_rng(3).permutation(len(x)) * 7 + (5 << 32))
    assert index.remove_ids(np.arange(100) - 1000) == 100
    return index


@pytest.fixture(scope="module")
def small_cases(base_64, queries_64, tmp_path_factory) -> Callable[[str], Case]:
    """Cases of 2,400 vectors with 64 dimensions, each made when it is first used."""
    made: dict[str, Case] = {}

    def small_case(name: str) -> Case:
        if name not in made:
            directory = tmp_path_factory.mktemp("exports")
            made[name] = export_case(SETUPS[name], base_64[:2400], queries_64, directory)
        return made[name]

    return small_case


@pytest.fixture(params=SETUPS, ids=str)
def case(request, small_cases) -> Case:
    return small_cases(request.param)


@pytest.fixture(scope="module")
def spread_norms() -> np.ndarray:
    """Norms that differ a lot, a mean, one strong direction: its dimension has a second byte."""
    rng = np.random.default_rng(2)
    x = rng.standard_normal((3000, 16)) * np.geomspace(30, 0.2, 16) + 3
    return (x * rng.uniform(0.7, 1.5, size=(3000, 1))).astype(np.float32)


# The documented score


def test_distances_are_the_documented_score(case):
    check_scores(case.index, case.exported(), case.queries[:20])


def test_without_offsets_too(case):
    exported = case.exported(offsets=False)
    assert take_apart(exported).codes.shape[1] == case.index.codec._core.groups
    check_scores(case.index, exported, case.queries[:20])


def test_codes_and_ids_are_those_of_the_index(case):
    exported = case.exported()
    parts = take_apart(exported, case.index.ids())
    groups = case.index.codec._core.groups
    np.testing.assert_array_equal(parts.codes[:, :groups], case.index.codes()[:, :groups])
    flat_ids = case.setup.ids and not case.setup.nlist
    assert isinstance(exported, faiss.IndexIDMap2 if flat_ids else faiss.IndexPreTransform)
    if case.setup.nlist:
        assert parts.inner.nprobe == case.index.nprobe
        sizes = [parts.inner.invlists.list_size(i) for i in range(case.setup.nlist)]
        np.testing.assert_array_equal(sizes, case.index.list_sizes())


@pytest.mark.parametrize("metric", ["ip", "l2"])
@pytest.mark.parametrize("code_bytes", [7, 16])
def test_spread_norms_and_second_bytes(spread_norms, metric, code_bytes):
    x = spread_norms
    index = filled(x, metric, code_bytes, 0)
    assert code_bytes == 7 or index.codec._core.arrays["rests"]
    queries = x[::100] + 0.1
    without = wf.to_faiss(index, offsets=False)
    # A second byte lengthens decoded vectors by what the offsets take back.
    if metric == "ip" or not index.codec._core.arrays["rests"]:
        check_scores(index, without, queries)
    exported = wf.to_faiss(index)
    # Scales of a sixth to four times the mean: a sum cannot hold them. The index itself finds 0.97.
    exact = nearest(x, queries, metric)
    assert overlap(exported.search(queries, K)[1], exact) >= 0.5
    rebuilt = without.reconstruct_n(0, 100)
    error = np.square(rebuilt - x[:100]).sum() / np.square(x[:100]).sum()
    assert error < 0.2


@pytest.mark.parametrize("name", SETUPS)
def test_recall(base, queries, tmp_path, name):
    """At 384 dimensions; the offsets find more neighbours than the codes alone."""
    case = export_case(SETUPS[name], base, queries, tmp_path)
    exact = case.index.ids()[nearest(base, queries, "ip")]
    native, exported, without = (
        overlap(index.search(queries, K)[1], exact)
        for index in (case.index, case.exported(), case.exported(offsets=False))
    )
    assert exported >= case.setup.recall
    assert exported >= native - case.setup.loss
    assert exported > without


# What stock FAISS does with them


def test_a_separate_process_reads_and_searches(small_cases, queries_64, tmp_path):
    cases = [small_cases(name) for name in SETUPS]
    queries = queries_64[:20]
    np.save(tmp_path / "queries.npy", queries)
    program = (
        "import json, sys, numpy, faiss\n"
        "queries = numpy.load(sys.argv[1])\n"
        "paths = json.loads(sys.argv[3])\n"
        "found = [faiss.read_index(path).search(queries, 10) for path in paths]\n"
        "assert 'waterfill' not in sys.modules\n"
        "D, I = zip(*found)\n"
        "numpy.savez(sys.argv[2], D=D, I=I)\n"
    )
    paths = json.dumps([str(case.paths[True]) for case in cases])
    arguments = [str(tmp_path / "queries.npy"), str(tmp_path / "found.npz"), paths]
    subprocess.run([sys.executable, "-c", program, *arguments], check=True)
    found = np.load(tmp_path / "found.npz")
    assert len(found["D"]) == len(SETUPS)
    for case, distances, labels in zip(cases, found["D"], found["I"], strict=True):
        expected = case.exported().search(queries, 10)
        np.testing.assert_array_equal(labels, expected[1])
        np.testing.assert_array_equal(distances, expected[0])


def test_faiss_writes_the_same_bytes(case):
    """And `to_faiss`, which exports the index once more, has them in memory."""
    content = case.paths[True].read_bytes()
    assert faiss.serialize_index(case.exported()).tobytes() == content
    assert faiss.serialize_index(wf.to_faiss(case.index)).tobytes() == content


def test_add_and_remove(case, base_64):
    base = base_64
    made = probe_all_lists(case.exported(case.index.metric != "l2"))
    n, ids = made.ntotal, case.index.ids()
    own = np.arange(50) + (9 << 40) if case.setup.ids else np.arange(n, n + 50)
    if case.setup.ids:
        made.add_with_ids(base[:50], own)
    else:
        made.add(base[:50])
    assert made.ntotal == n + 50
    parts = take_apart(made, np.concatenate([ids, own]))
    if parts.codes.shape[1] > case.index.codec._core.groups:
        assert (parts.codes[n:, -1] == 0).all()
        assert (parts.codes[:n, -1] > 0).all()
    found = made.search(base[:50], 4)[1]
    assert np.mean([label in row for label, row in zip(own, found, strict=True)]) >= 0.9
    if case.index.codec.cells and not (case.setup.ids or case.setup.nlist):
        return  # test_positions_in_lists_cannot_be_removed
    assert made.remove_ids(ids[:100]) == 100
    assert made.ntotal == n - 50
    found = made.search(base[100:130], 3)[1]
    # Lists and maps keep ids; in a flat index of positions all move up, as in ours.
    keep = case.setup.ids or case.index.codec.cells > 0
    kept = ids[100:130] if keep else ids[:30]
    assert np.mean([label in row for label, row in zip(kept, found, strict=True)]) >= 0.9


def test_l2_gives_added_vectors_no_offset(small_cases, base_64):
    case = small_cases("l2")
    made = case.exported()
    n = made.ntotal
    made.add(base_64[:50])
    parts = take_apart(made)
    assert parts.codes.shape[1] == case.index.codec._core.groups + 1
    assert (parts.codes[n:, -1] == 0).all()
    assert parts.books[-1, 0, 0] == 0


def test_filters(case):
    """Those with lists are filtered; stock IndexPQ takes no parameters."""
    made = case.exported()
    allowed = case.index.ids()[::7]
    selector = faiss.IDSelectorBatch(allowed)
    lists = faiss.SearchParametersIVF(sel=selector, nprobe=max(1, case.index.codec.cells))
    params = faiss.SearchParametersPreTransform(index_params=lists)
    if not case.index.codec.cells:
        if not case.setup.ids:
            with pytest.raises(RuntimeError, match="invalid search params"):
                made.search(case.queries, K, params=params)
        return
    queries = case.queries[:50]
    labels = made.search(queries, K, params=params)[1]
    everything = probe_all_lists(made).search(queries, made.ntotal)[1]
    want = [row[np.isin(row, allowed)][:K] for row in everything]
    assert np.mean(labels == np.array(want)) > 0.99  # but for equal distances


def test_reconstruct_and_clone(case):
    made = case.exported()
    if case.setup.nlist:
        faiss.extract_index_ivf(made).set_direct_map_type(faiss.DirectMap.Hashtable)
    ids = case.index.ids()[:100]
    rows = np.stack([made.reconstruct(int(i)) for i in ids])
    native = case.index.reconstruct_n(0, 100)
    cosines = (rows * native).sum(axis=1) / np.linalg.norm(rows, axis=1)
    assert (cosines / np.linalg.norm(native, axis=1)).min() > 0.97
    if case.index.metric == "cosine":
        return  # FAISS has no clones of its own normalization
    copy = faiss.clone_index(made)
    for one, other in zip(
        copy.search(case.queries[:5], K), made.search(case.queries[:5], K), strict=True
    ):
        np.testing.assert_array_equal(one, other)


def test_range_search(case):
    made = probe_all_lists(case.exported())
    distances, _ = made.search(case.queries[:5], 30)
    radius = float(np.median(distances[:, -1]))
    everything = made.search(case.queries[:5], made.ntotal)[0]
    within = everything < radius if case.index.metric == "l2" else everything > radius
    lims, _, _ = made.range_search(case.queries[:5], radius)
    np.testing.assert_allclose(np.diff(lims), within.sum(axis=1), atol=1)


@pytest.mark.parametrize("flag", ["IO_FLAG_MMAP", "IO_FLAG_READ_ONLY", "IO_FLAG_MMAP_IFC"])
def test_memory_map(case, flag):
    mapped = faiss.read_index(str(case.paths[True]), getattr(faiss, flag))
    expected = case.exported().search(case.queries[:20], K)
    np.testing.assert_array_equal(mapped.search(case.queries[:20], K)[1], expected[1])


def test_inner_products_need_no_tables_of_lists(small_cases):
    ivf = take_apart(small_cases("ip, cells").exported()).inner
    assert ivf.precomputed_table.size() == 0
    assert ivf.nprobe == ivf.nlist == 64
    ivf = take_apart(small_cases("l2, 300 cells").exported()).inner
    assert ivf.use_precomputed_table == 1
