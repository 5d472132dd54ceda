"""Exported indexes: what stock FAISS makes of them, against the score in docs/faiss-export.md."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass, field

import numpy as np
import pytest
from support.exports import (
    K,
    check_scores,
    empty,
    everywhere,
    filled,
    nearest,
    overlap,
    take_apart,
)

import waterfill as wf

faiss = pytest.importorskip("faiss")

CODE_BYTES = 24


@dataclass(frozen=True)
class Setup:
    """How an index is made, and what its export finds at least."""

    metric: str
    recall: float
    cells: int = 0  # of a codec
    nlist: int = 0  # of an IndexIVF
    graph: bool = False  # finds its lists
    ids: bool = False


SETUPS = {
    "ip": Setup("ip", 0.62),
    "l2": Setup("l2", 0.62),
    "cosine, ids": Setup("cosine", 0.62, ids=True),
    "ip, cells": Setup("ip", 0.65, cells=64),
    "l2, 300 cells": Setup("l2", 0.63, cells=300),
    "ip, lists, ids": Setup("ip", 0.6, nlist=32, ids=True),
    "l2, lists": Setup("l2", 0.6, nlist=32),
    "cosine, lists of a graph, ids": Setup("cosine", 0.6, nlist=32, graph=True, ids=True),
}


@dataclass
class Case:
    """An index, its queries and their nearest by id."""

    index: wf.IndexFlat | wf.IndexIVF
    queries: np.ndarray
    exact: np.ndarray
    setup: Setup
    exports: dict[bool, np.ndarray] = field(default_factory=dict)

    def made(self, offsets: bool = True) -> object:
        """Return an export of its own."""
        if offsets not in self.exports:
            self.exports[offsets] = faiss.serialize_index(wf.to_faiss(self.index, offsets=offsets))
        return faiss.deserialize_index(self.exports[offsets])


def made_as(setup: Setup, x: np.ndarray) -> wf.IndexFlat | wf.IndexIVF:
    if setup.nlist:
        plan = wf.Plan.waterfill(
            wf.analyze(x, normalize=setup.metric == "cosine"), code_bytes=CODE_BYTES
        )
        graph = faiss.IndexHNSWFlat(x.shape[1], 16) if setup.graph else None
        index = wf.IndexIVF(plan, setup.nlist, graph, metric=setup.metric)
        index.train(x)
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


@pytest.fixture(scope="module", params=SETUPS, ids=str)
def case(request, base, queries) -> Case:
    setup = SETUPS[request.param]
    # Norms that differ a little, so that normalization has something to do.
    by_norm = setup.metric == "cosine"
    factor = np.linspace(0.5, 2, len(base), dtype=np.float32)[:, None] if by_norm else 1
    index = made_as(setup, base * factor)
    return Case(index, queries, index.ids()[nearest(base, queries, "ip")], setup)


@pytest.fixture(scope="module")
def words() -> np.ndarray:
    """Norms that differ a lot, a mean, one strong direction: its dimension has a second byte."""
    rng = np.random.default_rng(2)
    x = rng.standard_normal((3000, 16)) * np.geomspace(30, 0.2, 16) + 3
    return (x * rng.uniform(0.7, 1.5, size=(3000, 1))).astype(np.float32)


# The documented score


def test_distances_are_the_documented_score(case):
    check_scores(case.index, case.made(), case.queries[:20])


def test_without_offsets_too(case):
    made = case.made(offsets=False)
    assert take_apart(made).codes.shape[1] == case.index.codec._core.groups
    check_scores(case.index, made, case.queries[:20])


def test_codes_and_ids_are_the_index_s_own(case):
    made = case.made()
    parts = take_apart(made, case.index.ids())
    groups = case.index.codec._core.groups
    np.testing.assert_array_equal(parts.codes[:, :groups], case.index.codes()[:, :groups])
    flat_ids = case.setup.ids and not case.setup.nlist
    assert isinstance(made, faiss.IndexIDMap2 if flat_ids else faiss.IndexPreTransform)
    if case.setup.nlist:
        assert parts.inner.nprobe == case.index.nprobe
        sizes = [parts.inner.invlists.list_size(i) for i in range(case.setup.nlist)]
        np.testing.assert_array_equal(sizes, case.index.list_sizes())


@pytest.mark.parametrize("metric", ["ip", "l2"])
@pytest.mark.parametrize("code_bytes", [7, 16])
def test_spread_norms_and_second_bytes(words, metric, code_bytes):
    index = filled(words, metric, code_bytes, 0)
    assert code_bytes == 7 or index.codec._core.arrays["rests"]
    queries = words[::100] + 0.1
    without = wf.to_faiss(index, offsets=False)
    # A second byte lengthens decoded vectors by what the offsets take back.
    if metric == "ip" or not index.codec._core.arrays["rests"]:
        check_scores(index, without, queries)
    made = wf.to_faiss(index)
    # Scales of a sixth to four times the mean: a sum cannot hold them. The index itself finds 0.97.
    exact = nearest(words, queries, metric)
    assert overlap(made.search(queries, K)[1], exact) >= 0.5
    rebuilt = without.reconstruct_n(0, 100)
    error = np.square(rebuilt - words[:100]).sum() / np.square(words[:100]).sum()
    assert error < 0.2


def test_recall(case):
    native = overlap(case.index.search(case.queries, K)[1], case.exact)
    made = overlap(case.made().search(case.queries, K)[1], case.exact)
    assert made >= case.setup.recall
    assert made >= native - 0.03


def test_offsets_find_more(case):
    labels = [case.made(o).search(case.queries, K)[1] for o in (True, False)]
    assert overlap(labels[0], case.exact) > overlap(labels[1], case.exact)


# What stock FAISS does with them


def test_a_separate_process_reads_and_searches(case, tmp_path):
    path = tmp_path / "index.faiss"
    wf.export_faiss(case.index, path)
    np.save(tmp_path / "queries.npy", case.queries[:20])
    program = (
        "import sys, numpy, faiss\n"
        "index = faiss.read_index(sys.argv[1])\n"
        "D, I = index.search(numpy.load(sys.argv[2]), 10)\n"
        "assert 'waterfill' not in sys.modules\n"
        "numpy.savez(sys.argv[3], D=D, I=I)\n"
    )
    out = tmp_path / "found.npz"
    arguments = [str(path), str(tmp_path / "queries.npy"), str(out)]
    subprocess.run([sys.executable, "-c", program, *arguments], check=True)
    distances, labels = case.made().search(case.queries[:20], 10)
    found = np.load(out)
    np.testing.assert_array_equal(found["I"], labels)
    np.testing.assert_array_equal(found["D"], distances)


def test_faiss_writes_the_same_bytes(case, tmp_path):
    path = tmp_path / "index.faiss"
    wf.export_faiss(case.index, path)
    made = faiss.read_index(str(path))
    faiss.write_index(made, str(tmp_path / "again.faiss"))
    assert (tmp_path / "again.faiss").read_bytes() == path.read_bytes()
    wf.export_faiss(case.index, tmp_path / "once more.faiss")
    assert (tmp_path / "once more.faiss").read_bytes() == path.read_bytes()


def test_add_and_remove(case, base):
    made = everywhere(case.made(case.index.metric != "l2"))
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
    assert made.remove_ids(ids[:100]) == 100
    assert made.ntotal == n - 50
    found = made.search(base[100:130], 3)[1]
    # Lists and maps keep ids; in a flat index of positions all move up, as in ours.
    keep = case.setup.ids or case.index.codec.cells > 0
    kept = ids[100:130] if keep else ids[:30]
    assert np.mean([label in row for label, row in zip(kept, found, strict=True)]) >= 0.9


def test_l2_gives_added_vectors_no_offset(base):
    index = filled(base, "l2", 24, 0)
    made = wf.to_faiss(index)
    n = made.ntotal
    made.add(base[:50])
    parts = take_apart(made)
    assert (parts.codes[n:, -1] == 0).all()
    assert parts.books[-1, 0, 0] == 0


def test_filters(case):
    """Those with lists are filtered; stock IndexPQ takes no parameters."""
    made = case.made()
    allowed = case.index.ids()[::7]
    selector = faiss.IDSelectorBatch(allowed)
    lists = faiss.SearchParametersIVF(sel=selector, nprobe=max(1, case.index.codec.cells))
    params = faiss.SearchParametersPreTransform(index_params=lists)
    if not case.index.codec.cells:
        if not case.setup.ids:
            with pytest.raises(RuntimeError, match="invalid search params"):
                made.search(case.queries, K, params=params)
        return
    labels = made.search(case.queries, K, params=params)[1]
    everything = everywhere(made).search(case.queries, made.ntotal)[1]
    want = [row[np.isin(row, allowed)][:K] for row in everything]
    assert np.mean(labels == np.array(want)) > 0.99  # but for equal distances


def test_reconstruct_and_clone(case):
    made = case.made()
    if case.index.codec.cells:
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
    made = everywhere(case.made())
    distances, _ = made.search(case.queries[:5], 30)
    radius = float(np.median(distances[:, -1]))
    everything = made.search(case.queries[:5], made.ntotal)[0]
    within = everything < radius if case.index.metric == "l2" else everything > radius
    lims, _, _ = made.range_search(case.queries[:5], radius)
    np.testing.assert_allclose(np.diff(lims), within.sum(axis=1), atol=1)


@pytest.mark.parametrize("flag", ["IO_FLAG_MMAP", "IO_FLAG_READ_ONLY", "IO_FLAG_MMAP_IFC"])
def test_memory_map(case, tmp_path, flag):
    path = str(tmp_path / "index.faiss")
    wf.export_faiss(case.index, path)
    found = faiss.read_index(path, getattr(faiss, flag)).search(case.queries[:20], K)
    wanted = faiss.read_index(path).search(case.queries[:20], K)
    np.testing.assert_array_equal(found[1], wanted[1])


def test_inner_products_need_no_tables_of_lists(base):
    made = wf.to_faiss(filled(base, "ip", 24, 64))
    ivf = take_apart(made).inner
    assert ivf.precomputed_table.size() == 0
    assert ivf.nprobe == ivf.nlist == 64
    made = wf.to_faiss(filled(base, "l2", 24, 64))
    ivf = take_apart(made).inner
    assert ivf.use_precomputed_table == 1
