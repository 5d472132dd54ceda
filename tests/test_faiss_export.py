"""Exported indexes: what stock FAISS makes of them, against the score in docs/faiss-export.md."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass

import numpy as np
import pytest

import waterfill as wf
from reference import Reference

faiss = pytest.importorskip("faiss")

K = 10


@dataclass
class Case:
    """An index, its queries, and the two exports of it."""

    index: wf.IndexFlat
    queries: np.ndarray
    exact: np.ndarray  # labels of the nearest
    recall: float  # that the export finds at least
    lost: float  # what it may find less than the index does


def nearest(x: np.ndarray, q: np.ndarray, metric: str) -> np.ndarray:
    scores = q @ x.T
    if metric == "l2":
        scores = 2 * scores - np.square(x).sum(axis=1)
    return np.argsort(-scores, axis=1, kind="stable")[:, :K]


def overlap(found: np.ndarray, exact: np.ndarray) -> float:
    return float(np.mean([len(np.intersect1d(a, b)) / K for a, b in zip(found, exact, strict=True)]))


def filled(x: np.ndarray, metric: str, code_bytes: int, cells: int) -> wf.IndexFlat:
    plan = wf.Plan.waterfill(wf.analyze(x, normalize=metric == "cosine"), code_bytes=code_bytes)
    index = wf.IndexFlat(wf.Codec.train(x, plan, cells=cells, effort="fast"), metric)
    index.add(x)
    return index


CASES = {
    "ip": ("ip", 24, 0, 0.62, 0.03),
    "l2": ("l2", 24, 0, 0.62, 0.03),
    "cosine": ("cosine", 24, 0, 0.62, 0.03),
    "ip, cells": ("ip", 24, 64, 0.65, 0.03),
    "l2, cells": ("l2", 24, 64, 0.65, 0.03),
    "l2, 300 cells": ("l2", 24, 300, 0.63, 0.04),
}


@pytest.fixture(scope="module", params=CASES, ids=str)
def case(request, base, queries) -> Case:
    metric, code_bytes, cells, recall, lost = CASES[request.param]
    # Norms that differ a little, so that normalization has something to do.
    factor = np.linspace(0.5, 2, len(base), dtype=np.float32)[:, None] if metric == "cosine" else 1
    exact = nearest(base, queries, "ip")
    return Case(filled(base * factor, metric, code_bytes, cells), queries, exact, recall, lost)


@pytest.fixture(scope="module")
def words() -> np.ndarray:
    """Norms that differ a lot, a mean, one strong direction: its dimension has a second byte."""
    rng = np.random.default_rng(2)
    x = rng.standard_normal((3000, 16)) * np.geomspace(30, 0.2, 16) + 3
    return (x * rng.uniform(0.7, 1.5, size=(3000, 1))).astype(np.float32)


# The documented score


@dataclass
class Parts:
    """The stock objects inside an export, and what its numbers say."""

    index: object
    inner: object
    books: np.ndarray
    codes: np.ndarray
    labels: np.ndarray


def take_apart(index: object) -> Parts:
    inner = faiss.downcast_index(index.index)
    pq = inner.pq
    books = faiss.vector_to_array(pq.centroids).reshape(pq.M, 256, pq.dsub)
    if isinstance(inner, faiss.IndexIVFPQ):
        lists = inner.invlists
        sizes = [lists.list_size(i) for i in range(lists.nlist)]
        labels = [faiss.rev_swig_ptr(lists.get_ids(i), n).copy() for i, n in enumerate(sizes) if n]
        codes = [
            faiss.rev_swig_ptr(lists.get_codes(i), n * pq.M).copy().reshape(n, pq.M)
            for i, n in enumerate(sizes)
            if n
        ]
        order = np.argsort(np.concatenate(labels))
        return Parts(index, inner, books, np.concatenate(codes)[order], np.sort(np.concatenate(labels)))
    codes = faiss.vector_to_array(inner.codes).reshape(index.ntotal, pq.M)
    return Parts(index, inner, books, codes, np.arange(index.ntotal))


def documented(
    index: wf.IndexFlat, parts: Parts, queries: np.ndarray, offsets: bool
) -> np.ndarray:
    """The score of every query and vector, from the codec's arrays and two things of the file.

    Those are the one scale of all directions, and what the last byte stands for.
    """
    reference = Reference.of(index.codec)
    codes = index.codes()
    l2 = index.metric == "l2"
    u = (reference.decoded(codes) / reference.weights) @ reference.basis
    q = queries.astype(np.float64)
    if index.metric == "cosine":
        q /= np.linalg.norm(q, axis=1, keepdims=True)
    levels = parts.books[-1, :, 0].astype(np.float64)
    added = levels[parts.codes[:, -1]] if offsets else np.zeros(len(codes))
    points = reference.origins(codes) + common_scale(reference, parts) * u
    if not l2:
        return q @ points.T + added
    return np.square(q[:, None] - points[None]).sum(axis=2) + added**2


def common_scale(reference: Reference, parts: Parts) -> float:
    """What directions are multiplied by: from the book of a group without second bytes."""
    second = {column for rest in reference.rests for column in rest}
    parted = [second.isdisjoint(range(s.start, s.stop)) for s in reference.slices()]
    g = parted.index(True)
    own = reference.slices()[g]
    have = parts.books[g, :, : own.stop - own.start].astype(np.float64)
    want = (reference.books[own] / reference.weights[own, None]).T
    have, want = have - have.mean(axis=0), want - want.mean(axis=0)
    return float((have * want).sum() / (want * want).sum())


def check_scores(index: wf.IndexFlat, made: object, queries: np.ndarray) -> None:
    parts = take_apart(made)
    offsets = parts.codes.shape[1] > index.codec._core.groups
    want = documented(index, parts, queries, offsets)
    distances, labels = made.search(queries, index.ntotal)
    np.testing.assert_array_equal(np.sort(labels, axis=1)[0], np.arange(index.ntotal))
    got = np.take_along_axis(distances, np.argsort(labels, axis=1), axis=1)
    size = np.abs(want).max(axis=1, keepdims=True)
    assert (np.abs(got - want) <= 1e-4 * np.maximum(np.abs(want), 0.05 * size)).all()


def test_distances_are_the_documented_score(case):
    check_scores(case.index, wf.to_faiss(case.index), case.queries[:20])


def test_without_offsets_too(case):
    made = wf.to_faiss(case.index, offsets=False)
    assert take_apart(made).codes.shape[1] == case.index.codec._core.groups
    check_scores(case.index, made, case.queries[:20])


def test_codes_are_the_index_s_own(case):
    parts = take_apart(wf.to_faiss(case.index))
    groups = case.index.codec._core.groups
    codes = case.index.codes()
    np.testing.assert_array_equal(parts.codes[:, :groups], codes[:, :groups])


@pytest.mark.parametrize("metric", ["ip", "l2"])
@pytest.mark.parametrize("code_bytes", [7, 16])
def test_spread_norms_and_second_bytes(words, metric, code_bytes):
    index = filled(words, metric, code_bytes, 0)
    assert code_bytes == 7 or index.codec._core.arrays["rests"]
    queries = words[::100] + 0.1
    parts = take_apart(wf.to_faiss(index, offsets=False))
    # A second byte lengthens decoded vectors by what the offsets take back.
    if metric == "ip" or not index.codec._core.arrays["rests"]:
        check_scores(index, parts.index, queries)
    made = wf.to_faiss(index)
    # Scales of a sixth to four times the mean are what a sum cannot hold: the index itself finds 0.97.
    exact = nearest(words, queries, metric)
    assert overlap(made.search(queries, K)[1], exact) >= 0.5
    rebuilt = made.reconstruct_n(0, 100)
    error = np.square(rebuilt - words[:100]).sum() / np.square(words[:100]).sum()
    assert error < 0.2


def test_recall(case):
    native = overlap(case.index.search(case.queries, K)[1], case.exact)
    made = overlap(wf.to_faiss(case.index).search(case.queries, K)[1], case.exact)
    assert made >= case.recall
    assert made >= native - case.lost


def test_offsets_find_more(case):
    labels = [wf.to_faiss(case.index, offsets=o).search(case.queries, K)[1] for o in (True, False)]
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
    distances, labels = wf.to_faiss(case.index).search(case.queries[:20], 10)
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
    made = wf.to_faiss(case.index, offsets=case.index.metric != "l2")
    n = made.ntotal
    made.add(base[:50])
    assert made.ntotal == n + 50
    assert take_apart(made).inner.ntotal == n + 50
    own = take_apart(made)
    if own.codes.shape[1] > case.index.codec._core.groups:
        assert (own.codes[n:, -1] == 0).all()
        assert (own.codes[:n, -1] > 0).all()
    labels = made.search(base[:50], 4)[1]
    assert np.mean([i + n in row for i, row in enumerate(labels)]) >= 0.9
    assert made.remove_ids(np.arange(100)) == 100
    assert made.ntotal == n - 50
    kept = np.arange(100, 130)
    found = made.search(base[kept], 3)[1]
    ivf = isinstance(own.inner, faiss.IndexIVFPQ)
    assert np.mean([i in row for i, row in zip(kept if ivf else kept - 100, found, strict=True)]) >= 0.9


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
    made = wf.to_faiss(case.index)
    selector = faiss.IDSelectorBatch(np.arange(0, made.ntotal, 7))
    inner = faiss.SearchParametersIVF(sel=selector, nprobe=case.index.codec.cells)
    params = faiss.SearchParametersPreTransform(index_params=inner)
    if not case.index.codec.cells:
        with pytest.raises(RuntimeError, match="invalid search params"):
            made.search(case.queries, K, params=params)
        return
    labels = made.search(case.queries, K, params=params)[1]
    everything = made.search(case.queries, made.ntotal)[1]
    want = [[label for label in row if label % 7 == 0][:K] for row in everything.tolist()]
    assert np.mean(labels == np.array(want)) > 0.99  # but for equal distances


def test_reconstruct_and_clone(case, base):
    made = wf.to_faiss(case.index)
    if isinstance(take_apart(made).inner, faiss.IndexIVFPQ):
        faiss.extract_index_ivf(made).make_direct_map()
    rows = np.stack([made.reconstruct(i) for i in range(100)])
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
    made = wf.to_faiss(case.index)
    distances, _ = made.search(case.queries[:5], 30)
    radius = float(np.median(distances[:, -1]))
    everything = made.search(case.queries[:5], made.ntotal)[0]
    within = everything < radius if case.index.metric == "l2" else everything > radius
    lims, _, _ = made.range_search(case.queries[:5], radius)
    np.testing.assert_allclose(np.diff(lims), within.sum(axis=1), atol=1)


def test_memory_map(case, tmp_path):
    path = str(tmp_path / "index.faiss")
    wf.export_faiss(case.index, path)
    for flag in (faiss.IO_FLAG_MMAP, faiss.IO_FLAG_READ_ONLY):
        mapped = faiss.read_index(path, flag)
        labels = mapped.search(case.queries[:20], K)[1]
        np.testing.assert_array_equal(labels, wf.to_faiss(case.index).search(case.queries[:20], K)[1])


def test_inner_products_need_no_tables_of_lists(base):
    made = wf.to_faiss(filled(base, "ip", 24, 64))
    ivf = take_apart(made).inner
    assert ivf.precomputed_table.size() == 0
    assert ivf.nprobe == ivf.nlist == 64
    made = wf.to_faiss(filled(base, "l2", 24, 64))
    ivf = take_apart(made).inner
    assert ivf.use_precomputed_table == 1


# Edges


@pytest.mark.parametrize("cells", [0, 16])
@pytest.mark.parametrize("n", [0, 1, 5])
@pytest.mark.parametrize("metric", ["ip", "l2"])
def test_few_vectors(base, metric, n, cells):
    plan = wf.Plan.waterfill(wf.analyze(base), code_bytes=8)
    index = wf.IndexFlat(wf.Codec.train(base, plan, cells=cells, effort="fast"), metric)
    index.add(base[:n])
    made = wf.to_faiss(index)
    assert made.ntotal == n
    if n:
        assert (made.search(base[:n], 1)[1][:, 0] == np.arange(n)).all()
    made.add(base[:200])
    assert made.ntotal == n + 200


def test_equal_vectors(base):
    plan = wf.Plan.waterfill(wf.analyze(base), code_bytes=8)
    index = wf.IndexFlat(wf.Codec.train(base, plan, cells=0), "ip")
    index.add(np.repeat(base[:1], 100, axis=0))
    assert np.ptp(wf.to_faiss(index).search(base[:1], 100)[0]) == 0


def test_classic_plan_with_bits(base, queries):
    plan = wf.Plan.classic(wf.analyze(base), 40 / 384, 200 / 384, by="dimensions")
    index = wf.IndexFlat(wf.Codec.train(base, plan), "ip")
    index.add(base)
    made = wf.to_faiss(index)
    check_scores(index, made, queries[:20])
    native = overlap(index.search(queries, K)[1], nearest(base, queries, "ip"))
    assert overlap(made.search(queries, K)[1], nearest(base, queries, "ip")) >= native - 0.03


def test_published_score_is_an_error(base, tmp_path):
    plan = wf.Plan.classic(wf.analyze(base), 40 / 384, 200 / 384, by="dimensions", pq_multiplier=2)
    index = wf.IndexFlat(wf.Codec.train(base, plan), "ip")
    with pytest.raises(ValueError, match=r"pq_multiplier=2.*without it"):
        wf.export_faiss(index, tmp_path / "index.faiss")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("function", [wf.to_faiss, lambda x: wf.export_faiss(x, "index.faiss")])
def test_not_an_index(function):
    with pytest.raises(TypeError, match="index must be a waterfill index, got str"):
        function("index")


def test_a_failed_write_leaves_nothing(base, tmp_path, monkeypatch):
    index = filled(base[:500], "ip", 8, 0)
    path = tmp_path / "index.faiss"
    path.write_bytes(b"before")
    with pytest.raises(OSError, match="missing"):
        wf.export_faiss(index, tmp_path / "missing" / "index.faiss")
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError, match="folder"):
        wf.export_faiss(index, tmp_path / "folder")
    with pytest.raises(ValueError, match="null"):
        wf.export_faiss(index, str(path) + "\0")
    # The disk is full, as far as this process may tell.
    program = (
        "import resource, signal, sys, waterfill as wf\n"
        "index = wf.read_index(sys.argv[1])\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))\n"
        "try:\n"
        "    wf.export_faiss(index, sys.argv[2])\n"
        "except OSError:\n"
        "    print('refused')\n"
    )
    native = tmp_path / "index.wf"
    wf.write_index(index, native)
    arguments = [sys.executable, "-c", program, str(native), str(path)]
    done = subprocess.run(arguments, check=True, capture_output=True, text=True)
    assert done.stdout == "refused\n"
    assert path.read_bytes() == b"before"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["folder", "index.faiss", "index.wf"]


def test_export_does_not_import_faiss(base, tmp_path):
    index = filled(base[:500], "l2", 8, 16)
    wf.write_index(index, tmp_path / "index.wf")
    program = (
        "import json, sys, waterfill as wf\n"
        "wf.export_faiss(wf.read_index(sys.argv[1]), sys.argv[2])\n"
        "print(json.dumps([name for name in sys.modules if name.split('.')[0] == 'faiss']))\n"
    )
    arguments = [sys.executable, "-c", program, str(tmp_path / "index.wf"), str(tmp_path / "x")]
    done = subprocess.run(arguments, check=True, capture_output=True, text=True)
    assert json.loads(done.stdout) == []
    assert faiss.read_index(str(tmp_path / "x")).ntotal == 500


def test_a_missing_faiss_is_named(base, tmp_path):
    index = filled(base[:500], "ip", 8, 0)
    wf.write_index(index, tmp_path / "index.wf")
    program = (
        "import sys, waterfill as wf\n"
        "sys.modules['faiss'] = None\n"
        "try:\n"
        "    wf.to_faiss(wf.read_index(sys.argv[1]))\n"
        "except ImportError as error:\n"
        "    print(error)\n"
    )
    arguments = [sys.executable, "-c", program, str(tmp_path / "index.wf")]
    done = subprocess.run(arguments, check=True, capture_output=True, text=True)
    assert 'pip install "waterfill[faiss]"' in done.stdout
