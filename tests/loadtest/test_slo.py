"""Confidence bounds of shares, and verdicts."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from waterfill.loadtest.slo import bounds, combine_verdicts, design_effect, judge


@given(st.lists(st.booleans(), max_size=300))
def test_bounds_contain_the_share(happened):
    low, high = bounds(np.array(happened, dtype=bool))
    share = np.mean(happened) if happened else 0.0
    assert -1e-12 <= low <= share + 1e-12
    assert share - 1e-12 <= high <= 1 + 1e-12


@given(st.integers(1, 5000), st.floats(0.0, 0.5), st.integers(0, 1000))
def test_verdict_improves_with_the_allowed_share(n, share, seed):
    happened = np.random.default_rng(seed).random(n) < share
    order = ("bad", "unclear", "good")
    found = [order.index(judge(happened, allowed)) for allowed in (0.001, 0.01, 0.1, 0.9)]
    assert found == sorted(found)


def test_bounds_have_nominal_coverage():
    rng = np.random.default_rng(3)
    intervals = [bounds(rng.random(2000) < 0.01) for _ in range(1000)]
    assert np.mean([high < 0.01 for _, high in intervals]) < 0.11
    assert np.mean([low > 0.01 for low, _ in intervals]) < 0.11


def test_correlation_widens_the_bounds():
    rng = np.random.default_rng(4)
    alone = rng.random(8000) < 0.02
    bursts = np.repeat(rng.random(80) < 0.02, 100)
    assert design_effect(alone) < 4
    assert design_effect(bursts) > 20
    assert bounds(bursts)[1] > bounds(alone)[1]


def test_verdicts():
    assert judge(np.zeros(1000, bool), 0.01) == "good"
    assert judge(np.zeros(50, bool), 0.01) == "unclear"
    assert judge(np.ones(50, bool), 0.01) == "bad"
    assert judge([], 0.01) == judge([], 0) == "unclear"
    assert judge([False] * 3, 0) == "good"
    assert judge([False, True], 0) == "bad"


@pytest.mark.parametrize(
    ("verdicts", "expected"),
    [("good good", "good"), ("good unclear", "unclear"), ("unclear bad", "bad")],
)
def test_combined_verdicts(verdicts, expected):
    assert combine_verdicts(*verdicts.split()) == expected
