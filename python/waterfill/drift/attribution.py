"""Attribution of drift: the directions and dimensions that changed, the most likely cause first.

A change of one dimension moves every eigen-direction a little, and vice versa. Candidates are
ranked by how much of the whole shift of the mean they explain: for a shift delta of a Gaussian with
precision P, a cause along v explains (v' P delta)^2 / (v' P v) of delta' P delta, which by the
Cauchy-Schwarz inequality is largest for the true cause (Hotelling's statistic, restricted to v).
Changes of spread are ranked by their t statistic.
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
    mean_variance,
    relative,
    spectrum,
)

_MAX_CAUSES = 20
_MIN_SCORE = 4.5  # standard errors; the largest of 1,000 unchanged features rarely exceeds it
_VARIANCE_FLOOR = 1e-3  # of the mean variance: directions below it count as constant
_RANGE_FLOOR = 1e-3  # of the median range: dimensions below it count as constant
_SWITCH_SCORE = 1e6  # ranks dimensions that became or ceased to be constant first
_Values = NDArray[np.float64]


@dataclass(frozen=True)
class Moved:
    """A direction or dimension that changed.

    Attributes
    ----------
    kind : {'dimension', 'direction'}
        A dimension of the vectors, or an eigen-direction of the codec.
    number : int
        Index, from 0; direction 0 has the largest eigenvalue.
    relevance : str or None
        Class of a direction: ``high`` or ``medium``; None for a dimension.
    change : {'mean', 'spread', 'dead', 'alive'}
        ``dead``: varied in the baseline and is constant now. ``alive``: the reverse.
    effect : float
        For ``mean``, the shift in standard deviations of the baseline's rows; for ``spread``, the
        ratio of the standard deviations; for ``dead`` and ``alive``, the ratio of the ranges.
    score : float
        Size of the change in standard errors; determines the order.
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
            "constant now, varied in the baseline"
            if self.change == "dead"
            else "varies now, constant in the baseline"
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
        The most likely cause first; at most 20.
    directions, dimensions : int
        Total numbers of directions and dimensions that changed.
    """

    first: tuple[Moved, ...] = ()
    directions: int = 0
    dimensions: int = 0


def movement(
    features: Features, reference: BlockStatistics, window: BlockStatistics, comparison: Comparison
) -> Movement:
    """Return the changes, the most likely cause first."""
    error = float(np.sqrt(comparison.design * (1 / reference.n + 1 / window.n)))
    mean_scores = _mean_scores(features, reference, window) / error
    candidates = [
        *(
            one
            for one in _shifted(features, reference, window, mean_scores)
            if abs(one.effect) >= _MIN_SCORE * error  # smaller effects are side effects of others
        ),
        *_spread(features, reference, window, comparison),
        *_switched(features, reference, window),
    ]
    best: dict[tuple[str, int], Moved] = {}
    for one in candidates:
        key = one.kind, one.number
        if key not in best or abs(one.score) > abs(best[key].score):
            best[key] = one
    significant = [one for one in best.values() if abs(one.score) >= _MIN_SCORE]
    kinds = [one.kind for one in significant]
    first = sorted(significant, key=lambda one: -abs(one.score))[:_MAX_CAUSES]
    return Movement(tuple(first), kinds.count("direction"), kinds.count("dimension"))


def _mean_scores(
    features: Features, reference: BlockStatistics, window: BlockStatistics
) -> _Values:
    """Return the score of each direction, then of each dimension, for windows of one row."""
    basis = features.basis.astype(np.float64)
    average = mean_variance(features, reference)
    before, variances = spectrum(features, reference)
    after, _ = spectrum(features, window)
    shift = window.means[features.z] - reference.means[features.z]
    projected = after - before
    variances = np.maximum(variances, _VARIANCE_FLOOR * average)
    discarded = features.d - len(variances)
    residual_energy = average * features.d - reference.means[features.y2].sum()
    residual_variance = max(residual_energy / max(discarded, 1), _VARIANCE_FLOOR * average)
    weighted = basis.T @ (projected / variances)
    weighted += (shift - basis.T @ projected) / residual_variance
    loadings = np.square(basis)
    precision = loadings.T @ (1 / variances)
    precision += np.maximum(1 - loadings.sum(axis=0), 0) / residual_variance
    return np.concatenate([projected / np.sqrt(variances), weighted / np.sqrt(precision)])


def _shifted(
    features: Features, reference: BlockStatistics, window: BlockStatistics, scores: _Values
) -> list[Moved]:
    floor = _VARIANCE_FLOOR * mean_variance(features, reference)
    q = len(features.directions)
    shifted = []
    for kind, own, moments in (
        ("direction", scores[:q], spectrum),
        ("dimension", scores[q:], coordinates),
    ):
        before, variances = moments(features, reference)
        effects = (moments(features, window)[0] - before) / np.sqrt(np.maximum(variances, floor))
        shifted += [_moved(features, kind, i, "mean", effects[i], own[i]) for i in range(len(own))]
    return shifted


def _spread(
    features: Features, reference: BlockStatistics, window: BlockStatistics, comparison: Comparison
) -> list[Moved]:
    floor = _VARIANCE_FLOOR * mean_variance(features, reference)
    differences = comparison.differences
    spread = []
    for kind, t, moments in (
        ("direction", differences["variance"].t, spectrum),
        ("dimension", differences["dimensions"].t[features.d :], coordinates),
    ):
        before, after = moments(features, reference)[1], moments(features, window)[1]
        ratios = np.sqrt(relative(after, before, floor))
        spread += [_moved(features, kind, i, "spread", ratios[i], t[i]) for i in range(len(t))]
    return spread


def _switched(
    features: Features, reference: BlockStatistics, window: BlockStatistics
) -> list[Moved]:
    """Return dimensions that became constant or ceased to be."""
    before, dead, alive = switched(reference, window)
    ranges = np.maximum(window.maxima - window.minima, 0)
    score = _SWITCH_SCORE * np.maximum(ranges, before) / _median_range(before)
    return [
        _moved(features, "dimension", int(i), change, ranges[i] / max(before[i], 1e-30), score[i])
        for change, mask in (("dead", dead), ("alive", alive))
        for i in np.flatnonzero(mask)
    ]


def switched(
    reference: BlockStatistics, window: BlockStatistics
) -> tuple[NDArray[np.float32], NDArray[np.bool_], NDArray[np.bool_]]:
    """Return the baseline's ranges, and masks of dimensions that became or ceased to be constant.

    Returns
    -------
    before : float32 (d,)
    dead, alive : bool (d,)
    """
    before = reference.maxima - reference.minima
    after = np.maximum(window.maxima - window.minima, 0)
    constant = _RANGE_FLOOR * _median_range(before)
    dead = (before > 10 * constant) & (after <= constant)
    alive = (before <= constant) & (after > 10 * constant)
    return before, dead, alive


def _median_range(ranges: NDArray[np.float32]) -> float:
    """Return the median of the nonzero ranges."""
    nonzero = ranges[ranges > 0]
    return float(np.median(nonzero)) if len(nonzero) else 1.0


def _moved(features: Features, kind: str, i: int, change: str, effect: Any, score: Any) -> Moved:
    effect, score = float(effect), float(score)
    if kind == "dimension":
        return Moved(kind, i, None, change, effect, score)
    return Moved(kind, int(features.directions[i]), features.classes[i], change, effect, score)
