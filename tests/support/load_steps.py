"""Capacity tests with the default settings, against simulated services."""

from __future__ import annotations

import waterfill as wf
from waterfill.loadtest.capacity import CapacityTest, final_report, read_settings

DEFAULTS = {
    "rates": (10, 20, 40, 80, 150),
    "step_seconds": 10.0,
    "slo": wf.loadtest.Slo(0.2),
    "max_seconds": 1200.0,
    "max_requests": 1_000_000,
    "max_rate": 10_000.0,
    "max_in_flight": 512,
    "tolerance": None,
    "seed": 0,
}


def report_of(driver, **settings) -> wf.loadtest.CapacityReport:
    """The report of a capacity test by this driver."""
    test = CapacityTest(read_settings(**(DEFAULTS | settings)))
    test.run(driver)
    return final_report(test)
