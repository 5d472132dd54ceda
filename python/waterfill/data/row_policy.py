"""Which rows come in: what is wrong with each, and what `policy` makes of those that only harm.

An index and a codec take rows through `admit`. Under ``raise`` rows are looked at while they are
read, block by block; the other policies look at all of them first, so that nothing has happened yet
when rows are left out.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, overload

import numpy as np
from numpy.typing import NDArray

from waterfill import _core
from waterfill.data.rows import FloatRows, Remaining, Rows

Policy = Literal["raise", "drop", "quarantine"]
RowNumbers = NDArray[np.int64]
Flaws = NDArray[np.uint8]

POLICIES: tuple[Policy, ...] = ("raise", "drop", "quarantine")
WITHOUT_QUARANTINE: tuple[Policy, ...] = ("raise", "drop")

REASONS = ("nan", "infinite", "zero", "norm", "duplicate", "beyond the codec", "beyond float16")
"""What bits of `Flaws` say, the lowest first: those of `_core.Flaw`, and ours."""

_LISTED = 10
_MOST_HALF = 65504.0
_NOTHING: RowNumbers = np.empty(0, dtype=np.int64)


def bit(reason: str) -> int:
    """Return the bit of a reason."""
    return 1 << REASONS.index(reason)


NONFINITE = bit("nan") | bit("infinite")


def in_words(flaws: Flaws) -> list[tuple[str, ...]]:
    """Return the reasons of each row."""
    return [tuple(r for i, r in enumerate(REASONS) if value >> i & 1) for value in flaws.tolist()]


def listed(numbers: RowNumbers, flaws: Flaws) -> str:
    """Name the first ten rows, with reasons."""
    reasons = in_words(flaws[:_LISTED])
    parts = [
        f"row {number} ({', '.join(why)})"
        for number, why in zip(numbers[:_LISTED].tolist(), reasons, strict=True)
    ]
    return ", ".join(parts) + (", ..." if len(numbers) > _LISTED else "")


@dataclass(frozen=True, eq=False, repr=False)
class Quarantined:
    """Rows of one call that were left out and kept.

    Attributes
    ----------
    call : str
        What was called: ``add``, ``train``, ``search``, ``range_search`` or ``check``.
    argument : str
        Which argument they are from.
    rows : int64 (m,)
        Their numbers in it, ascending.
    reasons : list of tuple of str
        Why, a tuple a row: ``nan``, ``infinite``, ``beyond float16``; `waterfill.check` has more.
    vectors : float32 (m, d)
    ids : int64 (m,) or None
        Those that they were given with.
    """

    call: str
    argument: str
    rows: RowNumbers
    reasons: list[tuple[str, ...]]
    vectors: FloatRows
    ids: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.rows)

    def __repr__(self) -> str:
        numbers = ", ".join(f"row {number}" for number in self.rows[:_LISTED])
        more = ", ..." if len(self) > _LISTED else ""
        return f"Quarantined: {numbers}{more} of {self.argument} in {self.call}"


class Quarantine(Sequence[Quarantined]):
    """Rows that an index left out under ``policy="quarantine"``, call by call.

    They stay in memory until `clear`, are part of pickles and copies of the index, and not of files
    that `write_index` writes.
    """

    def __init__(self, calls: Sequence[Quarantined] = ()) -> None:
        self._calls = list(calls)

    @property
    def n(self) -> int:
        """Rows of all calls together."""
        return sum(len(call) for call in self._calls)

    def clear(self) -> None:
        """Forget them."""
        self._calls.clear()

    def __len__(self) -> int:
        return len(self._calls)

    @overload
    def __getitem__(self, key: int) -> Quarantined: ...
    @overload
    def __getitem__(self, key: slice) -> list[Quarantined]: ...
    def __getitem__(self, key: int | slice) -> Quarantined | list[Quarantined]:
        return self._calls[key]

    def __repr__(self) -> str:
        counts = f"rows: {self.n:,}, calls: {len(self):,}"
        return "\n".join([f"Quarantine, {counts}", *(f"  {call!r}" for call in self._calls)])

    def _take(self, call: str, admission: Admission, ids: NDArray[np.int64] | None = None) -> None:
        kept = admission.quarantined
        if kept is not None:
            own = None if ids is None else ids[kept.rows]
            self._calls.append(replace(kept, call=call, ids=own))


@dataclass(frozen=True, eq=False)
class Admission:
    """Rows that come in, and numbers of those that do not."""

    rows: Rows
    refused: RowNumbers
    quarantined: Quarantined | None = None

    def numbers(self, first: int, n: int) -> slice | RowNumbers:
        """Return what the caller's numbers of rows `first` to ``first + n - 1`` are."""
        if len(self.refused) == 0:
            return slice(first, first + n)
        assert isinstance(self.rows.source, Remaining)
        return self.rows.source.numbers(np.arange(first, first + n))

    def left(self, values: NDArray[Any]) -> NDArray[Any]:
        """Return those of the values, one a row, whose rows come in."""
        return np.delete(values, self.refused) if len(self.refused) else values


def as_policy(policy: Any, allowed: tuple[Policy, ...] = POLICIES) -> Policy:
    """Return what is to be done with bad rows."""
    if isinstance(policy, str) and policy in allowed:
        return policy
    names = ", ".join(map(repr, allowed[:-1])) + f" or {allowed[-1]!r}"
    hint = "; an index has a quarantine" if policy == "quarantine" else ""
    raise ValueError(f"policy={policy!r} must be {names}{hint}")


def admit(rows: Rows, policy: Policy, *, halves: bool = False) -> Admission:
    """Leave out rows that only harm, with a warning, unless the policy is to raise.

    Parameters
    ----------
    rows : Rows
    policy : {'raise', 'drop', 'quarantine'}
        ``raise``: nothing is looked at here; `Rows.blocks` and `Rows.take` raise.
    halves : bool
        Whether values beyond float16 harm, too.
    """
    if policy == "raise":
        return Admission(rows, _NOTHING)
    numbers, flaws = _harmful(rows, halves)
    if len(numbers) == 0:
        return Admission(rows, _NOTHING)
    kept = gathered(rows, numbers, flaws) if policy == "quarantine" else None
    warnings.warn(
        f"{rows.name}: {len(numbers)} of {rows.n} rows are left out: {listed(numbers, flaws)}",
        RuntimeWarning,
        stacklevel=_outside(),
    )
    return Admission(rows.without(numbers), numbers, kept)


def gathered(rows: Rows, numbers: RowNumbers, flaws: Flaws) -> Quarantined:
    """Copy rows for the user."""
    vectors = rows.take(numbers, finite=False)
    return Quarantined("check", rows.name, numbers, in_words(flaws), vectors)


def _harmful(rows: Rows, halves: bool) -> tuple[RowNumbers, Flaws]:
    """Return the numbers of the rows that come in nowhere, and what is wrong with each."""
    numbers, flaws = [_NOTHING], [np.empty(0, dtype=np.uint8)]
    for first, block in rows.blocks(finite=False):
        found, squares, _ = _core.inspect(block)
        found &= NONFINITE
        for i in np.flatnonzero(squares > _MOST_HALF**2) if halves else ():
            with np.errstate(over="ignore"):
                if np.isinf(block[i].astype(np.float16)).any():
                    found[i] |= bit("beyond float16")
        bad = np.flatnonzero(found)
        numbers.append(first + bad)
        flaws.append(found[bad])
    return np.concatenate(numbers), np.concatenate(flaws)


def _outside() -> int:
    """Return the level, counted from who calls this, of the line that called waterfill."""
    level, frame = 1, sys._getframe(1)
    while frame.f_back and str(frame.f_globals.get("__name__")).partition(".")[0] == "waterfill":
        level, frame = level + 1, frame.f_back
    return level
