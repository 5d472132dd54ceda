"""docs/bad-input.md, a test a row: what FAISS does with it, and what waterfill does."""

from __future__ import annotations

import functools
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pytest
from numpy.exceptions import ComplexWarning

import waterfill as wf

PAGE = Path(__file__).parent.parent / "docs" / "bad-input.md"
X = np.random.default_rng(0).standard_normal((300, 8)).astype(np.float32)
NAN = np.where(np.arange(8) == 3, np.nan, X[:3]).astype(np.float32)
IDS = np.arange(300) * 3
WORST = np.finfo(np.float32).max


@functools.cache
def codec(nlist: int = 0) -> wf.Codec:
    return wf.Codec.train(X, wf.Plan.waterfill(wf.analyze(X), 6), cells=nlist, metric="l2")


def ours(kind: str) -> Any:
    if kind == "untrained":
        return wf.IndexFlat(wf.Recipe(8, 6), "l2")
    if kind == "untrained lists":
        return wf.IndexIVF(wf.Recipe(8, 6), 4, metric="l2")
    if kind == "empty":
        return wf.IndexFlat(codec(), "l2")
    index = wf.IndexIVF(codec(4), 4, metric="l2") if kind == "lists" else ours("empty")
    if kind == "ids":
        index.add_with_ids(X, IDS)
    else:
        index.add(X)
    return index


def theirs(kind: str) -> Any:
    if kind == "untrained":
        return faiss.IndexPQ(8, 2, 4)
    if kind == "untrained lists":
        return faiss.IndexIVFFlat(cells(), 8, 4)
    if kind == "lists":
        index = faiss.IndexIVFFlat(cells(), 8, 4)
        index.train(X)
        index.add(X)
        return index
    index = faiss.IndexFlatL2(8)
    if kind == "ids":
        index = faiss.IndexIDMap2(index)
        index.add_with_ids(X, IDS)
    elif kind != "empty":
        index.add(X)
    return index


def cells() -> Any:
    return faiss.IndexFlatL2(8)


@dataclass(frozen=True)
class Case:
    """A call, what is expected of it, and the row of the page that says so.

    `faiss` and `waterfill` are the error's type (with a pattern), or a check of the result; None
    where FAISS must not be asked: it would end the process, or read memory that is not its own.
    """

    row: str
    kind: str
    call: Callable[[Any], Any]
    faiss: Any
    waterfill: Any


def plain(result: Any) -> bool:
    """It is what float32 rows, C-contiguous, give: X[:2] finds itself and so on."""
    return result[0].dtype == np.float32 and result[1].dtype == np.int64 and len(result[1]) == 2


def found(ids: Any) -> Callable[[Any], bool]:
    return lambda result: np.array_equal(np.sort(result[1].ravel()), np.sort(ids))


def missing(result: Any) -> bool:
    return (result[1] == -1).all() and (result[0] == WORST).all()


def returns(value: Any) -> Callable[[Any], bool]:
    return lambda result: result is value or result == value


def error(kind: type[Exception], pattern: str) -> tuple[type[Exception], str]:
    return kind, pattern


def then(index: Any, *steps: Callable[[Any], Any]) -> Any:
    return [step(index) for step in steps][-1]


def fill(shape: tuple[int, ...], dtype: Any, **how: Any) -> np.ndarray:
    return np.zeros(shape, dtype, **how)


CASES = [
    Case(
        "x of another d",
        "flat",
        lambda i: i.search(X[:2, :4], 3),
        AssertionError,
        error(AssertionError, "x has 4 dimensions, expected 8"),
    ),
    Case(
        "x of another d, added",
        "flat",
        lambda i: i.add(X[:2, :4]),
        AssertionError,
        error(ValueError, "x has 4 dimensions, expected 8"),
    ),
    Case(
        "x of one dimension",
        "flat",
        lambda i: i.search(X[0], 3),
        ValueError,
        error(ValueError, r"x must have shape \(n, d\), got shape \(8,\).*x\[None, :\]"),
    ),
    Case("x as a list", "flat", lambda i: i.search(X[:2].tolist(), 3), AttributeError, plain),
    Case(
        "x in Fortran order", "flat", lambda i: i.search(np.asfortranarray(X[:2]), 3), plain, plain
    ),
    Case("x as float64", "flat", lambda i: i.search(X[:2].astype("f8"), 3), plain, plain),
    Case("x as float16", "flat", lambda i: i.search(X[:2].astype("f2"), 3), plain, plain),
    Case("x of integers", "flat", lambda i: i.search(np.ones((2, 8), int), 3), plain, plain),
    Case(
        "x of the other byte order",
        "flat",
        lambda i: i.search(X[:2].astype(">f4"), 3),
        plain,
        plain,
    ),
    Case(
        "x as a view with gaps",
        "flat",
        lambda i: i.search(np.repeat(X, 2, axis=1)[:2, ::2], 3),
        plain,
        plain,
    ),
    Case(
        "x of complex numbers",
        "flat",
        lambda i: i.search(X[:2].astype("c8"), 3),
        np.exceptions.ComplexWarning if hasattr(np, "exceptions") else ComplexWarning,
        error(TypeError, "x must hold real numbers, got dtype complex64"),
    ),
    Case(
        "x of objects",
        "flat",
        lambda i: i.search(X[:2].astype(object), 3),
        plain,
        error(TypeError, "x must hold real numbers, got dtype object"),
    ),
    Case(
        "no queries",
        "flat",
        lambda i: i.search(X[:0], 3),
        lambda r: r[0].shape == r[1].shape == (0, 3),
        lambda r: r[0].shape == r[1].shape == (0, 3),
    ),
    Case(
        "nothing to add",
        "flat",
        lambda i: then(i, lambda j: j.add(X[:0]), lambda j: j.ntotal),
        returns(300),
        returns(300),
    ),
    Case(
        "a NaN or an infinity in a query",
        "flat",
        lambda i: i.search(NAN, 2),
        missing,
        error(ValueError, "x: row 0 "),
    ),
    Case(
        "a NaN or an infinity, added",
        "flat",
        lambda i: then(i, lambda j: j.add(NAN), lambda j: j.ntotal),
        returns(303),
        error(ValueError, "x: row 0 "),
    ),
    Case(
        "k = 0, k < 0",
        "flat",
        lambda i: i.search(X[:1], 0),
        AssertionError,
        error(AssertionError, "k=0 must be at least 1"),
    ),
    Case(
        "k no int",
        "flat",
        lambda i: i.search(X[:1], 2.0),
        TypeError,
        error(TypeError, "k must be an int, got 2.0"),
    ),
    Case(
        "k as a NumPy integer",
        "flat",
        lambda i: i.search(X[:2], np.int64(3)),
        TypeError,
        plain,
    ),
    Case(
        "k > ntotal",
        "empty",
        lambda i: i.search(X[:2], 3),
        missing,
        missing,
    ),
    Case(
        "search before train",
        "untrained",
        lambda i: i.search(X[:2], 3),
        RuntimeError,
        error(RuntimeError, r"IndexFlat is not trained: call train\(x\) first"),
    ),
    Case(
        "add before train",
        "untrained lists",
        lambda i: i.add(X),
        RuntimeError,
        error(RuntimeError, "IndexIVF is not trained"),
    ),
    Case(
        "sa_encode before train",
        "untrained",
        lambda i: i.sa_encode(X),
        lambda codes: codes.shape == (300, 1),
        error(RuntimeError, "IndexFlat is not trained"),
    ),
    Case(
        "train with no rows",
        "untrained",
        lambda i: i.train(X[:0]),
        RuntimeError,
        error(ValueError, "x has no rows"),
    ),
    Case(
        "train with fewer rows than lists",
        "untrained lists",
        lambda i: i.train(X[:3]),
        RuntimeError,
        error(ValueError, "x has 3 rows, too few for nlist=4 lists"),
    ),
    Case(
        "train again",
        "lists",
        lambda i: then(i, lambda j: j.train(X), lambda j: j.ntotal),
        returns(300),
        returns(300),
    ),
    Case(
        "ids given twice",
        "ids",
        lambda i: then(
            i,
            lambda j: j.add_with_ids(X[:2], np.array([0, 0])),
            lambda j: j.remove_ids(np.array([0])),
        ),
        returns(3),
        returns(3),
    ),
    Case(
        "negative ids",
        "ids",
        lambda i: then(
            i,
            lambda j: j.add_with_ids(X[:2], np.array([-5, -(2**63)])),
            lambda j: j.search(X[:1], 1, params=only(-5)),
        ),
        found([-5]),
        found([-5]),
    ),
    Case(
        "an id of -1",
        "ids",
        lambda i: then(i, lambda j: j.add_with_ids(X[:1], np.array([-1])), lambda j: j.ntotal),
        returns(301),
        error(ValueError, "ids: id 0 is -1"),
    ),
    Case(
        "ids as a list",
        "ids",
        lambda i: then(i, lambda j: j.add_with_ids(X[:2], [1, 2]), lambda j: j.ntotal),
        AttributeError,
        returns(302),
    ),
    Case(
        "ids of another length",
        "ids",
        lambda i: i.add_with_ids(X[:2], np.array([1, 2, 3])),
        AssertionError,
        error(AssertionError, "ids: 3 of them for 2 vectors"),
    ),
    Case(
        "ids of two dimensions",
        "ids",
        lambda i: i.add_with_ids(X[:2], np.array([[1], [2]])),
        AssertionError,
        error(AssertionError, r"ids must have shape \(n,\), got shape \(2, 1\)"),
    ),
    Case(
        "ids as float",
        "ids",
        lambda i: then(i, lambda j: j.add_with_ids(X[:1], np.array([1.7])), lambda j: j.ntotal),
        returns(301),
        error(TypeError, "ids must be integers, got dtype float64"),
    ),
    Case(
        "ids beyond int64",
        "ids",
        lambda i: then(
            i, lambda j: j.add_with_ids(X[:1], np.array([2**63], "u8")), lambda j: j.ntotal
        ),
        returns(301),
        error(ValueError, "ids has 9223372036854775808, which is not within int64"),
    ),
    Case(
        "add_with_ids on a flat index",
        "flat",
        lambda i: then(i, lambda j: j.add_with_ids(X[:1], np.array([7000])), lambda j: j.ntotal),
        RuntimeError,
        returns(301),
    ),
    Case(
        "add on an index with ids",
        "ids",
        lambda i: then(i, lambda j: j.add(X[:1]), lambda j: j.ntotal),
        RuntimeError,
        returns(301),
    ),
    Case(
        "remove_ids of absent or repeated ids",
        "flat",
        lambda i: i.remove_ids(np.array([1, 1, -4, 10**6])),
        returns(1),
        returns(1),
    ),
    Case(
        "remove_ids of a list", "flat", lambda i: i.remove_ids([1, 2]), AttributeError, returns(2)
    ),
    Case(
        "remove_ids of floats",
        "flat",
        lambda i: i.remove_ids(np.array([1.7, 2.0])),
        returns(2),
        error(TypeError, "x must be integers, got dtype float64"),
    ),
    Case(
        "remove_ids of nothing",
        "flat",
        lambda i: i.remove_ids(np.array([])),
        returns(0),
        returns(0),
    ),
    Case(
        "remove_ids of two dimensions",
        "flat",
        lambda i: i.remove_ids(np.array([[1]])),
        AssertionError,
        error(AssertionError, r"x must have shape \(n,\)"),
    ),
    Case(
        "reconstruct an id that is not there",
        "ids",
        lambda i: i.reconstruct(1),
        RuntimeError,
        error(RuntimeError, "key=1 is not in an index of 300 vectors"),
    ),
    Case(
        "reconstruct a negative position",
        "flat",
        lambda i: i.reconstruct(-1),
        None,
        error(IndexError, "key=-1 is not in an index of 300 vectors"),
    ),
    Case(
        "reconstruct with lists",
        "lists",
        lambda i: i.reconstruct(5).shape,
        RuntimeError,
        returns((8,)),
    ),
    Case(
        "reconstruct_n beyond the end",
        "flat",
        lambda i: i.reconstruct_n(290, 20),
        RuntimeError,
        error(ValueError, "n0=290, ni=20 reach beyond an index of 300 vectors"),
    ),
    Case(
        "D or I of another shape",
        "flat",
        lambda i: i.search(X[:2], 3, I=fill((3, 2), np.int64)),
        AssertionError,
        error(AssertionError, r"I must have shape \(2, 3\), got \(3, 2\)"),
    ),
    Case(
        "D or I of another dtype",
        "flat",
        lambda i: i.search(X[:2], 3, D=fill((2, 3), np.float64)),
        TypeError,
        error(TypeError, "D must be an array of float32, got dtype float64"),
    ),
    Case(
        "D or I with gaps or in Fortran order",
        "flat",
        lambda i: i.search(X[:2], 3, I=fill((2, 3), np.int64, order="F")),
        ValueError,
        plain,
    ),
    Case(
        "D or I that is read-only",
        "flat",
        lambda i: i.search(X[:2], 3, D=np.frombuffer(bytes(24), np.float32).reshape(2, 3)),
        None,
        error(ValueError, "D cannot be written to"),
    ),
    Case(
        "D or I by position",
        "flat",
        lambda i: i.search(X[:2], 3, fill((2, 3), np.float32)),
        TypeError,
        error(TypeError, "positional"),
    ),
    Case(
        "params that are none",
        "flat",
        lambda i: i.search(X[:2], 3, params=faiss.IDSelectorRange(0, 3)),
        TypeError,
        error(TypeError, "params must be .* got IDSelectorRange; say sel="),
    ),
    Case(
        "a Range or an Array beyond the ids there are",
        "flat",
        lambda i: i.search(X[:1], 3, params=only(-7, 5, 10**9)),
        None,
        found([-1, -1, 5]),
    ),
    Case(
        "params of lists for a flat index",
        "flat",
        lambda i: i.search(
            X[:1], 3, params=faiss.SearchParametersIVF(sel=faiss.IDSelectorRange(5, 8))
        ),
        found([5, 6, 7]),
        found([5, 6, 7]),
    ),
    Case(
        "params without nprobe for lists",
        "lists",
        lambda i: i.search(
            X[:1], 3, params=faiss.SearchParameters(sel=faiss.IDSelectorRange(5, 8))
        ),
        RuntimeError,
        found([5, 6, 7]),
    ),
    Case(
        "nprobe = 0",
        "lists",
        lambda i: then(i, lambda j: setattr(j, "nprobe", 0), lambda j: j.search(X[:1], 3)),
        RuntimeError,
        error(ValueError, "nprobe=0 must be at least 1"),
    ),
    Case(
        "nprobe > nlist",
        "lists",
        lambda i: then(i, lambda j: setattr(j, "nprobe", 99), lambda j: j.search(X[:2], 3)),
        plain,
        plain,
    ),
    Case(
        "range_search with a NaN",
        "flat",
        lambda i: i.range_search(X[:1], float("nan"))[0].tolist(),
        returns([0, 0]),
        error(ValueError, "thresh=nan"),
    ),
    Case(
        "range_search with no number",
        "flat",
        lambda i: i.range_search(X[:1], "near"),
        ValueError,
        error(TypeError, "thresh must be a number, got 'near'"),
    ),
    Case(
        "merge_from another kind of index",
        "flat",
        lambda i: i.merge_from(faiss.IndexLSH(8, 16)),
        RuntimeError,
        error(TypeError, "otherIndex must be a waterfill.IndexFlat, got IndexLSH"),
    ),
    Case(
        "merge_from itself",
        "flat",
        lambda i: then(i, lambda j: j.merge_from(j), lambda j: j.ntotal),
        returns(0),
        error(ValueError, "otherIndex is the index itself"),
    ),
    Case(
        "codes of another dtype",
        "flat",
        lambda i: i.sa_decode(fill((2, i.sa_code_size()), np.int32)),
        TypeError,
        error(TypeError, "codes must be uint8, got dtype int32"),
    ),
    Case(
        "codes of another size",
        "flat",
        lambda i: i.sa_decode(fill((2, i.sa_code_size() - 1), np.uint8)),
        AssertionError,
        error(AssertionError, r"codes must have shape \(n, 7\), got \(2, 6\)"),
    ),
]


def only(*ids: int) -> Any:
    return faiss.SearchParameters(sel=faiss.IDSelectorArray(np.array(ids)))


def check(index: Any, case: Case, expected: Any) -> None:
    kind, pattern = expected if isinstance(expected, tuple) else (expected, None)
    if isinstance(kind, type):
        before = index.ntotal
        with pytest.raises(kind, match=pattern):
            case.call(index)
        assert index.ntotal == before
    else:
        assert expected(case.call(index))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.row)
def test_faiss_does_what_the_page_says(case):
    if case.faiss is not None:
        check(theirs(case.kind), case, case.faiss)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.row)
def test_waterfill_does_what_the_page_says(case):
    check(ours(case.kind), case, case.waterfill)


def test_an_index_that_was_read_may_be_added_to_and_its_file_stays(tmp_path):
    """Row: add to a read-only mmap."""
    path = tmp_path / "index.wf"
    wf.write_index(ours("flat"), path)
    path.chmod(0o444)
    before = path.read_bytes()
    index = wf.read_index(path)
    index.add(X[:2])
    assert index.ntotal == 302
    assert path.read_bytes() == before


def test_faiss_does_not_add_to_a_map(tmp_path):
    """With several threads the error leaves an OpenMP region, which ends the process."""
    path = str(tmp_path / "lists.faiss")
    faiss.write_index(theirs("lists"), path)
    code = (
        "import faiss, sys, numpy as np\n"
        "index = faiss.read_index(sys.argv[1], faiss.IO_FLAG_MMAP)\n"
        "index.add(np.ones((2, 8), 'f4'))\n"
    )
    done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True)
    assert done.returncode != 0
    assert "read-only" in done.stderr


def test_rows_are_read_from_a_read_only_map(tmp_path):
    """Row: x as a read-only memory map."""
    np.save(tmp_path / "x.npy", X)
    x = np.load(tmp_path / "x.npy", mmap_mode="r")
    index = ours("empty")
    index.add(x)
    np.testing.assert_array_equal(index.codes(), ours("flat").codes())


def test_every_row_of_the_page_is_tested():
    rows = re.findall(r"^\| ([^|]+?) \|", PAGE.read_text(), re.MULTILINE)
    rows = [row.replace("`", "") for row in rows if row not in ("what", "---")]
    apart = ["add to a read-only mmap", "x as a read-only memory map"]
    assert sorted(rows) == sorted([case.row for case in CASES] + apart)
