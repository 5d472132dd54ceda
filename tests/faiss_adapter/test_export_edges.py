"""Exported indexes at the edges: few vectors, errors, ids of an IDMap, rows to refine with."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys

import numpy as np
import pytest
from support import trained
from support.exports import K, check_scores, empty, filled, nearest, overlap

import waterfill as wf

faiss = pytest.importorskip("faiss")


@pytest.mark.parametrize("cells", [0, 16], ids=["flat", "16 cells"])
@pytest.mark.parametrize("n", [0, 1, 5])
@pytest.mark.parametrize("metric", ["ip", "l2", "cosine"])
def test_few_vectors(base_64, cells, metric, n):
    index = wf.IndexFlat(empty(base_64, "ip", 8, cells).codec, metric)
    index.add(base_64[:n])
    made = wf.to_faiss(index)
    assert made.ntotal == n
    if n:
        assert (made.search(base_64[:n], 1)[1][:, 0] == np.arange(n)).all()
    made.add(base_64[:200])
    assert made.ntotal == n + 200


def test_equal_vectors(base_64):
    index = empty(base_64, "ip", 8)
    index.add(np.repeat(base_64[:1], 100, axis=0))
    assert np.ptp(wf.to_faiss(index).search(base_64[:1], 100)[0]) == 0


def test_classic_plan_with_bits(base_64, queries_64):
    x, queries = base_64[:2400], queries_64
    plan = wf.Plan.classic(wf.analyze(x), 8 / 64, 40 / 64, by="dimensions")
    index = wf.IndexFlat(trained.train(x, plan), "ip")
    index.add(x)
    made = wf.to_faiss(index)
    check_scores(index, made, queries[:20])
    native = overlap(index.search(queries, K)[1], nearest(x, queries, "ip"))
    assert overlap(made.search(queries, K)[1], nearest(x, queries, "ip")) >= native - 0.03


def test_published_score_is_an_error(base_64, tmp_path):
    x = base_64[:1000]
    plan = wf.Plan.classic(wf.analyze(x), 8 / 64, 40 / 64, by="dimensions", pq_multiplier=2)
    index = wf.IndexFlat(trained.train(x, plan), "ip")
    with pytest.raises(ValueError, match=r"pq_multiplier=2.*without it"):
        wf.export_faiss(index, tmp_path / "index.faiss")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("function", [wf.to_faiss, lambda x: wf.export_faiss(x, "index.faiss")])
def test_not_an_index(function):
    with pytest.raises(
        TypeError, match="index must be an IndexFlat or IndexIVF of waterfill, got str"
    ):
        function("index")


def test_not_trained(tmp_path):
    for index in (wf.index_factory(8, "WF4"), wf.index_factory(8, "IVF4,WF4")):
        with pytest.raises(wf.NotTrainedError, match=r"is not trained: call train\(x\) first"):
            wf.export_faiss(index, tmp_path / "index.faiss")
    assert list(tmp_path.iterdir()) == []


def test_a_failed_write_leaves_nothing(clustered, tmp_path):
    index = filled(clustered, "ip", 8)
    path = tmp_path / "index.faiss"
    path.write_bytes(b"before")
    with pytest.raises(OSError, match="missing"):
        wf.export_faiss(index, tmp_path / "missing" / "index.faiss")
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError, match="folder"):
        wf.export_faiss(index, tmp_path / "folder")
    with pytest.raises(ValueError, match="null"):
        wf.export_faiss(index, str(path) + "\0")
    # To the child process, a limit on file sizes looks like a full disk.
    program = (
        "import resource, signal, sys, waterfill as wf\n"
        "index = wf.read_index(sys.argv[1])\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))\n"
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


def test_export_does_not_import_faiss(clustered, tmp_path):
    index = filled(clustered, "l2", 8, 16)
    wf.write_index(index, tmp_path / "index.wf")
    program = (
        "import json, sys, waterfill as wf\n"
        "wf.export_faiss(wf.read_index(sys.argv[1]), sys.argv[2])\n"
        "print(json.dumps([name for name in sys.modules if name.split('.')[0] == 'faiss']))\n"
    )
    arguments = [sys.executable, "-c", program, str(tmp_path / "index.wf"), str(tmp_path / "x")]
    done = subprocess.run(arguments, check=True, capture_output=True, text=True)
    assert json.loads(done.stdout) == []
    assert faiss.read_index(str(tmp_path / "x")).ntotal == 3000


def test_a_missing_faiss_is_named(clustered, monkeypatch):
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(ImportError, match=r'pip install "\.\[faiss\]"'):
        wf.to_faiss(filled(clustered, "ip", 8))


# Ids of an IDMap


@pytest.mark.parametrize("cells", [0, 16])
def test_an_id_map_of_the_factory_stays_one(clustered, cells):
    index = wf.index_factory(20, "IDMap2,WF6", "ip")
    trained = empty(clustered, "ip", 6, cells)
    index._attach(trained._core, trained.codec)
    copies = [index, pickle.loads(pickle.dumps(index))]
    index.reset()
    for one in copies:
        assert one.has_ids
        made = wf.to_faiss(one)
        assert isinstance(made, faiss.IndexIDMap2)
        made.add_with_ids(clustered[:50], np.arange(50) * 3 + 100)
        assert made.search(clustered[:1], 50)[1].min() >= 100
        one.add_with_ids(clustered, np.arange(len(clustered))[::-1].copy())
        made = wf.to_faiss(one)
        np.testing.assert_array_equal(faiss.vector_to_array(made.id_map), one.ids())
        back, native = made.reconstruct(7), one.reconstruct(7)
        assert back @ native > 0.9 * np.linalg.norm(back) * np.linalg.norm(native)
        if not cells:
            assert made.remove_ids(np.arange(10)) == 10
        else:  # FAISS's map would be wrong afterwards
            with pytest.raises(RuntimeError, match="not supported"):
                made.remove_ids(np.arange(10))


def test_an_empty_id_map_is_kept_in_a_file(clustered, tmp_path):
    index = wf.index_factory(20, "IDMap,WF6")
    index.train(clustered)
    wf.write_index(index, tmp_path / "index.wf")
    assert wf.read_index(tmp_path / "index.wf").has_ids


def test_positions_need_no_map(clustered):
    index = wf.index_factory(20, "WF6")
    index.train(clustered)
    assert not index.has_ids
    assert isinstance(wf.to_faiss(index), faiss.IndexPreTransform)


# Rows to refine with


def refined(
    x: np.ndarray, metric: str, refine: object, nlist: int = 0, ids: bool = False
) -> wf.IndexFlat | wf.IndexIVF:
    cells = nlist or "auto"
    codec = trained.trained(x, 16, normalize=metric == "cosine", cells=cells, effort="fast")
    if nlist:
        index = wf.IndexIVF(codec, nlist, metric=metric, refine=refine)
    else:
        index = wf.IndexFlat(codec, metric, refine=refine)
    if ids:
        index.add_with_ids(x, np.random.default_rng(4).permutation(len(x)))
    else:
        index.add(x)
    return index


@pytest.mark.parametrize(
    ("metric", "refine", "nlist", "ids"),
    [
        ("ip", "float16", 0, False),
        ("l2", "float32", 0, True),
        ("cosine", "float16", 0, True),
        ("cosine", "int8", 16, True),
        ("l2", "float16", 16, False),
    ],
)
def test_rows_are_carried(base_64, queries_64, tmp_path, metric, refine, nlist, ids):
    base, queries = base_64[:2400], queries_64
    x = base * np.linspace(0.5, 2, len(base), dtype=np.float32)[:, None]
    x = x if metric == "cosine" else base
    index = refined(x, metric, refine, nlist, ids)
    exact = index.ids()[nearest(base, queries, "ip")]
    native = overlap(index.search(queries, K)[1], exact)
    path = tmp_path / "index.faiss"
    wf.export_faiss(index, path)
    made = faiss.read_index(str(path))
    faiss.write_index(made, str(tmp_path / "again.faiss"))
    assert (tmp_path / "again.faiss").read_bytes() == path.read_bytes()
    assert isinstance(made, faiss.IndexIDMap2) == ids
    distances, found = made.search(queries, K)
    assert overlap(found, exact) >= native - 0.03
    # Distances are exact.
    by_id = np.argsort(index.ids())
    rows = base[by_id[found]]
    want = np.einsum("qd,qkd->qk", queries, rows)
    if metric == "l2":
        want = np.square(queries[:, None] - rows).sum(axis=2)
    np.testing.assert_allclose(distances, want, atol=0.01 if refine == "int8" else 1e-3)
    made.add_with_ids(x[:1], np.array([1 << 40])) if ids else made.add(x[:1])
    assert made.ntotal == len(base) + 1


@pytest.mark.parametrize("ids", [False, True])
def test_rows_can_be_left_out(base_64, ids):
    index = refined(base_64[:2000], "ip", "float16", ids=ids)
    plain = refined(base_64[:2000], "ip", None, ids=ids)
    made = wf.to_faiss(index, rows=False)
    np.testing.assert_array_equal(
        faiss.serialize_index(made), faiss.serialize_index(wf.to_faiss(plain))
    )
    assert made.remove_ids(np.arange(10)) == 10


def test_rows_of_the_caller_are_left_out(base_64):
    index = refined(base_64[:2000], "ip", base_64[:2000])
    assert type(wf.to_faiss(index)) is faiss.IndexPreTransform


def test_filters_go_past_the_rows(base_64, queries_64):
    index = refined(base_64, "ip", "float16", nlist=16)
    selector = faiss.IDSelectorRange(0, 1000)
    params = faiss.SearchParametersPreTransform(
        index_params=faiss.SearchParametersIVF(sel=selector, nprobe=16)
    )
    params = faiss.IndexRefineSearchParameters(base_index_params=params, k_factor=10)
    found = wf.to_faiss(index).search(queries_64, K, params=params)[1]
    assert overlap(found, nearest(base_64[:1000], queries_64, "ip")) >= 0.9


@pytest.mark.parametrize("k_factor", [1, 1000, 1000.5, 5000])
def test_faiss_limits_the_k_factor(base_64, tmp_path, k_factor):
    index = refined(base_64[:1000], "ip", "float16")
    index.k_factor = k_factor
    path = tmp_path / "index.faiss"
    if k_factor > 1000:
        with pytest.raises(ValueError, match=r"k_factor of at most 1000.*rows=False"):
            wf.export_faiss(index, path)
        assert not path.exists()
        wf.export_faiss(index, path, rows=False)
        faiss.read_index(str(path))
    else:
        wf.export_faiss(index, path)
        assert faiss.read_index(str(path)).k_factor == k_factor


def test_int8_rows_beyond_float16(base_64, tmp_path):
    index = refined(base_64[:1000] * 1e6, "ip", "int8")
    with pytest.raises(ValueError, match=r"beyond 65504.*rows=False"):
        wf.export_faiss(index, tmp_path / "index.faiss")
    assert list(tmp_path.iterdir()) == []
    wf.export_faiss(index, tmp_path / "index.faiss", rows=False)
