"""Statistics of a sample: what a plan is made from."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from waterfill import _core
from waterfill.data.rows import Rows

_CENTRE_ROWS = 1024
_FLOOR = 0.01  # of the mean squared distance: nearer rows do not weigh more


@dataclass(frozen=True)
class Finding:
    """One observation about the data that a user should know.

    Attributes
    ----------
    kind : str
        ``nonfinite``, ``zero``, ``constant``, ``duplicate`` or ``few_rows``.
    count : int
        Rows (or dimensions, for ``constant``) concerned.
    message : str
        What was found and what it means.
    where : tuple of int
        Numbers of the rows or dimensions: all of them for ``constant``, the first ten for
        ``nonfinite``, none otherwise.
    """

    kind: str
    count: int
    message: str
    where: tuple[int, ...] = ()


@dataclass(frozen=True)
class Norms:
    """Spread of the vectors' Euclidean norms."""

    min: float
    max: float
    mean: float
    std: float

    @property
    def constant(self) -> bool:
        """Whether all norms are the same up to half a percent of spread."""
        return self.mean > 0 and self.std <= 0.005 * self.mean


@dataclass(frozen=True, repr=False, eq=False)
class Analysis:
    """Mean, spectrum and findings of a sample.

    The spectrum is that of directions ``u = (x - mean) / |x - mean|``, since a scale per vector is
    stored anyway: eigenvalues of ``E[u u^T]``, which sum to 1 and are shares of the variance.

    Attributes
    ----------
    n, d : int
        Finite rows seen, and dimensions.
    mean : float64 (d,)
    variance : float
        Mean squared distance from the mean (the trace of the covariance), in squared units of the
        data. ``eigenvalues * variance`` is the scale of the covariance's own eigenvalues, equal to
        them where all rows are equally far from the mean.
    eigenvalues : float64 (d,)
        Descending, not negative.
    eigenvectors : float64 (d, d)
        Column i belongs to ``eigenvalues[i]``; its largest component is positive.
    norms : Norms
    normalized : bool
        Whether rows were divided by their norm first.
    findings : tuple of Finding
    """

    n: int
    d: int
    mean: NDArray[np.float64]
    variance: float
    eigenvalues: NDArray[np.float64]
    eigenvectors: NDArray[np.float64]
    norms: Norms
    normalized: bool
    findings: tuple[Finding, ...]

    @property
    def effective_rank(self) -> float:
        """Exponential of the spectrum's entropy (Roy & Vetterli 2007): 1 to d."""
        shares = self.eigenvalues[self.eigenvalues > 0]
        return float(np.exp(-np.sum(shares * np.log(shares))))

    def dims_for(self, share: float) -> int:
        """Leading eigen-dimensions that hold this share of the variance."""
        return int(np.searchsorted(np.cumsum(self.eigenvalues), share - 1e-12) + 1)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Analysis):
            return NotImplemented
        return all(
            np.array_equal(getattr(self, field.name), getattr(other, field.name))
            if isinstance(getattr(self, field.name), np.ndarray)
            else getattr(self, field.name) == getattr(other, field.name)
            for field in fields(self)
        )

    __hash__ = None  # type: ignore[assignment]  # arrays have no hash

    def __repr__(self) -> str:
        norms = self.norms
        spread = "all the same" if norms.constant else f"{norms.min:.4g} to {norms.max:.4g}"
        shares = ", ".join(
            f"{share:.0%} in {min(self.dims_for(share), self.d)}" for share in (0.5, 0.9, 0.99)
        )
        lines = [
            f"Analysis of {self.n:,} vectors of {self.d} dimensions"
            + (" (normalised)" if self.normalized else ""),
            f"  norms           mean {norms.mean:.4g}, {spread}",
            f"  effective rank  {self.effective_rank:.1f} of {self.d}",
            f"  variance        {shares} eigen-dimensions",
        ]
        lines += [f"  {finding.kind:<15} {finding.message}" for finding in self.findings]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        from waterfill.reporting.notebook import analysis_html

        return analysis_html(self)


def analyze(x: Any, *, normalize: bool = False) -> Analysis:
    """Analyze a sample of vectors, in one blocked pass.

    Parameters
    ----------
    x : array_like, shape (n, d)
        NumPy arrays, memory maps, torch tensors on the CPU, or anything else that
        `waterfill.data.rows.Rows` reads. Rows with a NaN or an
        infinity are reported as a finding and left out.
    normalize : bool
        Divide rows by their Euclidean norm first, for cosine similarity. Plans and codecs made
        from the result do the same to whatever they encode.

    Returns
    -------
    Analysis

    Raises
    ------
    ValueError
        If there is no row, or none that is finite.
    TypeError
        If `x` is not an array of real numbers on the CPU.
    """
    rows = Rows(x)
    if rows.n == 0:
        raise ValueError("x has no rows; at least 1 is needed")
    centre, floor = _provisional_centre(rows, normalize)
    moments = _core.Moments(centre, floor)
    for _, block in rows.blocks(finite=False):
        moments.update(_core.normalize_rows(block) if normalize else block)
    if moments.count == 0:
        raise ValueError(f"x: all {rows.n} rows have a NaN or an infinity")
    return from_moments(moments, normalized=normalize)


def from_moments(moments: _core.Moments, *, normalized: bool = False) -> Analysis:
    """Finish accumulated moments: eigenvalues by LAPACK (NumPy's `eigh`), findings in words."""
    values, vectors = np.linalg.eigh(moments.direction_covariance())
    order = np.argsort(-values, kind="stable")
    values, vectors = np.maximum(values[order], 0), vectors[:, order]
    if values.sum() > 0:
        values = values / values.sum()
    largest = vectors[np.argmax(np.abs(vectors), axis=0), np.arange(len(values))]
    low, high, total, squares = moments.norms
    mean = total / moments.count
    return Analysis(
        n=moments.count,
        d=moments.dim,
        mean=moments.mean,
        variance=moments.variance,
        eigenvalues=values,
        eigenvectors=vectors * np.where(largest < 0, -1.0, 1.0),
        norms=Norms(low, high, mean, float(np.sqrt(max(0.0, squares / moments.count - mean**2)))),
        normalized=normalized,
        findings=tuple(_findings(moments)),
    )


def _provisional_centre(rows: Rows, normalize: bool) -> tuple[NDArray[np.float64], float]:
    """Mean of a few evenly spaced rows, and the squared distance below which none weighs more."""
    some = np.unique(np.linspace(0, rows.n - 1, min(rows.n, _CENTRE_ROWS)).astype(np.int64))
    sample = rows.take(some, finite=False)
    sample = sample[np.isfinite(sample).all(axis=1)]
    if len(sample) == 0:
        return np.zeros(rows.d), 0.0
    if normalize:
        sample = _core.normalize_rows(sample)
    centre = sample.mean(axis=0, dtype=np.float64)
    return centre, _FLOOR * float(((sample - centre) ** 2).sum(axis=1).mean())


def _findings(moments: _core.Moments) -> list[Finding]:
    found = []
    if moments.nonfinite_rows:
        where = tuple(moments.first_nonfinite)
        listed = ", ".join(map(str, where)) + (", ..." if moments.nonfinite_rows > 10 else "")
        message = f"{moments.nonfinite_rows} rows have a NaN or an infinity: {listed}"
        found.append(Finding("nonfinite", moments.nonfinite_rows, message, where))
    if moments.zero_rows:
        message = f"{moments.zero_rows} vectors are zero and have no direction"
        found.append(Finding("zero", moments.zero_rows, message))
    constant = tuple(int(i) for i in np.flatnonzero(moments.minima == moments.maxima))
    if constant and moments.count > 1:
        listed = ", ".join(map(str, constant[:10])) + (", ..." if len(constant) > 10 else "")
        message = f"{len(constant)} dimensions never change: {listed}"
        found.append(Finding("constant", len(constant), message, constant))
    if moments.duplicates:
        about = "" if moments.duplicates_exact else "about "
        message = f"{about}{round(moments.duplicates):,} vectors are exact copies of another"
        found.append(Finding("duplicate", round(moments.duplicates), message))
    if moments.count < moments.dim:
        message = (
            f"{moments.count} vectors are fewer than {moments.dim} dimensions: "
            "the spectrum is a guess; give more"
        )
        found.append(Finding("few_rows", moments.count, message))
    return found
