"""The search for the highest rate within the SLO: a ramp that brackets it, then bisection."""

from __future__ import annotations

import math
from collections.abc import Generator

from waterfill.loadtest.figures import Rounds
from waterfill.loadtest.report import CapacityError
from waterfill.loadtest.step_plan import Findings, Steps, measure
from waterfill.loadtest.steps import ClosedLoop, OpenLoop, Trace

RESOLUTION = 1.03
"""Bisection stops when the ends of the bracket are within this ratio."""

_BUDGET_SHARE = 0.75  # of time and requests; the rest is left to the concurrency sweep
_MIN_REQUESTS = 800  # to decide about a rate; half of them can hardly prove it
_ROUND_STEPS = (4, 4, 8)  # length of successive rounds, in steps, while the verdict is unclear
_MAX_DESCENT = 32  # how far below the first rate the search goes

Decision = Generator[OpenLoop | ClosedLoop, Trace, bool]


class RateSearch:
    """Narrows the bracket between a rate that is within the SLO and one that is not.

    A rate of the ramp that looks good is not proved; a higher one that is good proves it as well.
    The lower end of the bracket is always proved before it becomes the result.
    """

    def __init__(self, findings: Findings) -> None:
        self._findings, settings = findings, findings.settings
        self._short_rounds = (settings.step_seconds,)
        self._long_rounds = tuple(steps * settings.step_seconds for steps in _ROUND_STEPS)
        self._likely: list[float] = []  # rates of the ramp that looked good, ascending
        self._proved: float | None = None
        self._high: float | None = None

    def run(self) -> Steps:
        """Ramp up, then bisect until the bracket is narrow and its lower end proved."""
        yield from self._ramp()
        while True:
            yield from self._narrow()
            low = self._low()
            if low is None:
                yield from self._descend()
            elif low == self._proved:
                return
            else:
                yield from self._decide(low)

    def _low(self) -> float | None:
        known = [*self._likely, *([] if self._proved is None else [self._proved])]
        return max(known, default=None)

    def _ramp(self) -> Steps:
        settings = self._findings.settings
        for rate in settings.rates:
            if not (yield from self._looks_good(rate)):
                return
        rate = settings.rates[-1]
        while rate < settings.max_rate:
            rate = min(2 * rate, settings.max_rate)
            if not (yield from self._looks_good(rate)):
                return
        self._findings.notes.append(f"max_rate={rate:g} is still within the SLO")

    def _looks_good(self, rate: float) -> Decision:
        """Offer a rate for a short round; if it looks bad, decide by longer ones."""
        rounds = yield from measure(self._findings, rate, self._short_rounds, _BUDGET_SHARE)
        verdict = rounds.verdict()
        if verdict == "bad" or (verdict == "unclear" and not rounds.within()):
            if verdict == "bad" and rounds.cut:
                self._high = rate
                self._findings.keep(rounds.step("bad", "backlog"))
                return False
            return (yield from self._decide(rate))
        self._findings.keep(rounds.step(verdict))
        self._likely.append(rate)
        self._findings.likely = rate
        return True

    def _decide(self, rate: float) -> Decision:
        """Decide whether a rate is within the SLO; a verdict that stays unclear counts as bad."""
        stretch = max(1.0, _MIN_REQUESTS / (rate * sum(self._long_rounds)))
        lengths = tuple(stretch * seconds for seconds in self._long_rounds)
        rounds = yield from measure(self._findings, rate, lengths, _BUDGET_SHARE)
        verdict = rounds.verdict()
        self._findings.keep(rounds.step(verdict, _note(rounds)))
        if verdict == "good":
            self._likely = [other for other in self._likely if other > rate]
            self._proved = rate
            self._findings.rate = rate * (1 - rounds.step().refused)
            return True
        self._likely = [other for other in self._likely if other < rate]
        self._high = rate
        return False

    def _narrow(self) -> Steps:
        while True:
            low, high = self._low(), self._high
            if low is None or high is None or high <= RESOLUTION * low:
                return
            yield from self._decide(math.sqrt(low * high))

    def _descend(self) -> Steps:
        """Try half of the lowest rate that was bad."""
        assert self._high is not None
        rate = self._high / 2
        if rate < self._findings.settings.rates[0] / _MAX_DESCENT:
            raise CapacityError(f"even {self._high:g} requests per second are not within the SLO")
        yield from self._decide(rate)


def _note(rounds: Rounds) -> str:
    if rounds.verdict() == "unclear":
        return "counts as bad"
    return "backlog" if rounds.cut else ""
