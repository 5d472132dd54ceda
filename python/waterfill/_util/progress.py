"""How far a long call is: counted where the work is done, told to the caller or shown."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

LOG = logging.getLogger("waterfill.progress")

_INTERVAL = 0.2  # seconds between calls
_WINDOW = 30.0  # seconds that the rate is of


@dataclass(frozen=True)
class Progress:
    """How far a long call is.

    Attributes
    ----------
    phase : str
        What it does, such as ``training`` or ``encoding``.
    done : float
        Of `total`; what an earlier, interrupted run has done is included.
    total : float or None
        All there is to do: vectors or trials, or 1 for a phase of shares; None if nobody knows.
    unit : str
        What is counted: ``vectors``, ``trials``, or an empty string for shares.
    shards : int
        Shards of a build that are finished.
    rate : float
        Done per second over the last half minute, 0 at the start.
    seconds_left : float or None
        Of the phase, at this rate; None if it cannot be told.
    """

    phase: str
    done: float
    total: float | None
    unit: str
    shards: int
    rate: float
    seconds_left: float | None

    def __str__(self) -> str:
        parts = [part for part in (self.amount, self.speed, self.left) if part]
        return f"{self.phase}: {', '.join(parts)}" if parts else self.phase

    @property
    def amount(self) -> str:
        """What is done, in words."""
        if self.unit:
            of = "" if self.total is None else f" of {self.total:,.0f}"
            return f"{self.done:,.0f}{of} {self.unit}"
        return "" if self.total is None else f"{100 * self.done / self.total:.0f} %"

    @property
    def speed(self) -> str:
        """The rate in words, where it says something."""
        return f"{self.rate:,.0f}/s" if self.unit and self.rate >= 1 else ""

    @property
    def left(self) -> str:
        """The time left in words."""
        return "" if self.seconds_left is None else f"{duration(self.seconds_left)} left"


Callback = Callable[[Progress], object]
Share = Callable[[float], object]
"""Takes the share of some work that is done, 0 to 1."""


def duration(seconds: float) -> str:
    """Format a duration as minutes and seconds, or hours."""
    minutes, rest = divmod(int(seconds + 0.5), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def part_of(tell: Share | None, start: float, end: float) -> Share | None:
    """Return what takes the share of a part, from `start` to `end` of the whole."""
    if tell is None:
        return None
    whole = tell
    return lambda share: whole(start + (end - start) * share)


class Meter:
    """Counts the work of a phase. Workers call `add`; the caller's thread calls `tell`.

    Parameters
    ----------
    callback : callable or None
        Called with a `Progress` about five times a second.
    note : callable, optional
        Takes a line about what has just been done.
    """

    def __init__(
        self, callback: Callback | None, note: Callable[[str], object] | None = None
    ) -> None:
        self._callback, self._note = callback, note
        self._lock = threading.Lock()
        self._phase, self._unit = "", "vectors"
        self._total: float | None = None
        self._done, self._shards = 0.0, 0
        self._seen: deque[tuple[float, float]] = deque([(time.monotonic(), 0.0)])

    def begin(
        self,
        phase: str,
        total: float | None,
        done: float = 0,
        shards: int = 0,
        *,
        unit: str = "vectors",
    ) -> None:
        """Start a phase, of which some may be done."""
        LOG.debug("%s begins", phase)
        with self._lock:
            self._phase, self._total, self._unit = phase, total, unit
            self._done, self._shards = done, shards
            self._seen = deque([(time.monotonic(), done)])
        self.tell(at_once=True)

    def add(self, vectors: float, shards: int = 0) -> None:
        """Count vectors, and shards."""
        with self._lock:
            self._done += vectors
            self._shards += shards

    def advance(self, vectors: float) -> None:
        """Count vectors and tell, on the caller's thread."""
        self.add(vectors)
        self.tell()

    def reach(self, done: float, total: float | None = None) -> None:
        """Set what is done, and what there is if that is known better now, and tell."""
        with self._lock:
            self._done = done
            self._total = self._total if total is None else total
        self.tell()

    def shares(self, phase: str) -> Share | None:
        """Start a phase that is told in shares; return what takes them, None if nobody listens."""
        self.begin(phase, 1, unit="")
        return None if self._callback is None else self.reach

    def note(self, line: str) -> None:
        """Show a line about what has just been done."""
        if self._note is not None:
            self._note(line)

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
            left = max(0.0, self._total - done) / rate
        return Progress(self._phase, done, self._total, self._unit, self._shards, rate, left)


Option = bool | Callback | Meter | None
"""What calls take as `progress`."""


@contextmanager
def metered(progress: Option) -> Iterator[Meter]:
    """Make the meter of a call.

    Parameters
    ----------
    progress : bool, callable or None
        True shows a bar, None does so in a terminal or a notebook, False nothing; a callable gets a
        `Progress`. The meter of an outer call stays in use.
    """
    check_progress(progress)
    if isinstance(progress, Meter):
        yield progress
    elif callable(progress):
        yield Meter(progress)
    else:
        from waterfill._util.progress_display import display

        shown = display(progress)
        if shown is None:
            yield Meter(None)
            return
        try:
            yield Meter(shown.show, shown.note)
        finally:
            shown.close()


def check_progress(progress: Any) -> None:
    """Raise TypeError unless `progress` is what `metered` takes."""
    if progress is not None and not isinstance(progress, bool) and not _takes(progress):
        raise TypeError(
            f"progress: expected True, False, None or a callable, got {type(progress).__name__}"
        )


def _takes(progress: Any) -> bool:
    return isinstance(progress, Meter) or callable(progress)
