"""Cached results are what the index would find now."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import tracemalloc
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.concurrency import PARAMS, PATIENCE, assert_same

import waterfill as wf

STEPS = st.lists(
    st.one_of(
        st.tuples(
            st.just("search"),
            st.lists(st.integers(0, 11), max_size=6),
            st.sampled_from([1, 3, 10]),
            st.sampled_from(PARAMS),
        ),
        st.tuples(st.just("add"), st.integers(0, 4000)),
        st.tuples(st.just("remove"), st.integers(0, 1400)),
        st.tuples(st.sampled_from(["swap", "rollback", "nprobe", "k_factor", "clear"])),
    ),
    min_size=1,
    max_size=30,
)


def change(index, step, base_64):
    """Do to an index what a step says."""
    inner = index.index if isinstance(index, wf.SwapIndex) else index
    if step[0] == "add":
        index.add(base_64[step[1] : step[1] + 20])
    elif step[0] == "remove":
        index.remove_ids(np.arange(step[1], step[1] + 10))
    elif step[0] == "nprobe" and isinstance(inner, wf.IndexIVF):
        inner.nprobe = 20 - inner.nprobe
    elif step[0] == "k_factor":
        inner.k_factor = 5 - inner.k_factor
    elif step[0] == "swap" and isinstance(index, wf.SwapIndex):
        other = wf.IndexFlat(inner.codec)
        other.add(base_64[2000:2600])
        index.swap(other, same_ids=False, keep=3)
    elif step[0] == "rollback" and isinstance(index, wf.SwapIndex) and index._state.previous:
        index.rollback(force=True)


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], deadline=None
)
@given(
    steps=STEPS,
    entries=st.sampled_from([1, 4, 10_000]),
    batched=st.booleans(),
    awaited=st.booleans(),
)
def test_never_anything_but_what_the_index_finds(
    index, base_64, queries_64, steps, entries, batched, awaited
):
    cache = wf.CachedSearch(wf.Batcher(index) if batched else index, max_entries=entries)
    for step in steps:
        if step[0] == "search":
            x, k, params = queries_64[step[1]], step[2], step[3]
            if awaited:
                found = asyncio.run(cache.asearch(x, k, params))
            else:
                found = cache.search(x, k, params)
            assert_same(found, index.search(x, k, params=params))
        elif step[0] == "clear":
            cache.clear()
        else:
            change(index, step, base_64)
        assert cache.stats().entries <= entries


def test_hits_are_not_searched_and_misses_are_in_one_search(flat, queries_64, monkeypatch):
    cache = wf.CachedSearch(flat)
    first = cache.search(queries_64[:4], 5)
    sizes = []
    search = flat.search

    def counting(x, k, **options):
        sizes.append(len(x))
        return search(x, k, **options)

    monkeypatch.setattr(flat, "search", counting)
    assert_same(cache.search(queries_64[:4].astype(np.float64), 5), first)
    cache.search(queries_64[[0, 9, 1, 8, 9]], 5)
    cache.search(queries_64[:1], 6)
    cache.search(queries_64[:1], 5, wf.SearchParameters(nprobe=3))
    assert sizes == [2, 1, 1]
    stats = cache.stats()
    assert (stats.hits, stats.misses, stats.entries) == (6, 9, 8)


def test_what_a_caller_does_to_results_changes_nothing(flat, queries_64):
    cache = wf.CachedSearch(flat)
    expected = flat.search(queries_64[:2], 5)
    for _ in range(3):
        distances, ids = cache.search(queries_64[:2], 5)
        assert_same((distances, ids), expected)
        distances[:], ids[:] = 0, 0


def test_the_least_recently_asked_goes_first(flat, queries_64):
    cache = wf.CachedSearch(flat, max_entries=2)
    for row in (0, 1, 0, 2, 0, 1):  # 2 drives out 1, and 1 drives out 2
        cache.search(queries_64[row : row + 1], 5)
    stats = cache.stats()
    assert (stats.hits, stats.misses, stats.evictions, stats.entries) == (2, 4, 2, 2)


def test_bytes_are_bounded_and_counted(flat, queries_64):
    cache = wf.CachedSearch(flat, max_bytes=20_000)
    cache.search(queries_64, 10)
    stats = cache.stats()
    assert 0 < stats.bytes <= 20_000
    assert stats.evictions == 200 - stats.entries
    tiny = wf.CachedSearch(flat, max_bytes=100)
    tiny.search(queries_64[:3], 10)
    assert (tiny.stats().entries, tiny.stats().bytes) == (0, 0)
    cache.clear()
    assert (cache.stats().entries, cache.stats().bytes) == (0, 0)


@pytest.mark.memory
def test_bytes_are_about_what_python_takes(flat, queries_64):
    cache = wf.CachedSearch(flat)
    rows = queries_64[:, :] + np.linspace(0, 1e-3, 10, dtype=np.float32)[:, None, None]
    rows = rows.reshape(-1, 64)
    flat.search(rows, 10)
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    cache.search(rows, 10)
    taken = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert cache.stats().entries == 2000
    assert 0.8 * taken < cache.stats().bytes < 1.25 * taken


def test_a_selector_of_ours_is_remembered_one_of_faiss_is_not(flat, queries_64):
    faiss = pytest.importorskip("faiss")
    cache = wf.CachedSearch(flat)
    bits = np.full(200, 255, np.uint8)
    theirs = faiss.SearchParameters(sel=faiss.IDSelectorBitmap(bits))
    ours = wf.SearchParameters(sel=wf.IDSelectorBitmap(bits))
    mixed = wf.SearchParameters(sel=wf.IDSelectorNot(faiss.IDSelectorRange(0, 3)))
    for params in (theirs, ours, mixed) * 2:
        assert_same(
            cache.search(queries_64[:2], 5, params), flat.search(queries_64[:2], 5, params=params)
        )
    stats = cache.stats()
    assert (stats.hits, stats.misses) == (2, 2)


def test_selectors_too_deep_to_compare_are_not_remembered(flat, queries_64):
    sel = wf.IDSelectorRange(0, 700)
    for _ in range(3000):
        sel = wf.IDSelectorNot(sel)
    params = wf.SearchParameters(sel=sel)
    cache = wf.CachedSearch(flat)
    assert_same(
        cache.search(queries_64[:1], 5, params), flat.search(queries_64[:1], 5, params=params)
    )
    assert cache.stats().entries == 0


def test_an_index_that_changes_during_a_search(flat, base_64, queries_64, monkeypatch):
    cache = wf.CachedSearch(flat)
    cache.search(queries_64[:2], 5)
    search = flat.search

    def changing(x, k, **options):
        found = search(x, k, **options)
        if flat.ntotal == 1500:
            flat.remove_ids(np.arange(0, 1500, 2))
        return found

    monkeypatch.setattr(flat, "search", changing)
    found = cache.search(queries_64[:4], 5)  # two remembered, two not: all of the later state
    assert_same(found, flat.search(queries_64[:4], 5))
    assert cache.stats().entries == 2  # of the state before; the next search forgets them
    assert_same(cache.search(queries_64[:4], 5), found)


@pytest.mark.parametrize("batched", [False, True])
def test_threads_that_search_while_another_changes_the_index(flat, queries_64, batched):
    """Ids of a call are all of one generation, and of one that was in use during the call."""
    codes = flat.codes()

    def numbered(number):
        made = wf.IndexFlat(flat.codec)
        made.add_sa_codes(codes, np.arange(1500) + 10_000 * number)
        return made

    live = wf.SwapIndex(numbered(1))
    cache = wf.CachedSearch(wf.Batcher(live) if batched else live, max_entries=64)
    begun, published, done = [1], [1], threading.Event()

    def searching(seed):
        rng = np.random.default_rng(seed)
        while not done.is_set():
            least = published[0]
            ids = cache.search(queries_64[rng.integers(0, 40, 4)], 5)[1]
            (number,) = np.unique(ids // 10_000)
            assert least <= number <= begun[0]

    with ThreadPoolExecutor(4) as pool:
        futures = [pool.submit(searching, seed) for seed in range(4)]
        try:
            for number in range(2, 60):
                begun[0] = number
                live.swap(numbered(number), same_ids=False)
                published[0] = number
        finally:
            done.set()
        for each in futures:
            each.result(60)
    assert cache.stats().hits > 0


def test_threads_that_search_while_vectors_come_and_go(flat, base_64, queries_64):
    """A vector that was added is found from then on, one that was removed never again."""
    cache = wf.CachedSearch(flat)
    query = base_64[3000:3001]
    there, leaving, gone, done = [-1], [-1], [-1], threading.Event()

    def searching():
        while not done.is_set():
            least, removed = there[0], gone[0]
            ids = cache.search(query, 2000)[1][0]
            assert least in ids or leaving[0] >= least
            assert removed not in ids or removed == -1

    flat.add_with_ids(query, [5000])
    with ThreadPoolExecutor(3) as pool:
        futures = [pool.submit(searching) for _ in range(3)]
        try:
            for number in range(6000, 6050):
                flat.add_with_ids(query, [number])
                there[0] = number
                leaving[0] = number
                flat.remove_ids([number])
                gone[0] = number
        finally:
            done.set()
        for each in futures:
            each.result(60)


@pytest.mark.parametrize("options", [{"max_entries": 0}, {"max_bytes": 0}, {"max_entries": 1.5}])
def test_cache_arguments(flat, options):
    with pytest.raises((ValueError, TypeError), match=next(iter(options))):
        wf.CachedSearch(flat, **options)


def test_errors_are_those_of_the_index(flat, queries_64):
    cache = wf.CachedSearch(flat)
    for x, k in [
        (queries_64[:1, :5], 5),
        (queries_64[0], 5),
        (queries_64[:1] * np.nan, 5),
        (queries_64[:1], 0),
        (queries_64[:1], None),
    ]:
        with pytest.raises((ValueError, TypeError)) as direct:
            flat.search(x, k)
        with pytest.raises(type(direct.value)) as found:
            cache.search(x, k)
        assert str(found.value) == str(direct.value)
    with pytest.raises(wf.NotTrainedError):
        wf.CachedSearch(wf.IndexFlat(wf.Recipe(64, 16))).search(queries_64[:1], 5)
    with pytest.raises(TypeError, match="index"):
        wf.CachedSearch(None)
    assert cache.search(queries_64[:0], 5)[0].shape == (0, 5)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_child_that_is_forked_during_a_search_can_search(flat, queries_64):
    cache = wf.CachedSearch(flat)
    expected = cache.search(queries_64[:2], 5)
    with cache._lock:  # as another thread's search holds it now and then
        child = os.fork()
        if child == 0:
            try:
                signal.alarm(PATIENCE)
                found = cache.search(queries_64[:2], 5)
                same = all(np.array_equal(a, b) for a, b in zip(found, expected, strict=True))
                os._exit(0 if same and cache.stats().entries == 2 else 1)
            finally:
                os._exit(2)
    assert os.waitpid(child, 0)[1] == 0
