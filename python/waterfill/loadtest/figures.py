"""Figures of one step: throughput, latency and errors, and the verdict against the SLO."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from waterfill.loadtest.slo import SLOW_SHARE, Slo, Verdict, combine_verdicts, judge
from waterfill.loadtest.steps import ANSWERED, FAILED, LOST, REFUSED, Trace

WARM_UP = 0.2
"""The share of each round that is left out as warm-up."""


@dataclass(frozen=True)
class Step:
    """Figures of one rate, or of one number in flight, in a capacity test.

    Attributes
    ----------
    kind : {'open', 'closed'}
        'open': requests at random times at a given rate. 'closed': a fixed number in flight.
    offered : float or None
        Requests per second that were due (open steps).
    in_flight : int or None
        Requests kept in flight (closed steps).
    seconds : float
        Duration that the figures cover, without the warm-up.
    requests : int
        Number of requests that the figures cover.
    achieved : float
        Answers per second.
    goodput : float
        Answers per second within the SLO's p99.
    p50, p99 : float or None
        Latency in seconds, from when a request was due. None if there was no answer.
    slow : float
        Share of the answers that were slower than the SLO's p99.
    errors, refused : float
        Shares of the requests that failed, and that were refused.
    late : float
        Share of the requests that were sent later than due by more than the tolerance.
    verdict : {'good', 'bad', 'unclear'}
        Whether the step is within the SLO. A rate that stays 'unclear' counts as bad.
    note : str
        "generator late": the round was discarded and repeated. "backlog": sending stopped early.
        "counts as bad": the verdict stayed unclear.
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
    """The traces of one rate, or of one number in flight, without their warm-up.

    Attributes
    ----------
    slo : Slo
    tolerance : float
        Seconds that a request may be sent after it was due.
    cut : bool
        Whether sending was stopped because of a backlog.
    """

    slo: Slo
    tolerance: float
    offered: float | None = None
    in_flight: int | None = None
    cut: bool = False
    seconds: float = 0.0
    _answers: int = 0  # that arrived within these seconds
    _traces: list[Trace] = field(default_factory=list)
    _masks: list[NDArray[np.bool_]] = field(default_factory=list)  # of requests after the warm-up

    def add(self, trace: Trace, seconds: float) -> None:
        """Add the trace of a round of this many seconds."""
        end = float(trace.sent[-1]) if trace.cut and len(trace.sent) else seconds
        start = 0.0 if trace.cut else WARM_UP * end
        answered = (trace.outcome == ANSWERED) & (trace.ended >= start) & (trace.ended <= end)
        self._answers += int(answered.sum())
        self._traces.append(trace)
        self._masks.append(trace.due >= start)
        self.seconds += max(end - start, 1e-9)
        self.cut |= trace.cut

    def verdict(self, *, from_sent: bool = False) -> Verdict:
        """Judge the rounds; `from_sent` measures latency from sending instead of from due."""
        if self.cut and not from_sent:
            return "bad"
        answered = self._answered()
        if not answered.any():
            return "bad" if len(answered) else "unclear"
        latencies = self._durations("sent" if from_sent else "due")[answered]
        outcome = self._outcome()
        return combine_verdicts(
            judge(latencies > self.slo.p99, SLOW_SHARE),
            judge((outcome == FAILED) | (outcome == LOST), self.slo.errors),
            judge(outcome == REFUSED, self.slo.errors),
        )

    def within(self) -> bool:
        """Return whether the observed shares are within the SLO, without a significance test."""
        step = self.step()
        unanswered = max(step.errors, step.refused)
        return (
            not self.cut
            and step.slow <= SLOW_SHARE
            and unanswered <= self.slo.errors
            and step.achieved > 0
        )

    def late(self) -> float:
        """Return the share of requests that were sent too late."""
        late = self._durations("due", "sent") > self.tolerance
        return float(late.mean()) if len(late) else 0.0

    def step(self, verdict: Verdict = "unclear", note: str = "") -> Step:
        """Return the figures."""
        outcome, answered = self._outcome(), self._answered()
        latencies = self._durations("due")[answered]
        finite = latencies[np.isfinite(latencies)]
        quantiles = np.percentile(finite, [50, 99]).tolist() if len(finite) else (None, None)
        good = int((latencies <= self.slo.p99).sum())
        requests = max(1, len(outcome))
        return Step(
            kind="open" if self.in_flight is None else "closed",
            offered=self.offered,
            in_flight=self.in_flight,
            seconds=self.seconds,
            requests=len(outcome),
            achieved=self._answers / self.seconds if self.seconds else 0.0,
            goodput=good / self.seconds if self.seconds else 0.0,
            p50=quantiles[0],
            p99=quantiles[1],
            slow=1 - good / max(1, len(latencies)),
            errors=float(((outcome == FAILED) | (outcome == LOST)).sum()) / requests,
            refused=float((outcome == REFUSED).sum()) / requests,
            late=self.late(),
            verdict=verdict,
            note=note,
        )

    def _outcome(self) -> NDArray[np.uint8]:
        parts = [t.outcome[mask] for t, mask in zip(self._traces, self._masks, strict=True)]
        return np.concatenate(parts) if parts else np.empty(0, np.uint8)

    def _answered(self) -> NDArray[np.bool_]:
        """Return which requests have a latency; that of a lost one is infinite."""
        return np.isin(self._outcome(), (ANSWERED, LOST))

    def _durations(self, start: str, end: str = "ended") -> NDArray[np.float64]:
        parts = [
            (getattr(trace, end) - getattr(trace, start))[mask]
            for trace, mask in zip(self._traces, self._masks, strict=True)
        ]
        return np.concatenate(parts) if parts else np.empty(0)
