"""Attribution of drift: the directions and dimensions that changed, the likeliest cause first.

A change of one dimension moves every eigen-direction a little, and the other way round. What names
the cause is how likely each candidate makes the change of the mean as a whole: for a shift delta of
a Gaussian with precision P, a cause along v explains (v' P delta)^2 / (v' P v) of delta' P delta,
which by Cauchy and Schwarz is largest for the true one (Hotelling's statistic, restricted to v).
Changes of spread are compared by their t.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from waterfill.drift.block_statistics import BlockStatistics
from waterfill.drift.feature_families import Features
from waterfill.drift.window_comparison import (
    Comparison,
    coordinates,
    relative,
    spectrum,
    usual_variance,
)

_MOST = 20
_LEAST = 4.5  # deviations; the largest of a thousand features without a change is rarely so large
_FLOOR = 1e-3  # of the usual variance: flatter directions are not told from constants
_SPAN = 1e-3  # of the usual span: what varies less is constant
_CERTAIN = 1e6  # a constant that varies, or the reverse, comes first
_Values = NDArray[np.float64]


@dataclass(frozen=True)
class Moved:
    """A direction or dimension that changed.

    Attributes
    ----------
    kind : {'dimension', 'direction'}
        Of the vectors, or an eigen-dimension of the codec.
    number : int
        From 0 on; direction 0 has the largest eigenvalue.
    relevance : str or None
        Class of a direction: ``high`` or ``medium``.
    change : {'mean', 'spread', 'dead', 'alive'}
        ``dead``: it varied in the baseline, and has one value now. ``alive``: the reverse.
    effect : float
        Of the mean, in standard deviations of a row of the baseline; of the others, the standard
        deviation over what it was.
    score : float
        In standard errors: what the order goes by.
    """

    kind: str
    number: int
    relevance: str | None
    change: str
    effect: float
    score: float

    def __str__(self) -> str:
        name = f"{self.kind} {self.number}" + (f" ({self.relevance})" if self.relevance else "")
        if self.change == "mean":
            return f"{name}: mean {self.effect:+.2f} standard deviations"
        if self.change == "spread":
            return f"{name}: spread x {self.effect:.2f}"
        return f"{name}: " + (
            "has one value only, where it varied"
            if self.change == "dead"
            else "varies, where it had one value only"
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the attributes as a dictionary."""
        return asdict(self)


@dataclass(frozen=True)
class Movement:
    """All directions and dimensions that changed.

    Attributes
    ----------
    first : tuple of Moved
        The likeliest cause first; at most twenty.
    directions, dimensions : int
        How many moved, in all.
    """

    first: tuple[Moved, ...] = ()
    directions: int = 0
    dimensions: int = 0


def movement(
    features: Features, reference: BlockStatistics, window: BlockStatistics, comparison: Comparison
) -> Movement:
    """Return the changes, the likeliest cause first."""
    both = 1 / (1 / reference.n + 1 / window.n)
    error = float(np.sqrt(comparison.design / both))
    by_mean = _mean_scores(features, reference, window) / error
    found = [
        *(
            one
            for one in _shifted(features, reference, window, by_mean)
            if abs(one.effect) >= _LEAST * error  # or it is the shadow of others alone
        ),
        *_spread(features, reference, window, comparison),
        *_switched(features, reference, window),
    ]
    best: dict[tuple[str, int], Moved] = {}
    for one in found:
        key = one.kind, one.number
        if key not in best or abs(one.score) > abs(best[key].score):
            best[key] = one
    certain = [one for one in best.values() if abs(one.score) >= _LEAST]
    kinds = [one.kind for one in certain]
    first = sorted(certain, key=lambda one: -abs(one.score))[:_MOST]
    return Movement(tuple(first), kinds.count("direction"), kinds.count("dimension"))


def _mean_scores(
    features: Features, reference: BlockStatistics, window: BlockStatistics
) -> _Values:
    """Return the score of each direction, then of each dimension, for one row."""
    basis = features.basis.astype(np.float64)
    usual = usual_variance(features, reference)
    before, variances = spectrum(features, reference)
    after, _ = spectrum(features, window)
    delta = window.means[features.z] - reference.means[features.z]
    along = after - before
    variances = np.maximum(variances, _FLOOR * usual)
    discarded = features.d - len(variances)
    energy = usual * features.d - reference.means[features.y2].sum()
    outside = max(energy / max(discarded, 1), _FLOOR * usual)
    pulled = basis.T @ (along / variances) + (delta - basis.T @ along) / outside
    inside = np.square(basis)
    precision = inside.T @ (1 / variances) + np.maximum(1 - inside.sum(axis=0), 0) / outside
    return np.concatenate([along / np.sqrt(variances), pulled / np.sqrt(precision)])


def _shifted(
    features: Features, reference: BlockStatistics, window: BlockStatistics, scores: _Values
) -> list[Moved]:
    floor = _FLOOR * usual_variance(features, reference)
    q = len(features.directions)
    found = []
    kinds = ("direction", scores[:q], spectrum), ("dimension", scores[q:], coordinates)
    for kind, part, of in kinds:
        before, variances = of(features, reference)
        effects = (of(features, window)[0] - before) / np.sqrt(np.maximum(variances, floor))
        found += [_named(features, kind, i, "mean", effects[i], part[i]) for i in range(len(part))]
    return found


def _spread(
    features: Features, reference: BlockStatistics, window: BlockStatistics, comparison: Comparison
) -> list[Moved]:
    floor = _FLOOR * usual_variance(features, reference)
    t = comparison.differences
    found = []
    for kind, part, of in (
        ("direction", t["variance"].t, spectrum),
        ("dimension", t["dimensions"].t[features.d :], coordinates),
    ):
        ratios = np.sqrt(relative(of(features, window)[1], of(features, reference)[1], floor))
        found += [_named(features, kind, i, "spread", ratios[i], part[i]) for i in range(len(part))]
    return found


def _switched(
    features: Features, reference: BlockStatistics, window: BlockStatistics
) -> list[Moved]:
    """Return dimensions that became constant or ceased to be."""
    was, dead, alive = switched(reference, window)
    spans = np.maximum(window.maxima - window.minima, 0)
    score = _CERTAIN * np.maximum(spans, was) / _usual_span(was)
    return [
        _named(features, "dimension", int(i), change, spans[i] / max(was[i], 1e-30), score[i])
        for change, some in (("dead", dead), ("alive", alive))
        for i in np.flatnonzero(some)
    ]


def switched(
    reference: BlockStatistics, window: BlockStatistics
) -> tuple[NDArray[np.float32], NDArray[np.bool_], NDArray[np.bool_]]:
    """Return the baseline's ranges and the dimensions that became or ceased to be constant."""
    was = reference.maxima - reference.minima
    spans = np.maximum(window.maxima - window.minima, 0)
    constant = _SPAN * _usual_span(was)
    dead = (was > 10 * constant) & (spans <= constant)
    alive = (was <= constant) & (spans > 10 * constant)
    return was, dead, alive


def _usual_span(spans: NDArray[np.float32]) -> float:
    """Return the median of the nonzero ranges."""
    varying = spans[spans > 0]
    return float(np.median(varying)) if len(varying) else 1.0


def _named(features: Features, kind: str, i: int, change: str, effect: Any, score: Any) -> Moved:
    effect, score = float(effect), float(score)
    if kind == "dimension":
        return Moved(kind, i, None, change, effect, score)
    return Moved(kind, int(features.directions[i]), features.classes[i], change, effect, score)
