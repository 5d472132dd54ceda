"""Selectors: what our program says is what FAISS's is_member says."""

from __future__ import annotations

import gc
import sys

import faiss
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import waterfill as wf
from waterfill.index import selector_members, selectors
from waterfill.index.search_parameters import read_parameters

IDS = np.concatenate([np.arange(-20, 120), [2**31 + 5, 2**62, 2**63 - 1, -(2**63)]])

some_id = st.one_of(st.integers(-25, 125), st.sampled_from([2**31 + 5, 2**62, 2**63 - 1, -(2**63)]))
id_lists = st.lists(some_id, max_size=30)
leaves = st.one_of(
    st.tuples(st.just("Range"), some_id, some_id),
    st.tuples(st.just("Array"), id_lists),
    st.tuples(st.just("Batch"), id_lists),
    st.tuples(st.just("Bitmap"), st.lists(st.integers(0, 255), max_size=12)),
    st.tuples(st.just("All")),
    st.tuples(st.just("Callback"), st.integers(1, 5)),
)
trees = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.tuples(st.just("Not"), inner),
        st.tuples(st.sampled_from(["And", "Or", "XOr"]), inner, inner),
    ),
    max_leaves=12,
)


def theirs(tree):
    """The tree as FAISS's, and is_member of every id by FAISS alone."""
    name, *args = tree
    if name == "Callback":
        return faiss.PyCallbackIDSelector(lambda i, m=args[0]: i % m == 0)
    if name in ("Array", "Batch"):
        args = [np.array(args[0], dtype=np.int64)]
    elif name == "Bitmap":
        args = [np.array(args[0], dtype=np.uint8)]
    elif name in ("Not", "And", "Or", "XOr"):
        args = [theirs(arg) for arg in args]
    return getattr(faiss, f"IDSelector{name}")(*args)


def ours(tree):
    name, *args = tree
    if name == "Callback":
        return theirs(tree)  # a selector of FAISS inside ours
    if name == "Bitmap":
        args = [np.array(args[0], dtype=np.uint8)]
    elif name in ("Not", "And", "Or", "XOr"):
        args = [ours(arg) for arg in args]
    return getattr(wf, f"IDSelector{name}")(*args)


def universe(ids=IDS, version=None):
    return selector_members.Universe(len(ids), lambda first, n: ids[first : first + n], version)


def evaluate(steps, ids):
    """What the core does, in NumPy."""
    stack = []
    for name, *args in steps:
        if name == "range":
            stack.append((ids >= args[0]) & (ids < args[1]))
        elif name == "set":
            assert args[0].dtype == np.int64
            assert (np.diff(args[0].astype(object)) > 0).all()
            stack.append(np.isin(ids, args[0]))
        elif name == "bitmap":
            bits = np.unpackbits(args[0], bitorder="little").astype(bool)
            inside = (ids >= 0) & (ids < len(bits))
            member = np.zeros(len(ids), bool)
            member[inside] = bits[ids[inside]]
            stack.append(member)
        elif name == "all":
            stack.append(np.ones(len(ids), bool))
        elif name == "not":
            stack.append(~stack.pop())
        else:
            rhs, lhs = stack.pop(), stack.pop()
            stack.append({"and": lhs & rhs, "or": lhs | rhs, "xor": lhs ^ rhs}[name])
    assert len(stack) == 1
    return stack[0]


@given(tree=trees)
def test_any_tree_selects_what_faiss_selects(tree):
    sel = theirs(tree)
    # FAISS gives Python callbacks none but ids of 32 bits.
    ids = IDS[(IDS >= 0) & (IDS < 2**31)] if "Callback" in str(tree) else IDS
    expected = np.array([sel.is_member(int(i)) for i in ids])
    for mine in (sel, ours(tree)):
        steps = selectors.program(mine, universe(ids))
        np.testing.assert_array_equal(evaluate(steps, ids), expected)


def test_operands_come_first_and_in_order():
    sel = wf.IDSelectorAnd(
        wf.IDSelectorRange(1, 5), wf.IDSelectorNot(wf.IDSelectorOr(wf.IDSelectorAll(), _RANGE))
    )
    assert selectors.program(sel, universe()) == [
        ("range", 1, 5), ("all",), ("range", 2, 3), ("or",), ("not",), ("and",),
    ]  # fmt: skip


_RANGE = wf.IDSelectorRange(2, 3)


@pytest.mark.parametrize("name", ["Range", "Array", "Bitmap", "All", "Not", "And", "Or", "XOr"])
def test_what_can_be_read_asks_for_no_ids(name):
    def never(first, n):
        raise AssertionError("asked for ids")

    one = faiss.IDSelectorRange(1, 5)
    args = {
        "Range": (1, 5),
        "Array": (np.arange(3),),
        "Bitmap": (np.ones(3, "u1"),),
        "All": (),
        "Not": (one,),
    }.get(name, (one, faiss.IDSelectorArray([3, 1])))
    sel = getattr(faiss, f"IDSelector{name}")(*args)
    assert selectors.program(sel, selector_members.Universe(9, never))


def test_a_range_of_a_million_ids_is_asked_block_by_block():
    ids = np.arange(200_001)[::-1] * 3
    member = np.random.default_rng(0).choice(ids, 5000, replace=False)
    blocks = []

    def give(first, n):
        blocks.append(n)
        return ids[first : first + n]

    ((name, found),) = selectors.program(
        faiss.IDSelectorBatch(np.append(member, [1, -4])), selector_members.Universe(len(ids), give)
    )
    assert name == "set"
    np.testing.assert_array_equal(found, np.sort(member))
    assert max(blocks) <= 65_536
    assert sum(blocks) == len(ids)


def test_a_batch_selects_in_each_index_its_own_ids(codec_64, base_64):
    sel = faiss.IDSelectorBatch(np.array([3, 7, 103, 107]))
    for first in (0, 100, 0):  # the same number of changes each
        index = wf.IndexFlat(codec_64)
        index.add_with_ids(base_64[:10], np.arange(first, first + 10))
        found = index.search(base_64[:1], 3, params=faiss.SearchParameters(sel=sel))[1]
        assert sorted(found[0]) == [-1, first + 3, first + 7]


def test_members_of_a_batch_are_batch_members_until_the_ids_change():
    asked = []

    def world(ids, version):
        def give(first, n):
            asked.append(version)
            return ids[first : first + n]

        return selector_members.Universe(len(ids), give, version)

    sel = faiss.IDSelectorBatch(np.array([3, 5, 700]))
    for version, ids, expected in (
        (1, np.arange(10), [3, 5]),
        (1, np.arange(10), [3, 5]),
        (2, np.arange(4), [3]),
        (None, np.arange(701), [3, 5, 700]),
        (None, np.arange(701), [3, 5, 700]),
    ):
        ((_, found),) = selectors.program(sel, world(ids, version))
        np.testing.assert_array_equal(found, expected)
    assert asked == [1, 2, None, None]
    before = len(selector_members._batch_members)
    del sel
    gc.collect()
    assert len(selector_members._batch_members) == before - 1


def test_a_callback_that_raises_is_heard():
    def callback(i):
        raise KeyError("no such document")

    sel = faiss.IDSelectorNot(faiss.PyCallbackIDSelector(callback))
    with pytest.raises(KeyError, match="no such document"):
        selectors.program(sel, universe(np.arange(9)))


def test_a_child_that_python_does_not_know_is_asked():
    sel = faiss.IDSelectorNot(faiss.IDSelectorRange(0, 5))
    other = faiss.IDSelectorArray(np.array([7]))
    sel.sel = other  # FAISS's Python keeps no proxy of it: what is kept is another's
    steps = selectors.program(sel, universe())
    expected = [sel.is_member(int(i)) for i in IDS]
    np.testing.assert_array_equal(evaluate(steps, IDS), expected)
    sel.sel = None
    with pytest.raises(ValueError, match="inside IDSelectorNot is missing"):
        selectors.program(sel, universe())


def test_a_subclass_in_python_is_what_its_cpp_object_is():
    class Odd(faiss.IDSelectorRange):
        def is_member(self, id):
            return False  # FAISS's C++ never calls it

    assert selectors.program(Odd(3, 9), universe()) == [("range", 3, 9)]


def test_trees_deeper_than_pythons_stack():
    sel = faiss.IDSelectorRange(0, 1)
    for i in range(1, 3000):
        sel = faiss.IDSelectorOr(sel, faiss.IDSelectorRange(i * 2, i * 2 + 1))
    steps = selectors.program(sel, universe())
    assert len(steps) == 5999
    np.testing.assert_array_equal(evaluate(steps, np.arange(9)), np.arange(9) % 2 == 0)


def test_what_ours_are_given_is_copied():
    ids, bits = np.array([3, 1, 3]), np.array([1], "u1")
    array, bitmap = wf.IDSelectorArray(ids), wf.IDSelectorBitmap(bits)
    ids[:], bits[:] = 9, 9
    np.testing.assert_array_equal(array.ids, [1, 3])
    np.testing.assert_array_equal(bitmap.bitmap, [1])
    assert wf.IDSelectorBatch is wf.IDSelectorArray
    assert wf.IDSelectorAnd(_RANGE, _RANGE) == wf.IDSelectorAnd(_RANGE, _RANGE)
    assert wf.IDSelectorAnd(_RANGE, _RANGE) != wf.IDSelectorOr(_RANGE, _RANGE)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: wf.IDSelectorRange(1.5, 3), TypeError, "imin must be an int, got 1.5"),
        (lambda: wf.IDSelectorRange(1, True), TypeError, "imax must be an int"),
        (lambda: wf.IDSelectorRange(1, 2**63), ValueError, "imax=9223372036854775808"),
        (lambda: wf.IDSelectorArray([1.5]), TypeError, "ids must be integers, got dtype float64"),
        (lambda: wf.IDSelectorArray([[1]]), ValueError, r"ids must have shape \(n,\)"),
        (lambda: wf.IDSelectorArray({1, 2}), TypeError, "ids must be an array, got set"),
        (lambda: wf.IDSelectorArray(np.array([2**63])), ValueError, "not within int64"),
        (lambda: wf.IDSelectorBitmap([1]), TypeError, "bitmap must be an array of uint8, got list"),
        (lambda: wf.IDSelectorBitmap(np.ones(2, bool)), TypeError, "got dtype bool"),
        (lambda: wf.IDSelectorBitmap(np.ones((2, 2), "u1")), ValueError, "bitmap must have shape"),
        (lambda: wf.IDSelectorNot(None), TypeError, "sel must be .* got NoneType"),
        (lambda: wf.IDSelectorOr(_RANGE, [3]), TypeError, "rhs must be .* got list"),
        (lambda: selectors.program([3], universe()), TypeError, "sel must be .* got list"),
        (
            lambda: selectors.program(wf.IDSelector(), universe()),
            TypeError,
            "got IDSelector",
        ),
    ],
)
def test_wrong_selectors_are_named(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_parameters_of_faiss_are_read():
    sel = faiss.IDSelectorRange(2, 5)
    plain = faiss.SearchParameters(sel=sel)
    assert read_parameters(plain) == wf.SearchParameters(sel=sel)
    hnsw = faiss.SearchParametersHNSW(efSearch=77)
    ivf = faiss.SearchParametersIVF(sel=sel, nprobe=4, quantizer_params=hnsw)
    expected = wf.SearchParameters(sel=sel, nprobe=4, quantizer_params=hnsw)
    assert read_parameters(ivf) == expected
    refine = faiss.IndexRefineSearchParameters(k_factor=2.5, base_index_params=ivf)
    expected = wf.SearchParameters(sel=sel, nprobe=4, k_factor=2.5, quantizer_params=hnsw)
    assert read_parameters(refine) == expected
    outer = faiss.SearchParametersPreTransform(index_params=refine)
    assert read_parameters(outer) == read_parameters(expected) == expected
    assert read_parameters(None) == wf.SearchParameters()
    assert read_parameters(faiss.SearchParametersPreTransform()) == wf.SearchParameters()


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: wf.SearchParameters(sel=[1]), TypeError, "sel must be .* got list"),
        (lambda: wf.SearchParameters(nprobe=0), ValueError, "nprobe=0 must be at least 1"),
        (lambda: wf.SearchParameters(nprobe=2.0), TypeError, "nprobe must be an int"),
        (lambda: wf.SearchParameters(k_factor=0.5), ValueError, "k_factor=0.5"),
        (lambda: wf.SearchParameters(k_factor="2"), TypeError, "k_factor must be a number"),
        (
            lambda: read_parameters(_RANGE),
            TypeError,
            r"got IDSelectorRange; pass SearchParameters\(sel=",
        ),
        (lambda: read_parameters(4), TypeError, "params must be .* got int"),
        (
            lambda: read_parameters(faiss.SearchParametersIVF(nprobe=0)),
            ValueError,
            "nprobe=0 must be at least 1",
        ),
        (
            lambda: read_parameters(faiss.SearchParametersIVF(max_codes=9)),
            ValueError,
            "params: max_codes=9 is not supported",
        ),
        (
            lambda: read_parameters(faiss.SearchParametersHNSW()),
            TypeError,
            "params must be .* got SearchParametersHNSW",
        ),
    ],
)
def test_wrong_parameters_are_named(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_selectors_need_no_faiss(monkeypatch):
    monkeypatch.setitem(sys.modules, "faiss", None)
    sel = wf.IDSelectorNot(wf.IDSelectorArray([3, 1]))
    assert selectors.is_selector(sel)
    assert not selectors.is_selector(3)
    assert len(selectors.program(sel, selector_members.Universe(0, lambda first, n: None))) == 2


@pytest.mark.parametrize("n", [0, 1, 33])
@pytest.mark.parametrize("sel", [_RANGE, wf.IDSelectorAll(), wf.IDSelectorArray([])])
def test_an_index_with_few_vectors_or_none_is_searched(small_codec, clustered, sel, n):
    index = wf.IndexFlat(small_codec)
    index.add(clustered[:n])
    member = np.flatnonzero(evaluate(selectors.program(sel, universe()), np.arange(n)))
    found = index.search(clustered[:2], 40, params=wf.SearchParameters(sel=sel))[1]
    for row in found:
        np.testing.assert_array_equal(np.sort(row[row >= 0]), member)
