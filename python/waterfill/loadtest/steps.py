"""Steps of a capacity test, and the traces that drivers return for them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

ANSWERED, FAILED, REFUSED, LOST = range(4)
"""Outcomes of a request. A lost one had no answer when the driver stopped waiting."""


@dataclass(frozen=True, eq=False)
class OpenLoop:
    """Send each request when it is due, however many are still without an answer.

    Attributes
    ----------
    due : float64 (n,)
        Seconds since the start of the step, ascending.
    max_pending : int
        Number of requests without an answer at which the driver stops sending: the target is
        overloaded.
    patience : float
        Seconds to wait for the last answers.
    """

    due: NDArray[np.float64]
    max_pending: int
    patience: float


@dataclass(frozen=True)
class ClosedLoop:
    """Keep a number of requests in flight: each answer is followed by the next request.

    Attributes
    ----------
    in_flight : int
    seconds : float
        Nothing is sent after this time.
    max_requests : int
        The step ends after this number of requests.
    patience : float
        Seconds to wait for the last answers.
    """

    in_flight: int
    seconds: float
    max_requests: int
    patience: float


@dataclass(frozen=True, eq=False)
class Trace:
    """Times and outcomes of the requests that a step sent, ordered by due time.

    Attributes
    ----------
    due, sent, ended : float64 (n,)
        Seconds since the start of the step. `ended` is infinite for a lost request.
    outcome : uint8 (n,)
        ANSWERED, FAILED, REFUSED or LOST.
    cut : bool
        Whether the driver stopped sending because too many requests were pending.
    elapsed : float
        Seconds until the last answer, or until the driver gave up.
    error : str or None
        The first error, as text.
    """

    due: NDArray[np.float64]
    sent: NDArray[np.float64]
    ended: NDArray[np.float64]
    outcome: NDArray[np.uint8]
    cut: bool
    elapsed: float
    error: str | None = None

    @property
    def latency(self) -> NDArray[np.float64]:
        """Seconds from when each request was due, not from when it was sent."""
        return self.ended - self.due


class Driver(Protocol):
    """Runs steps, by the real clock or a simulated one."""

    def run(self, step: OpenLoop | ClosedLoop) -> Trace:
        """Run a step and wait for its answers."""

    def close(self) -> None:
        """Stop everything that the driver started."""
