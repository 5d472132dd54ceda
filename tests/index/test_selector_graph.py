"""Selectors with shared, deep and cyclic operands."""

from __future__ import annotations

import faiss
import numpy as np
import pytest

import waterfill as wf
from waterfill.index import selector_graph, selectors
from waterfill.index.selector_members import Universe

IDS = np.concatenate([np.arange(-20, 300), [2**40, 2**63 - 1, -(2**63)]])
BITS = np.random.default_rng(0).integers(0, 256, 20, dtype=np.uint8)
LEAVES = [
    ("Range", (3, 90)),
    ("Array", (np.array([5, -7, 2**40, 88]),)),
    ("Bitmap", (BITS,)),
    ("All", ()),
]


def universe(ids=IDS):
    return Universe(len(ids), lambda first, n: ids[first : first + n])


def found(sel, ids=IDS):
    """The ids that a program selects, which is a set for the selectors of these tests."""
    ((kind, members),) = selectors.program(sel, universe(ids))
    assert kind == "set"
    return members


def shared(package, leaf, levels=30):
    """A selector of 3 * levels nodes, whose tree has more than 2 ** levels."""
    sel = leaf
    for level in range(levels):
        name = ("And", "Or", "XOr")[level % 3]
        make = getattr(package, f"IDSelector{name}")
        other = package.IDSelectorNot(sel) if name == "XOr" else sel
        sel = make(sel, other)
    return sel


@pytest.mark.parametrize("package", [wf, faiss])
@pytest.mark.parametrize(("name", "args"), LEAVES)
def test_shared_operands_are_evaluated_once(package, name, args):
    leaf = getattr(package, f"IDSelector{name}")(*args)
    sel = leaf
    for _ in range(60):
        sel = package.IDSelectorAnd(sel, sel)
    reference = getattr(faiss, f"IDSelector{name}")(*args)
    expected = sorted(int(i) for i in IDS if reference.is_member(int(i)))
    np.testing.assert_array_equal(found(sel), expected)
    # x ^ ~x is everything, and everything & everything too
    np.testing.assert_array_equal(found(shared(package, leaf)), np.sort(IDS))
    np.testing.assert_array_equal(found(package.IDSelectorNot(sel)), np.setdiff1d(IDS, expected))


def test_a_faiss_selector_shared_in_ours():
    sel = faiss.IDSelectorBatch(np.array([4, 5, 600]))
    for _ in range(40):
        sel = wf.IDSelectorOr(sel, sel)
    np.testing.assert_array_equal(found(sel), [4, 5])


def test_a_search_and_a_removal_with_shared_operands(base_64, codec_64):
    index = wf.IndexFlat(codec_64)
    index.add(base_64[:500])
    sel, plain = wf.IDSelectorRange(10, 60), wf.IDSelectorRange(10, 60)
    for _ in range(40):
        sel = wf.IDSelectorAnd(sel, sel)
    expected = index.search(base_64[:5], 8, params=wf.SearchParameters(sel=plain))
    actual = index.search(base_64[:5], 8, params=wf.SearchParameters(sel=sel))
    for one, other in zip(expected, actual, strict=True):
        np.testing.assert_array_equal(one, other)
    assert index.remove_ids(sel) == 50


@pytest.mark.parametrize("side", ["left", "right"])
def test_a_long_chain_needs_few_intermediate_results(side):
    sel = wf.IDSelectorRange(0, 1)
    for i in range(1, 5000):
        pair = (sel, wf.IDSelectorRange(2 * i, 2 * i + 1))
        sel = wf.IDSelectorOr(*(pair if side == "left" else pair[::-1]))
    depth = deepest = 0
    for name, *_ in selectors.program(sel, universe()):
        depth += -1 if name == "or" else 1
        deepest = max(deepest, depth)
    assert (depth, deepest) == (1, 2)


def test_a_selector_that_contains_itself():
    inner = wf.IDSelectorNot(wf.IDSelectorAll())
    outer = wf.IDSelectorAnd(wf.IDSelectorAll(), wf.IDSelectorOr(inner, wf.IDSelectorAll()))
    object.__setattr__(inner, "sel", outer)
    with pytest.raises(ValueError, match="contains itself: IDSelectorAnd"):
        selectors.program(outer, universe())
    assert "IDSelectorNot" in repr(outer)
    own = faiss.IDSelectorNot(faiss.IDSelectorAll())
    own.sel = own
    with pytest.raises(ValueError, match="contains itself: IDSelectorNot"):
        selectors.program(own, universe())


def test_too_many_selectors(monkeypatch):
    monkeypatch.setattr(selector_graph, "MAX_NODES", 10)
    sel = wf.IDSelectorAll()
    for _ in range(9):
        sel = wf.IDSelectorNot(sel)
    assert len(selectors.program(sel, universe())) == 10
    with pytest.raises(ValueError, match="more than 10 selectors"):
        selectors.program(wf.IDSelectorNot(sel), universe())


def test_equality_hash_and_repr_of_shared_and_deep_selectors():
    one, same, other = (shared(wf, wf.IDSelectorRange(1, stop)) for stop in (5, 5, 6))
    assert one == same
    assert hash(one) == hash(same)
    assert one != other
    assert len(repr(one)) < 2000
    deep = wf.IDSelectorAll()
    for _ in range(20_000):
        deep = wf.IDSelectorNot(deep)
    assert deep == wf.IDSelectorNot(deep.sel)
    assert hash(deep) == hash(wf.IDSelectorNot(deep.sel))
    small = wf.IDSelectorAnd(wf.IDSelectorAll(), wf.IDSelectorNot(wf.IDSelectorRange(1, 2)))
    assert repr(small) == (
        "IDSelectorAnd(lhs=IDSelectorAll(), rhs=IDSelectorNot(sel="
        "IDSelectorRange(imin=1, imax=2, assume_sorted=False)))"
    )
