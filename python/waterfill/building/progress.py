"""How far a build is: counted by workers, told to the caller's function."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

Phase = Literal["ids", "sample", "training", "encoding"]

_INTERVAL = 0.2  # seconds between calls
_WINDOW = 30.0  # seconds that the rate is of


@dataclass(frozen=True)
class Progress:
    """How far a build is.

    Attributes
    ----------
    phase : {'ids', 'sample', 'training', 'encoding'}
        What it does: find duplicate ids, draw rows to train on, train, encode.
    done : int
        Vectors that the phase is through with; those of an earlier, interrupted run included.
    total : int or None
        Vectors in all; None if nobody knows, as of an iterator, and in ``training``.
    shards : int
        Shards that are finished.
    rate : float
        Vectors per second over the last half minute, 0 at the start.
    seconds_left : float or None
        At this rate; None if it cannot be told.
    """

    phase: Phase
    done: int
    total: int | None
    shards: int
    rate: float
    seconds_left: float | None

    def __str__(self) -> str:
        if self.phase == "training":
            return "training"
        of = "" if self.total is None else f" of {self.total:,}"
        left = "" if self.seconds_left is None else f", {_duration(self.seconds_left)} left"
        return f"{self.phase}: {self.done:,}{of} vectors, {self.rate:,.0f}/s{left}"


Callback = Callable[[Progress], object]


def _duration(seconds: float) -> str:
    minutes, rest = divmod(int(seconds + 0.5), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


class Meter:
    """Counts the vectors of a phase. Workers call `add`; the caller's thread calls `tell`."""

    def __init__(self, callback: Callback | None) -> None:
        self._callback = callback
        self._lock = threading.Lock()
        self._phase: Phase = "ids"
        self._total: int | None = None
        self._done = self._shards = 0
        self._seen: deque[tuple[float, int]] = deque()

    def begin(self, phase: Phase, total: int | None, done: int = 0, shards: int = 0) -> None:
        """Start a phase, of which some may be done."""
        with self._lock:
            self._phase, self._total, self._done, self._shards = phase, total, done, shards
            self._seen = deque([(time.monotonic(), done)])
        self.tell(at_once=True)

    def add(self, vectors: int, shards: int = 0) -> None:
        """Count vectors, and shards."""
        with self._lock:
            self._done += vectors
            self._shards += shards

    def tell(self, *, at_once: bool = False) -> None:
        """Call the function of the caller, unless it was called a moment ago."""
        if self._callback is None:
            return
        now = time.monotonic()
        if not at_once and now - self._seen[-1][0] < _INTERVAL:
            return
        with self._lock:
            self._seen.append((now, self._done))
            while now - self._seen[0][0] > _WINDOW and len(self._seen) > 2:
                self._seen.popleft()
            progress = self._progress()
        self._callback(progress)

    def _progress(self) -> Progress:
        (start, before), (now, done) = self._seen[0], self._seen[-1]
        rate = (done - before) / (now - start) if now > start else 0.0
        left = None
        if rate > 0 and self._total is not None:
            left = (self._total - done) / rate
        return Progress(self._phase, done, self._total, self._shards, rate, left)
