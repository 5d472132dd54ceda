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
    describe_rows,
    quarantine_rows,
    reasons_of,
)
from waterfill.data.rows import FloatRows, Rows
from waterfill.encoding import clipped, encode_block

__all__ = ["Check"]

Bounds = tuple[float, float]

_REASONS = REASONS[: REASONS.index("beyond the codec") + 1]
_REASON_GROUPS = {"nonfinite": ("nan", "infinite")}
_REQUIRED_ARGUMENTS = {
    "norm": "norms=",
    "duplicate": "duplicates=True",
    "beyond the codec": "codec=",
}
_MESSAGES = {  # singular, plural
    "nan": ("has a NaN", "have a NaN"),
    "infinite": ("has an infinity in float32", "have an infinity in float32"),
    "zero": ("is zero and has no direction", "are zero and have no direction"),
    "norm": ("has a norm outside {:g} to {:g}", "have a norm outside {:g} to {:g}"),
    "duplicate": ("is an exact copy of an earlier one", "are exact copies of an earlier one"),
    "beyond the codec": (
        "is too far from the codec's training sample, or too near to the mean or centroid: the "
        "codec would clip its distance",
        "are too far from the codec's training sample, or too near to the mean or centroid: the "
        "codec would clip their distance",
    ),
    "constant": ("never changes", "never change"),
}
_MAX_LISTED = 10


@dataclass(frozen=True, eq=False, repr=False)
class Check:
    """The result of `waterfill.check`.

    Attributes
    ----------
    name : str
        Name of the vectors in messages.
    n, d : int
        Number of rows and of dimensions.
    dtype : str
        Dtype of the values before conversion to float32.
    policy : str
        The policy of the call: ``raise``, ``drop`` or ``quarantine``.
    refuse : tuple of str
        Reasons for which rows are refused.
    refused : int64 (m,)
        Numbers of the refused rows, ascending.
    reasons : list of tuple of str
        All reasons found for each refused row, including those that are only reported.
    found : dict of str to int64 (l,)
        Numbers of the rows for each reason that was checked, refused or not.
    constant : tuple of int
        Dimensions that have the same value in all finite rows, if there are two such rows or more.
    norms : Norms or None
        Of the finite rows, computed in float32; None if there are none.
    findings : tuple of Finding
        The same in words; `where` has the first ten rows.
    quarantined : Quarantined or None
        A copy of the refused rows under ``quarantine``.
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
    _x: Any
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
        """The rows that are not refused, for any function that takes vectors.

        If none is refused, the argument of `waterfill.check` itself; otherwise a view that is read
        in blocks, on demand. `numpy.asarray` makes an array of it.
        """
        return self._x if self.ok else self._rows.without(self.refused).source

    def summary(self) -> str:
        """Return the result in words."""
        lines = [f"{self.name}: {_count(self.n, 'row')} of {self.d} dimensions, {self.dtype}"]
        if self.norms is not None:
            low, high = self.norms.min, self.norms.max
            lines.append(f"  norms: {low:.4g} to {high:.4g}, mean {self.norms.mean:.4g}")
        for finding in self.findings:
            action = "refused" if finding.kind in self.refuse else "reported"
            lines.append(f"  {action}: {finding.message}")
        if not self.findings:
            lines.append("  no findings")
        elif not self.ok:
            lines.append(f"  {self.n - len(self.refused):,} rows are left")
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-serialisable dict of counts, findings, and refused rows with reasons."""
        return {
            "name": self.name,
            "rows": self.n,
            "dimensions": self.d,
            "dtype": self.dtype,
            "policy": self.policy,
            "refuse": list(self.refuse),
            "refused": self.refused.tolist(),
            "reasons": [list(reasons) for reasons in self.reasons],
            "counts": {reason: len(numbers) for reason, numbers in self.found.items()},
            "constant": list(self.constant),
            "norms": None if self.norms is None else asdict(self.norms),
            "findings": [
                asdict(finding) | {"where": [*finding.where]} for finding in self.findings
            ],
        }

    def __repr__(self) -> str:
        return self.summary()

    def _repr_html_(self) -> str:
        from waterfill.reporting.object_tables import check_html

        return check_html(self)


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
    """Check the quality of vectors in one blocked pass.

    Parameters
    ----------
    x : array_like, shape (n, d)
        Vectors, as for `analyze`. Input larger than memory is read in blocks; up to 9 bytes per row
        are kept, and 16 more while duplicates are sorted.
    codec : Codec, optional
        Also find rows whose distance this codec would clip. Rows are encoded for that, which takes
        longer than all other checks.
    policy : {'raise', 'drop', 'quarantine'}
        Handling of refused rows. ``drop``: `Check.refused` has their numbers, and `Check.clean` is
        a view without them. ``quarantine``: the same, and `Check.quarantined` has a copy of them.
    refuse : iterable of str
        Reasons to refuse a row: ``nan``, ``infinite``, ``nonfinite`` (both), ``zero``, ``norm``,
        ``duplicate`` (all but the first of equal rows), ``beyond the codec``. Other reasons are
        reported.
    norms : (float, float), optional
        Smallest and largest acceptable Euclidean norm. Leave room for rounding: norms are computed
        in float32.
    duplicates : bool
        Whether to find exact copies: rows with the same 64-bit hash, as float32. It takes about
        three times as long as the checks that are always made.
    name : str
        Name for messages if `x` has no attribute ``name``.

    Returns
    -------
    Check
        What was found, and the rows that are refused.

    Raises
    ------
    ValueError
        If rows are refused under ``raise``, with the first ten numbers; if the number of dimensions
        is not the codec's; for an unknown policy or reason, or a reason without its argument.
    TypeError
        If `x` is not an array of real numbers on the CPU, or `codec` not a Codec.
    """
    policy = as_policy(policy)
    if codec is not None and not isinstance(codec, Codec):
        raise TypeError(f"codec must be a waterfill.Codec or None, got {type(codec).__name__}")
    bounds = None if norms is None else _as_bounds(norms)
    skipped = {"norm": bounds is None, "duplicate": not duplicates, "beyond the codec": not codec}
    checked = tuple(reason for reason in _REASONS if not skipped.get(reason))
    refusals = _as_reasons(refuse, checked)
    rows = Rows(x, name, None if codec is None else codec.d)
    scan = _RowScan(rows, codec, bounds, duplicates)
    refused = np.flatnonzero(scan.flaws & sum(map(bit, refusals)))
    flaws = scan.flaws[refused]
    if policy == "raise" and len(refused):
        raise ValueError(
            f"{rows.name}: {len(refused)} of {rows.n} rows are refused: "
            f"{describe_rows(refused, flaws)}"
        )
    found = {reason: np.flatnonzero(scan.flaws & bit(reason)) for reason in checked}
    copied = policy == "quarantine" and len(refused) > 0
    return Check(
        name=rows.name,
        n=rows.n,
        d=rows.d,
        dtype=str(rows.dtype),
        policy=policy,
        refuse=refusals,
        refused=refused,
        reasons=reasons_of(flaws),
        found=found,
        constant=scan.constant,
        norms=scan.norms,
        findings=tuple(_findings(found, scan.constant, bounds)),
        quarantined=quarantine_rows(rows, refused, flaws) if copied else None,
        _x=x,
        _rows=rows,
    )


class _RowScan:
    """One pass over all rows.

    Attributes
    ----------
    flaws : uint8 (n,)
        Bits of `waterfill.data.row_policy.REASONS` for each row.
    constant : tuple of int
        Dimensions that never change.
    """

    def __init__(
        self, rows: Rows, codec: Codec | None, bounds: Bounds | None, duplicates: bool
    ) -> None:
        self._codec, self._bounds = codec, bounds
        self.flaws = np.zeros(rows.n, dtype=np.uint8)
        hashes = np.zeros(rows.n if duplicates else 0, dtype=np.uint64)
        dimensions = _core.ConstantDimensions(rows.d)
        self._n, self._sum, self._sum_of_squares = 0, 0.0, 0.0
        self._min, self._max = np.inf, 0.0
        for first, block in rows.blocks(finite=False, missing=True):
            span = slice(first, first + len(block))
            flaws, squares, block_hashes = _core.inspect(block, duplicates)
            dimensions.update(block, flaws)
            finite = np.flatnonzero(np.isfinite(squares))
            finite_rows = block if len(finite) == len(block) else block[finite]
            flaws[finite] |= self._check_finite(finite_rows, squares[finite])
            self.flaws[span] = flaws
            if block_hashes is not None:
                hashes[span] = block_hashes
        if duplicates:
            self.flaws[_duplicates(hashes, self.flaws)] |= bit("duplicate")
        self.constant = tuple(dimensions.dimensions.tolist()) if self._n > 1 else ()

    def _check_finite(self, rows: FloatRows, squares: NDArray[np.float64]) -> Flaws:
        """Return the flaws of finite rows other than those of the core; accumulate norms."""
        flaws = np.zeros(len(squares), dtype=np.uint8)
        if len(squares) == 0:
            return flaws
        norms = np.sqrt(squares)
        self._n += len(norms)
        self._sum += float(norms.sum())
        self._sum_of_squares += float(squares.sum())
        self._min = min(self._min, float(norms.min()))
        self._max = max(self._max, float(norms.max()))
        if self._bounds is not None:
            flaws[(norms < self._bounds[0]) | (norms > self._bounds[1])] |= bit("norm")
        if self._codec is not None:
            core = self._codec._core
            flaws[clipped(core, encode_block(core, rows))] |= bit("beyond the codec")
        return flaws

    @property
    def norms(self) -> Norms | None:
        """Norms of the finite rows; None if there are none."""
        if self._n == 0:
            return None
        mean = self._sum / self._n
        std = float(np.sqrt(max(0.0, self._sum_of_squares / self._n - mean**2)))
        return Norms(self._min, self._max, mean, std)


def _duplicates(hashes: NDArray[np.uint64], flaws: Flaws) -> RowNumbers:
    """Return the numbers of finite rows that equal an earlier one."""
    numbers = np.flatnonzero((flaws & NONFINITE) == 0)
    first = np.unique(hashes[numbers], return_index=True)[1]
    return np.delete(numbers, first)


def _as_reasons(refuse: Iterable[str], checked: tuple[str, ...]) -> tuple[str, ...]:
    """Return the reasons in `refuse`, without groups and repetitions, in the order of checks."""
    reasons: set[str] = set()
    for reason in [refuse] if isinstance(refuse, str) else refuse:
        if reason not in (*_REASONS, *_REASON_GROUPS):
            known = ", ".join(map(repr, (*_REASON_GROUPS, *_REASONS)))
            raise ValueError(f"refuse: unknown reason {reason!r}; expected some of {known}")
        reasons.update(_REASON_GROUPS.get(reason, (reason,)))
    for reason in sorted(reasons - set(checked)):
        raise ValueError(f"refuse: reason {reason!r} needs {_REQUIRED_ARGUMENTS[reason]}")
    return tuple(reason for reason in checked if reason in reasons)


def _as_bounds(norms: Any) -> Bounds:
    """Return the smallest and the largest acceptable norm."""
    if not isinstance(norms, tuple | list) or len(norms) != 2:
        raise TypeError(f"norms must be two numbers (smallest, largest), got {norms!r}")
    smallest = as_number("norms[0]", norms[0], 0)
    return smallest, as_number("norms[1]", norms[1], smallest)


def _findings(
    found: dict[str, RowNumbers], constant: tuple[int, ...], bounds: Bounds | None
) -> Iterable[Finding]:
    for reason, numbers in found.items():
        where = tuple(numbers[:_MAX_LISTED].tolist())
        if where:
            message = _message(reason, "row", len(numbers), where, *(bounds or ()))
            yield Finding(reason, len(numbers), message, where)
    if constant:
        message = _message("constant", "dimension", len(constant), constant[:_MAX_LISTED])
        yield Finding("constant", len(constant), message, constant)


def _message(kind: str, unit: str, n: int, where: tuple[int, ...], *values: float) -> str:
    more = ", ..." if n > len(where) else ""
    predicate = _MESSAGES[kind][n != 1].format(*values)
    return f"{_count(n, unit)} {predicate}: {', '.join(map(str, where))}{more}"


def _count(n: int, unit: str) -> str:
    return f"{n:,} {unit}" + ("" if n == 1 else "s")
