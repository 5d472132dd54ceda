"""Threads, tasks and the real clock; arguments of capacity tests."""

from __future__ import annotations

import asyncio
import functools
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import waterfill as wf
from waterfill.loadtest.capacity import make_driver
from waterfill.loadtest.steps import ANSWERED, FAILED, LOST, REFUSED, ClosedLoop, OpenLoop
from waterfill.loadtest.task_driver import TaskDriver
from waterfill.loadtest.thread_driver import ThreadDriver


def plain(seconds=0.002, outcome=None):
    def target():
        time.sleep(seconds)
        if outcome is not None:
            raise outcome

    return target


def awaited(seconds=0.002, outcome=None):
    async def target():
        await asyncio.sleep(seconds)
        if outcome is not None:
            raise outcome

    return target


KINDS = pytest.mark.parametrize("kind", [plain, awaited], ids=["threads", "tasks"])


@pytest.fixture
def driven():
    """A function that makes a driver, which is closed after the test."""
    made = []

    def make(target):
        made.append(make_driver(target))
        return made[-1]

    yield make
    for driver in made:
        driver.close()


@KINDS
def test_requests_are_sent_when_they_are_due(driven, kind):
    due = np.sort(np.random.default_rng(0).uniform(0, 0.5, 100))
    trace = driven(kind()).run(OpenLoop(due, 1000, 30))
    assert trace.due.tolist() == due.tolist()
    assert (trace.sent >= trace.due).all()
    assert (trace.ended >= trace.sent + 0.0019).all()
    assert (trace.outcome == ANSWERED).all()
    assert not trace.cut
    assert np.median(trace.sent - trace.due) < 0.1


@KINDS
def test_a_stall_shows_in_what_was_due_meanwhile(driven, kind):
    """Latency counts from when a request was due: those behind a stall are slow as well."""
    lock, stalls = threading.Lock(), iter([0.3])

    def target():
        with lock:
            time.sleep(next(stalls, 0.0))

    async def blocking():
        target()

    trace = driven(target if kind is plain else blocking).run(
        OpenLoop(np.linspace(0.01, 0.3, 50), 1000, 30)
    )
    assert (trace.latency > 0.1).mean() > 0.5


@KINDS
def test_what_becomes_of_requests(driven, kind):
    refusal = wf.AtCapacity(1, 1, None, "capacity")
    due = np.linspace(0, 0.05, 10)
    for outcome, expected in ((KeyError("x"), FAILED), (refusal, REFUSED)):
        trace = driven(kind(outcome=outcome)).run(OpenLoop(due, 1000, 30))
        assert (trace.outcome == expected).all()
        assert trace.error == ("KeyError: 'x'" if expected == FAILED else None)


@KINDS
def test_sending_stops_for_a_backlog_and_for_what_never_ends(monkeypatch, driven, kind):
    monkeypatch.setattr("waterfill.loadtest.thread_driver._CLOSE_SECONDS", 0.01)
    trace = driven(kind(3)).run(OpenLoop(np.linspace(0, 0.2, 50), 20, 0.2))
    assert trace.cut
    assert len(trace.due) == 20
    assert (trace.outcome == LOST).all()
    assert np.isinf(trace.ended).all()


@KINDS
def test_so_many_are_kept_in_flight(driven, kind):
    driver = driven(kind(0.01))
    trace = driver.run(ClosedLoop(4, 0.5, 10_000, 30))
    starts, ends = np.sort(trace.sent), np.sort(trace.ended)
    in_flight = [int((starts <= t).sum() - (ends <= t).sum()) for t in (0.1, 0.2, 0.3)]
    assert max(in_flight) <= 4
    assert len(trace.due) > 20
    assert len(driver.run(ClosedLoop(4, 5, 7, 30)).due) == 7


def test_refused_callers_pause(driven):
    refusing = driven(plain(0, wf.AtCapacity(1, 1, None, "capacity")))
    trace = refusing.run(ClosedLoop(2, 0.3, 10**6, 30))
    assert len(trace.due) <= 70


def test_threads_end():
    before = threading.active_count()
    driver = ThreadDriver(plain(0.001))
    driver.run(ClosedLoop(8, 0.1, 10**6, 30))
    driver.close()
    assert threading.active_count() <= before


def test_an_event_loop_that_runs_is_not_held_up():
    async def main():
        with pytest.raises(RuntimeError, match="an event loop runs in this thread"):
            wf.capacity_test(awaited())

    asyncio.run(main())


def test_tasks_enter_and_leave_what_they_ask():
    class Target:
        state = ()

        async def __aenter__(self):
            self.state += ("in",)

        async def __aexit__(self, *error):
            self.state += ("out",)

        async def __call__(self):
            pass

    target = Target()
    driver = TaskDriver(target)
    for _ in range(2):
        driver.run(ClosedLoop(1, 0.01, 3, 30))
    driver.close()
    driver.close()
    assert target.state == ("in", "out")


def test_which_driver():
    assert isinstance(make_driver(functools.partial(plain(), 1)), ThreadDriver)
    tasks = make_driver(functools.partial(awaited()))
    assert isinstance(tasks, TaskDriver)
    tasks.close()


def test_a_coroutine_that_nobody_awaits_is_an_error():
    with pytest.raises(wf.loadtest.CapacityError, match="target returned a coroutine"):
        wf.capacity_test(lambda: awaited()(), step_seconds=0.1)


def test_a_real_service_from_end_to_end():
    """Two servers of 5 ms each: some 400 a second at most."""
    steps = []
    with ThreadPoolExecutor(2) as servers:
        report = wf.capacity_test(
            lambda: servers.submit(time.sleep, 0.005).result(),
            rates=[20, 100],
            step_seconds=0.4,
            slo=wf.loadtest.Slo(0.15, errors=0.05),
            max_seconds=8,
            tolerance=0.15,
            on_step=steps.append,
        )
    assert 10 < report.rate < 450
    assert 100 < report.throughput < 450
    assert 1 <= report.floor <= report.limit <= report.ceiling < 80
    assert 0.004 < report.unloaded < 0.1
    assert tuple(steps) == report.steps[: len(steps)]
    assert len(report.steps) - len(steps) <= 1
    assert report.machine["cpus"] >= 1
    assert report.requests >= sum(step.requests for step in report.steps)


@pytest.mark.parametrize(
    ("error", "message", "arguments"),
    [
        (TypeError, "target must be a function or a Url, got 3", {"target": 3}),
        (TypeError, "target must be a function or a Url, got <class 'int'>", {"target": int}),
        (TypeError, r"rates must be a non-empty sequence of numbers, got \[\]", {"rates": []}),
        (TypeError, r"rates\[1\] must be a number, got 'a'", {"rates": [1, "a"]}),
        (ValueError, r"rates\[0\]=0 must be above 0", {"rates": [0]}),
        (ValueError, r"rates=\[2.0, 1.0\] must rise", {"rates": [2, 1]}),
        (TypeError, "slo must be a waterfill.loadtest.Slo, got 0.2", {"slo": 0.2}),
        (ValueError, "step_seconds=0 must be above 0", {"step_seconds": 0}),
        (ValueError, "max_seconds=inf must be finite", {"max_seconds": float("inf")}),
        (ValueError, "max_requests=0 must be at least 1", {"max_requests": 0}),
        (ValueError, "seed=-1 must be at least 0", {"seed": -1}),
        (TypeError, "max_in_flight must be an int, got 1.5", {"max_in_flight": 1.5}),
    ],
)
def test_impossible_tests_are_refused_by_name(error, message, arguments):
    with pytest.raises(error, match=message):
        wf.capacity_test(**({"target": plain()} | arguments))


@pytest.mark.parametrize(
    ("error", "message", "arguments"),
    [
        (ValueError, "p99=0 must be above 0 seconds", {"p99": 0}),
        (TypeError, "p99 must be a number, got '1'", {"p99": "1"}),
        (ValueError, "errors=1 must be below 1", {"errors": 1}),
        (ValueError, "errors=-0.1 must be at least 0", {"errors": -0.1}),
    ],
)
def test_impossible_objectives_are_refused_by_name(error, message, arguments):
    with pytest.raises(error, match=message):
        wf.loadtest.Slo(**arguments)
