"""Counts that go on when what counted is gone."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from waterfill.metrics import BOUNDS, Histogram
from waterfill.metrics.counting import Running

KEY = ("waterfill_requests_total", "a", "default", "admitted")
TIMES = ("waterfill_request_seconds", "a")
NOTHING = Histogram((0,) * (len(BOUNDS) + 1), 0)


@given(st.lists(st.one_of(st.none(), st.lists(st.integers(0, 5), max_size=6)), max_size=8))
def test_running_counts_are_those_of_all_that_ever_were(lives):
    """Each life is a limiter that counts in steps, and is gone for a while if it is None."""
    running, ended = Running(), 0
    for life in lives:
        own = 0
        for step in life or ():
            own += step
            table = {KEY: own, TIMES: Histogram((own, *NOTHING.counts[1:]), 7 * own)}
            found = running.follow(table)
            assert found[TIMES] == Histogram((found[KEY], *NOTHING.counts[1:]), 7 * found[KEY])
            assert found[KEY] >= own
        ended += own
        found = running.follow({})
        assert found.get(KEY, 0) == ended
