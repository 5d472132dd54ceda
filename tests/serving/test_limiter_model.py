"""Any sequence of requests, releases, dropped permits and limits, compared with a model."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from support import python_limiter

import waterfill as wf

SHARES = {"default": 1, "batch": 0.5, "idle": 0.2}
PRIORITIES = st.sampled_from(sorted(SHARES))


class Machine(RuleBasedStateMachine):
    kind: Any

    @initialize(limit=st.integers(1, 20))
    def start(self, limit):
        self.limit = limit
        self.limiter = self.kind(limit, shares=SHARES)
        self.held: list[tuple[Any, int]] = []
        self.ended: list[Any] = []
        self.counts = {name: dict.fromkeys(("admitted", "released"), 0) for name in SHARES}
        self.abandoned = self.refused = 0

    @property
    def in_use(self):
        return sum(cost for _, cost in self.held)

    def expected(self, priority, cost, deadline):
        if deadline is not None and deadline <= 0:
            return "deadline"
        if self.in_use + cost > self.limit:
            return "capacity"
        return "share" if self.in_use + cost > math.floor(SHARES[priority] * self.limit) else None

    @rule(priority=PRIORITIES, cost=st.integers(1, 8), deadline=st.sampled_from([None, 0, 1e6]))
    def acquire(self, priority, cost, deadline):
        reason, in_use = self.expected(priority, cost, deadline), self.in_use
        request = {"priority": priority, "cost": cost, "deadline": deadline}
        if reason is None:
            self.held.append((self.limiter.acquire(**request), cost))
            self.counts[priority]["admitted"] += 1
            return
        with pytest.raises(wf.AtCapacity) as caught:
            self.limiter.acquire(**request)
        error = caught.value
        assert (error.reason, error.limit, error.in_use) == (reason, self.limit, in_use)
        hopeless = deadline == 0 or cost > math.floor(SHARES[priority] * self.limit)
        assert (error.retry_after is None) == hopeless
        assert hopeless or error.retry_after > 0
        self.refused += 1

    @rule(priority=PRIORITIES, cost=st.integers(1, 8))
    def try_to_acquire(self, priority, cost):
        permit = self.limiter.try_acquire(priority=priority, cost=cost)
        assert (permit is None) == (self.expected(priority, cost, None) is not None)
        if permit is None:
            self.refused += 1
        else:
            self.held.append((permit, cost))
            self.counts[priority]["admitted"] += 1

    @rule(which=st.integers(0, 100))
    def release(self, which):
        if self.held:
            permit, _ = self.held.pop(which % len(self.held))
            assert permit.release()
            self.ended.append(permit)

    @rule(which=st.integers(0, 100))
    def release_again(self, which):
        if self.ended:
            assert not self.ended[which % len(self.ended)].release()

    @rule(which=st.integers(0, 100))
    def abandon(self, which):
        if self.held:
            del self.held[which % len(self.held)]
            self.abandoned += 1

    @rule(limit=st.integers(1, 20))
    def change(self, limit):
        self.limit = self.limiter.limit = limit

    @invariant()
    def nothing_is_lost(self):
        stats = self.limiter.stats()
        assert stats["in_use"] == self.limiter.in_use == self.in_use
        assert stats["limit"] == self.limiter.limit == self.limit
        assert stats["admitted"] == {name: one["admitted"] for name, one in self.counts.items()}
        assert sum(stats["released"].values()) == len(self.ended)
        assert sum(stats["abandoned"].values()) == self.abandoned
        assert sum(sum(one.values()) for one in stats["refused"].values()) == self.refused
        assert sum(stats["latency"]["counts"]) == len(self.ended)


class CoreMachine(Machine):
    kind = wf.Limiter


class PythonMachine(Machine):
    kind = python_limiter.PythonLimiter


TestCore = CoreMachine.TestCase
TestPython = PythonMachine.TestCase
TestCore.settings = TestPython.settings = settings(stateful_step_count=40)
