"""Limits that move within the bounds of a capacity report."""

from __future__ import annotations

import math
import threading
import time
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.concurrency import PATIENCE

import waterfill as wf
from waterfill.serving.adaptation import read_adaptation


def report(limit=20, floor=4, ceiling=32, unloaded=0.002):
    return wf.loadtest.CapacityReport(
        rate=100.0,
        limit=limit,
        floor=floor,
        ceiling=ceiling,
        unloaded=unloaded,
        throughput=200.0,
        slo=wf.loadtest.Slo(0.1),
        steps=(),
    )


# Targets so far apart that the load of the machine cannot decide: permits held for HELD seconds
# are always above that of SLOW, and permits released at once always below that of FAST.
SLOW = {"unloaded": 1e-6}  # target 4 us
FAST = {"unloaded": 10.0}  # target 40 s
HELD = 0.0005


def hold(limiter, seconds, times, at_once=None):
    """Hold as many permits as the limit admits for a time; repeat."""
    for _ in range(times):
        count = limiter.limit if at_once is None else at_once
        permits = [limiter.acquire() for _ in range(count)]
        time.sleep(seconds)
        for permit in permits:
            permit.release()


def test_a_limiter_from_a_report_is_static(make, tmp_path):
    path = tmp_path / "capacity.json"
    report().save(path)
    for given_report in (report(), path, str(path)):
        limiter = make.from_report(given_report, name="search", shares={"batch": 0.5})
        assert (limiter.limit, limiter.name) == (20, "search")
        stats = limiter.stats()
        assert (stats["adaptive"], stats["floor"], stats["ceiling"]) == (False, None, None)
    limiter.limit = 1000
    hold(limiter, 0.01, 2, 100)
    assert limiter.limit == 1000
    (tmp_path / "other.json").write_text("{}")
    with pytest.raises(wf.FormatError, match="not a capacity report"):
        make.from_report(tmp_path / "other.json")


def test_the_report_of_a_test_that_ended_early_is_refused(make, tmp_path):
    early = replace(report(), complete=False, notes=("max_seconds=3 was not enough",))
    early.save(tmp_path / "early.json")
    words = r"incomplete one \(max_seconds=3 was not enough\).* Run the test to its end"
    for given_report, name in (
        (early, "report"),
        (tmp_path / "early.json", r"report .*early\.json"),
    ):
        for adaptive in (False, True):
            with pytest.raises(ValueError, match=f"^{name}: expected .*{words}"):
                make.from_report(given_report, adaptive=adaptive)
    with pytest.raises(ValueError, match=f"^adaptive: expected .*{words}"):
        make(20, adaptive=early)


def test_the_limit_falls_to_the_floor_and_comes_back(make):
    limiter = make.from_report(report(400, 80, 640, unloaded=0.025), adaptive=True)
    stats = limiter.stats()
    assert (stats["adaptive"], stats["floor"], stats["ceiling"]) == (True, 80, 640)
    assert limiter.limit == stats["limit"] == 400
    hold(limiter, 0.2, 6)  # the target is 0.1 s
    assert limiter.limit == 80
    end = time.monotonic() + PATIENCE
    while limiter.limit <= 500 and time.monotonic() < end:  # a machine that stalls lowers it again
        hold(limiter, 0.0, 1)
    assert limiter.limit > 500


def test_a_limit_that_is_hardly_used_stays(make):
    limiter = make.from_report(report(**FAST), adaptive=True)
    hold(limiter, 0.0, 300, at_once=9)
    assert limiter.limit == 20
    hold(limiter, 0.0, 30, at_once=11)
    assert limiter.limit > 20


def test_shares_move_with_the_limit(make):
    limiter = make(20, shares={"batch": 0.5}, adaptive=report(**SLOW))
    hold(limiter, HELD, 60)
    with limiter.acquire(priority="batch", cost=2):
        with pytest.raises(wf.AtCapacity) as caught:
            limiter.acquire(priority="batch")
        assert (caught.value.reason, caught.value.limit) == ("share", 4)


def test_abandoned_permits_do_not_move_it(make):
    limiter = make(20, adaptive=report(**SLOW))
    for _ in range(20):
        permits = [limiter.acquire() for _ in range(20)]
        time.sleep(HELD)
        del permits
    assert limiter.limit == 20


def test_a_limit_set_by_hand_is_clamped_and_moves_on(make):
    limiter = make(20, adaptive=report(**SLOW))
    for value, expected in ((10, 10), (1, 4), (1000, 32)):
        limiter.limit = value
        assert limiter.limit == expected
    hold(limiter, HELD, 30)
    assert limiter.limit < 10
    with pytest.raises(ValueError, match="limit"):
        limiter.limit = 0


def test_a_limit_stays_within_its_bounds_among_threads(make):
    limiter, seen = make(20, shares={"batch": 0.5}, adaptive=report()), []

    def work():
        for i in range(2_000):
            permit = limiter.try_acquire(priority="batch")
            if permit is not None:
                permit.release()
            if i % 100 == 0:
                limiter.limit = 4 + i % 28
            seen.append(limiter.limit)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert min(seen) >= 4
    assert max(seen) <= 32
    assert limiter.in_use == 0


@given(
    st.integers(1, 100),
    st.integers(0, 100),
    st.integers(0, 100),
    st.floats(1e-6, 10),
    st.lists(st.tuples(st.floats(1e-7, 1e3), st.integers(0, 400)), max_size=50),
)
def test_the_law_stays_within_its_bounds_and_knows_the_direction(floor, more, yet, seconds, seen):
    limit, ceiling = floor + more, floor + more + yet
    law = read_adaptation(report(limit, floor, ceiling, seconds), limit)
    assert seconds <= law.target <= seconds * limit / floor * 1.000001
    now = float(limit)
    for median, in_use in seen:
        then = law.next_limit(now, median, in_use)
        assert floor <= then <= ceiling
        assert (then <= now) if median > law.target else (then >= now)
        assert math.isclose(then, now, rel_tol=0.026)
        now = then


@pytest.mark.parametrize(
    ("error", "message", "arguments"),
    [
        (TypeError, "adaptive must be a CapacityReport or None, got True", {"adaptive": True}),
        (ValueError, "limit=3 must be from 4 to 32", {"limit": 3, "adaptive": report()}),
        (ValueError, "limit=33 must be from 4 to 32", {"limit": 33, "adaptive": report()}),
    ],
)
def test_impossible_laws_are_refused_by_name(make, error, message, arguments):
    with pytest.raises(error, match=message):
        make(**({"limit": 20} | arguments))
    with pytest.raises(TypeError, match="adaptive must be a bool, got 1"):
        make.from_report(report(), adaptive=1)


def test_the_core_refuses_a_law_that_python_would_not_hand_it():
    core = wf._core.Limiter
    with pytest.raises(TypeError, match="the law must be a tuple or None"):
        core(1, ("a",), (1.0,), 3)
    for law in ((0, 3, 1.0), (4, 3, 1.0), (1, 3, 0.0), (1, 3, math.nan)):
        with pytest.raises(ValueError, match="the law must have a floor"):
            core(1, ("a",), (1.0,), law)
    with pytest.raises(TypeError):
        core(1, ("a",), (1.0,), (1, 3))
