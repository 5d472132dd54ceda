"""The simulated tail of a query to many shards."""

from __future__ import annotations

import numpy as np
import pytest

from waterfill.sizing import fan_out


def test_the_slowest_of_uniform_latencies_is_known():
    """The largest of s uniform values is below t with probability t^s."""
    latencies = np.linspace(0, 1, 100_001)
    for shards in (1, 10, 100):
        found = fan_out(latencies, shards)
        assert found.p50 == pytest.approx(0.5 ** (1 / shards), abs=0.02)
        assert found.p99 == pytest.approx(0.99 ** (1 / shards), abs=0.01)


def test_a_rare_delay_becomes_common_and_hedging_removes_it():
    """One answer in a hundred takes a second: of a hundred shards, 63 % of queries meet it."""
    latencies = np.r_[np.full(990, 0.010), np.full(10, 1.0)]
    found = fan_out(latencies, 100)
    assert (found.p50, found.p99) == (1.0, 1.0)
    assert (found.hedge_delay, found.hedge_share) == (0.010, 0.01)
    assert found.hedged_p50 == pytest.approx(0.020)
    assert fan_out(latencies, 1).p50 == 0.010


def test_hedging_never_delays():
    latencies = np.random.default_rng(0).lognormal(size=500)
    for shards in (1, 7, 300):
        found = fan_out(latencies, shards)
        assert found.hedged_p50 <= found.p50
        assert found.hedged_p99 <= found.p99


def test_equal_latencies_stay():
    found = fan_out([0.25], 40)
    assert (found.p50, found.p99, found.hedged_p99, found.hedge_share) == (0.25, 0.25, 0.25, 0)


@pytest.mark.parametrize(
    ("latencies", "message"),
    [
        ([], "a list of seconds, got shape"),
        ([[1.0]], "got shape"),
        ([1, np.nan], "negative value or NaN"),
        ([-1.0], "negative value or NaN"),
    ],
)
def test_other_latencies_are_refused(latencies, message):
    with pytest.raises(ValueError, match=message):
        fan_out(latencies, 3)


def test_other_arguments_are_refused():
    with pytest.raises(ValueError, match="shards"):
        fan_out([1.0], 0)
    with pytest.raises(ValueError, match="hedge_quantile"):
        fan_out([1.0], 2, hedge_quantile=1.5)
