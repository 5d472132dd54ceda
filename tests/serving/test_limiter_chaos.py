"""Threads, tasks, cancels, exceptions, abandoned permits and forks: none lost, none too many."""

from __future__ import annotations

import asyncio
import gc
import os
import random
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path

import pytest

import waterfill as wf

TESTS = Path(__file__).parents[1]

TASKS = int(os.environ.get("WATERFILL_LIMITER_TASKS", "100000"))  # of each limiter
SHARES = {"batch": 0.5}


class Running:
    """What runs now, counted by the code that runs, and the most that ever ran."""

    def __init__(self, limit):
        self.limit, self.now, self.most = limit, 0, 0
        self.outcomes = Counter()

    def add(self, cost):
        self.now += cost
        self.most = max(self.most, self.now)
        assert self.now <= self.limit


async def one(limiter, running, rng, pause):
    """Hold a permit for a few turns of the loop: to the end, to an error, or drop it."""
    asked = {"priority": rng.choice(("default", "batch")), "cost": rng.randint(1, 3)}
    end = rng.choice(("released", "by hand", "error", "abandoned"))
    try:
        permit = limiter.acquire(**asked)
    except wf.AtCapacity:
        running.outcomes["refused"] += 1
        return
    running.outcomes["admitted"] += 1
    running.add(asked["cost"])
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
        running.now -= asked["cost"]
    if end == "by hand":
        permit.release()
        permit.release()


async def wave(limiter, running, rng, tasks):
    """Start tasks together, and cancel a third of them at any moment."""
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

    async def main():
        for _ in range(TASKS // 50):
            await wave(limiter, running, rng, 50)

    asyncio.run(main())
    assert_nothing_is_lost(limiter, running)
    assert sum(limiter.stats()["abandoned"].values()) > TASKS // 50
    assert running.outcomes["cancelled"] > TASKS // 50
    assert running.outcomes["errors"] > TASKS // 50
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


FORK = """
import os, sys, threading
import waterfill as wf
from support import python_limiter

limiter = (wf.Limiter if sys.argv[1] == "core" else python_limiter.PythonLimiter)(4)
permit, dropped = limiter.acquire(cost=2), limiter.acquire()
limiter.acquire().release()
going = True
def busy():  # forks happen while another thread is at it
    while going:
        other.try_acquire()
other = type(limiter)(1)
thread = threading.Thread(target=busy) if len(sys.argv) > 2 else None
if thread:
    thread.start()
for _ in range(20):
    child = os.fork()
    if child == 0:
        assert limiter.in_use == other.in_use == 0
        assert limiter.stats()["admitted"] == {"default": 0}
        assert limiter.stats()["median_latency"] is None
        own = limiter.acquire(cost=4)
        assert not permit.release()
        del dropped
        assert limiter.in_use == 4 and limiter.try_acquire() is None
        assert limiter.stats()["abandoned"] == {"default": 0}
        assert own.release() and limiter.in_use == 0
        with other.acquire():
            os._exit(7)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
going = False
if thread:
    thread.join()
assert limiter.in_use == 3 and permit.release() and limiter.in_use == 1
print("done")
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.parametrize("threads", [[], ["threads"]], ids=["alone", "beside a thread"])
@pytest.mark.parametrize("kind", ["core", "python"])
def test_a_forked_child_begins_anew(kind, threads):
    done = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", FORK, kind, *threads],
        capture_output=True, text=True, timeout=60, check=False, cwd=TESTS,
    )  # fmt: skip
    assert (done.stdout.strip(), done.stderr) == ("done", "")
