"""Maintenance of a managed index: what has to be done next, and doing it."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

from waterfill._util.fork_safe_lock import fork_safe_lock
from waterfill.managed.drift_watch import MANY_ASKED
from waterfill.managed.growth import FIRST_TRAINING, size_for
from waterfill.managed.recall import measure
from waterfill.managed.record import Event
from waterfill.managed.settings import DEFAULT_TARGET, Measured, State
from waterfill.managed.stored_rows import recent, sample
from waterfill.managed.training import compare_codecs, refusal, train

if TYPE_CHECKING:
    from waterfill.managed.index import ManagedIndex

_SAMPLE_ROWS = 65_536
_SAMPLE_BYTES = 256 << 20
_ROWS_PER_LIST = 100
_GATE_ROWS = 10_000
_MEASURE_GROWTH = 1.1  # times the vectors of the last measurement
_MEASURE_FEWEST = 1000  # vectors between two measurements
_MEASURE_SHARE = 0.01  # of the time, where measurements follow queries
_RECENT_ROWS = 3000


@dataclass(frozen=True)
class Step:
    """Something to do.

    Attributes
    ----------
    words : str
    work : callable
        Gets a function to call between parts of the work, which may raise to end it.
    """

    words: str
    work: Callable[[Callable[[], None]], None]


class Maintenance:
    """Decides what has to be done, and does it, one step at a time."""

    def __init__(self, index: ManagedIndex) -> None:
        self._index = index
        self._running = fork_safe_lock(self, "_running", threading.Lock)
        self._rests_until = -math.inf  # no measurement for the sake of queries before

    def run(self, between: Callable[[], None]) -> list[Event]:
        """Do all that has to be done; return what has been done.

        Parameters
        ----------
        between : callable
            Called between parts of the work. What it raises ends the work, and goes to the caller;
            the steps that are complete stay.
        """
        index = self._index
        before = len(index.history)
        while True:
            with self._running:
                if (step := self.next()) is None:
                    return index.history[before:]
                between()
                step.work(between)

    def turn(self) -> threading.Lock:
        """Return the lock that a step holds."""
        return self._running

    def next(self) -> Step | None:
        """Return what has to be done next; None if that is nothing."""
        index = self._index
        n, state = index.ntotal, index._state
        if index._exact:
            if n < FIRST_TRAINING:
                return None
            reason = f"{n:,} vectors are enough to learn from"
            return Step(
                f"train the first codec: {reason}", lambda between: self._train(reason, between)
            )
        if index._reservoir is None and index._older_segment() is not None:
            return Step("encode vectors anew", lambda between: self._encode(between))
        sampled = index._reservoir is None or index._reservoir.enough
        if sampled and n >= max(state.meant_for, FIRST_TRAINING):
            grown = f"the codec was trained among {state.trained_among:,} vectors, and {n:,} came"
            reason = _lost(state) or grown
            return Step(f"train again: {reason}", lambda between: self._train(reason, between))
        known = state.measured_at
        more = n >= max(_MEASURE_GROWTH * known, known + _MEASURE_FEWEST)
        if sampled and (more or self._many_asked()):
            return Step("measure the recall", lambda between: self._measure())
        merger = index._next_merger()
        if merger is not None:
            return Step("merge segments", lambda between: index._in_turn(merger))
        return None

    def plan(self) -> str:
        """Return in words what will be done."""
        index = self._index
        step = self.next()
        if step is not None:
            return step.words
        n, state = index.ntotal, index._state
        if index._exact:
            return f"a first codec is trained at {FIRST_TRAINING:,} vectors"
        if index._reservoir is not None and not index._reservoir.enough:
            return "nothing until enough new vectors came: the sample of their rows is too small"
        measured = state.measured_at or n
        at = max(int(_MEASURE_GROWTH * measured), measured + _MEASURE_FEWEST)
        again = f"a new codec is trained at {state.meant_for:,} vectors"
        return (
            f"recall is measured again at {at:,} vectors or after {MANY_ASKED:,} queries; {again}"
        )

    def _many_asked(self) -> bool:
        """Return whether so many queries came that they may be unlike those of before."""
        many = self._index._watch.since_measured >= MANY_ASKED
        return many and time.monotonic() >= self._rests_until

    # Steps.

    def _train(self, reason: str, between: Callable[[], None]) -> None:
        """Train a codec and, if it is no worse, let new vectors have it."""
        index, state = self._index, self._index._state
        n, old, first = index.ntotal, index._codec, index._exact
        assert old is not None
        size = size_for(n, with_rows=state.settings.keep_rows != "none")
        most = max(_SAMPLE_ROWS, _ROWS_PER_LIST * size.nlist)
        rows = sample(index, min(most, _SAMPLE_BYTES // (4 * index.d)), seed=n)[1]
        asked = index._watch.halves(index.d) if _missed(state, state.asked) else None
        queries, judges = asked or (None, None)
        trained_for = 0 if queries is None else len(queries)
        made = train(state.settings, index.metric, size, rows, 0, between, queries)
        between()
        del rows
        figures: dict[str, object] = {"old": old.fingerprint, "new": made.codec.fingerprint}
        if not first:
            others = sample(index, _GATE_ROWS, seed=n + 1)[1]
            comparison = compare_codecs(old, made.codec, index.metric, others, judges)
            figures["comparison"] = dict(comparison.rows())
            why = refusal(state.settings, comparison)
            if why:
                state = replace(state, codec=old.fingerprint, meant_for=size.meant_for)
                index._note(
                    replace(state, trained_for=max(state.trained_for, trained_for)),
                    Event("kept", f"{reason}, but {why}", n, figures=figures),
                )
                return
        between()
        baseline = sample(index, _RECENT_ROWS, seed=n + 2)[1]
        new_state = replace(
            state,
            codec=made.codec.fingerprint,
            trained_among=n,
            trained_for=trained_for,
            meant_for=size.meant_for,
            expected=made.expected,
            measured=None,
            asked=None,
            measured_at=0,
        )
        if first and state.settings.keep_rows == "none":
            index._drop_rows(made.codec, size.nlist)
        else:
            index._take_codec(made.codec, size.nlist, at_once=first)
        index._note(new_state, Event("trained", f"{reason}; {made.words}", n, figures=figures))
        index._watch.learn(made.codec, index.metric, baseline)

    def _encode(self, between: Callable[[], None]) -> None:
        """Encode the vectors that have an older codec, segment by segment."""
        index = self._index
        before = index._older_vectors
        while (older := index._older_segment()) is not None:
            between()
            index._in_turn(lambda segment=older: index._recode(segment, None))
        index._note(
            index._state, Event("encoded", f"{before:,} vectors with the new codec", index.ntotal)
        )

    def _measure(self) -> None:
        """Measure the recall, compare what has come lately, and say if too much is lost."""
        index, state, start = self._index, self._index._state, time.monotonic()
        n = index.ntotal
        before = state.measured_at
        index._watch.measured()
        target, nprobe = state.settings.target_recall or DEFAULT_TARGET, index.nprobe
        measured, asked = measure(index, index._watch.asked(index.d), n, target)
        if measured is None:
            return
        latest = recent(index, min(_RECENT_ROWS, max(n - before, _MEASURE_FEWEST)))[1]
        drift = index._watch.compare(latest)
        words = f"recall {measured}: stored vectors"
        if asked is not None:
            words += f"; {asked.recall:.3f} ({asked.low:.3f} to {asked.high:.3f}) by "
            words += f"{asked.queries} that were asked"
        figures = {"stored": asdict(measured), "asked": asked and asdict(asked)}
        if index.nprobe > nprobe:
            words += f"; nprobe was {nprobe}, is {index.nprobe}"
        events = [Event("measured", f"{words}; {drift}", n, figures=figures)]
        new_state = replace(state, measured=measured, asked=asked, measured_at=n, drift=drift)
        lost = _lost(new_state)
        if lost and (n > state.trained_among or self._can_train_for(new_state)):
            retrains = state.settings.on_drift == "retrain"
            if retrains:
                new_state = replace(new_state, meant_for=n)  # which is reached: a training is due
            follows = "a new codec follows" if retrains else "retraining is advised"
            events.append(Event("drift", f"{lost}; {drift}; {follows}", n))
        index._note(new_state, *events)
        if index._reservoir is not None:
            index._reservoir.save()
        end = time.monotonic()
        self._rests_until = end + (end - start) / _MEASURE_SHARE

    def _can_train_for(self, state: State) -> bool:
        """Return whether a codec for the queries that miss the target can be trained at last."""
        if state.trained_for or not _missed(state, state.asked):
            return False
        return self._index._watch.halves(self._index.d) is not None


def _missed(state: State, measured: Measured | None) -> bool:
    """Return whether a measurement misses the target for certain."""
    target = state.settings.target_recall
    return target is not None and measured is not None and measured.high < target


def _lost(state: State) -> str:
    """Return in words by how much the target is missed for certain; empty if it is not."""
    for measured, queries in (
        (state.asked, "that were asked"),
        (state.measured, "of stored vectors"),
    ):
        if measured is not None and _missed(state, measured):
            return (
                f"recall by queries {queries} is {measured.recall:.3f}, below the "
                f"{state.settings.target_recall:g} that is asked for"
            )
    return ""
