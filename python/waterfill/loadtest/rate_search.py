"""The highest rate that is within the SLO: a ramp to bracket it, then halves of the bracket."""

from __future__ import annotations

import math
from collections.abc import Generator

from waterfill.loadtest.report import CapacityError
from waterfill.loadtest.step_plan import Findings, Measured, Steps, measure
from waterfill.loadtest.steps import Closed, Open, Seen

RESOLUTION = 1.03
"""A bracket whose ends are within this ratio is not halved any more."""

_SHARE = 0.75  # of the time and requests; the rest is for the sweep
_FEWEST = 800  # requests that a rate is judged by at last; half as many can hardly prove it
_ROUNDS = (4, 4, 8)  # lengths in steps, one after the other while it is unclear
_LOWEST = 32  # how far below the first rate to look

Decided = Generator[Open | Closed, Seen, bool]


class RateSearch:
    """Narrows the rate down between one that is within the SLO and one that is not.

    Rungs of the ramp that look good are not proved: a later one that is good proves them, too. The
    lower end of the bracket is proved before it is the answer.
    """

    def __init__(self, findings: Findings) -> None:
        self._findings, settings = findings, findings.settings
        self._short = (settings.step_seconds,)
        self._long = tuple(rounds * settings.step_seconds for rounds in _ROUNDS)
        self._likely: list[float] = []  # rungs that looked good, rising
        self._proved: float | None = None
        self._high: float | None = None

    def run(self) -> Steps:
        """Ramp up, and halve until the bracket is narrow and its lower end proved."""
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
        while rate < settings.most_rate:
            rate = min(2 * rate, settings.most_rate)
            if not (yield from self._looks_good(rate)):
                return
        self._findings.notes.append(f"most_rate={rate:g} is still within the SLO")

    def _looks_good(self, rate: float) -> Decided:
        """Offer a rung shortly; one that looks bad is looked at for longer."""
        rounds = yield from self._measured(rate, self._short)
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

    def _decide(self, rate: float) -> Decided:
        """Find out whether a rate is within the SLO; what stays unclear is not."""
        longer = max(1.0, _FEWEST / (rate * sum(self._long)))
        rounds = yield from self._measured(rate, tuple(longer * each for each in self._long))
        verdict = rounds.verdict()
        note = "backlog" if rounds.cut else ""
        self._findings.keep(rounds.step(verdict, "counts as bad" if verdict == "unclear" else note))
        if verdict == "good":
            self._likely = [each for each in self._likely if each > rate]
            self._proved = rate
            self._findings.rate = rate * (1 - rounds.step().refused)
            return True
        self._likely = [each for each in self._likely if each < rate]
        self._high = rate
        return False

    def _narrow(self) -> Steps:
        while True:
            low, high = self._low(), self._high
            if low is None or high is None or high <= RESOLUTION * low:
                return
            yield from self._decide(math.sqrt(low * high))

    def _descend(self) -> Steps:
        """Halve the lowest rate that was bad."""
        assert self._high is not None
        rate = self._high / 2
        if rate < self._findings.settings.rates[0] / _LOWEST:
            raise CapacityError(f"even {self._high:g} requests a second are not within the SLO")
        yield from self._decide(rate)

    def _measured(self, rate: float, lengths: tuple[float, ...]) -> Measured:
        return (yield from measure(self._findings, rate, lengths, _SHARE))
