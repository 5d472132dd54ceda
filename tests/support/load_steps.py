"""Tests of simulated services, in no time."""

from __future__ import annotations

import waterfill as wf
from waterfill.loadtest.capacity_test import CapacityTest, finished, read_settings

USUAL = {
    "rates": (10, 20, 40, 80, 150),
    "step_seconds": 10.0,
    "slo": wf.loadtest.Slo(0.2),
    "max_seconds": 1200.0,
    "max_requests": 1_000_000,
    "most_rate": 10_000.0,
    "most_in_flight": 512,
    "tolerance": None,
    "seed": 0,
}


def on_clock(service, **asked) -> wf.loadtest.CapacityReport:
    """The report of a test by a driver."""
    test = CapacityTest(read_settings(**(USUAL | asked)))
    test.run(service)
    return finished(test)
