"""Batched searches return what single searches return."""

from __future__ import annotations

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.concurrency import PARAMS, PATIENCE, Gate, assert_same, until

import waterfill as wf

CALLS = st.lists(
    st.tuples(
        st.integers(0, 150), st.integers(0, 5), st.sampled_from([1, 3, 10]), st.sampled_from(PARAMS)
    ),
    min_size=1,
    max_size=24,
)
SHARED = settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    deadline=None,
)


@SHARED
@given(calls=CALLS, window=st.sampled_from([0, 0.001]), most=st.sampled_from([1, 7, 256]))
def test_any_mix_of_callers_gets_what_single_searches_find(index, queries_64, calls, window, most):
    expected = [index.search(queries_64[at : at + n], k, params=p) for at, n, k, p in calls]
    with (
        wf.Batcher(index, window=window, max_batch=most) as batcher,
        ThreadPoolExecutor(8) as pool,
    ):
        futures = [
            pool.submit(batcher.search, queries_64[at : at + n], k, p) for at, n, k, p in calls
        ]
        for each, result in zip(futures, expected, strict=True):
            assert_same(each.result(PATIENCE), result)
        assert batcher.stats().calls == len(calls)
        assert batcher.stats().batches <= len(calls)


@SHARED
@given(calls=CALLS)
def test_any_mix_of_tasks_gets_what_single_searches_find(index, queries_64, calls):
    expected = [index.search(queries_64[at : at + n], k, params=p) for at, n, k, p in calls]

    async def ask():
        futures = [batcher.asearch(queries_64[at : at + n], k, p) for at, n, k, p in calls]
        return await asyncio.gather(*futures)

    with wf.Batcher(index) as batcher:
        for found, result in zip(asyncio.run(ask()), expected, strict=True):
            assert_same(found, result)


def test_what_waits_is_one_batch(flat, queries_64, monkeypatch):
    expected = [flat.search(queries_64[i : i + 1], 5) for i in range(20)]
    gate = Gate(flat, monkeypatch)
    with wf.Batcher(flat) as batcher, ThreadPoolExecutor(20) as pool:
        first = pool.submit(batcher.search, queries_64[:1], 5)
        assert gate.begun.wait(PATIENCE)
        others = [pool.submit(batcher.search, queries_64[i : i + 1], 5) for i in range(1, 20)]
        until(lambda: batcher.stats().waiting == 19)
        gate.open.set()
        for each, result in zip([first, *others], expected, strict=True):
            assert_same(each.result(PATIENCE), result)
        assert gate.sizes == [1, 19]
        assert others[0].result()[0].base is None  # no caller holds the batch


@pytest.mark.parametrize(
    ("x", "k", "params", "error"),
    [
        (np.full((1, 64), np.nan, np.float32), 5, None, ValueError),
        (np.zeros((1, 3), np.float32), 5, None, ValueError),
        (np.zeros(64, np.float32), 5, None, ValueError),
        (np.zeros((1, 64), np.float32), 0, None, ValueError),
        (np.zeros((1, 64), np.float32), "5", None, TypeError),
        (np.zeros((1, 64), np.float32), 5, "nprobe", TypeError),
        ([["a"] * 64], 5, None, TypeError),
    ],
)
def test_wrong_input_is_its_callers_alone(flat, queries_64, monkeypatch, x, k, params, error):
    with pytest.raises(error) as direct:
        flat.search(x, k, params=params)
    expected = flat.search(queries_64[:1], 5)
    gate = Gate(flat, monkeypatch)
    with wf.Batcher(flat) as batcher, ThreadPoolExecutor(3) as pool:
        others = [pool.submit(batcher.search, queries_64[:1], 5) for _ in range(3)]
        until(lambda: batcher.stats().waiting == 2)
        with pytest.raises(error) as refused:
            batcher.search(x, k, params)
        assert str(refused.value) == str(direct.value)
        gate.open.set()
        for each in others:
            assert_same(each.result(PATIENCE), expected)


def test_an_error_within_a_batch_is_its_callers_alone(flat, queries_64, monkeypatch):
    poison = queries_64[7]
    search = flat.search

    def failing(x, k, **options):
        if (x == poison).all(axis=1).any():
            raise ZeroDivisionError("of this query")
        return search(x, k, **options)

    expected = [search(queries_64[i : i + 1], 5) for i in range(16)]
    monkeypatch.setattr(flat, "search", failing)
    gate = Gate(flat, monkeypatch)
    with wf.Batcher(flat) as batcher, ThreadPoolExecutor(17) as pool:
        pool.submit(batcher.search, queries_64[:1], 5)
        assert gate.begun.wait(PATIENCE)
        futures = [pool.submit(batcher.search, queries_64[i : i + 1], 5) for i in range(16)]
        until(lambda: batcher.stats().waiting == 16)
        gate.open.set()
        for i, each in enumerate(futures):
            if i == 7:
                with pytest.raises(ZeroDivisionError):
                    each.result(PATIENCE)
            else:
                assert_same(each.result(PATIENCE), expected[i])
        assert_same(batcher.search(queries_64[:1], 5), expected[0])  # and it goes on


def test_not_trained(queries_64):
    with wf.Batcher(wf.IndexFlat(wf.Recipe(64, 16))) as batcher:
        with pytest.raises(wf.NotTrainedError):
            batcher.search(queries_64[:1], 5)
        with pytest.raises(wf.NotTrainedError):
            asyncio.run(batcher.asearch(queries_64[:1], 5))


def test_every_answer_is_of_one_generation(flat, base_64, queries_64):
    shifted = wf.IndexFlat(flat.codec)
    shifted.add_with_ids(base_64[:1500], np.arange(1500) + 10_000)
    live = wf.SwapIndex(flat)
    done = threading.Event()

    def searching(batcher):
        mixed = 0
        while not done.is_set():
            ids = batcher.search(queries_64[:3], 10)[1]
            mixed += len(np.unique(ids >= 10_000)) != 1
        return mixed

    with wf.Batcher(live) as batcher, ThreadPoolExecutor(4) as pool:
        futures = [pool.submit(searching, batcher) for _ in range(4)]
        try:
            for turn in range(30):
                live.swap([shifted, flat][turn % 2], same_ids=False)
                time.sleep(0.002)
        finally:
            done.set()
        assert [each.result(PATIENCE) for each in futures] == [0] * 4


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"window": -1}, ValueError),
        ({"window": np.inf}, ValueError),
        ({"window": "1"}, TypeError),
        ({"max_batch": 0}, ValueError),
        ({"max_batch": 1.5}, TypeError),
        ({"max_waiting": 0}, ValueError),
        ({"limiter": 5}, TypeError),
    ],
)
def test_arguments(flat, options, error):
    with pytest.raises(error, match=next(iter(options))):
        wf.Batcher(flat, **options)


def test_only_over_an_index():
    with pytest.raises(TypeError, match="index"):
        wf.Batcher([1, 2])
