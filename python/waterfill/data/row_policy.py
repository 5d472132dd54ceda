"""Policies for rows that cannot be used: raise, drop, quarantine.

Indexes and codecs take rows through `admit`. Under ``raise`` rows are checked while they are read,
block by block. The other policies check all rows first, so that a call changes nothing before it is
known which rows it leaves out.
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
from waterfill.data.rows import FilteredSource, FloatRows, Rows

Policy = Literal["raise", "drop", "quarantine"]
RowNumbers = NDArray[np.int64]
Flaws = NDArray[np.uint8]

POLICIES: tuple[Policy, ...] = ("raise", "drop", "quarantine")
WITHOUT_QUARANTINE: tuple[Policy, ...] = ("raise", "drop")

REASONS = ("nan", "infinite", "zero", "norm", "duplicate", "beyond the codec", "beyond float16")
"""Meanings of the bits of `Flaws`, lowest first: those of `_core.Flaw`, then this package's."""

_MAX_LISTED = 10
_MAX_FLOAT16 = 65504.0
_NO_ROWS: RowNumbers = np.empty(0, dtype=np.int64)


def bit(reason: str) -> int:
    """Return the bit of a reason."""
    return 1 << REASONS.index(reason)


NONFINITE = bit("nan") | bit("infinite")


def reasons_of(flaws: Flaws) -> list[tuple[str, ...]]:
    """Return the reasons for each row."""
    return [tuple(r for i, r in enumerate(REASONS) if value >> i & 1) for value in flaws.tolist()]


def describe_rows(numbers: RowNumbers, flaws: Flaws) -> str:
    """Return the numbers and reasons of the first ten rows as text."""
    parts = [
        f"row {number} ({', '.join(reasons)})"
        for number, reasons in zip(
            numbers[:_MAX_LISTED].tolist(), reasons_of(flaws[:_MAX_LISTED]), strict=True
        )
    ]
    return ", ".join(parts) + (", ..." if len(numbers) > _MAX_LISTED else "")


@dataclass(frozen=True, eq=False, repr=False)
class Quarantined:
    """Rows that one call left out, with copies of the vectors.

    Attributes
    ----------
    call : str
        The method or function: ``add``, ``train``, ``search``, ``range_search``, ``check``, ...
    argument : str
        The argument that the rows are from.
    rows : int64 (m,)
        Their numbers in the argument, ascending.
    reasons : list of tuple of str
        The reasons for each row: ``nan``, ``infinite``, ``beyond float16``, and those of
        `waterfill.check`.
    vectors : float32 (m, d)
        The rows, copied.
    ids : int64 (m,) or None
        Their ids, if the call had ids.
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
        numbers = ", ".join(f"row {number}" for number in self.rows[:_MAX_LISTED])
        more = ", ..." if len(self) > _MAX_LISTED else ""
        return f"Quarantined: {numbers}{more} of {self.argument} in {self.call}"


class Quarantine(Sequence[Quarantined]):
    """Rows that an index left out under ``policy="quarantine"``: a sequence with an item per call.

    They stay in memory until `clear`. Pickles and copies of the index include them; files of
    `write_index` do not.

    Parameters
    ----------
    calls : sequence of Quarantined
        What it holds at first.
    """

    def __init__(self, calls: Sequence[Quarantined] = ()) -> None:
        self._calls = list(calls)

    @property
    def n(self) -> int:
        """Total number of rows."""
        return sum(len(call) for call in self._calls)

    def clear(self) -> None:
        """Remove all rows."""
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
        rows = admission.quarantined
        if rows is not None:
            self._calls.append(
                replace(rows, call=call, ids=None if ids is None else ids[rows.rows])
            )


@dataclass(frozen=True, eq=False)
class Admission:
    """The rows of an argument that are used, and the numbers of those that are not."""

    rows: Rows
    refused: RowNumbers
    quarantined: Quarantined | None = None

    def numbers(self, first: int, n: int) -> slice | RowNumbers:
        """Return the numbers in the argument of the used rows `first` to ``first + n - 1``."""
        if len(self.refused) == 0:
            return slice(first, first + n)
        assert isinstance(self.rows.source, FilteredSource)
        return self.rows.source.numbers(np.arange(first, first + n))

    def left(self, values: NDArray[Any]) -> NDArray[Any]:
        """Return the values, given one per row of the argument, of the rows that are used."""
        return np.delete(values, self.refused) if len(self.refused) else values


def as_policy(policy: Any, allowed: tuple[Policy, ...] = POLICIES) -> Policy:
    """Return `policy` if it is one of those allowed."""
    if isinstance(policy, str) and policy in allowed:
        return policy
    names = ", ".join(map(repr, allowed[:-1])) + f" or {allowed[-1]!r}"
    hint = "; only an index has a quarantine" if policy == "quarantine" else ""
    raise ValueError(f"policy={policy!r} must be {names}{hint}")


def admit(rows: Rows, policy: Policy, *, float16: bool = False) -> Admission:
    """Leave out rows that cannot be used, with a warning, unless the policy is to raise.

    Parameters
    ----------
    rows : Rows
    policy : {'raise', 'drop', 'quarantine'}
        ``raise``: no row is checked here; `Rows.blocks` and `Rows.take` raise.
    float16 : bool
        Whether rows with a value that overflows float16 are left out, too.
    """
    if policy == "raise":
        return Admission(rows, _NO_ROWS)
    numbers, flaws = _unusable(rows, float16)
    if len(numbers) == 0:
        return Admission(rows, _NO_ROWS)
    quarantined = quarantine_rows(rows, numbers, flaws) if policy == "quarantine" else None
    warnings.warn(
        f"{rows.name}: {len(numbers)} of {rows.n} rows are left out: "
        f"{describe_rows(numbers, flaws)}",
        RuntimeWarning,
        stacklevel=caller_stacklevel(),
    )
    return Admission(rows.without(numbers), numbers, quarantined)


def quarantine_rows(rows: Rows, numbers: RowNumbers, flaws: Flaws) -> Quarantined:
    """Copy the rows with these ascending numbers."""
    vectors = rows.take(numbers, finite=False, missing=True)
    return Quarantined("check", rows.name, numbers, reasons_of(flaws), vectors)


def _unusable(rows: Rows, float16: bool) -> tuple[RowNumbers, Flaws]:
    """Return the numbers and flaws of the rows that no index and no codec can use."""
    numbers, flaws = [_NO_ROWS], [np.empty(0, dtype=np.uint8)]
    for first, block in rows.blocks(finite=False, missing=True):
        block_flaws = unusable(block, float16)
        bad = np.flatnonzero(block_flaws)
        numbers.append(first + bad)
        flaws.append(block_flaws[bad])
    return np.concatenate(numbers), np.concatenate(flaws)


def unusable(block: FloatRows, float16: bool) -> Flaws:
    """Return for each row why no index and no codec can use it: 0 if one can."""
    flaws, squares, _ = _core.inspect(block)
    flaws &= NONFINITE
    for i in np.flatnonzero(squares > _MAX_FLOAT16**2) if float16 else ():
        with np.errstate(over="ignore"):
            if np.isinf(block[i].astype(np.float16)).any():
                flaws[i] |= bit("beyond float16")
    return flaws


def caller_stacklevel() -> int:
    """Return the stack level, seen from the caller of this, of the line that called waterfill."""
    level, frame = 1, sys._getframe(1)
    while frame.f_back and str(frame.f_globals.get("__name__")).partition(".")[0] == "waterfill":
        level, frame = level + 1, frame.f_back
    return level
