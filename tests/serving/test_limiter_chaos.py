"""Limiters among threads and tasks, with errors, cancellation and abandoned permits."""

from __future__ import annotations

import asyncio
import gc
import os
import random
import sys
import threading
from collections import Counter

import pytest

import waterfill as wf

TASKS = int(os.environ.get("WATERFILL_LIMITER_TASKS", "100000"))  # of the core's limiter
SHARES = {"batch": 0.5}


class Running:
    """The total cost of running tasks, counted by themselves, and its maximum."""

    def __init__(self, limit):
        self.limit, self.now, self.most = limit, 0, 0
        self.outcomes = Counter()

    def add(self, cost):
        self.now += cost
        self.most = max(self.most, self.now)
        assert self.now <= self.limit


async def one(limiter, running, rng, pause):
    """Hold a permit for a few turns of the loop, then release it, raise, or abandon it."""
    request = {"priority": rng.choice(("default", "batch")), "cost": rng.randint(1, 3)}
    end = rng.choice(("released", "by hand", "error", "abandoned"))
    try:
        permit = limiter.acquire(**request)
    except wf.AtCapacity:
        running.outcomes["refused"] += 1
        return
    running.outcomes["admitted"] += 1
    running.add(request["cost"])
    try:
        if end in ("released", "error"):
            with permit:
                for _ in range(rng.randint(0, 3)):
                    await pause()
                if end == "error":
                    raise KeyError(end)
        else:
            for _ in range(rng.randint(0, 3)):
                await pause()
    except KeyError:
        running.outcomes["errors"] += 1
    finally:
        running.now -= request["cost"]
    if end == "by hand":
        permit.release()
        permit.release()


async def wave(limiter, running, rng, tasks):
    """Start tasks together, and cancel a third of them at random moments."""
    started = [
        asyncio.create_task(one(limiter, running, rng, lambda: asyncio.sleep(0)))
        for _ in range(tasks)
    ]
    for task in started:
        if rng.random() < 0.3:
            await asyncio.sleep(0)
            running.outcomes["cancelled"] += task.cancel()
    results = await asyncio.gather(*started, return_exceptions=True)
    errors = [r for r in results if isinstance(r, BaseException)]
    assert all(isinstance(error, asyncio.CancelledError) for error in errors)


def assert_nothing_is_lost(limiter, running):
    gc.collect()  # a cancelled task's frame may be in a cycle with its exception
    stats = limiter.stats()
    admitted = sum(stats["admitted"].values())
    assert limiter.in_use == running.now == 0
    assert admitted == running.outcomes["admitted"]
    assert admitted == sum(stats["released"].values()) + sum(stats["abandoned"].values())
    assert sum(sum(r.values()) for r in stats["refused"].values()) == running.outcomes["refused"]
    limiter.acquire(cost=limiter.limit).release()


def test_tasks_lose_nothing(make):
    limiter, running, rng = make(24, shares=SHARES), Running(24), random.Random(11)
    tasks = TASKS if make is wf.Limiter else TASKS // 4  # the other is the reference of tests

    async def main():
        for _ in range(tasks // 50):
            await wave(limiter, running, rng, 50)

    asyncio.run(main())
    assert_nothing_is_lost(limiter, running)
    assert sum(limiter.stats()["abandoned"].values()) > tasks // 50
    assert running.outcomes["cancelled"] > tasks // 50
    assert running.outcomes["errors"] > tasks // 50
    assert running.most > 20


def test_tasks_of_trio_lose_nothing(make):
    trio = pytest.importorskip("trio", reason="trio is not installed")
    limiter, running, rng = make(24, shares=SHARES), Running(24), random.Random(12)

    async def main():
        for _ in range(40):
            with trio.move_on_after(10) as scope:
                async with trio.open_nursery() as nursery:
                    for _ in range(50):
                        nursery.start_soon(
                            one, limiter, running, rng, lambda: trio.lowlevel.checkpoint()
                        )
                    for _ in range(rng.randint(0, 3)):
                        await trio.lowlevel.checkpoint()
                    if rng.random() < 0.5:
                        scope.cancel()

    trio.run(main)
    assert_nothing_is_lost(limiter, running)


def test_threads_lose_nothing(make):
    limiter, running, lock = make(5, shares=SHARES), Running(5), threading.Lock()
    failures = []

    def add(cost):
        with lock:
            running.add(cost)

    def work(seed):
        rng, outcomes = random.Random(seed), Counter()
        try:
            for _ in range(2_000):
                cost, abandon = rng.randint(1, 2), rng.random() < 0.2
                permit = limiter.try_acquire(cost=cost, priority=rng.choice(("default", "batch")))
                outcomes["refused" if permit is None else "admitted"] += 1
                if permit is None:
                    continue
                add(cost)
                add(-cost)
                if abandon:
                    del permit
                else:
                    assert permit.release()
        except BaseException as error:
            failures.append(error)
        with lock:
            running.outcomes += outcomes

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert not failures
    assert_nothing_is_lost(limiter, running)


def test_one_permit_is_released_by_one_of_many_threads(make):
    limiter, released = make(3), []
    permit, start = limiter.acquire(cost=2), threading.Barrier(8)

    def work():
        start.wait()
        released.append(permit.release())

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(released) == [False] * 7 + [True]
    assert limiter.in_use == 0
