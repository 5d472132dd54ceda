"""Rate and limits found by a capacity test on a simulated clock."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from support.load_steps import DEFAULTS, report_of
from support.simulated_service import SimulatedService, constant, exponential, lognormal

import waterfill as wf
from waterfill.loadtest.capacity import CapacityTest, read_settings
from waterfill.loadtest.concurrency_sweep import concurrency_levels
from waterfill.loadtest.steps import ANSWERED, FAILED, LOST, ClosedLoop, OpenLoop

# Servers, how long they take, and the rate at which 1 % of requests take more than 0.2 s, by
# simulations of 400,000 requests in bench/capacity.py.
KNOWN = {
    "M/M/4": (4, exponential(0.03), 105.7),
    "M/D/2": (2, constant(0.04), 37.9),
    "M/D/8": (8, constant(0.1), 62.3),
    "M/G/8": (8, lognormal(0.05, 0.5), 139.2),
}


def test_rate_is_close_to_the_true_one():
    close = dict.fromkeys(KNOWN, 0)
    for name, (servers, draw, truth) in KNOWN.items():
        for seed in range(12):
            report = report_of(SimulatedService(servers, draw, seed=100 + seed), seed=seed)
            close[name] += abs(report.rate / truth - 1) <= 0.1
    assert sum(close.values()) >= 41, close  # of 48; of 60 seeds the bench finds 54 and more
    assert min(close.values()) >= 9, close


def test_test_is_deterministic():
    def report(seed):
        return report_of(SimulatedService(4, exponential(0.03), seed=1), seed=seed)

    first, repeated = report(5), report(5)
    assert first.steps == repeated.steps
    assert first.steps != report(6).steps


def test_sweep_finds_the_knee_and_the_limit():
    report = report_of(SimulatedService(8, constant(0.02), seed=2))
    assert report.complete
    assert report.floor == 8
    assert report.unloaded == pytest.approx(0.02)
    assert report.throughput == pytest.approx(400, rel=0.03)
    assert 70 <= report.limit <= report.ceiling <= 81  # 80 wait for 0.2 s
    assert 340 < report.rate < 400


def test_search_descends_from_a_first_rate_that_is_too_high():
    report = report_of(SimulatedService(1, constant(0.03)), rates=[100, 200])
    assert 15 < report.rate < 28
    assert min(step.offered for step in report.steps if step.offered) < 28


def test_search_doubles_a_last_rate_that_is_good():
    report = report_of(SimulatedService(16, constant(0.01)), rates=[10, 20], max_requests=10**7)
    assert 1300 < report.rate < 1600
    capped = report_of(SimulatedService(16, constant(0.01)), rates=[10, 20], max_rate=100)
    assert capped.rate == 100
    assert "max_rate=100 is still within the SLO" in capped.notes


def test_refused_requests_count_against_a_rate():
    service = SimulatedService(2, constant(0.02), limit=3)
    report = report_of(service)
    # Waits are short, so refusals alone bound the rate: with room for 3, few requests are refused
    # at a third of the capacity of two servers.
    assert report.rate < 50
    assert any(step.refused > 0.01 and step.verdict == "bad" for step in report.steps)


def test_unreachable_slo_is_an_error():
    with pytest.raises(wf.loadtest.CapacityError, match="one request at a time takes 300 ms"):
        report_of(SimulatedService(4, constant(0.3)))
    with pytest.raises(wf.loadtest.CapacityError, match=r"even .* are not within the SLO"):
        report_of(SimulatedService(4, exponential(0.1)), max_seconds=1e6)


def test_time_and_requests_are_bounded():
    service = SimulatedService(4, exponential(0.03))
    for bound in ({"max_seconds": 300}, {"max_requests": 30_000}):
        report = report_of(service, **bound)
        assert not report.complete
        assert report.seconds <= 330
        assert report.requests <= 31_000 or "max_seconds" in bound
        assert any(f"{name}={value} was not enough" in report.notes for name, value in
                   bound.items())  # fmt: skip
        assert report.floor <= report.limit <= report.ceiling
    with pytest.raises(wf.loadtest.CapacityError, match="max_seconds=14 was not enough"):
        report_of(service, max_seconds=14)


def test_a_test_is_complete_only_at_its_end():
    """What stops it during the sweep, the last part, leaves an incomplete report."""
    service = SimulatedService(4, exponential(0.03))
    test = CapacityTest(read_settings(**DEFAULTS))

    def stop(number, step, trace):
        if isinstance(step, ClosedLoop) and step.in_flight >= 4:
            raise wf.loadtest.CapacityError("broken")
        return trace

    with pytest.raises(wf.loadtest.CapacityError, match="broken"):
        test.run(Distorted(service, stop))
    report = test.report()
    assert report.rate == test.findings.rate > 0  # the search had found it
    assert not report.complete
    with pytest.raises(ValueError, match="report: expected the report of a complete capacity"):
        report.require_complete()


def test_backlog_stops_a_step_early():
    service = SimulatedService(1, constant(0.1))
    due = np.sort(np.random.default_rng(0).uniform(0, 100, 10_000))
    trace = service.run(OpenLoop(due, 64, 30))
    assert trace.cut
    assert len(trace.due) < 200
    assert trace.elapsed < 10


class Distorted:
    """A driver whose traces are changed by a function."""

    def __init__(self, service, distort):
        self.service, self.distort, self.steps = service, distort, 0

    def run(self, step):
        self.steps += 1
        return self.distort(self.steps, step, self.service.run(step))

    def close(self):
        pass


def sent_late(trace, seconds):
    return dataclasses.replace(trace, sent=trace.due + seconds, ended=trace.ended + seconds)


def test_late_generator_is_reported():
    def always(number, step, trace):
        return sent_late(trace, 0.05) if isinstance(step, OpenLoop) else trace

    with pytest.raises(wf.loadtest.GeneratorLateError, match=r"100.0 % of 10 requests per second"):
        report_of(Distorted(SimulatedService(4, constant(0.03)), always))

    def once(number, step, trace):
        return sent_late(trace, 0.05) if number == 2 else trace

    report = report_of(Distorted(SimulatedService(4, constant(0.03)), once))
    assert report.steps[1].note == "generator late"
    assert report.steps[1].late == 1
    assert report.steps[2].note == ""


def test_late_generator_keeps_earlier_results():
    def above(number, step, trace):
        fast = isinstance(step, OpenLoop) and len(step.due) / step.due[-1] > 140
        return sent_late(trace, 0.05) if fast else trace

    test = CapacityTest(read_settings(**(DEFAULTS | {"rates": (10, 80, 150)})))
    with pytest.raises(wf.loadtest.GeneratorLateError):
        test.run(Distorted(SimulatedService(32, constant(0.03)), above))
    assert test.findings.steps[-1].in_flight is not None  # the sweep was run


def test_errors_and_lost_requests():
    def failing(number, step, trace):
        outcome = np.where(np.arange(len(trace.due)) % 20 == 0, FAILED, ANSWERED).astype(np.uint8)
        busy = isinstance(step, OpenLoop) and len(step.due) / step.due[-1] > 60
        if not busy:
            return trace
        return dataclasses.replace(trace, outcome=outcome, error="KeyError: 1")

    report = report_of(Distorted(SimulatedService(8, constant(0.02)), failing))
    assert report.rate <= 62
    assert max(step.errors for step in report.steps) == pytest.approx(0.05, abs=0.01)

    def silent(number, step, trace):
        return dataclasses.replace(
            trace,
            ended=np.full(len(trace.due), math.inf),
            outcome=np.full(len(trace.due), LOST, np.uint8),
            elapsed=30.0,
        )

    with pytest.raises(wf.loadtest.CapacityError, match="without an answer"):
        report_of(Distorted(SimulatedService(8, constant(0.02)), silent))


def test_concurrency_levels():
    assert list(concurrency_levels(17)) == [1, 2, 3, 4, 6, 8, 12, 16]
    assert list(concurrency_levels(1)) == [1]
