"""An index whose contents can be swapped while it is searched."""

from __future__ import annotations

import threading
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

from waterfill._util.validation import as_int
from waterfill.index.base import Index
from waterfill.lifecycle.comparison import Comparison
from waterfill.lifecycle.gate import Gate
from waterfill.lifecycle.generation import (
    Contents,
    Event,
    Generation,
    Readiness,
    content_sha256,
    misfits,
    publication,
)
from waterfill.lifecycle.index_proxy import IndexProxy

_EVENTS = 1000  # the most that `history` keeps


@dataclass(frozen=True, eq=False)
class SwapReport:
    """The outcome of a swap.

    Attributes
    ----------
    passed : bool
    generation : int
        In use after it: the old one if it did not pass.
    reasons : tuple of str
        Why it did not pass.
    comparison : Comparison or None
        Of the gate's queries; None without a gate.
    seconds : dict of str to float
        Time of each step.
    """

    passed: bool
    generation: int
    reasons: tuple[str, ...]
    comparison: Comparison | None
    seconds: dict[str, float]

    def __str__(self) -> str:
        if self.passed:
            return f"generation {self.generation} is in use"
        return f"generation {self.generation} stays in use: " + "; ".join(self.reasons)


class GateError(RuntimeError):
    """A swap was refused and nothing has changed. Its `report` is a `SwapReport`."""

    def __init__(self, report: SwapReport) -> None:
        super().__init__(report)
        self.report = report


class _Candidate:
    """Checks of a new index before it is published; the first failure raises GateError."""

    def __init__(self, now: Generation, gate: Gate | None) -> None:
        self._now, self._gate = now, gate
        self._comparison: Comparison | None = None
        self._seconds: dict[str, float] = {}

    def verify(self, new: Index, ready: Readiness, same_ids: bool) -> Contents:
        """Check that it can replace the current index and warm it; return its contents."""
        start = time.perf_counter()
        self.refuse(misfits(self._now.index, new, same_ids=same_ids))
        queries = None if self._gate is None else self._gate.queries
        try:
            found = ready.of(new, queries)
        except (ValueError, RuntimeError) as error:
            self.refuse([str(error)])
            raise
        self._seconds["verify and warm"] = time.perf_counter() - start
        return found

    def judge(self, new: Index) -> None:
        """Compare both indexes on the gate's queries; refuse one that exceeds a limit."""
        if self._gate is None:
            return
        start = time.perf_counter()
        self._comparison = self._gate.shadow(self._now.index, new)
        self._seconds["shadow"] = time.perf_counter() - start
        self.refuse(self._gate.reasons(self._comparison))

    def refuse(self, reasons: Sequence[str]) -> None:
        """Raise GateError if there are reasons."""
        if reasons:
            raise GateError(self.report(passed=False, reasons=tuple(reasons)))

    def report(
        self, *, passed: bool, generation: int | None = None, reasons: tuple[str, ...] = ()
    ) -> SwapReport:
        """Return the outcome so far."""
        number = self._now.number if generation is None else generation
        return SwapReport(passed, number, reasons, self._comparison, self._seconds)


class _State(NamedTuple):
    """All that a swap changes, as the one thing that it publishes."""

    now: Generation
    before: tuple[Generation, ...]


class SwapIndex(IndexProxy):
    """An index that is searched while a better one takes its place.

    It has the methods of an index. Every call reads the reference to the current generation once
    and stays with it: no result is of two generations. For several calls that must agree, take
    `current` and ask its index. Adding and removing go to the current generation, one at a time,
    and wait while a swap is under way; searches never wait.

    A pickle has the current index alone: no history, no generations before it, no listeners.

    Parameters
    ----------
    index : IndexFlat or IndexIVF
        Trained. Change it through this object alone from now on.

    Raises
    ------
    TypeError
        If `index` is none.
    NotTrainedError
        If it is not trained.
    """

    def __init__(self, index: Any) -> None:
        _require_index("index", index)
        self._writing = threading.RLock()
        self._ready = Readiness()
        self._history: deque[Event] = deque(maxlen=_EVENTS)
        self._listeners: list[Callable[[Event], object]] = []
        first = publication(index, 1, "start", Contents.of(index))
        self._state = _State(first, ())
        self._history.append(first.event)

    @property
    def index(self) -> Any:
        """The index in use."""
        return self._state.now.index

    @property
    def generation(self) -> int:
        """Number of the generation in use."""
        return self._state.now.number

    def current(self) -> Generation:
        """Return the generation in use; its index stays what it is when others take its place."""
        return self._state.now

    @property
    def history(self) -> tuple[Event, ...]:
        """What was published, oldest first; the last 1,000."""
        return tuple(self._history)

    @contextmanager
    def writes_held(self) -> Iterator[None]:
        """Let adding and removing wait, so that nothing is lost between `retrain` and `swap`.

        ``with live.writes_held(): live.swap(wf.retrain(live.index, sample), gate=gate)``
        """
        with self._writing:
            yield

    # Swap and roll back.

    def swap(
        self, new: Any, *, gate: Gate | None = None, keep: int = 1, same_ids: bool = True
    ) -> SwapReport:
        """Put another index in the place of the current one, if it is good enough.

        It is verified (dimensions, metric, ids, the codec as it is read back), warmed by some
        searches, compared with the current one if there is a gate, and published by assigning one
        reference. What runs at that moment ends with the old one. An index that was verified and
        warmed before, and has not changed since, is not again.

        Parameters
        ----------
        new : IndexFlat or IndexIVF
            Such as `retrain` makes. Both are in memory for as long as the old one is kept or used.
        gate : Gate, optional
            What it must show.
        keep : int
            Generations that are kept for `rollback`, the old one included.
        same_ids : bool
            Whether it must have the ids of the current one, in the same order. False for an index
            of other vectors: what was added meanwhile is then your care.

        Returns
        -------
        SwapReport

        Raises
        ------
        GateError
            If it is refused, with the reasons. Nothing has changed.
        TypeError, ValueError
            If an argument is of the wrong type or out of range, or the gate's canary does not go
            with the index.
        NotTrainedError
            If `new` is not trained.
        """
        _require_index("new", new)
        if gate is not None and not isinstance(gate, Gate):
            raise TypeError(
                f"gate must be a waterfill.lifecycle.Gate or None, got {type(gate).__name__}"
            )
        keep = as_int("keep", keep)
        if keep < 0:
            raise ValueError(f"keep={keep} must be at least 0")
        with self._writing:
            candidate = _Candidate(self._state.now, gate)
            contents = candidate.verify(new, self._ready, same_ids)
            candidate.judge(new)
            with self._state.now.index._writing:  # who adds to it directly waits, too
                candidate.refuse(misfits(self._state.now.index, new, same_ids=same_ids))
                state = self._state
                made = publication(new, state.now.number + 1, "swap", contents)
                before = (*state.before, state.now)[-keep:] if keep else ()
                self._publish(_State(made, before))
            self._tell(made.event)
            return candidate.report(passed=True, generation=made.number)

    def rollback(self, *, force: bool = False) -> Generation:
        """Put the generation before back in use, as a new number; the current one is let go.

        Parameters
        ----------
        force : bool
            Also if vectors were added to the current generation or removed from it since it was
            published, which the one before has not seen.

        Returns
        -------
        Generation
            The one that is now in use.

        Raises
        ------
        RuntimeError
            If none is kept, or changes would be lost.
        """
        with self._writing:
            now, before = self._state
            if not before:
                raise RuntimeError("no generation before this one is kept: see keep= of swap")
            if now.changed and not force:
                raise RuntimeError(
                    f"generation {now.number} has changed since it was published "
                    f"({now.event.ntotal:,} vectors then, {now.index.ntotal:,} now), and the one "
                    "before has not; rollback(force=True) gives these changes up"
                )
            old = before[-1]
            made = publication(old.index, now.number + 1, "rollback", old.event)
            self._publish(_State(made, before[:-1]))
            self._tell(made.event)
            return made

    def verify(self) -> str:
        """Compare what is in memory with what was published.

        Returns
        -------
        str
            SHA-256 of the codec's fingerprint, ids and codes as they are now.

        Raises
        ------
        RuntimeError
            If they are others though nothing was added or removed.
        """
        with self._writing:
            now = self._state.now
            assert now.index.codec is not None
            found = content_sha256(now.index)
            same = now.changed or found == now.event.sha256
            if not same or now.index.codec.fingerprint != now.event.fingerprint:
                raise RuntimeError(
                    f"generation {now.number} is not what was published: sha256 {found}, then "
                    f"{now.event.sha256}"
                )
            return found

    def on_swap(self, callback: Callable[[Event], object]) -> Callable[[], None]:
        """Have a function called after each swap and rollback, in the thread that did it.

        Parameters
        ----------
        callback : callable
            Gets the `Event`. What it raises becomes a RuntimeWarning: the swap stands.

        Returns
        -------
        callable
            Without arguments: ends it.
        """
        if not callable(callback):
            raise TypeError(f"callback must be callable, got {type(callback).__name__}")
        self._listeners = [*self._listeners, callback]

        def end() -> None:
            self._listeners = [each for each in self._listeners if each is not callback]

        return end

    def _publish(self, state: _State) -> None:
        self._state = state
        self._history.append(state.now.event)

    def _tell(self, event: Event) -> None:
        for callback in self._listeners:
            try:
                callback(event)
            except Exception as error:
                warnings.warn(
                    f"generation {event.generation} is in use, but {callback!r} failed: {error!r}",
                    RuntimeWarning,
                    stacklevel=3,
                )

    def __reduce__(self) -> tuple[type[SwapIndex], tuple[Any]]:
        return SwapIndex, (self.index,)

    def __repr__(self) -> str:
        now = self._state.now
        return f"SwapIndex: generation {now.number}, {now.index!r}"


def _require_index(name: str, index: Any) -> None:
    if not isinstance(index, Index):
        raise TypeError(f"{name} must be a waterfill index, got {type(index).__name__}")
    index._trained()
