"""The settings of a search's stages, which an index keeps from one search to the next."""

from __future__ import annotations

import copy
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import trained

import waterfill as wf
from waterfill.index.search_parameters import SearchParameters, read_parameters

D, LISTS = 24, 8
PARAMETERS = [
    None,
    SearchParameters(nprobe=3),
    SearchParameters(k_factor=2.5),
    SearchParameters(target_recall=0.7),
    SearchParameters(sel=wf.IDSelectorRange(0, 500), nprobe=2),
]


@pytest.fixture(scope="module")
def base() -> np.ndarray:
    rng = np.random.default_rng(7)
    return (rng.standard_normal((2000, D)) * np.geomspace(2, 0.2, D)).astype("f4")


@pytest.fixture(scope="module")
def codecs(base) -> dict[bool, wf.Codec]:
    plan = wf.Plan.waterfill(wf.analyze(base), code_bytes=12)
    return {
        lists: trained.train(base, plan, cells=LISTS if lists else 0) for lists in (False, True)
    }


def made(codec: wf.Codec, lists: bool) -> wf.IndexFlat | wf.IndexIVF:
    if lists:
        return wf.IndexIVF(codec, LISTS, metric="l2", refine="float16")
    return wf.IndexFlat(codec, "l2", refine="float16")


def changes(lists: bool) -> st.SearchStrategy[tuple[str, float]]:
    numbers = {
        "refine_factor": st.integers(1, 80),
        "coarse_groups": st.integers(1, 12),
        "k_factor": st.floats(1, 20),
        "prune_sigma": st.floats(0, 4),
        "add": st.integers(1, 2000),
        "remove": st.integers(1, 100),
    }
    if lists:
        numbers |= {"nprobe": st.integers(1, 10), "target_recall": st.floats(0.1, 0.99)}
    return st.one_of(*(st.tuples(st.just(name), one) for name, one in numbers.items()))


def apply(index: wf.IndexFlat | wf.IndexIVF, base: np.ndarray, name: str, value: float) -> None:
    if name == "add":
        index.add(base[: int(value)])
    elif name == "remove":
        index.remove_ids(np.arange(min(int(value), index.ntotal)))
    else:
        setattr(index, name, value)


@settings(max_examples=60)
@given(lists=st.booleans(), data=st.data())
def test_a_search_follows_every_change_at_once(codecs, base, lists, data) -> None:
    index = made(codecs[lists], lists)
    index.add(base)
    mine = st.tuples(st.sampled_from([1, 10, 40]), st.sampled_from(PARAMETERS))
    searches = data.draw(st.lists(mine, min_size=1, max_size=2))  # one again and again, or in turns
    for name, value in data.draw(st.lists(changes(lists), min_size=1, max_size=8)):
        apply(index, base, name, value)
        for k, params in searches * 2:
            chosen = read_parameters(params)
            found = index._find_depth(k, chosen, index._lists_to_search(chosen))
            assert index._depth(k, chosen) == found


def test_the_depth_of_given_lists_is_that_of_their_number(codecs, base) -> None:
    index = made(codecs[True], True)
    index.add(base)
    index.nprobe = 1
    chosen = read_parameters(None)
    assert index._depth(10, chosen).lists == 1
    assert index._depth(10, chosen, 5).lists == 5
    assert index._depth(10, chosen).lists == 1


def test_copies_have_settings_of_their_own(codecs, base) -> None:
    index = made(codecs[True], True)
    index.add(base)
    index.nprobe = 2
    chosen = read_parameters(None)
    assert index._depth(10, chosen).lists == 2
    other = copy.copy(index)
    other.nprobe, other.refine_factor = 5, 3
    assert index._depth(10, chosen).lists == 2
    assert other._depth(10, chosen).lists == 5
    assert other._depth(10, chosen).candidates == 30
    assert index.refine_factor != 3


def test_readers_never_see_half_a_change_of_lists(codecs, base) -> None:
    index = made(codecs[True], True)
    index.add(base)
    targets, numbers, stop = {0.5, 0.9}, {1, 8}, threading.Event()
    possible = {index._nprobe_for(target) for target in targets} | numbers

    def change() -> None:
        while not stop.is_set():
            index.nprobe = 1
            index.target_recall = 0.5
            index.nprobe = 8
            index.target_recall = 0.9

    thread = threading.Thread(target=change)
    thread.start()
    try:
        for _ in range(2000):
            assert index._depth(10, read_parameters(None)).lists in possible
    finally:
        stop.set()
        thread.join()
