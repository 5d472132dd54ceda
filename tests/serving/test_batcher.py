"""Batched searches are the single ones, whoever else asks."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import waterfill as wf
from serving.common import PARAMS, assert_same
from waterfill.serving.batcher import QueueFull

PATIENCE = 60  # seconds after which something hangs


class Gate:
    """A real index whose searches wait until they may go on; counts them."""

    def __init__(self, index, monkeypatch):
        self.open, self.begun, self.sizes = threading.Event(), threading.Event(), []
        search = index.search

        def held(x, k, **options):
            self.sizes.append(len(x))
            self.begun.set()
            assert self.open.wait(PATIENCE)
            return search(x, k, **options)

        monkeypatch.setattr(index, "search", held)


class Slots:
    """A limiter: so many queries at a time."""

    def __init__(self, slots):
        self.free, self.slots, self.changed = slots, slots, threading.Condition()
        self.least = slots

    def acquire(self, *, cost):
        if cost > self.slots:
            raise RuntimeError("too much at once")
        with self.changed:
            self.changed.wait_for(lambda: self.free >= cost)
            self.free -= cost
            self.least = min(self.least, self.free)
        return Slot(self, cost)


class Slot:
    def __init__(self, owner, cost):
        self.owner, self.cost = owner, cost

    def release(self):
        with self.owner.changed:
            self.owner.free += self.cost
            self.owner.changed.notify_all()


def until(condition):
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.001)


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
def test_any_mix_of_callers_gets_what_single_searches_find(index, queries, calls, window, most):
    wanted = [index.search(queries[at : at + n], k, params=p) for at, n, k, p in calls]
    with (
        wf.Batcher(index, window=window, most=most) as batcher,
        ThreadPoolExecutor(8) as pool,
    ):
        asked = [pool.submit(batcher.search, queries[at : at + n], k, p) for at, n, k, p in calls]
        for each, want in zip(asked, wanted, strict=True):
            assert_same(each.result(PATIENCE), want)
        assert batcher.stats().calls == len(calls)
        assert batcher.stats().batches <= len(calls)


@SHARED
@given(calls=CALLS)
def test_any_mix_of_tasks_gets_what_single_searches_find(index, queries, calls):
    wanted = [index.search(queries[at : at + n], k, params=p) for at, n, k, p in calls]

    async def ask():
        asked = [batcher.asearch(queries[at : at + n], k, p) for at, n, k, p in calls]
        return await asyncio.gather(*asked)

    with wf.Batcher(index) as batcher:
        for found, want in zip(asyncio.run(ask()), wanted, strict=True):
            assert_same(found, want)


def test_what_waits_is_one_batch(flat, queries, monkeypatch):
    wanted = [flat.search(queries[i : i + 1], 5) for i in range(20)]
    gate = Gate(flat, monkeypatch)
    with wf.Batcher(flat) as batcher, ThreadPoolExecutor(20) as pool:
        first = pool.submit(batcher.search, queries[:1], 5)
        assert gate.begun.wait(PATIENCE)
        others = [pool.submit(batcher.search, queries[i : i + 1], 5) for i in range(1, 20)]
        until(lambda: batcher.stats().waiting == 19)
        gate.open.set()
        for each, want in zip([first, *others], wanted, strict=True):
            assert_same(each.result(PATIENCE), want)
        assert gate.sizes == [1, 19]
        assert others[0].result()[0].base is None  # no caller holds the batch


@pytest.mark.parametrize(
    ("x", "k", "params", "error"),
    [
        (np.full((1, 384), np.nan, np.float32), 5, None, ValueError),
        (np.zeros((1, 3), np.float32), 5, None, ValueError),
        (np.zeros(384, np.float32), 5, None, ValueError),
        (np.zeros((1, 384), np.float32), 0, None, ValueError),
        (np.zeros((1, 384), np.float32), "5", None, TypeError),
        (np.zeros((1, 384), np.float32), 5, "nprobe", TypeError),
        ([["a"] * 384], 5, None, TypeError),
    ],
)
def test_wrong_input_is_its_callers_alone(flat, queries, monkeypatch, x, k, params, error):
    with pytest.raises(error) as direct:
        flat.search(x, k, params=params)
    wanted = flat.search(queries[:1], 5)
    gate = Gate(flat, monkeypatch)
    with wf.Batcher(flat) as batcher, ThreadPoolExecutor(3) as pool:
        others = [pool.submit(batcher.search, queries[:1], 5) for _ in range(3)]
        until(lambda: batcher.stats().waiting == 2)
        with pytest.raises(error) as refused:
            batcher.search(x, k, params)
        assert str(refused.value) == str(direct.value)
        gate.open.set()
        for each in others:
            assert_same(each.result(PATIENCE), wanted)


def test_an_error_within_a_batch_is_its_callers_alone(flat, queries, monkeypatch):
    poison = queries[7]
    search = flat.search

    def failing(x, k, **options):
        if (x == poison).all(axis=1).any():
            raise ZeroDivisionError("of this query")
        return search(x, k, **options)

    wanted = [search(queries[i : i + 1], 5) for i in range(16)]
    monkeypatch.setattr(flat, "search", failing)
    gate = Gate(flat, monkeypatch)
    with wf.Batcher(flat) as batcher, ThreadPoolExecutor(17) as pool:
        pool.submit(batcher.search, queries[:1], 5)
        assert gate.begun.wait(PATIENCE)
        asked = [pool.submit(batcher.search, queries[i : i + 1], 5) for i in range(16)]
        until(lambda: batcher.stats().waiting == 16)
        gate.open.set()
        for i, each in enumerate(asked):
            if i == 7:
                with pytest.raises(ZeroDivisionError):
                    each.result(PATIENCE)
            else:
                assert_same(each.result(PATIENCE), wanted[i])
        assert_same(batcher.search(queries[:1], 5), wanted[0])  # and it goes on


def test_not_trained(queries):
    with wf.Batcher(wf.IndexFlat(wf.Recipe(384, 24))) as batcher:
        with pytest.raises(wf.NotTrainedError):
            batcher.search(queries[:1], 5)
        with pytest.raises(wf.NotTrainedError):
            asyncio.run(batcher.asearch(queries[:1], 5))


def test_a_full_queue_refuses_at_once(flat, queries, monkeypatch):
    gate = Gate(flat, monkeypatch)
    with wf.Batcher(flat, waiting=2) as batcher, ThreadPoolExecutor(3) as pool:
        asked = [pool.submit(batcher.search, queries[:1], 5)]
        assert gate.begun.wait(PATIENCE)
        asked += [pool.submit(batcher.search, queries[:1], 5) for _ in range(2)]
        until(lambda: batcher.stats().waiting == 2)
        with pytest.raises(QueueFull, match="waiting=2"):
            batcher.search(queries[:1], 5)
        with pytest.raises(QueueFull):
            asyncio.run(batcher.asearch(queries[:1], 5))
        assert batcher.stats().refused == 2
        gate.open.set()
        for each in asked:
            each.result(PATIENCE)


def test_close_answers_what_waits_and_refuses_the_rest(flat, queries, monkeypatch):
    gate = Gate(flat, monkeypatch)
    batcher = wf.Batcher(flat)
    with ThreadPoolExecutor(4) as pool:
        asked = [pool.submit(batcher.search, queries[:1], 5)]
        assert gate.begun.wait(PATIENCE)
        asked += [pool.submit(batcher.search, queries[:1], k) for k in (5, 6)]
        until(lambda: batcher.stats().waiting == 2)
        closing = pool.submit(batcher.close)
        until(lambda: batcher._gatherer._closed)
        with pytest.raises(RuntimeError, match="closed"):
            batcher.search(queries[:1], 5)
        assert not closing.done()
        gate.open.set()
        closing.result(PATIENCE)
        assert [each.result(PATIENCE)[0].shape[1] for each in asked] == [5, 5, 6]
    batcher.close()
    for ask in (batcher.search, lambda *args: asyncio.run(batcher.asearch(*args))):
        with pytest.raises(RuntimeError, match="closed"):
            ask(queries[:1], 5)


def test_a_cancelled_task_takes_nothing_from_the_others(flat, queries, monkeypatch):
    wanted = [flat.search(queries[i : i + 1], 5) for i in range(8)]
    gate = Gate(flat, monkeypatch)

    async def ask():
        tasks = [asyncio.create_task(batcher.asearch(queries[i : i + 1], 5)) for i in range(8)]
        while not gate.begun.is_set():
            await asyncio.sleep(0.001)
        for each in tasks[::3]:
            each.cancel()
        await asyncio.sleep(0.01)
        gate.open.set()
        return await asyncio.gather(*tasks, return_exceptions=True)

    with wf.Batcher(flat) as batcher:
        found = asyncio.run(ask())
    for i, (each, want) in enumerate(zip(found, wanted, strict=True)):
        if i % 3:
            assert_same(each, want)
        else:
            assert isinstance(each, asyncio.CancelledError)


def test_a_loop_that_is_closed_while_tasks_wait(flat, queries, monkeypatch):
    gate = Gate(flat, monkeypatch)

    async def leave():
        task = asyncio.create_task(batcher.asearch(queries[:1], 5))
        while not gate.begun.is_set():
            await asyncio.sleep(0.001)
        task.cancel()

    with wf.Batcher(flat) as batcher:
        asyncio.run(leave())
        gate.open.set()
        batcher.search(queries[:1], 5)


def test_the_thread_ends_when_idle_and_comes_back(flat, queries, monkeypatch):
    monkeypatch.setattr("waterfill.serving.gathering._IDLE_SECONDS", 0.01)
    with wf.Batcher(flat) as batcher:
        for _ in range(3):
            asyncio.run(batcher.asearch(queries[:1], 5))
            until(lambda: batcher._gatherer._thread is None)


def test_a_thread_that_died_is_replaced(flat, queries, monkeypatch):
    with wf.Batcher(flat) as batcher:
        batcher._gatherer._thread = threading.Thread()
        wanted = flat.search(queries[:1], 5)
        assert_same(asyncio.run(batcher.asearch(queries[:1], 5)), wanted)


def test_every_answer_is_of_one_generation(flat, base, queries):
    shifted = wf.IndexFlat(flat.codec)
    shifted.add_with_ids(base[:1500], np.arange(1500) + 10_000)
    live = wf.SwapIndex(flat)
    done = threading.Event()

    def searching(batcher):
        mixed = 0
        while not done.is_set():
            ids = batcher.search(queries[:3], 10)[1]
            mixed += len(np.unique(ids >= 10_000)) != 1
        return mixed

    with wf.Batcher(live) as batcher, ThreadPoolExecutor(4) as pool:
        asked = [pool.submit(searching, batcher) for _ in range(4)]
        for turn in range(30):
            live.swap([shifted, flat][turn % 2], same_ids=False)
            time.sleep(0.002)
        done.set()
        assert [each.result(PATIENCE) for each in asked] == [0] * 4


def test_a_limiter_is_asked_for_every_query_and_gets_all_back(flat, queries):
    limiter = Slots(4)
    with wf.Batcher(flat, limiter=limiter) as batcher, ThreadPoolExecutor(8) as pool:
        for each in [pool.submit(batcher.search, queries[:2], 5) for _ in range(40)]:
            each.result(PATIENCE)

        async def ask():
            await asyncio.gather(*(batcher.asearch(queries[:2], 5) for _ in range(20)))

        asyncio.run(ask())
        with pytest.raises(RuntimeError, match="too much"):
            batcher.search(queries[:5], 5)
        with pytest.raises(RuntimeError, match="too much"):
            asyncio.run(batcher.asearch(queries[:5], 5))
        with pytest.raises(ValueError, match="x"):
            batcher.search(queries[:2] * np.nan, 5)
    assert limiter.free == 4
    assert limiter.least >= 0


def test_a_task_that_is_cancelled_before_its_permit_gives_it_back(flat, queries):
    limiter = Slots(1)

    async def ask():
        task = asyncio.create_task(batcher.asearch(queries[:1], 5))
        await asyncio.sleep(0.02)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        held.release()
        while limiter.free != 1:
            await asyncio.sleep(0.001)

    with wf.Batcher(flat, limiter=limiter) as batcher:
        held = limiter.acquire(cost=1)
        asyncio.run(asyncio.wait_for(ask(), PATIENCE))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_child_has_its_own_queue(flat, queries):
    wanted = flat.search(queries[:1], 5)
    with wf.Batcher(flat) as batcher:
        asyncio.run(batcher.asearch(queries[:1], 5))  # there is a thread
        child = os.fork()
        if child == 0:
            try:
                found = asyncio.run(batcher.asearch(queries[:1], 5))
                same = all(np.array_equal(a, b) for a, b in zip(found, wanted, strict=True))
                os._exit(0 if same else 1)
            finally:
                os._exit(2)
        assert os.waitpid(child, 0)[1] == 0
        assert_same(batcher.search(queries[:1], 5), wanted)


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"window": -1}, ValueError),
        ({"window": np.inf}, ValueError),
        ({"window": "1"}, TypeError),
        ({"most": 0}, ValueError),
        ({"most": 1.5}, TypeError),
        ({"waiting": 0}, ValueError),
        ({"limiter": 5}, TypeError),
    ],
)
def test_arguments(flat, options, error):
    with pytest.raises(error, match=next(iter(options))):
        wf.Batcher(flat, **options)


def test_only_over_an_index():
    with pytest.raises(TypeError, match="index"):
        wf.Batcher([1, 2])
