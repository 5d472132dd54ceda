"""Score correction of an export: the scale of each vector as an additive offset.

A score needs ``s <q, u_hat>`` with a scale s for each vector, but FAISS's sum of table entries has
one scale for all. Near neighbours have inner products close to a typical one, T, so that

    s <q, u_hat>  is about  scale <q, u_hat> + (s - scale) T

The last term depends on the vector alone, and a byte of its code can hold it. T is a function of s,
or a linear function of several statistics of the vector. `measure` chooses T and the scale, and
whether to store offsets, by the results of vectors of the index used as queries.

An L2 offset cannot be negative, because FAISS's L2 distance is a sum of squares. A small common
scale makes nearly all of them positive; the rest become 0.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import cast

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
_MIN_GAIN = 0.002  # by which the offset byte must improve the results
_ADDED = 2_048  # vectors of the sample that are encoded as FAISS would
_ADDED_NOISE = 0.1  # their quantization error, as a share of the squared length
_L2_QUANTILES = (0.01, 0.03, 0.06, 0.1, 0.15, 0.2, 0.3, 0.5)  # common scales tried for L2


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
    has_offsets : bool
        Whether codes have an offset byte.
    added : float
        Inner products only: the offset of vectors that FAISS encodes itself, a typical one.
    """

    scale: float
    typical: Line | Table
    has_offsets: bool = True
    added: float = 0.0

    def offsets(self, stats: CodeStats, *, l2: bool) -> Doubles:
        """Return the term to add to each vector's score, or to its distance for L2."""
        products = (stats.s - self.scale) * self.typical(stats)
        if not l2:
            return np.asarray(products)
        lengths = stats.s**2 * stats.squares - self.scale**2 * (stats.squares + stats.excess)
        return np.maximum(lengths - 2 * products, 0)


class Levels:
    """Quantizer of the offsets, with 256 levels.

    FAISS assigns byte 0 to the vectors that it encodes itself. For inner products, level 0 is
    reserved for them, and the others are uniform. For L2, FAISS assigns the smallest offset, which
    is 0; the square roots of the levels are uniform, because most offsets of near neighbours are
    small.
    """

    def __init__(self, low: float, high: float, *, l2: bool, added: float = 0.0) -> None:
        self._l2 = l2
        self._low = 0.0 if l2 else low
        self._first = 0 if l2 else 1
        high = float(np.sqrt(max(high, 0.0))) if l2 else high
        self._step = max(high - self._low, 0.0) / (255 - self._first) or 1.0
        coordinates = self._low + self._step * (np.arange(256) - self._first)
        if not l2:
            coordinates[0] = added
        self.coordinates = coordinates
        """The book of the last sub-quantizer: offsets, or for L2 their square roots."""

    def bytes(self, offsets: NDArray[np.float32]) -> NDArray[np.uint8]:
        """Return the byte of each offset."""
        values = offsets.astype(np.float64)
        values = np.sqrt(np.maximum(values, 0)) if self._l2 else values
        levels = np.rint((values - self._low) / self._step) + self._first
        return np.asarray(np.clip(levels, self._first, 255), dtype=np.uint8)


def measure(
    decoder: Decoder, codes: CodesOf, n: int, *, alpha: float, l2: bool, offsets: bool
) -> Correction:
    """Choose the correction that works best for vectors of the index itself.

    A few hundred vectors are used as queries. Their neighbours in a sample by the index's scores
    are compared with those by FAISS's scores: by recall, and for L2 also by the vectors within a
    radius, so that distances stay distances. Without `offsets`, and for very small indexes, the
    scale is the mean distance from the origin, which suits vectors that FAISS adds best.
    """
    rng = np.random.default_rng(0)
    sample = _Sample(decoder, _draw(codes, n, rng), alpha=alpha, l2=l2)
    if not offsets or sample.n <= 2 * _K:
        return Correction(sample.distance, Table(np.zeros(1), np.zeros(1)), has_offsets=False)
    sample.set_queries(rng.choice(sample.n, size=min(_QUERIES, sample.n // 2), replace=False))
    near_scale = float(sample.near.s.mean())
    means = (sample.mean, 0.9 * sample.mean, near_scale, 0.9 * near_scale)
    tables = [sample.table(1), sample.table(_KNOTS), *map(sample.score_table, _SCORE_FACTORS)]
    scales = [*means, *sample.scales(_L2_QUANTILES)] if l2 else means
    candidates = [
        Correction(scale, typical)
        for scale in scales
        for typical in cast(list[Line | Table], [*tables, sample.line(scale)])
    ]
    without = [replace(c, has_offsets=False) for c in candidates if c.typical is tables[0]]
    best, quality = sample.best(without)
    candidate, candidate_quality = sample.best(candidates)
    if candidate_quality <= quality + _MIN_GAIN:
        return best
    return candidate if l2 else replace(candidate, added=sample.added_offset(candidate.scale, rng))


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
        self._query_coordinates = coordinates
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
        top = self._top(scores, _K)
        self._truth = np.sort(top, axis=1)
        self._radii = np.take_along_axis(scores, top, axis=1).min(axis=1)
        self._radius = float(np.median(self._radii))
        self._within = scores > self._radius

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

    def scales(self, quantiles: Sequence[float]) -> list[float]:
        """Return quantiles of the scales."""
        positive = self.s[self.s > 0]
        return [float(q) for q in np.quantile(positive, quantiles)] if len(positive) else []

    def best(self, candidates: list[Correction]) -> tuple[Correction, float]:
        """Return the correction with the best results, and their quality."""
        qualities = [self._quality(correction) for correction in candidates]
        i = int(np.argmax(qualities))
        return candidates[i], qualities[i]

    def added_offset(self, scale: float, rng: np.random.Generator) -> float:
        """Return the offset with which vectors that FAISS encodes are found as often as due.

        Vectors of the sample are encoded as FAISS would, with some noise: they are decoded vectors,
        and without it some would be encoded exactly.
        """
        decoder = self._decoder
        rows = rng.choice(self.n, size=min(_ADDED, self.n), replace=False)
        residuals = self.s[rows, None] * self._y[rows]
        lengths = np.sqrt(np.square(residuals).mean(axis=1, keepdims=True))
        residuals *= np.sqrt(1 - _ADDED_NOISE)
        residuals += np.sqrt(_ADDED_NOISE) * lengths * rng.standard_normal(residuals.shape)
        encoded = scale * decoder.nearest(residuals / scale)
        scores = self._bases[:, rows] + self._query_coordinates @ encoded.astype(np.float32).T
        near = np.zeros((len(self._query_rows), self.n), dtype=bool)
        np.put_along_axis(near, self._truth, True, axis=1)
        missing = self._radii[:, None] - scores  # for a place among the nearest
        missing[self._query_rows[:, None] == rows] = np.inf  # not the query itself
        count = int(np.count_nonzero(near[:, rows]))
        return float(np.partition(missing, count, axis=None)[count])

    def _quality(self, correction: Correction) -> float:
        """Return the recall; for L2 the mean of it and of the F1 score of a search by radius."""
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
        recall = hits / self._truth.size
        if not self.l2:
            return recall
        found = scores > self._radius
        overlap, both = int((found & self._within).sum()), int(found.sum() + self._within.sum())
        return (recall + 2 * overlap / max(1, both)) / 2
