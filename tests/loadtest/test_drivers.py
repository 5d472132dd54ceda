"""Drivers on the real clock, and arguments of capacity tests."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gc
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from support.concurrency import PATIENCE, until

import waterfill as wf
from waterfill.loadtest.capacity import make_driver
from waterfill.loadtest.steps import ANSWERED, FAILED, LOST, REFUSED, ClosedLoop, OpenLoop
from waterfill.loadtest.task_driver import TaskDriver
from waterfill.loadtest.thread_driver import Recorder, ThreadDriver


def plain(seconds=0.002, outcome=None):
    def target():
        time.sleep(seconds)
        if outcome is not None:
            raise outcome

    return target


def asynchronous(seconds=0.002, outcome=None):
    async def target():
        await asyncio.sleep(seconds)
        if outcome is not None:
            raise outcome

    return target


KINDS = pytest.mark.parametrize("kind", [plain, asynchronous], ids=["threads", "tasks"])


@pytest.fixture
def driver_for():
    """Return a function that makes drivers and closes them after the test."""
    drivers = []

    def make(target):
        drivers.append(make_driver(target))
        return drivers[-1]

    yield make
    for driver in drivers:
        driver.close()


@KINDS
def test_requests_are_sent_when_they_are_due(driver_for, kind):
    """Also while others are open: one after the other, they would take 50 seconds."""
    due = np.sort(np.random.default_rng(0).uniform(0, 0.5, 100))
    trace = driver_for(kind(0.5)).run(OpenLoop(due, 1000, 60))
    assert trace.due.tolist() == due.tolist()
    assert (trace.sent >= trace.due).all()
    assert (trace.ended >= trace.sent + 0.499).all()
    assert (trace.outcome == ANSWERED).all()
    assert not trace.cut
    assert np.median(trace.sent - trace.due) < 10


@KINDS
def test_latency_counts_from_the_due_time(driver_for, kind):
    """Requests that were due during a stall are slow, too."""
    lock, stalls = threading.Lock(), iter([0.3])

    def target():
        with lock:
            time.sleep(next(stalls, 0.0))

    async def blocking():
        target()

    trace = driver_for(target if kind is plain else blocking).run(
        OpenLoop(np.linspace(0.01, 0.3, 50), 1000, 30)
    )
    assert (trace.latency > 0.1).mean() > 0.5


@KINDS
def test_outcomes_of_requests(driver_for, kind):
    refusal = wf.AtCapacity(1, 1, None, "capacity")
    due = np.linspace(0, 0.05, 10)
    for outcome, expected in ((KeyError("x"), FAILED), (refusal, REFUSED)):
        trace = driver_for(kind(outcome=outcome)).run(OpenLoop(due, 1000, 30))
        assert (trace.outcome == expected).all()
        assert trace.error == ("KeyError: 'x'" if expected == FAILED else None)


@KINDS
def test_backlog_stops_sending_and_loses_requests(monkeypatch, driver_for, kind):
    begun, end = [], threading.Event()

    def target():
        begun.append(None)
        end.wait(PATIENCE)

    async def awaiting():
        begun.append(None)
        await asyncio.sleep(PATIENCE)

    finish = Recorder.trace

    def trace_of_all(recorder, cut):
        until(lambda: len(begun) == 20)  # a thread may begin after the driver has lost patience
        return finish(recorder, cut)

    monkeypatch.setattr(Recorder, "trace", trace_of_all)
    try:
        trace = driver_for(target if kind is plain else awaiting).run(
            OpenLoop(np.linspace(0, 0.2, 50), 20, 0.2)
        )
    finally:
        end.set()
    assert trace.cut
    assert len(trace.due) == 20
    assert (trace.outcome == LOST).all()
    assert np.isinf(trace.ended).all()


@KINDS
def test_closed_loop_keeps_the_number_in_flight(driver_for, kind):
    driver = driver_for(kind(0.01))
    trace = driver.run(ClosedLoop(4, 30, 100, 30))
    starts, ends = np.sort(trace.sent), np.sort(trace.ended)
    in_flight = [int((starts <= t).sum() - (ends <= t).sum()) for t in trace.sent]
    assert max(in_flight) <= 4
    assert len(trace.due) == 100
    assert len(driver.run(ClosedLoop(4, 30, 7, 30)).due) == 7
    assert len(driver.run(ClosedLoop(4, 0.1, 10**6, 30)).due) < 10**6  # no more are sent then


def test_refused_callers_pause(driver_for):
    refusing = driver_for(plain(0, wf.AtCapacity(1, 1, None, "capacity")))
    trace = refusing.run(ClosedLoop(2, 0.3, 10**6, 30))
    assert len(trace.due) <= 70


def test_threads_end():
    before = threading.active_count()
    driver = ThreadDriver(plain(0.001))
    driver.run(ClosedLoop(8, 0.1, 10**6, 30))
    driver.close()
    assert threading.active_count() <= before


def test_running_event_loop_is_not_blocked():
    async def main():
        with pytest.raises(RuntimeError, match="an event loop runs in this thread"):
            wf.capacity_test(asynchronous())

    asyncio.run(main())


def test_task_driver_enters_and_exits_the_target():
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


@pytest.mark.parametrize("step", [ClosedLoop(1, 1, 9, 30), OpenLoop(np.arange(5) / 50, 9, 30)])
def test_an_interrupt_in_a_request_is_raised_once(step, caplog):
    """The event loop raises it; the task that it hit reports it no more when it is deleted."""

    async def interrupted():
        raise KeyboardInterrupt

    driver = TaskDriver(interrupted)
    with pytest.raises(KeyboardInterrupt):
        driver.run(step)
    driver.close()
    del driver
    gc.collect()
    assert caplog.records == []


def test_driver_for_each_kind_of_target():
    assert isinstance(make_driver(functools.partial(plain(), 1)), ThreadDriver)
    tasks = make_driver(functools.partial(asynchronous()))
    assert isinstance(tasks, TaskDriver)
    tasks.close()


def test_unawaited_coroutine_is_an_error():
    with pytest.raises(wf.loadtest.CapacityError, match="target returned a coroutine"):
        wf.capacity_test(lambda: asynchronous()(), step_seconds=60, max_requests=5)


def capacity_of_two_servers(on_step):
    """The report of a service that takes 5 ms for an answer."""
    with ThreadPoolExecutor(2) as servers:
        return wf.capacity_test(
            lambda: servers.submit(time.sleep, 0.005).result(),
            rates=[20, 100],
            step_seconds=0.4,
            slo=wf.loadtest.Slo(0.15, errors=0.05),
            max_seconds=8,
            tolerance=0.15,
            on_step=on_step,
        )


def test_capacity_test_of_a_real_service():
    """Two servers of 5 ms each answer at most 400 requests per second."""
    end = time.monotonic() + PATIENCE
    while True:
        steps = []
        try:
            report = capacity_of_two_servers(steps.append)
        except wf.loadtest.CapacityError:  # right, while the machine is busy with something else
            if time.monotonic() > end:
                raise
        else:
            enough = report.rate > 10 and report.throughput > 20
            if enough or time.monotonic() > end:
                break
    assert 10 < report.rate < 450
    assert 20 < report.throughput < 450
    assert 1 <= report.floor <= report.limit <= report.ceiling < 80
    assert 0.004 < report.unloaded < 2
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
        (ValueError, r"rates: expected ascending values, got \[2.0, 1.0\]", {"rates": [2, 1]}),
        (TypeError, "slo must be a waterfill.loadtest.Slo, got 0.2", {"slo": 0.2}),
        (ValueError, "step_seconds=0 must be above 0", {"step_seconds": 0}),
        (ValueError, "max_seconds=inf must be finite", {"max_seconds": float("inf")}),
        (ValueError, "max_requests=0 must be at least 1", {"max_requests": 0}),
        (ValueError, "seed=-1 must be at least 0", {"seed": -1}),
        (TypeError, "max_in_flight must be an int, got 1.5", {"max_in_flight": 1.5}),
    ],
)
def test_invalid_arguments_raise(error, message, arguments):
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
def test_invalid_objectives_raise(error, message, arguments):
    with pytest.raises(error, match=message):
        wf.loadtest.Slo(**arguments)


def test_a_task_that_does_not_end_does_not_keep_the_loop_open():
    release, calls = asyncio.Event(), []

    async def stubborn():
        calls.append(None)
        if len(calls) > 1:
            raise KeyboardInterrupt
        for _ in range(2):  # the first cancellation has no effect
            with contextlib.suppress(asyncio.CancelledError):
                await release.wait()

    driver = TaskDriver(stubborn)
    with pytest.raises(KeyboardInterrupt):
        driver.run(ClosedLoop(2, 1, 9, 30))
    driver.close()
    assert len(calls) == 2
