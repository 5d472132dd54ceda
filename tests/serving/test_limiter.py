"""Admission, refusal, statistics and messages of limiters."""

from __future__ import annotations

import asyncio
import copy
import functools
import gc
import inspect
import json
import math
import pickle
import time

import numpy as np
import pytest

import waterfill as wf


def refused(limiter, **options):
    with pytest.raises(wf.AtCapacity) as caught:
        limiter.acquire(**options)
    return caught.value


def test_a_permit_is_held_until_it_is_released(make):
    limiter = make(2, name="retrieval")
    first, second = limiter.acquire(), limiter.acquire()
    assert limiter.in_use == 2
    error = refused(limiter)
    assert (error.limit, error.in_use, error.reason) == (2, 2, "capacity")
    assert (error.name, error.priority) == ("retrieval", "default")
    assert str(error) == "at capacity, please try again in a moment"
    assert limiter.try_acquire() is None
    assert first.held
    assert first.release()
    assert not first.held
    assert not first.release()
    assert limiter.in_use == 1
    second.release()
    assert limiter.in_use == 0
    assert repr(limiter) == "Limiter(2, name='retrieval'): 0 in use"


def test_with_releases_whatever_happens(make):
    limiter = make(1)
    with pytest.raises(ZeroDivisionError), limiter.acquire() as permit:
        _ = 1 / (limiter.in_use - 1)
    assert limiter.in_use == 0
    with pytest.raises(RuntimeError, match="has been released"), permit:
        pass
    with limiter.acquire() as permit:
        permit.release()
    assert limiter.stats()["released"] == {"default": 2}


def test_an_abandoned_permit_comes_back_and_is_counted(make):
    limiter = make(1)
    limiter.acquire()
    ring = [limiter.acquire()]
    ring.append(ring)
    del ring
    gc.collect()
    assert limiter.in_use == 0
    stats = limiter.stats()
    assert stats["abandoned"] == {"default": 2}
    assert stats["released"] == {"default": 0}
    assert sum(stats["latency"]["counts"]) == 0


def test_a_permit_outlives_its_limiter(make):
    limiter = make(1)
    permit = limiter.acquire()
    limiter.permit = permit  # a cycle, if permits held limiters
    del limiter
    gc.collect()
    assert permit.release()


def test_a_share_bounds_what_is_in_use_by_all(make):
    limiter = make(12, shares={"batch": 0.5})
    held = [limiter.acquire(cost=4), limiter.acquire(priority="batch", cost=2)]
    error = refused(limiter, priority="batch")
    assert (error.reason, error.priority) == ("share", "batch")
    held.append(limiter.acquire(cost=6))
    assert refused(limiter, priority="batch").reason == "capacity"
    assert [permit.cost for permit in held] == [4, 2, 6]


@pytest.mark.parametrize(
    ("limit", "share", "expected"), [(100, 0.29, 29), (10, 0.7, 7), (9, 0.5, 4)]
)
def test_a_share_is_rounded_down_but_not_by_its_last_bit(make, limit, share, expected):
    limiter = make(limit, shares={"batch": share})
    with limiter.acquire(priority="batch", cost=expected):
        assert refused(limiter, priority="batch").reason == "share"


def test_the_default_may_have_a_share(make):
    limiter = make(10, shares={"default": 0.8, "urgent": 1})
    with limiter.acquire(cost=8):
        assert refused(limiter).reason == "share"
        limiter.acquire(priority="urgent", cost=2).release()


def test_a_lower_limit_drains(make):
    limiter = make(4)
    permits = [limiter.acquire() for _ in range(4)]
    limiter.limit = 2
    assert (limiter.limit, limiter.in_use) == (2, 4)
    for permit in permits[:2]:
        permit.release()
        assert limiter.try_acquire() is None
    permits[2].release()
    with limiter.acquire():
        assert limiter.in_use == 2
    limiter.limit = 5
    assert limiter.acquire(cost=4).held


def test_retry_after_is_the_part_of_a_median_that_is_over(make):
    limiter = make(4, shares={"batch": 0.5})
    with limiter.acquire(cost=4):  # nothing has ended yet: a second is assumed
        assert refused(limiter).retry_after == 0.25
        assert refused(limiter, priority="batch", cost=2).retry_after == 1
    median = limiter.stats()["median_latency"]
    with limiter.acquire(cost=4):
        assert refused(limiter, cost=2).retry_after == pytest.approx(median / 2)
        error = refused(limiter, cost=5)
    assert error.retry_after is None
    assert "ask for less" in str(error)


def test_a_deadline_below_the_median_is_refused(make):
    limiter = make(4)
    for _ in range(3):
        with limiter.acquire(deadline=1e-9):  # nothing else is in use
            time.sleep(0.01)
    assert limiter.stats()["median_latency"] > 0.0075  # as fine as a bucket
    with limiter.acquire():
        error = refused(limiter, deadline=0.005)
        assert (error.reason, error.retry_after) == ("deadline", None)
        assert "not enough time" in str(error)
        limiter.acquire(deadline=60).release()
        limiter.acquire(deadline=np.float32(60)).release()
        limiter.acquire(deadline=math.inf).release()
    for late in (0, -1, -math.inf):
        assert refused(limiter, deadline=late).reason == "deadline"
    assert limiter.stats()["refused"]["default"] == {"capacity": 0, "share": 0, "deadline": 4}


def test_latencies_are_in_the_bucket_of_their_duration(make):
    limiter = make(1)
    for expected in (0.001, 0.004, 0.015):
        before = limiter.stats()["latency"]
        start = time.perf_counter()
        with limiter.acquire():
            time.sleep(expected)
        longest = time.perf_counter() - start
        latency = limiter.stats()["latency"]
        grown = np.subtract(latency["counts"], before["counts"])
        (bucket,) = np.flatnonzero(grown)
        assert latency["bounds"][bucket] > expected * 0.99
        assert latency["bounds"][bucket - 1] <= longest * 1.01
        assert expected * 0.99 <= latency["sum"] - before["sum"] <= longest * 1.01


def test_the_median_forgets(make):
    limiter = make(1)
    for _ in range(3):
        with limiter.acquire():
            time.sleep(0.01)
    for _ in range(140):
        limiter.acquire().release()
    assert limiter.stats()["median_latency"] < 0.005


def test_stats_are_plain(make):
    limiter = make(3, name="search", shares={"batch": 0.5})
    limiter.acquire(priority="batch").release()
    stats = json.loads(json.dumps(limiter.stats()))
    assert stats == limiter.stats()
    assert (stats["name"], stats["limit"], stats["in_use"]) == ("search", 3, 0)
    assert stats["admitted"] == {"default": 0, "batch": 1}
    assert len(stats["latency"]["counts"]) == len(stats["latency"]["bounds"]) + 1


def test_def_and_async_def_are_decorated(make):
    limiter = make(1)

    @limiter
    def plain(x, *, y=1):
        """Adds."""
        return x + y, limiter.in_use

    @limiter(priority="default", deadline=5, cost=1)
    async def awaited(x):
        await asyncio.sleep(0)
        return x, limiter.in_use

    class Awaited:
        async def __call__(self, x):
            await asyncio.sleep(0)
            return x, limiter.in_use

    assert plain(1, y=2) == (3, 1)
    assert (plain.__name__, plain.__doc__) == ("plain", "Adds.")
    assert inspect.iscoroutinefunction(awaited)
    assert asyncio.run(awaited(7)) == (7, 1)
    assert asyncio.run(limiter(Awaited())(7)) == (7, 1)
    assert asyncio.run(limiter(functools.partial(awaited.__wrapped__, 8))()) == (8, 1)
    assert limiter.in_use == 0
    with limiter.acquire():
        with pytest.raises(wf.AtCapacity):
            plain(1)
        with pytest.raises(wf.AtCapacity):
            asyncio.run(awaited(1))


def test_generators_and_classes_are_not_decorated(make):
    def generator():
        yield

    async def asynchronous():
        yield

    for function in (generator, asynchronous):
        with pytest.raises(TypeError, match="generator function"):
            make(1)(function)
        with pytest.raises(TypeError, match="generator function"):
            make(1)(cost=1)(function)
    for thing in (3, int):
        with pytest.raises(TypeError, match="decorates functions"):
            make(1)(thing)


@pytest.mark.parametrize(
    ("error", "message", "options"),
    [
        (ValueError, "cost=0 must be at least 1", {"cost": 0}),
        (TypeError, "cost must be an int, got True", {"cost": True}),
        (TypeError, "cost must be an int, got 1.5", {"cost": 1.5}),
        (ValueError, r"priority='x' must be one of \('default',\)", {"priority": "x"}),
        (TypeError, "priority must be a str, got None", {"priority": None}),
        (TypeError, "deadline must be a number of seconds or None, got '1'", {"deadline": "1"}),
        (TypeError, "deadline must be a number of seconds or None, got True", {"deadline": True}),
        (ValueError, "deadline=nan must be a number of seconds", {"deadline": math.nan}),
        (TypeError, "unexpected keyword argument 'wait'", {"wait": 1}),
    ],
)
def test_impossible_requests_are_refused_by_name(make, error, message, options):
    limiter = make(3)
    for acquire in (limiter.acquire, limiter.try_acquire, limiter):
        with pytest.raises(error, match=message):
            acquire(**options)
    with pytest.raises(TypeError):
        limiter.acquire(1)
    assert limiter.stats()["admitted"] == {"default": 0}
    assert limiter.acquire(cost=np.int64(2)).cost == 2


@pytest.mark.parametrize(
    ("error", "message", "arguments"),
    [
        (ValueError, "limit=0 must be at least 1", {"limit": 0}),
        (TypeError, "limit must be an int, got 2.5", {"limit": 2.5}),
        (TypeError, "name must be a str, got 3", {"limit": 1, "name": 3}),
        (TypeError, "shares must be a mapping", {"limit": 1, "shares": [0.5]}),
        (TypeError, "shares must have str as keys, got 1", {"limit": 1, "shares": {1: 0.5}}),
        (TypeError, r"shares\['a'\] must be a number", {"limit": 1, "shares": {"a": "b"}}),
        (ValueError, r"shares\['a'\]=0 must be above 0", {"limit": 1, "shares": {"a": 0}}),
        (ValueError, r"shares\['a'\]=1.5 must be above 0", {"limit": 1, "shares": {"a": 1.5}}),
        (ValueError, r"shares\['a'\]=nan must be", {"limit": 1, "shares": {"a": math.nan}}),
    ],
)
def test_impossible_limiters_are_refused_by_name(make, error, message, arguments):
    with pytest.raises(error, match=message):
        make(**arguments)


def test_impossible_limits_leave_the_old_one(make):
    limiter = make(3)
    for error, value in ((ValueError, 0), (TypeError, "4"), (TypeError, True)):
        with pytest.raises(error, match="limit"):
            limiter.limit = value
    with pytest.raises(AttributeError):
        limiter.in_use = 3
    assert limiter.limit == 3


def test_costs_beyond_all_bounds_are_refused(make):
    limiter = make(2**40)
    assert limiter.acquire(cost=2**40).cost == 2**40
    assert refused(limiter, cost=2**80).retry_after is None


def test_neither_limiters_nor_permits_are_copied(make):
    limiter = make(1)
    for thing in (limiter, limiter.acquire()):
        with pytest.raises(TypeError):
            copy.copy(thing)
        with pytest.raises(TypeError):
            pickle.dumps(thing)


def test_a_refusal_travels_between_processes():
    error = wf.AtCapacity(3, 2, 0.5, "share", "search", "batch")
    again = pickle.loads(pickle.dumps(error))
    assert vars(again) == vars(error)
    assert str(again) == str(error)
    assert wf.AtCapacity(3, 3, None, "deadline").name == "limiter"


def test_the_core_refuses_what_python_would_not_hand_it():
    core = wf._core.Limiter
    with pytest.raises(RuntimeError, match="not been initialized"):
        wf.Limiter.__new__(wf.Limiter).acquire()
    with pytest.raises(RuntimeError, match="not been initialized"):
        _ = core.__new__(core).limit
    for arguments in ((1, ("a",), ()), (1, (), ())):
        with pytest.raises(ValueError, match="shares must have one value per priority"):
            core(*arguments)
    with pytest.raises(TypeError, match="priorities must be str"):
        core(1, (3,), (1.0,))
    with pytest.raises(TypeError):
        type(core(1, ("a",), (1.0,)).acquire())()
