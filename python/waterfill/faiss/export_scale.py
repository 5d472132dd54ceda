"""The scale of each vector as an additive offset, which FAISS's sums can hold.

Scores need ``s <q, u_hat>`` with a scale s of each vector; a sum of table entries has one scale for
all. Near neighbours have products close to a typical one, T, so that

    s <q, u_hat>  is about  scale <q, u_hat> + (s - scale) T

and the last term is a number of the vector alone, which a byte of its code stands for. T may follow
from s alone or be a linear function of what is known of a vector. Which T and which scale, and
whether it pays, is measured on vectors of the index that take the part of queries.
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
_RUN = 16  # labels that are read together
_NEAR = 20  # neighbours of a query whose products make T
_RECALL = 10
_KNOTS = 8
_BEYOND = (1.0, 1.3)  # scores of near neighbours, times
_WORTH = 0.002  # recall that a byte must gain
_PLAIN = 0.01  # recall that distances without a shift may cost


@dataclass(frozen=True)
class Facts:
    """What a correction looks at: numbers of each vector, float64 (n,).

    Attributes
    ----------
    s, squares
        Scale, and the squared length of the decoded direction.
    excess
        What FAISS's space has of that length beyond `squares`.
    leanings
        Product of the decoded direction with the origin.
    """

    s: Doubles
    squares: Doubles
    excess: Doubles
    leanings: Doubles

    @classmethod
    def of(
        cls, decoder: Decoder, codes: NDArray[np.uint8], alpha: float, *, all_of_them: bool = True
    ) -> Facts:
        """Look at codes. Leanings take longest; they are 0 unless all facts are wanted."""
        s, squares = decoder.scales(codes, alpha)
        leanings = decoder.leanings(codes) if all_of_them else np.zeros(len(codes))
        return cls(s, squares, decoder.excess(codes), leanings)

    def columns(self) -> Doubles:
        """Return what products are a linear function of, (n, 4)."""
        ones = np.ones_like(self.s)
        return np.stack([ones, self.s, self.s * self.squares, self.leanings], axis=1)


@dataclass(frozen=True)
class Line:
    """T as a linear function of facts, within the bounds that it had where it was fitted."""

    slopes: Doubles
    least: float
    most: float

    def __call__(self, facts: Facts) -> Doubles:
        """Return T of each vector."""
        return np.clip(facts.columns() @ self.slopes, self.least, self.most)


@dataclass(frozen=True)
class Table:
    """T by the vector's own s: interpolated between these, constant beyond."""

    scales: Doubles
    products: Doubles

    def __call__(self, facts: Facts) -> Doubles:
        """Return T of each vector."""
        return np.asarray(np.interp(facts.s, self.scales, self.products))


@dataclass(frozen=True)
class Correction:
    """How the scale of a vector enters its score in an exported index.

    Attributes
    ----------
    scale : float
        What directions are multiplied by, all of them.
    typical : Line or Table
        T of each vector.
    lift : float
        L2: what every distance has on top, so that offsets are not below 0.
    pays : bool
        Whether offsets find more neighbours; without them the export has no byte for them.
    """

    scale: float
    typical: Line | Table
    lift: float = 0.0
    pays: bool = True

    def offsets(self, facts: Facts, *, l2: bool) -> Doubles:
        """Return what is added to the score of vectors; L2: to the distance."""
        if l2:
            return np.maximum(self.unclipped(facts) + self.lift, 0)
        return np.asarray((facts.s - self.scale) * self.typical(facts))

    def unclipped(self, facts: Facts) -> Doubles:
        """Return what should be added to distances, and may be negative."""
        products = (facts.s - self.scale) * self.typical(facts)
        lengths = facts.s**2 * facts.squares - self.scale**2 * (facts.squares + facts.excess)
        return np.asarray(lengths - 2 * products)


class Levels:
    """The 256 numbers that the byte for offsets stands for.

    Byte 0 is what FAISS gives to vectors that it adds itself, and stands for 0: those have no
    offset.
    """

    def __init__(self, least: float, largest: float, *, l2: bool) -> None:
        self._low = 0.0 if l2 else least
        self._step = max(largest - self._low, 0.0) / (255 if l2 else 254) or 1.0
        self._first = 0 if l2 else 1
        self.values = self._low + self._step * (np.arange(256) - self._first)
        self.values[0] = 0.0

    def bytes(self, offsets: NDArray[np.float32]) -> NDArray[np.uint8]:
        """Return the byte of each offset."""
        places = np.rint((offsets.astype(np.float64) - self._low) / self._step) + self._first
        return np.asarray(np.clip(places, self._first, 255), dtype=np.uint8)


def measure(
    decoder: Decoder, codes: CodesOf, n: int, *, alpha: float, l2: bool, offsets: bool
) -> Correction:
    """Choose the correction that keeps most neighbours of vectors of the index itself.

    Of a few hundred of them the nearest in a sample are found, with scores as they are and with
    scores as FAISS will have them. Without `offsets`, and for the fewest vectors, directions are
    multiplied by their mean distance from the origin: what FAISS adds fits in with that best.
    """
    rng = np.random.default_rng(0)
    sample = _Sample(decoder, _draw(codes, n, rng), alpha=alpha, l2=l2)
    if not offsets or sample.n <= 2 * _RECALL:
        return Correction(sample.distance, Table(np.zeros(1), np.zeros(1)), pays=False)
    sample.ask(rng.choice(sample.n, size=min(_QUERIES, sample.n // 2), replace=False))
    near = float(sample.near.s.mean())
    plain: list[Correction] = []
    lifted: list[Correction] = []
    for scale in (sample.mean, 0.9 * sample.mean, near, 0.9 * near):
        tables = [sample.table(1), sample.table(_KNOTS), *map(sample.reaching, _BEYOND)]
        tried: list[Line | Table] = [*tables, sample.line(scale)]
        for typical in tried:
            made = Correction(scale, typical)
            plain.append(made)
            if l2:
                lifted.append(replace(made, lift=sample.lift(made)))
    without = [replace(made, pays=False) for made in plain]
    best, recall = sample.best(without)
    for others, worth in ((plain, _WORTH), (lifted, _PLAIN)):
        if others:
            other, found = sample.best(others)
            if found > recall + worth:
                best, recall = other, found
    return best


def _draw(codes: CodesOf, n: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Read codes of a sample, in runs of labels."""
    runs = -(-n // _RUN)
    chosen = np.sort(rng.choice(runs, size=min(runs, _SAMPLE // _RUN), replace=False))
    parts = [codes(_RUN * run, min(_RUN, n - _RUN * run)) for run in chosen.tolist()]
    sample: NDArray[np.uint8] = np.concatenate([codes(0, 0), *parts])
    return sample


class _Sample:
    """Vectors of an index, and queries among them with all their products."""

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
        self.facts = Facts.of(decoder, codes, alpha)
        self.s, self.squares = self.facts.s, self.facts.squares
        there = (self.s > 0) & (self.squares > 0)
        rho = self.s * self.squares ** (alpha / 2)
        self.mean = float(self.s[there].mean()) if there.any() else decoder.middle_scale
        self.distance = float(rho[there].mean()) if there.any() else decoder.middle_scale

    def ask(self, chosen: NDArray[np.int64]) -> None:
        """Let these vectors be queries, and find the nearest of each."""
        decoder, self._chosen = self._decoder, chosen
        own = (self.s[chosen, None] * self._y[chosen]) @ decoder.rows
        queries = decoder.origins[self._cells[chosen]] + own
        asked = (queries @ decoder.rows.T).astype(np.float32)
        self.products = asked @ self._y.T
        origins = decoder.origins
        if self.l2:
            self.products -= self.facts.leanings.astype(np.float32)
            gaps = np.square(queries).sum(axis=1)[:, None] + np.square(origins).sum(axis=1)
            bases = 2 * queries @ origins.T - gaps
        else:
            bases = queries @ origins.T
        self._bases = bases.astype(np.float32)[:, self._cells]
        weight = 2 if self.l2 else 1
        scores = self._bases + (weight * self.s).astype(np.float32) * self.products
        if self.l2:
            scores -= (self.s**2 * self.squares).astype(np.float32)
        near = self._top(scores, _NEAR)
        self._near_products = np.take_along_axis(self.products, near, axis=1).ravel()
        self.near = Facts(*(getattr(self.facts, f.name)[near.ravel()] for f in fields(Facts)))
        self._truth = np.sort(self._top(scores, _RECALL), axis=1)

    def _top(self, scores: NDArray[np.float32], k: int) -> NDArray[np.int64]:
        scores[np.arange(len(scores)), self._chosen] = -np.inf
        k = min(k, self.n - 1)
        return np.asarray(np.argpartition(-scores, k - 1, axis=1)[:, :k])

    def table(self, knots: int) -> Table:
        """Return mean products of near neighbours by their scale."""
        order = np.argsort(self.near.s, kind="stable")
        scales = [part.mean() for part in np.array_split(self.near.s[order], knots)]
        products = [part.mean() for part in np.array_split(self._near_products[order], knots)]
        return Table(np.array(scales), np.array(products, dtype=np.float64))

    def line(self, scale: float) -> Line:
        """Return the best linear function for a scale: products count as far as they are missed."""
        weights = np.abs(self.near.s - scale)[:, None]
        columns, products = self.near.columns(), self._near_products[:, None].astype(np.float64)
        found = np.linalg.lstsq(columns * weights, products * weights, rcond=None)[0]
        slopes: Doubles = np.asarray(found[:, 0], dtype=np.float64)
        fitted = columns @ slopes
        return Line(slopes, float(fitted.min()), float(fitted.max()))

    def reaching(self, beyond: float) -> Table:
        """Return the products that scores of near neighbours need, by scale."""
        score = beyond * float((self.near.s * self._near_products).mean())
        there = self.s[self.s > 0]
        if not len(there):
            return self.table(1)
        scales = np.geomspace(there.min(), there.max(), 64)
        return Table(scales, score / scales)

    def lift(self, made: Correction) -> float:
        """Return what makes (nearly) all offsets of an L2 index positive."""
        low = replace(made, lift=0.0).unclipped(self.facts)
        return max(0.0, -float(np.quantile(low, 0.001)))

    def best(self, tried: list[Correction]) -> tuple[Correction, float]:
        """Return the one that keeps most neighbours, and their share."""
        shares = [self._recall(made) for made in tried]
        at = int(np.argmax(shares))
        return tried[at], shares[at]

    def _recall(self, made: Correction) -> float:
        weight = 2 if self.l2 else 1
        scores = self._bases + np.float32(weight * made.scale) * self.products
        if made.pays:
            offsets = made.offsets(self.facts, l2=self.l2)
            scores += (-offsets if self.l2 else offsets).astype(np.float32)
        if self.l2:
            lengths = self.squares + self.facts.excess
            scores -= (made.scale**2 * lengths).astype(np.float32)
        top = np.sort(self._top(scores, _RECALL), axis=1)
        hits = sum(len(np.intersect1d(a, b)) for a, b in zip(top, self._truth, strict=True))
        return hits / self._truth.size
