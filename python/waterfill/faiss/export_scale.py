"""Score correction of an export: the scale of each vector as an additive offset.

A score needs ``s <q, u_hat>`` with a scale s for each vector, but FAISS's sum of table entries has
one scale for all. Near neighbours have inner products close to a typical one, T, so that

    s <q, u_hat>  is about  scale <q, u_hat> + (s - scale) T

The last term depends on the vector alone, and a byte of its code can hold it. T is a function of s,
or a linear function of several statistics of the vector. `measure` chooses T and the scale, and
whether to store offsets, by the recall of vectors of the index used as queries.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import NDArray

from waterfill.faiss.export_space import Decoder, Doubles

CodesOf = Callable[[int, int], NDArray[np.uint8]]  # first label, number

_QUERIES = 200
_SAMPLE = 16_384
_RUN = 16  # consecutive labels read at once
_NEIGHBOURS = 20  # neighbours of each query that T is fitted to
_K = 10  # neighbours that recall counts
_KNOTS = 8
_SCORE_FACTORS = (1.0, 1.3)  # multiples of the mean neighbour score
_MIN_GAIN = 0.002  # recall that the offset byte must gain
_MIN_LIFT_GAIN = 0.01  # recall that a shift of all distances must gain


@dataclass(frozen=True)
class CodeStats:
    """Statistics of each vector's code that a correction uses, float64 (n,).

    Attributes
    ----------
    s : ndarray
        Scale.
    squares : ndarray
        Squared norm of the decoded direction, ``|u_hat|^2``.
    excess : ndarray
        Squared norm in FAISS's space minus `squares`.
    origin_products : ndarray
        Inner product of the decoded direction with the origin of its cell.
    """

    s: Doubles
    squares: Doubles
    excess: Doubles
    origin_products: Doubles

    @classmethod
    def of(
        cls, decoder: Decoder, codes: NDArray[np.uint8], alpha: float, *, with_origin: bool = True
    ) -> CodeStats:
        """Compute statistics of codes; `origin_products`, the slowest, are optional, else 0."""
        s, squares = decoder.scales(codes, alpha)
        products = decoder.origin_products(codes) if with_origin else np.zeros(len(codes))
        return cls(s, squares, decoder.excess(codes), products)

    def columns(self) -> Doubles:
        """Return the regressors of `Line`, float64 (n, 4)."""
        ones = np.ones_like(self.s)
        return np.stack([ones, self.s, self.s * self.squares, self.origin_products], axis=1)


@dataclass(frozen=True)
class Line:
    """T as a linear function of the statistics, clipped to its range on the fitted vectors."""

    slopes: Doubles
    low: float
    high: float

    def __call__(self, stats: CodeStats) -> Doubles:
        """Return T of each vector."""
        return np.clip(stats.columns() @ self.slopes, self.low, self.high)


@dataclass(frozen=True)
class Table:
    """T as a function of s: linear interpolation between knots, constant outside."""

    scales: Doubles
    products: Doubles

    def __call__(self, stats: CodeStats) -> Doubles:
        """Return T of each vector."""
        return np.asarray(np.interp(stats.s, self.scales, self.products))


@dataclass(frozen=True)
class Correction:
    """How an exported index corrects scores for the scale of each vector.

    Attributes
    ----------
    scale : float
        Common scale of all decoded directions.
    typical : Line or Table
        T, the typical inner product, of each vector.
    lift : float
        L2 only: constant added to every distance, so that offsets are not negative.
    has_offsets : bool
        Whether codes have an offset byte.
    """

    scale: float
    typical: Line | Table
    lift: float = 0.0
    has_offsets: bool = True

    def offsets(self, stats: CodeStats, *, l2: bool) -> Doubles:
        """Return the term to add to each vector's score, or to its distance for L2."""
        if l2:
            return np.maximum(self.unclipped(stats) + self.lift, 0)
        return np.asarray((stats.s - self.scale) * self.typical(stats))

    def unclipped(self, stats: CodeStats) -> Doubles:
        """Return the exact L2 offsets, which may be negative."""
        products = (stats.s - self.scale) * self.typical(stats)
        lengths = stats.s**2 * stats.squares - self.scale**2 * (stats.squares + stats.excess)
        return np.asarray(lengths - 2 * products)


class Levels:
    """Uniform quantizer of the offsets, with 256 levels.

    Level 0 is the offset 0, because FAISS assigns byte 0 to the vectors that it encodes itself.
    """

    def __init__(self, low: float, high: float, *, l2: bool) -> None:
        self._low = 0.0 if l2 else low
        self._step = max(high - self._low, 0.0) / (255 if l2 else 254) or 1.0
        self._first = 0 if l2 else 1
        self.values = self._low + self._step * (np.arange(256) - self._first)
        self.values[0] = 0.0

    def bytes(self, offsets: NDArray[np.float32]) -> NDArray[np.uint8]:
        """Return the byte of each offset."""
        levels = np.rint((offsets.astype(np.float64) - self._low) / self._step) + self._first
        return np.asarray(np.clip(levels, self._first, 255), dtype=np.uint8)


def measure(
    decoder: Decoder, codes: CodesOf, n: int, *, alpha: float, l2: bool, offsets: bool
) -> Correction:
    """Choose the correction with the highest recall on vectors of the index itself.

    A few hundred vectors are used as queries. Recall compares their neighbours in a sample by the
    index's scores with those by FAISS's scores. Without `offsets`, and for very small indexes, the
    scale is the mean distance from the origin, which suits vectors that FAISS adds best.
    """
    rng = np.random.default_rng(0)
    sample = _Sample(decoder, _draw(codes, n, rng), alpha=alpha, l2=l2)
    if not offsets or sample.n <= 2 * _K:
        return Correction(sample.distance, Table(np.zeros(1), np.zeros(1)), has_offsets=False)
    sample.set_queries(rng.choice(sample.n, size=min(_QUERIES, sample.n // 2), replace=False))
    near_scale = float(sample.near.s.mean())
    plain: list[Correction] = []
    lifted: list[Correction] = []
    for scale in (sample.mean, 0.9 * sample.mean, near_scale, 0.9 * near_scale):
        tables = [sample.table(1), sample.table(_KNOTS), *map(sample.score_table, _SCORE_FACTORS)]
        candidates: list[Line | Table] = [*tables, sample.line(scale)]
        for typical in candidates:
            correction = Correction(scale, typical)
            plain.append(correction)
            if l2:
                lifted.append(replace(correction, lift=sample.lift(correction)))
    without = [replace(correction, has_offsets=False) for correction in plain]
    best, recall = sample.best(without)
    for group, min_gain in ((plain, _MIN_GAIN), (lifted, _MIN_LIFT_GAIN)):
        if group:
            candidate, candidate_recall = sample.best(group)
            if candidate_recall > recall + min_gain:
                best, recall = candidate, candidate_recall
    return best


def _draw(codes: CodesOf, n: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Read the codes of a random sample, in runs of consecutive labels."""
    runs = -(-n // _RUN)
    chosen = np.sort(rng.choice(runs, size=min(runs, _SAMPLE // _RUN), replace=False))
    parts = [codes(_RUN * run, min(_RUN, n - _RUN * run)) for run in chosen.tolist()]
    sample: NDArray[np.uint8] = np.concatenate([codes(0, 0), *parts])
    return sample


class _Sample:
    """A sample of an index's vectors, some of which serve as queries."""

    def __init__(
        self,
        decoder: Decoder,
        codes: NDArray[np.uint8],
        *,
        alpha: float,
        l2: bool,
    ) -> None:
        self.n = len(codes)
        self.l2 = l2
        self._decoder = decoder
        self._y = decoder.coordinates(codes)
        self._cells = decoder.cell_numbers(codes)
        self.stats = CodeStats.of(decoder, codes, alpha)
        self.s, self.squares = self.stats.s, self.stats.squares
        valid = (self.s > 0) & (self.squares > 0)
        rho = self.s * self.squares ** (alpha / 2)
        self.mean = float(self.s[valid].mean()) if valid.any() else decoder.middle_scale
        self.distance = float(rho[valid].mean()) if valid.any() else decoder.middle_scale

    def set_queries(self, rows: NDArray[np.int64]) -> None:
        """Use these vectors as queries, and find the nearest neighbours of each."""
        decoder, self._query_rows = self._decoder, rows
        residuals = (self.s[rows, None] * self._y[rows]) @ decoder.rows
        queries = decoder.origins[self._cells[rows]] + residuals
        coordinates = (queries @ decoder.rows.T).astype(np.float32)
        self.products = coordinates @ self._y.T
        origins = decoder.origins
        if self.l2:
            self.products -= self.stats.origin_products.astype(np.float32)
            squared_norms = np.square(queries).sum(axis=1)[:, None] + np.square(origins).sum(axis=1)
            bases = 2 * queries @ origins.T - squared_norms
        else:
            bases = queries @ origins.T
        self._bases = bases.astype(np.float32)[:, self._cells]
        weight = 2 if self.l2 else 1
        scores = self._bases + (weight * self.s).astype(np.float32) * self.products
        if self.l2:
            scores -= (self.s**2 * self.squares).astype(np.float32)
        near = self._top(scores, _NEIGHBOURS)
        self._near_products = np.take_along_axis(self.products, near, axis=1).ravel()
        self.near = CodeStats(
            *(getattr(self.stats, f.name)[near.ravel()] for f in fields(CodeStats))
        )
        self._truth = np.sort(self._top(scores, _K), axis=1)

    def _top(self, scores: NDArray[np.float32], k: int) -> NDArray[np.int64]:
        scores[np.arange(len(scores)), self._query_rows] = -np.inf  # not the query itself
        k = min(k, self.n - 1)
        return np.asarray(np.argpartition(-scores, k - 1, axis=1)[:, :k])

    def table(self, knots: int) -> Table:
        """Return T by scale: mean inner products of near neighbours."""
        order = np.argsort(self.near.s, kind="stable")
        scales = [part.mean() for part in np.array_split(self.near.s[order], knots)]
        products = [part.mean() for part in np.array_split(self._near_products[order], knots)]
        return Table(np.array(scales), np.array(products, dtype=np.float64))

    def line(self, scale: float) -> Line:
        """Return T as the least-squares fit for a scale, weighted by the error of that scale."""
        weights = np.abs(self.near.s - scale)[:, None]
        columns, products = self.near.columns(), self._near_products[:, None].astype(np.float64)
        solution = np.linalg.lstsq(columns * weights, products * weights, rcond=None)[0]
        slopes: Doubles = np.asarray(solution[:, 0], dtype=np.float64)
        fitted = columns @ slopes
        return Line(slopes, float(fitted.min()), float(fitted.max()))

    def score_table(self, factor: float) -> Table:
        """Return T by scale: the product that gives `factor` times the mean neighbour score."""
        score = factor * float((self.near.s * self._near_products).mean())
        positive = self.s[self.s > 0]
        if not len(positive):
            return self.table(1)
        scales = np.geomspace(positive.min(), positive.max(), 64)
        return Table(scales, score / scales)

    def lift(self, correction: Correction) -> float:
        """Return the constant that makes 99.9 % of the offsets of an L2 index positive."""
        offsets = replace(correction, lift=0.0).unclipped(self.stats)
        return max(0.0, -float(np.quantile(offsets, 0.001)))

    def best(self, candidates: list[Correction]) -> tuple[Correction, float]:
        """Return the correction with the highest recall, and that recall."""
        recalls = [self._recall(correction) for correction in candidates]
        i = int(np.argmax(recalls))
        return candidates[i], recalls[i]

    def _recall(self, correction: Correction) -> float:
        weight = 2 if self.l2 else 1
        scores = self._bases + np.float32(weight * correction.scale) * self.products
        if correction.has_offsets:
            offsets = correction.offsets(self.stats, l2=self.l2)
            scores += (-offsets if self.l2 else offsets).astype(np.float32)
        if self.l2:
            lengths = self.squares + self.stats.excess
            scores -= (correction.scale**2 * lengths).astype(np.float32)
        top = np.sort(self._top(scores, _K), axis=1)
        hits = sum(len(np.intersect1d(a, b)) for a, b in zip(top, self._truth, strict=True))
        return hits / self._truth.size
