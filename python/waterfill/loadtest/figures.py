"""Figures of a step: what was asked for, what came of it, and whether that is within the SLO."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from waterfill.loadtest.slo import SLOW, Slo, Verdict, judge, together
from waterfill.loadtest.steps import ANSWERED, FAILED, LOST, REFUSED, Seen

WARM_UP = 0.2
"""The part of each round that is left out."""


@dataclass(frozen=True)
class Step:
    """One rate, or one number in flight, of a capacity test.

    Attributes
    ----------
    kind : {'open', 'closed'}
        Requests at random times at a rate, or some in flight at all times.
    offered : float or None
        Requests a second that were due, of an open step.
    in_flight : int or None
        Of a closed step.
    seconds : float
        That the figures are of, warm-up left out.
    requests : int
        That the figures are of.
    achieved : float
        Answers a second.
    goodput : float
        Answers a second that came within the SLO's p99.
    p50, p99 : float or None
        Seconds until an answer, from when its request was due. None where there was no answer.
    slow, errors, refused : float
        Shares: of answers slower than the SLO's p99, and of requests that failed or were refused.
    late : float
        Share of requests that were sent later than they were due by more than the tolerance.
    verdict : {'good', 'bad', 'unclear'}
        Whether the SLO is kept. What is unclear to the end counts as bad.
    note : str
        What else there is to say: "generator late" of a round that was made again, "backlog" where
        sending was stopped early, "counts as bad" where it stayed unclear.
    """

    kind: str
    offered: float | None
    in_flight: int | None
    seconds: float
    requests: int
    achieved: float
    goodput: float
    p50: float | None
    p99: float | None
    slow: float
    errors: float
    refused: float
    late: float
    verdict: Verdict
    note: str = ""


@dataclass
class Rounds:
    """All that was seen of one rate, or of one number in flight.

    Attributes
    ----------
    slo : Slo
    tolerance : float
        Seconds that a request may be sent after it was due.
    cut : bool
        Whether sending was stopped for a backlog.
    """

    slo: Slo
    tolerance: float
    offered: float | None = None
    in_flight: int | None = None
    cut: bool = False
    seconds: float = 0.0
    _came: int = 0  # answers within these seconds
    _seen: list[Seen] = field(default_factory=list)
    _kept: list[NDArray[np.bool_]] = field(default_factory=list)

    def add(self, seen: Seen, seconds: float) -> None:
        """Take a round of so many seconds in, without its warm-up."""
        end = float(seen.sent[-1]) if seen.cut and len(seen.sent) else seconds
        first = 0.0 if seen.cut else WARM_UP * end
        came = (seen.outcome == ANSWERED) & (seen.ended >= first) & (seen.ended <= end)
        self._came += int(came.sum())
        self._seen.append(seen)
        self._kept.append(seen.due >= first)
        self.seconds += max(end - first, 1e-9)
        self.cut |= seen.cut

    def verdict(self, *, from_sent: bool = False) -> Verdict:
        """Judge; `from_sent` counts from when requests were sent instead of when they were due."""
        if self.cut and not from_sent:
            return "bad"
        answered = self._answered()
        if not answered.any():
            return "bad" if len(answered) else "unclear"
        waits = self._waits("sent" if from_sent else "due")[answered]
        outcome = self._outcome()
        return together(
            judge(waits > self.slo.p99, SLOW),
            judge((outcome == FAILED) | (outcome == LOST), self.slo.errors),
            judge(outcome == REFUSED, self.slo.errors),
        )

    def within(self) -> bool:
        """Tell whether shares as they were seen are within the SLO, however few requests."""
        step = self.step()
        vain = max(step.errors, step.refused)
        return not self.cut and step.slow <= SLOW and vain <= self.slo.errors and step.achieved > 0

    def late(self) -> float:
        """Return the share of requests that were sent too late."""
        late = self._waits("due", "sent") > self.tolerance
        return float(late.mean()) if len(late) else 0.0

    def step(self, verdict: Verdict = "unclear", note: str = "") -> Step:
        """Return the figures."""
        outcome, answered = self._outcome(), self._answered()
        waits = self._waits("due")[answered]
        came = waits[np.isfinite(waits)]
        quantiles = np.percentile(came, [50, 99]).tolist() if len(came) else (None, None)
        good = int((waits <= self.slo.p99).sum())
        requests = max(1, len(outcome))
        return Step(
            kind="open" if self.in_flight is None else "closed",
            offered=self.offered,
            in_flight=self.in_flight,
            seconds=self.seconds,
            requests=len(outcome),
            achieved=self._came / self.seconds if self.seconds else 0.0,
            goodput=good / self.seconds if self.seconds else 0.0,
            p50=quantiles[0],
            p99=quantiles[1],
            slow=1 - good / max(1, len(waits)),
            errors=float(((outcome == FAILED) | (outcome == LOST)).sum()) / requests,
            refused=float((outcome == REFUSED).sum()) / requests,
            late=self.late(),
            verdict=verdict,
            note=note,
        )

    def _outcome(self) -> NDArray[np.uint8]:
        parts = [s.outcome[k] for s, k in zip(self._seen, self._kept, strict=True)]
        return np.concatenate(parts) if parts else np.empty(0, np.uint8)

    def _answered(self) -> NDArray[np.bool_]:
        """Tell which have a latency; that of a lost one is infinite."""
        return np.isin(self._outcome(), (ANSWERED, LOST))

    def _waits(self, start: str, end: str = "ended") -> NDArray[np.float64]:
        parts = [
            (getattr(s, end) - getattr(s, start))[k]
            for s, k in zip(self._seen, self._kept, strict=True)
        ]
        return np.concatenate(parts) if parts else np.empty(0)
