"""A driver that sends real requests, and reports the times of an idle machine."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from support.concurrency import PATIENCE

from waterfill.loadtest.capacity import make_driver
from waterfill.loadtest.steps import LOST, ClosedLoop, Driver, OpenLoop, Trace

ANSWER_SECONDS = 0.03


class PunctualDriver:
    """Sends each request when it is due, and has its answer 30 ms later.

    Requests, their order and their outcomes are those of another driver, on its clock. Only their
    times are not: what a test finds out does not depend on how busy the machine is.
    """

    def __init__(self, driver: Driver) -> None:
        self._driver = driver

    def run(self, step: OpenLoop | ClosedLoop) -> Trace:
        """Run a step without its limits of time and backlog."""
        if isinstance(step, OpenLoop):
            trace = self._driver.run(replace(step, max_pending=len(step.due) + 1))
            due = trace.due
        else:
            turns = math.ceil(step.seconds / ANSWER_SECONDS)
            requests = min(step.max_requests, step.in_flight * turns)
            trace = self._driver.run(replace(step, seconds=PATIENCE, max_requests=requests))
            due = np.arange(len(trace.due)) // step.in_flight * ANSWER_SECONDS
        ended = np.where(trace.outcome == LOST, np.inf, due + ANSWER_SECONDS)
        elapsed = float(ended.max(initial=0.0))
        return replace(trace, due=due, sent=due, ended=ended, cut=False, elapsed=elapsed)

    def close(self) -> None:
        """Close the other driver."""
        self._driver.close()


def make_punctual_drivers(monkeypatch: pytest.MonkeyPatch, module: str) -> None:
    """Let a module, which imports `make_driver`, get punctual drivers from it."""
    monkeypatch.setattr(f"{module}.make_driver", lambda target: PunctualDriver(make_driver(target)))
