"""Advice of the retraining policy."""

from __future__ import annotations

import json
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from waterfill.drift.retrain_policy import Cost, RetrainPolicy

LIMIT = 0.01


def cost(gap: float, width: float = 0.005, measured: bool = True) -> Cost:
    return Cost(0.8, 0.8 + gap, gap, gap - width, gap + width, 1500, measured, "made for a test")


LOST, KEPT, UNSURE = cost(0.05), cost(0.001), cost(0.02, 0.015)
BY_ERROR = cost(0.2, 0.2, measured=False)


class Policies(RuleBasedStateMachine):
    """A policy, compared with a model that keeps all costs since the last training."""

    @initialize(persist=st.integers(1, 4), cooldown=st.integers(0, 4))
    def start(self, persist, cooldown):
        self.policy = RetrainPolicy(LIMIT, persist, cooldown)
        self.costs = []
        self.cooling = 0

    @rule(cost=st.sampled_from([LOST, KEPT, UNSURE, BY_ERROR]))
    def check(self, cost):
        decision = self.policy.decide(cost)
        if self.cooling > 0:
            self.cooling -= 1
            assert not decision.retrain
            assert not decision.measure
            return
        if cost.measured:
            self.costs.append(cost)
        last = self.costs[-self.policy.persist :]
        due = cost.measured and len(last) == self.policy.persist and last.count(LOST) == len(last)
        assert decision.retrain == due
        assert decision.measure == (cost is BY_ERROR)
        assert decision.reason == str(decision)

    @rule()
    def retrained(self):
        self.policy.retrained()
        self.costs, self.cooling = [], self.policy.cooldown

    @rule()
    def stored_and_read(self):
        self.policy = RetrainPolicy.from_dict(json.loads(json.dumps(self.policy.to_dict())))

    @rule()
    def pickled(self):
        self.policy = pickle.loads(pickle.dumps(self.policy))

    @invariant()
    def settings_stay(self):
        assert self.policy.max_recall_loss == LIMIT


TestPolicies = Policies.TestCase


@given(
    st.floats(0, 1),
    st.floats(-1, 1),
    st.floats(0, 1),
    st.booleans(),
)
def test_only_an_interval_above_the_limit_advises_retraining(limit, gap, width, measured):
    policy = RetrainPolicy(limit, persist=1)
    checked = cost(gap, width, measured)
    assert policy.decide(checked).retrain == (measured and checked.gap_low > limit)


def test_reasons():
    policy = RetrainPolicy(LIMIT, persist=2, cooldown=1)
    assert "within the tolerated 0.01" in policy.decide(KEPT).reason
    assert "not certain" in policy.decide(UNSURE).reason
    assert "positive check 1 of 2" in policy.decide(LOST).reason
    assert "a loss of 0.200 of recall: measure" in policy.decide(BY_ERROR).reason
    assert (
        "an estimate, not a measurement" in policy.decide(cost(0.004, 0.004, measured=False)).reason
    )
    advised = policy.decide(LOST)
    assert advised.retrain
    assert "win back 0.050 of recall (0.045 to 0.055)" in advised.reason
    policy.retrained()
    assert "in the cooldown after retraining" in policy.decide(LOST).reason
    assert not policy.decide(LOST).retrain
    assert policy.decide(LOST).retrain


def test_invalid_arguments_raise():
    for name, value in (("max_recall_loss", -0.1), ("max_recall_loss", 1.5), ("persist", 0)):
        with pytest.raises(ValueError, match=name):
            RetrainPolicy(**{name: value})
    with pytest.raises(ValueError, match="cooldown=-1"):
        RetrainPolicy(cooldown=-1)
    for name in ("max_recall_loss", "persist", "cooldown"):
        with pytest.raises(TypeError, match=name):
            RetrainPolicy(**{name: "much"})
    with pytest.raises(TypeError, match="cost must be a Cost, got float"):
        RetrainPolicy().decide(0.05)
    good = RetrainPolicy().to_dict()
    for bad in ({}, [], None, {**good, "persist": "two"}):
        with pytest.raises(ValueError, match="expected what to_dict"):
            RetrainPolicy.from_dict(bad)
    with pytest.raises(ValueError, match="streak=-1"):
        RetrainPolicy.from_dict({**good, "streak": -1})
