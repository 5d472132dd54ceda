"""The life of a batcher: full, closed, idle and forked queues, cancelled tasks, limiters."""

from __future__ import annotations

import asyncio
import os
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from support.concurrency import PATIENCE, Gate, assert_same, until

import waterfill as wf


class Slots:
    """A limiter: admits a number of queries at a time, and waits."""

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


def test_a_full_queue_refuses_at_once(flat, queries_64, monkeypatch):
    gate = Gate(flat, monkeypatch)
    with wf.Batcher(flat, max_waiting=2) as batcher, ThreadPoolExecutor(3) as pool:
        futures = [pool.submit(batcher.search, queries_64[:1], 5)]
        assert gate.begun.wait(PATIENCE)
        futures += [pool.submit(batcher.search, queries_64[:1], 5) for _ in range(2)]
        until(lambda: batcher.stats().waiting == 2)
        with pytest.raises(wf.AtCapacity, match="try again") as full:
            batcher.search(queries_64[:1], 5)
        assert (full.value.limit, full.value.in_use, full.value.reason) == (2, 2, "capacity")
        with pytest.raises(wf.AtCapacity):
            asyncio.run(batcher.asearch(queries_64[:1], 5))
        assert batcher.stats().refused == 2
        gate.open.set()
        for each in futures:
            each.result(PATIENCE)


def test_close_answers_what_waits_and_refuses_the_rest(flat, queries_64, monkeypatch):
    gate = Gate(flat, monkeypatch)
    batcher = wf.Batcher(flat)
    with ThreadPoolExecutor(4) as pool:
        futures = [pool.submit(batcher.search, queries_64[:1], 5)]
        assert gate.begun.wait(PATIENCE)
        futures += [pool.submit(batcher.search, queries_64[:1], k) for k in (5, 6)]
        until(lambda: batcher.stats().waiting == 2)
        closing = pool.submit(batcher.close)
        until(lambda: batcher._queue._closed)
        with pytest.raises(RuntimeError, match="closed"):
            batcher.search(queries_64[:1], 5)
        assert not closing.done()
        gate.open.set()
        closing.result(PATIENCE)
        assert [each.result(PATIENCE)[0].shape[1] for each in futures] == [5, 5, 6]
    batcher.close()
    for ask in (batcher.search, lambda *args: asyncio.run(batcher.asearch(*args))):
        with pytest.raises(RuntimeError, match="closed"):
            ask(queries_64[:1], 5)


def test_a_cancelled_task_takes_nothing_from_the_others(flat, queries_64, monkeypatch):
    expected = [flat.search(queries_64[i : i + 1], 5) for i in range(8)]
    gate = Gate(flat, monkeypatch)

    async def ask():
        tasks = [asyncio.create_task(batcher.asearch(queries_64[i : i + 1], 5)) for i in range(8)]
        while not gate.begun.is_set():
            await asyncio.sleep(0.001)
        for each in tasks[::3]:
            each.cancel()
        await asyncio.sleep(0.01)
        gate.open.set()
        return await asyncio.gather(*tasks, return_exceptions=True)

    with wf.Batcher(flat) as batcher:
        found = asyncio.run(ask())
    for i, (each, result) in enumerate(zip(found, expected, strict=True)):
        if i % 3:
            assert_same(each, result)
        else:
            assert isinstance(each, asyncio.CancelledError)


def test_a_loop_that_is_closed_while_tasks_wait(flat, queries_64, monkeypatch):
    gate = Gate(flat, monkeypatch)

    async def leave():
        task = asyncio.create_task(batcher.asearch(queries_64[:1], 5))
        while not gate.begun.is_set():
            await asyncio.sleep(0.001)
        task.cancel()

    with wf.Batcher(flat) as batcher:
        asyncio.run(leave())
        gate.open.set()
        batcher.search(queries_64[:1], 5)


def test_the_thread_ends_when_idle_and_comes_back(flat, queries_64, monkeypatch):
    monkeypatch.setattr("waterfill.serving.batch_queue._IDLE_SECONDS", 0.01)
    with wf.Batcher(flat) as batcher:
        for _ in range(3):
            asyncio.run(batcher.asearch(queries_64[:1], 5))
            until(lambda: batcher._queue._thread is None)


def test_a_thread_that_died_is_replaced(flat, queries_64, monkeypatch):
    with wf.Batcher(flat) as batcher:
        batcher._queue._thread = threading.Thread()
        expected = flat.search(queries_64[:1], 5)
        assert_same(asyncio.run(batcher.asearch(queries_64[:1], 5)), expected)


def test_a_limiter_is_asked_for_every_query_and_gets_all_back(flat, queries_64):
    limiter = Slots(4)
    with wf.Batcher(flat, limiter=limiter) as batcher, ThreadPoolExecutor(8) as pool:
        for each in [pool.submit(batcher.search, queries_64[:2], 5) for _ in range(40)]:
            each.result(PATIENCE)

        async def ask():
            await asyncio.gather(*(batcher.asearch(queries_64[:2], 5) for _ in range(20)))

        asyncio.run(ask())
        with pytest.raises(RuntimeError, match="too much"):
            batcher.search(queries_64[:5], 5)
        with pytest.raises(RuntimeError, match="too much"):
            asyncio.run(batcher.asearch(queries_64[:5], 5))
        with pytest.raises(ValueError, match="x"):
            batcher.search(queries_64[:2] * np.nan, 5)
    assert limiter.free == 4
    assert limiter.least >= 0


def test_a_task_that_is_cancelled_before_its_permit_gives_it_back(flat, queries_64):
    limiter = Slots(1)

    async def ask():
        task = asyncio.create_task(batcher.asearch(queries_64[:1], 5))
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
def test_a_forked_child_has_its_own_queue(flat, queries_64):
    expected = flat.search(queries_64[:1], 5)
    with wf.Batcher(flat) as batcher:
        asyncio.run(batcher.asearch(queries_64[:1], 5))  # there is a thread
        child = os.fork()
        if child == 0:
            try:
                found = asyncio.run(batcher.asearch(queries_64[:1], 5))
                same = all(np.array_equal(a, b) for a, b in zip(found, expected, strict=True))
                os._exit(0 if same else 1)
            finally:
                os._exit(2)
        assert os.waitpid(child, 0)[1] == 0
        assert_same(batcher.search(queries_64[:1], 5), expected)


def test_a_limiter_of_ours_refuses_tasks_and_loses_no_permit(flat, queries_64):
    limiter = wf.Limiter(3)

    async def clients():
        async def client(number):
            await asyncio.sleep(0.001 * (number % 7))
            return await batcher.asearch(queries_64[number % 10][None], 5)

        return await asyncio.gather(*(client(n) for n in range(60)), return_exceptions=True)

    with wf.Batcher(flat, limiter=limiter) as batcher:
        found = asyncio.run(clients())
        for number, each in enumerate(found):
            if not isinstance(each, wf.AtCapacity):
                assert_same(each, flat.search(queries_64[number % 10][None], 5))
        with pytest.raises(wf.AtCapacity, match="ask for less"):
            batcher.search(queries_64[:4], 5)
    assert limiter.in_use == 0
    assert 0 < limiter.stats()["admitted"]["default"] < 60
