"""Steps of a capacity test: what a driver is asked to do, and what it saw."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

ANSWERED, FAILED, REFUSED, LOST = range(4)
"""What became of a request; lost: nothing, as long as the driver waited."""


@dataclass(frozen=True, eq=False)
class Open:
    """Send requests when they are due, however many are still without an answer.

    Attributes
    ----------
    due : float64 (n,)
        Seconds since the beginning of the step, ascending.
    most : int
        Requests without an answer at which the driver stops sending: the target is overloaded.
    patience : float
        Seconds that it waits for the last answers.
    """

    due: NDArray[np.float64]
    most: int
    patience: float


@dataclass(frozen=True)
class Closed:
    """Keep some requests in flight: after an answer, the next one.

    Attributes
    ----------
    in_flight : int
    seconds : float
        After which nothing is sent any more.
    requests : int
        The most that are sent.
    patience : float
        Seconds that the driver waits for the last answers.
    """

    in_flight: int
    seconds: float
    requests: int
    patience: float


@dataclass(frozen=True, eq=False)
class Seen:
    """What became of the requests of a step that were sent, in the order in which they were due.

    Attributes
    ----------
    due, sent, ended : float64 (n,)
        Seconds since the beginning of the step. What was lost ended at infinity.
    outcome : uint8 (n,)
        ANSWERED, FAILED, REFUSED or LOST.
    cut : bool
        Whether the driver stopped sending, as too many were without an answer.
    elapsed : float
        Seconds until the last answer, or until the driver gave up.
    error : str or None
        The first error, in words.
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
    """What carries out steps, by a real clock or a simulated one."""

    def run(self, step: Open | Closed) -> Seen:
        """Carry out a step, and wait for its answers."""

    def close(self) -> None:
        """End what it started."""
