"""`SwapIndex`: replace an index while it is searched."""

from __future__ import annotations

import threading
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

from waterfill._util.fork_safe_lock import fork_safe_lock
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

_MAX_EVENTS = 1000  # events kept in `history`


@dataclass(frozen=True, eq=False)
class SwapReport:
    """The outcome of a swap.

    Attributes
    ----------
    passed : bool
        Whether the new index was published.
    generation : int
        Number of the current generation after the swap; unchanged if the swap was refused.
    reasons : tuple of str
        Why the swap was refused; empty if it passed.
    comparison : Comparison or None
        Comparison on the gate's queries; None without a gate.
    seconds : dict of str to float
        Duration of each step.
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
    """A swap was refused, and nothing has changed.

    Attributes
    ----------
    report : SwapReport
        What was checked, and the reasons.
    """

    def __init__(self, report: SwapReport) -> None:
        super().__init__(report)
        self.report = report


class _Candidate:
    """Checks of a new index before it is published; the first failure raises GateError."""

    def __init__(self, current: Generation, gate: Gate | None) -> None:
        self._current, self._gate = current, gate
        self._comparison: Comparison | None = None
        self._seconds: dict[str, float] = {}

    def verify(self, new: Index, readiness: Readiness, same_ids: bool) -> Contents:
        """Check that it can replace the current index and warm it; return its contents."""
        start = time.perf_counter()
        self.refuse(misfits(self._current.index, new, same_ids=same_ids))
        queries = None if self._gate is None else self._gate.queries
        try:
            contents = readiness.of(new, queries)
        except (ValueError, RuntimeError) as error:
            self.refuse([str(error)])
            raise
        self._seconds["verify and warm"] = time.perf_counter() - start
        return contents

    def judge(self, new: Index) -> None:
        """Compare both indexes on the gate's queries; refuse one that exceeds a limit."""
        if self._gate is None:
            return
        start = time.perf_counter()
        self._comparison = self._gate.shadow(self._current.index, new)
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
        number = self._current.number if generation is None else generation
        return SwapReport(passed, number, reasons, self._comparison, self._seconds)


class _State(NamedTuple):
    """The state that a swap replaces in one assignment."""

    current: Generation
    previous: tuple[Generation, ...]


class SwapIndex(IndexProxy):
    """An index that can be replaced while it is searched.

    It has the methods of an index. Every call reads the reference to the current generation once,
    so no result mixes two generations. For several calls on one generation, use the index of
    `current()`. Additions and removals go to the current generation, one at a time, and wait while
    a swap runs; searches never wait.

    A pickle holds the current index only, without history, earlier generations or callbacks.

    Parameters
    ----------
    index : IndexFlat or IndexIVF
        A trained index. From now on, change it only through this object.

    Raises
    ------
    TypeError
        If `index` is not a waterfill index.
    NotTrainedError
        If `index` is not trained.
    """

    def __init__(self, index: Any) -> None:
        _require_index("index", index)
        self._writing = fork_safe_lock(self, "_writing", threading.RLock)
        self._readiness = Readiness()
        self._history: deque[Event] = deque(maxlen=_MAX_EVENTS)
        self._callbacks: list[Callable[[Event], object]] = []
        first = publication(index, 1, "start", Contents.of(index))
        self._state = _State(first, ())
        self._history.append(first.event)

    @property
    def index(self) -> Any:
        """The current index."""
        return self._state.current.index

    @property
    def generation(self) -> int:
        """Number of the current generation."""
        return self._state.current.number

    def current(self) -> Generation:
        """Return the current generation; later swaps do not replace its index."""
        return self._state.current

    @property
    def history(self) -> tuple[Event, ...]:
        """Events of the last 1,000 published generations, oldest first."""
        return tuple(self._history)

    @contextmanager
    def writes_held(self) -> Iterator[None]:
        """Block additions and removals, so that none is lost between `retrain` and `swap`.

        ``with live.writes_held(): live.swap(wf.retrain(live.index, sample), gate=gate)``

        Yields
        ------
        None
            While the ``with`` statement runs, calls of `add` and `remove_ids` wait.
        """
        with self._writing:
            yield

    # Swapping and rolling back.

    def swap(
        self, new: Any, *, gate: Gate | None = None, keep: int = 1, same_ids: bool = True
    ) -> SwapReport:
        """Replace the current index by another one that passes the checks.

        The new index is verified (dimensions, metric, ids, codec round trip), warmed by a few
        searches, compared with the current index if there is a gate, and published by assigning one
        reference. Calls that are running finish on the old index. An index that was verified and
        warmed before and has not changed since is not checked again.

        Parameters
        ----------
        new : IndexFlat or IndexIVF
            The new index, for example from `retrain`. Both indexes are in memory as long as the old
            one is kept or used.
        gate : Gate, optional
            Limits that `new` must meet.
        keep : int
            Number of earlier generations to keep for `rollback`, including the old one.
        same_ids : bool
            Require the ids of the current index in the same order. Pass False for an index of other
            vectors; it is then up to you to carry over vectors that were added meanwhile.

        Returns
        -------
        SwapReport
            What was checked and measured.

        Raises
        ------
        GateError
            If `new` is refused, with the reasons. Nothing has changed.
        TypeError, ValueError
            If an argument is of the wrong type or out of range, or the gate's canary does not
            match the index.
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
            candidate = _Candidate(self._state.current, gate)
            contents = candidate.verify(new, self._readiness, same_ids)
            candidate.judge(new)
            with self._state.current.index._changes:  # blocks direct additions to the old index too
                candidate.refuse(misfits(self._state.current.index, new, same_ids=same_ids))
                state = self._state
                published = publication(new, state.current.number + 1, "swap", contents)
                previous = (*state.previous, state.current)[-keep:] if keep else ()
                self._publish(_State(published, previous))
            self._notify(published.event)
            return candidate.report(passed=True, generation=published.number)

    def rollback(self, *, force: bool = False) -> Generation:
        """Publish the previous generation again under a new number; drop the current one.

        Parameters
        ----------
        force : bool
            Roll back even if vectors were added to or removed from the current generation since it
            was published; these changes are lost.

        Returns
        -------
        Generation
            The new current generation.

        Raises
        ------
        RuntimeError
            If no previous generation is kept, or changes would be lost.
        """
        with self._writing:
            current, previous = self._state
            if not previous:
                raise RuntimeError("no previous generation is kept; pass keep= to swap")
            if current.changed and not force:
                raise RuntimeError(
                    f"generation {current.number} has changed since it was published "
                    f"({current.event.ntotal:,} vectors then, {current.index.ntotal:,} now); "
                    "rollback(force=True) discards these changes"
                )
            old = previous[-1]
            published = publication(old.index, current.number + 1, "rollback", old.event)
            self._publish(_State(published, previous[:-1]))
            self._notify(published.event)
            return published

    def verify(self) -> str:
        """Check that the current index in memory is still the one that was published.

        Returns
        -------
        str
            Current SHA-256 of the codec's fingerprint, the ids and the codes.

        Raises
        ------
        RuntimeError
            If the hash has changed although no vector was added or removed.
        """
        with self._writing:
            current = self._state.current
            assert current.index.codec is not None
            digest = content_sha256(current.index)
            same = current.changed or digest == current.event.sha256
            if not same or current.index.codec.fingerprint != current.event.fingerprint:
                raise RuntimeError(
                    f"generation {current.number} is not what was published: expected sha256 "
                    f"{current.event.sha256}, got {digest}"
                )
            return digest

    def on_swap(self, callback: Callable[[Event], object]) -> Callable[[], None]:
        """Call a function after each swap and rollback, in the thread that made it.

        Parameters
        ----------
        callback : callable
            Called with the `Event`. Its exceptions become a RuntimeWarning; the swap stands.

        Returns
        -------
        callable
            Removes the callback; takes no arguments.

        Raises
        ------
        TypeError
            If `callback` is not callable.
        """
        if not callable(callback):
            raise TypeError(f"callback must be callable, got {type(callback).__name__}")
        self._callbacks = [*self._callbacks, callback]

        def remove() -> None:
            self._callbacks = [each for each in self._callbacks if each is not callback]

        return remove

    def _publish(self, state: _State) -> None:
        self._state = state
        self._history.append(state.current.event)

    def _notify(self, event: Event) -> None:
        for callback in self._callbacks:
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
        current = self._state.current
        return f"SwapIndex: generation {current.number}, {current.index!r}"

    def _repr_html_(self) -> str:
        from waterfill.reporting.object_tables import swap_html

        return swap_html(self)


def _require_index(name: str, index: Any) -> None:
    if not isinstance(index, Index):
        raise TypeError(
            f"{name} must be an IndexFlat or IndexIVF of waterfill, got {type(index).__name__}"
        )
    index._trained()
