"""One attempt to swap, step by step, and what became of it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from waterfill.index import Index
from waterfill.life.compare import Comparison
from waterfill.life.gate import Gate
from waterfill.life.generation import Contents, Generation, Readiness, misfits


@dataclass(frozen=True, eq=False)
class SwapReport:
    """What became of a swap.

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


class Attempt:
    """What is asked of an index before it is published; the first refusal ends it."""

    def __init__(self, now: Generation, gate: Gate | None) -> None:
        self._now, self._gate = now, gate
        self._comparison: Comparison | None = None
        self._seconds: dict[str, float] = {}

    def verify(self, new: Index, ready: Readiness, same_ids: bool) -> Contents:
        """Return what it holds."""
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
        """Ask both indexes the gate's queries, and refuse what does not pass."""
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
        """Say how far it came."""
        number = self._now.number if generation is None else generation
        return SwapReport(passed, number, reasons, self._comparison, self._seconds)
