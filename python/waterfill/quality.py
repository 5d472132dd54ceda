"""Data-quality checks of vectors before they are used: `check` and its result."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from waterfill import _core
from waterfill._util.validation import as_number
from waterfill.analysis import Finding, Norms
from waterfill.codec import Codec
from waterfill.data.row_policy import (
    NONFINITE,
    REASONS,
    Flaws,
    Policy,
    Quarantined,
    RowNumbers,
    as_policy,
    bit,
    gathered,
    in_words,
    listed,
)
from waterfill.data.rows import FloatRows, Rows

Bounds = tuple[float, float]


class Inspection:
    """One look at all rows: flaws uint8 (n,), norms, and dimensions that never change."""

    def __init__(
        self, rows: Rows, codec: Codec | None, bounds: Bounds | None, duplicates: bool
    ) -> None:
        self._codec, self._bounds = codec, bounds
        self.flaws = np.zeros(rows.n, dtype=np.uint8)
        hashes = np.zeros(rows.n if duplicates else 0, dtype=np.uint64)
        dimensions = _core.ConstantDimensions(rows.d)
        self._n, self._total, self._squares = 0, 0.0, 0.0
        self._least, self._largest = np.inf, 0.0
        for first, block in rows.blocks(finite=False):
            here = slice(first, first + len(block))
            flaws, squares, own = _core.inspect(block, duplicates)
            dimensions.update(block, flaws)
            finite = np.flatnonzero(np.isfinite(squares))
            whole = len(finite) == len(block)
            flaws[finite] |= self._others(block if whole else block[finite], squares[finite])
            self.flaws[here] = flaws
            if own is not None:
                hashes[here] = own
        if duplicates:
            self.flaws[_copies(hashes, self.flaws)] |= bit("duplicate")
        self.constant = tuple(dimensions.dimensions.tolist()) if self._n > 1 else ()

    def _others(self, finite: FloatRows, squares: NDArray[np.float64]) -> Flaws:
        """Return what else is wrong with finite rows, and remember their norms."""
        flaws = np.zeros(len(squares), dtype=np.uint8)
        if len(squares) == 0:
            return flaws
        norms = np.sqrt(squares)
        self._n += len(norms)
        self._total += float(norms.sum())
        self._squares += float(squares.sum())
        self._least = min(self._least, float(norms.min()))
        self._largest = max(self._largest, float(norms.max()))
        if self._bounds is not None:
            flaws[(norms < self._bounds[0]) | (norms > self._bounds[1])] |= bit("norm")
        if self._codec is not None:
            flaws[self._codec._cut_off(self._codec._coded(finite))] |= bit("beyond the codec")
        return flaws

    @property
    def norms(self) -> Norms | None:
        """Of the finite rows."""
        if self._n == 0:
            return None
        mean = self._total / self._n
        std = float(np.sqrt(max(0.0, self._squares / self._n - mean**2)))
        return Norms(self._least, self._largest, mean, std)


def _copies(hashes: NDArray[np.uint64], flaws: Flaws) -> RowNumbers:
    """Return the numbers of finite rows that equal an earlier one."""
    numbers = np.flatnonzero((flaws & NONFINITE) == 0)
    first = np.unique(hashes[numbers], return_index=True)[1]
    return np.delete(numbers, first)


_LOOKED_FOR = REASONS[: REASONS.index("beyond the codec") + 1]
_GROUPS = {"nonfinite": ("nan", "infinite")}
_WORDS = {  # of one row, and of more
    "nan": ("has a NaN", "have a NaN"),
    "infinite": ("has an infinity in float32", "have an infinity in float32"),
    "zero": ("is zero and has no direction", "are zero and have no direction"),
    "norm": ("has a norm outside {:g} to {:g}", "have a norm outside {:g} to {:g}"),
    "duplicate": ("is an exact copy of an earlier one", "are exact copies of an earlier one"),
    "beyond the codec": (
        "is too far from the codec's training sample, or too near to an origin: its distance would "
        "be cut off",
        "are too far from the codec's training sample, or too near to an origin: their distance "
        "would be cut off",
    ),
    "constant": ("never changes", "never change"),
}
_WHERE = 10


@dataclass(frozen=True, eq=False, repr=False)
class Check:
    """What `check` found.

    Attributes
    ----------
    name : str
        What the vectors are called.
    n, d : int
        Rows and dimensions looked at.
    dtype : str
        Of the values as they came.
    policy : str
    refuse : tuple of str
        Reasons for which rows are refused.
    refused : int64 (m,)
        Numbers of the rows that are, ascending.
    reasons : list of tuple of str
        All that is wrong with each of them, whether refused for it or not.
    found : dict of str to int64 (l,)
        Numbers of the rows by reason, refused or not, for each reason that was looked for.
    constant : tuple of int
        Dimensions that have the same value in all finite rows, if these are two or more.
    norms : Norms or None
        Of the finite rows, computed in float32; None if there are none.
    findings : tuple of Finding
        The same in words; `where` has the first ten rows.
    quarantined : Quarantined or None
        The refused rows, under ``quarantine``.
    """

    name: str
    n: int
    d: int
    dtype: str
    policy: Policy
    refuse: tuple[str, ...]
    refused: RowNumbers
    reasons: list[tuple[str, ...]]
    found: dict[str, RowNumbers]
    constant: tuple[int, ...]
    norms: Norms | None
    findings: tuple[Finding, ...]
    quarantined: Quarantined | None
    _given: Any
    _rows: Rows

    @property
    def ok(self) -> bool:
        """Whether no row is refused."""
        return len(self.refused) == 0

    @property
    def kept(self) -> RowNumbers:
        """Numbers of the rows that are not refused, int64 (n - m,)."""
        return np.delete(np.arange(self.n), self.refused)

    @property
    def clean(self) -> Any:
        """The rows that are not refused, for whatever takes vectors.

        What was checked itself where none is refused; otherwise a view, from which blocks are read
        when they are asked for, and which `numpy.asarray` makes an array of.
        """
        return self._given if self.ok else self._rows.without(self.refused).source

    def summary(self) -> str:
        """Say in plain words what was found."""
        lines = [f"{self.name}: {_count(self.n, 'row')} of {self.d} dimensions, {self.dtype}"]
        if self.norms is not None:
            low, high = self.norms.min, self.norms.max
            lines.append(f"  norms: {low:.4g} to {high:.4g}, mean {self.norms.mean:.4g}")
        for finding in self.findings:
            mark = "refused" if finding.kind in self.refuse else "reported"
            lines.append(f"  {mark}: {finding.message}")
        if not self.findings:
            lines.append("  nothing is wrong with them")
        elif not self.ok:
            lines.append(f"  {self.n - len(self.refused):,} rows are left")
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """Return what JSON can hold of it: counts, findings, and the refused rows with reasons."""
        return {
            "name": self.name,
            "rows": self.n,
            "dimensions": self.d,
            "dtype": self.dtype,
            "policy": self.policy,
            "refuse": list(self.refuse),
            "refused": self.refused.tolist(),
            "reasons": [list(why) for why in self.reasons],
            "counts": {reason: len(numbers) for reason, numbers in self.found.items()},
            "constant": list(self.constant),
            "norms": None if self.norms is None else asdict(self.norms),
            "findings": [
                asdict(finding) | {"where": [*finding.where]} for finding in self.findings
            ],
        }

    def __repr__(self) -> str:
        return self.summary()


def check(
    x: Any,
    *,
    codec: Codec | None = None,
    policy: Policy = "raise",
    refuse: Iterable[str] = ("nonfinite",),
    norms: Bounds | None = None,
    duplicates: bool = True,
    name: str = "x",
) -> Check:
    """Look at vectors before anything is made of them, in one blocked pass.

    Parameters
    ----------
    x : array_like, shape (n, d)
        Any input that `waterfill.data.rows.Rows` reads. One that does not fit in memory is read in
        blocks, too; up to 9 bytes a row are kept, and 16 more while duplicates are sorted out.
    codec : Codec, optional
        Look for rows, too, whose distance it would cut off; they are encoded for that, which takes
        longer than all the rest.
    policy : {'raise', 'drop', 'quarantine'}
        What is done about rows that are refused. ``drop``: the result names them, and `clean` is
        without them. ``quarantine``: that, and `quarantined` has a copy of them.
    refuse : iterable of str
        Reasons to refuse a row: ``nan``, ``infinite``, ``nonfinite`` (both), ``zero``, ``norm``,
        ``duplicate`` (all but the first of equal rows), ``beyond the codec``. Others are reported.
    norms : (float, float), optional
        The least and the largest Euclidean norm that is right. Leave room for rounding: norms are
        computed in float32.
    duplicates : bool
        Whether to look for exact copies: rows, as float32, with the same hash of 64 bits. It takes
        some three times as long as what is always looked for.
    name : str
        What messages call `x`, if it has no name of its own.

    Returns
    -------
    Check

    Raises
    ------
    ValueError
        If rows are refused under ``raise``, with the first ten numbers; for another number of
        dimensions than the codec's; for an unknown policy or reason, or one that lacks its
        argument.
    TypeError
        If `x` is not an array of real numbers on the CPU, or `codec` no Codec.
    """
    policy = as_policy(policy)
    if codec is not None and not isinstance(codec, Codec):
        raise TypeError(f"codec must be a waterfill.Codec or None, got {type(codec).__name__}")
    bounds = None if norms is None else _as_bounds(norms)
    absent = {"norm": bounds is None, "duplicate": not duplicates, "beyond the codec": not codec}
    looked = tuple(reason for reason in _LOOKED_FOR if not absent.get(reason))
    wanted = _as_reasons(refuse, looked)
    rows = Rows(x, name, None if codec is None else codec.d)
    seen = Inspection(rows, codec, bounds, duplicates)
    refused = np.flatnonzero(seen.flaws & sum(map(bit, wanted)))
    flaws = seen.flaws[refused]
    if policy == "raise" and len(refused):
        raise ValueError(
            f"{rows.name}: {len(refused)} of {rows.n} rows are refused: {listed(refused, flaws)}"
        )
    kept = policy == "quarantine" and len(refused) > 0
    found = {reason: np.flatnonzero(seen.flaws & bit(reason)) for reason in looked}
    return Check(
        name=rows.name,
        n=rows.n,
        d=rows.d,
        dtype=str(rows.dtype),
        policy=policy,
        refuse=wanted,
        refused=refused,
        reasons=in_words(flaws),
        found=found,
        constant=seen.constant,
        norms=seen.norms,
        findings=tuple(_findings(found, seen.constant, bounds)),
        quarantined=gathered(rows, refused, flaws) if kept else None,
        _given=x,
        _rows=rows,
    )


def _as_reasons(refuse: Iterable[str], looked: tuple[str, ...]) -> tuple[str, ...]:
    """Return reasons to refuse rows, each once, in our order."""
    wanted: set[str] = set()
    for reason in [refuse] if isinstance(refuse, str) else refuse:
        if reason not in (*_LOOKED_FOR, *_GROUPS):
            known = ", ".join(map(repr, (*_GROUPS, *_LOOKED_FOR)))
            raise ValueError(f"refuse has {reason!r}; it may have {known}")
        wanted.update(_GROUPS.get(reason, (reason,)))
    needs = {"norm": "norms=", "duplicate": "duplicates=True", "beyond the codec": "codec="}
    for reason in sorted(wanted - set(looked)):
        raise ValueError(f"refuse has {reason!r}, which needs {needs[reason]}")
    return tuple(reason for reason in looked if reason in wanted)


def _as_bounds(norms: Any) -> Bounds:
    """Return the least and the largest norm that is right."""
    if not isinstance(norms, tuple | list) or len(norms) != 2:
        raise TypeError(f"norms must be two numbers, the least and the largest; got {norms!r}")
    least = as_number("norms[0]", norms[0], 0)
    return least, as_number("norms[1]", norms[1], least)


def _findings(
    found: dict[str, RowNumbers], constant: tuple[int, ...], bounds: Bounds | None
) -> Iterable[Finding]:
    for reason, numbers in found.items():
        where = tuple(numbers[:_WHERE].tolist())
        if where:
            words = _in_words(reason, "row", len(numbers), where, *(bounds or ()))
            yield Finding(reason, len(numbers), words, where)
    if constant:
        words = _in_words("constant", "dimension", len(constant), constant[:_WHERE])
        yield Finding("constant", len(constant), words, constant)


def _in_words(kind: str, what: str, n: int, where: tuple[int, ...], *values: float) -> str:
    more = ", ..." if n > len(where) else ""
    words = _WORDS[kind][n != 1].format(*values)
    return f"{_count(n, what)} {words}: {', '.join(map(str, where))}{more}"


def _count(n: int, what: str) -> str:
    return f"{n:,} {what}" + ("" if n == 1 else "s")
