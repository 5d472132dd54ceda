"""Statistics of vectors that plans are made from: mean, spectrum, norms and findings."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from waterfill import _core
from waterfill._util.progress import Meter
from waterfill.data.rows import Rows

__all__ = ["Analysis", "Finding", "Norms"]

_CENTRE_ROWS = 1024
_CHUNK_BLOCKS = 8  # 64 MiB of float32
_FLOOR = 0.01  # of the mean squared distance: caps the weight of rows near the mean


@dataclass(frozen=True)
class Finding:
    """An observation about the data that may need attention.

    Attributes
    ----------
    kind : str
        From `waterfill.analyze`: ``nonfinite``, ``zero``, ``constant``, ``duplicate`` or
        ``few_rows``. From `waterfill.check`: a reason to refuse rows, or ``constant``.
    count : int
        Number of rows, or of dimensions for ``constant``.
    message : str
        Description in words.
    where : tuple of int
        Numbers of the rows or dimensions: all for ``constant``; the first ten rows for
        ``nonfinite`` and for every reason of `waterfill.check`; otherwise empty.
    """

    kind: str
    count: int
    message: str
    where: tuple[int, ...] = ()


@dataclass(frozen=True)
class Norms:
    """Euclidean norms of vectors.

    Attributes
    ----------
    min, max : float
        Smallest and largest norm.
    mean, std : float
        Mean and standard deviation of the norms.
    """

    min: float
    max: float
    mean: float
    std: float

    @property
    def constant(self) -> bool:
        """Whether the standard deviation is at most 0.5 % of the mean."""
        return self.mean > 0 and self.std <= 0.005 * self.mean


@dataclass(frozen=True, repr=False, eq=False)
class Analysis:
    """Mean, spectrum, norms and findings of vectors; made by `waterfill.analyze`.

    The spectrum is that of the directions ``u = (x - mean) / |x - mean|``, since codes store a
    scale per vector anyway: the principal components [1]_ of ``E[u u^T]``, the sign covariance
    [2]_. The eigenvalues sum to 1.

    Attributes
    ----------
    n, d : int
        Number of finite rows, and number of dimensions.
    mean : float64 (d,)
        Mean of the rows.
    variance : float
        Mean squared distance from the mean (the trace of the covariance), in squared units of the
        data. ``eigenvalues * variance`` has the scale of the covariance's eigenvalues, and equals
        them if all rows are equally far from the mean.
    eigenvalues : float64 (d,)
        Descending and not negative.
    eigenvectors : float64 (d, d)
        Column i belongs to ``eigenvalues[i]``; its component of largest magnitude is positive.
    norms : Norms
        Of the finite rows; of normalised ones they are 1.
    normalized : bool
        Whether rows were divided by their norms first.
    findings : tuple of Finding
        What is unusual about the rows.

    References
    ----------
    .. [1] H. Hotelling, "Analysis of a complex of statistical variables into principal components",
       Journal of Educational Psychology 24, 1933.
    .. [2] S. Visuri, V. Koivunen and H. Oja, "Sign and rank covariance matrices", Journal of
       Statistical Planning and Inference 91(2), 2000.
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
        """Effective rank: the exponential of the entropy of the spectrum [1]_, 1 to d.

        References
        ----------
        .. [1] O. Roy and M. Vetterli, "The effective rank: a measure of effective dimensionality",
           EUSIPCO, 2007.
        """
        shares = self.eigenvalues[self.eigenvalues > 0]
        return float(np.exp(-np.sum(shares * np.log(shares))))

    def dims_for(self, share: float) -> int:
        """Return how many leading eigen-dimensions hold a share of the variance.

        Parameters
        ----------
        share : float
            From 0 to 1.

        Returns
        -------
        int
            Number of eigen-dimensions, at least 1.
        """
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
    """Compute the statistics of vectors in one blocked pass.

    The spectrum is that of principal components [1]_, of the directions from the mean.

    Parameters
    ----------
    x : array_like, shape (n, d)
        A NumPy array or memory map of real numbers, a torch tensor on the CPU, an object with
        ``__dlpack__`` or ``__array__``, or the result of `open_vectors`. Rows with a NaN or an
        infinity are left out and reported as a finding.
    normalize : bool
        Divide rows by their Euclidean norms first, for cosine similarity. Codecs trained from the
        result normalise the vectors that they encode.

    Returns
    -------
    Analysis
        Mean, spectrum, norms and findings of the finite rows.

    Raises
    ------
    ValueError
        If `x` has no rows, or no finite ones.
    TypeError
        If `x` is not an array of real numbers on the CPU.

    References
    ----------
    .. [1] H. Hotelling, "Analysis of a complex of statistical variables into principal components",
       Journal of Educational Psychology 24, 1933.
    """
    return analyze_rows(Rows(x), normalize=normalize, meter=Meter(None))


def analyze_rows(rows: Rows, *, normalize: bool, meter: Meter) -> Analysis:
    """Do the work of `analyze`, and tell how far it is."""
    if rows.n == 0:
        raise ValueError("x has no rows; at least 1 is needed")
    meter.begin("analysis", rows.n)
    centre, floor = _provisional_centre(rows, normalize)
    moments = _core.Moments(centre, floor)
    for chunk in _chunk_moments(rows, centre, floor, normalize):
        moments.merge(chunk)
        meter.advance(min(chunk_rows(rows), rows.n))
    if moments.count == 0:
        raise ValueError(
            f"x: all {rows.n} rows have a NaN or an infinity; at least 1 finite is needed"
        )
    return from_moments(moments, normalized=normalize)


def chunk_rows(rows: Rows) -> int:
    """Return how many rows have sums of their own.

    Sums of floats depend on their order. So those of a chunk are made alone, and the chunks are
    added in order, whoever made them.
    """
    return _CHUNK_BLOCKS * rows.block_rows


def moments_of(
    rows: Rows, first: int, centre: NDArray[np.float64], floor: float, normalize: bool
) -> _core.Moments:
    """Return the moments of the chunk of rows that begins at row `first`."""
    moments = _core.Moments(centre, floor)
    stop = min(rows.n, first + chunk_rows(rows))
    for _, block in rows.blocks(finite=False, start=first, stop=stop):
        moments.update(_core.normalize_rows(block) if normalize else block)
    return moments


def _chunk_moments(
    rows: Rows, centre: NDArray[np.float64], floor: float, normalize: bool
) -> Iterator[_core.Moments]:
    remote = getattr(rows.source, "chunk_moments", None)  # rows that lie in other processes
    if remote is not None:
        yield from remote(centre, floor, normalize)
        return
    for first in range(0, rows.n, chunk_rows(rows)):
        yield moments_of(rows, first, centre, floor, normalize)


def centre_rows(n: int) -> NDArray[np.int64]:
    """Return the numbers of the evenly spaced rows whose mean is the provisional centre."""
    return np.unique(np.linspace(0, n - 1, min(n, _CENTRE_ROWS)).astype(np.int64))


def from_moments(moments: _core.Moments, *, normalized: bool = False) -> Analysis:
    """Make an analysis of accumulated moments; eigenvalues come from LAPACK (NumPy's `eigh`)."""
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
    """Return the mean of evenly spaced rows, and the squared distance that caps weights."""
    sample = rows.take(centre_rows(rows.n), finite=False)
    sample = sample[np.isfinite(sample).all(axis=1)]
    if len(sample) == 0:
        return np.zeros(rows.d), 0.0
    if normalize:
        sample = _core.normalize_rows(sample)
    centre = sample.mean(axis=0, dtype=np.float64)
    return centre, _FLOOR * float(((sample - centre) ** 2).sum(axis=1).mean())


def _findings(moments: _core.Moments) -> list[Finding]:
    findings = []
    if moments.nonfinite_rows:
        where = tuple(moments.first_nonfinite)
        listed = ", ".join(map(str, where)) + (", ..." if moments.nonfinite_rows > 10 else "")
        message = f"{moments.nonfinite_rows} rows have a NaN or an infinity: {listed}"
        findings.append(Finding("nonfinite", moments.nonfinite_rows, message, where))
    if moments.zero_rows:
        message = f"{moments.zero_rows} vectors are zero and have no direction"
        findings.append(Finding("zero", moments.zero_rows, message))
    constant = tuple(int(i) for i in np.flatnonzero(moments.minima == moments.maxima))
    if constant and moments.count > 1:
        listed = ", ".join(map(str, constant[:10])) + (", ..." if len(constant) > 10 else "")
        message = f"{len(constant)} dimensions never change: {listed}"
        findings.append(Finding("constant", len(constant), message, constant))
    if moments.duplicates:
        about = "" if moments.duplicates_exact else "about "
        message = f"{about}{round(moments.duplicates):,} vectors are exact copies of another"
        findings.append(Finding("duplicate", round(moments.duplicates), message))
    if moments.count < moments.dim:
        message = (
            f"{moments.count} vectors are fewer than {moments.dim} dimensions: "
            "the spectrum is unreliable; pass more vectors"
        )
        findings.append(Finding("few_rows", moments.count, message))
    return findings
