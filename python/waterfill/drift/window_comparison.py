"""Comparison of a window with the baseline: tests by feature family, error growth, cell usage."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from waterfill.drift.block_statistics import BlockStatistics, balanced
from waterfill.drift.feature_families import Features
from waterfill.drift.permutation_test import Difference, compare

MIN_BLOCKS = 8
_Values = NDArray[np.float64]


@dataclass(frozen=True)
class Verdict:
    """Result of the test of one family of features.

    Attributes
    ----------
    family : {'mean', 'variance', 'dimensions', 'subspace', 'norm', 'quantization'}
        The features that were tested.
    p : float
        The p-value of this family at this look.
    corrected : float
        The p-value corrected for all families and all looks, past and future.
    alarm : bool
        Whether `corrected` is at most alpha.
    effect : float
        The largest change. For ``mean`` and ``dimensions``, in standard deviations of a row; for
        the others, the ratio to the baseline (for ``norm``: of mean norms or of root mean square
        distances from the codec's mean).
    """

    family: str
    p: float
    corrected: float
    alarm: bool
    effect: float

    def __str__(self) -> str:
        if self.family in ("mean", "dimensions"):
            return f"{self.family} ({self.effect:+.2g} standard deviations)"
        small = 0.9 < self.effect < 1.1
        change = f"{self.effect - 1:+.2%}" if small else f"x {self.effect:.3g}"
        return f"{self.family} ({change})"


@dataclass(frozen=True, eq=False)
class Comparison:
    """Verdicts, and the statistics that they are based on.

    Attributes
    ----------
    verdicts : tuple of Verdict
        Empty if there are too few blocks to test.
    differences : dict of str to Difference
        Test statistics of each family.
    design : float
        Design effect: variance of block sums relative to sums of independent rows; at least 1.
    """

    verdicts: tuple[Verdict, ...]
    differences: dict[str, Difference]
    design: float


def compare_windows(
    features: Features,
    reference: BlockStatistics,
    window: BlockStatistics,
    *,
    errors: bool,
    alpha: float,
    share: float,
    permutations: int,
    seed: int,
) -> Comparison:
    """Test each family of features of a window against the baseline.

    Parameters
    ----------
    features : Features
    reference, window : BlockStatistics
    errors : bool
        Whether rows are encoded, so that quantization errors can be tested.
    alpha : float
        Probability of any false alarm over all looks.
    share : float
        Fraction of alpha that this look spends.
    permutations, seed : int
        Number of permutations, and the seed of their random numbers.

    Returns
    -------
    Comparison
    """
    before, now = balanced(reference, window)
    if min(len(before), len(now)) < MIN_BLOCKS:
        return Comparison((), {}, 1.0)
    old, new = features.tested(before.sums, errors), features.tested(now.sums, errors)
    families = features.families(errors)
    differences = compare(
        type(before)(before.rows, old),
        type(now)(now.rows, new),
        families,
        features.floors(reference.means, errors),
        permutations,
        seed,
    )
    effects = _effects(features, reference, window, errors)
    verdicts = []
    for name, difference in differences.items():
        corrected = min(1.0, difference.p * len(differences) / share)
        verdicts.append(Verdict(name, difference.p, corrected, corrected <= alpha, effects[name]))
    design = _design_effect(features, reference, before.rows, old)
    return Comparison(tuple(verdicts), differences, design)


def spectrum(features: Features, statistics: BlockStatistics) -> tuple[_Values, _Values]:
    """Return mean and variance of rows along each direction that the codec keeps: float64 (q,)."""
    means = statistics.means
    centres = features.basis.astype(np.float64) @ means[features.z]
    return centres, np.maximum(means[features.y2] - np.square(centres), 0)


def coordinates(features: Features, statistics: BlockStatistics) -> tuple[_Values, _Values]:
    """Return mean, relative to the codec's, and variance of each dimension: float64 (d,)."""
    means = statistics.means
    centres = means[features.z]
    return centres, np.maximum(means[features.z2] - np.square(centres), 0)


def relative(new: _Values, old: _Values, floor: float) -> _Values:
    """Return ratios of two non-negative quantities, both raised to at least `floor`."""
    ratios: _Values = np.maximum(new, floor) / np.maximum(old, floor)
    return ratios


def mean_variance(features: Features, statistics: BlockStatistics) -> float:
    """Return the mean squared distance from the codec's mean, per dimension."""
    return max(float(statistics.means[features.lengths][2]) / features.d, 1e-30)


def _effects(
    features: Features, reference: BlockStatistics, window: BlockStatistics, errors: bool
) -> dict[str, float]:
    """Return the largest change of each family."""
    floor = 1e-6 * mean_variance(features, reference)
    old, new = reference.means, window.means
    old_means, old_variances = spectrum(features, reference)
    new_means, new_variances = spectrum(features, window)
    old_centres, dimension_variances = coordinates(features, reference)
    shift = coordinates(features, window)[0] - old_centres
    old_lengths, new_lengths = old[features.lengths], new[features.lengths]
    discarded = [
        1 - means[features.y2].sum() / max(means[features.lengths][2], 1e-30)
        for means in (old, new)
    ]
    effects = {
        "mean": _largest((new_means - old_means) / np.sqrt(np.maximum(old_variances, floor))),
        "variance": _farthest(relative(new_variances, old_variances, floor)),
        "dimensions": _largest(shift / np.sqrt(np.maximum(dimension_variances, floor))),
        "subspace": _farthest(relative(np.array(discarded[1:]), np.array(discarded[:1]), 1e-6)),
        "norm": _farthest(_lengths(new_lengths) / _lengths(old_lengths)),
    }
    if errors:
        effects["quantization"] = error_ratio(features, reference, window)
    return effects


def _lengths(means: _Values) -> _Values:
    """Return the mean norm, and the root mean square distance from the codec's mean."""
    lengths: _Values = np.maximum(np.array([means[0], np.sqrt(means[2])]), 1e-30)
    return lengths


def error_ratio(features: Features, reference: BlockStatistics, window: BlockStatistics) -> float:
    """Return the relative squared error in the window over that in the baseline."""
    old, new = (np.array([_relative_error(features, each)]) for each in (reference, window))
    return float(relative(new, old, 1e-12)[0])


def _relative_error(features: Features, statistics: BlockStatistics) -> float:
    """Return the mean squared error of decoded vectors over the variance of the vectors."""
    means = statistics.means
    variance = float(means[features.lengths][2] - np.square(means[features.z]).sum())
    variance *= statistics.n / max(statistics.n - 1, 1)
    return float(means[features.errors][1]) / max(variance, 1e-30)


@dataclass(frozen=True)
class Occupancy:
    """Change in the use of the code bytes' cells (values of the high nibble).

    Attributes
    ----------
    shift : float
        Population stability index [1]_: the mean over code bytes of ``sum (p - q) log(p / q)``. By
        convention, 0.1 is a small shift and 0.25 a large one.
    chance : float
        Expected index without a change, for samples of these sizes.
    unused : float
        Share of the baseline's cells that are empty in the window.

    References
    ----------
    .. [1] N. Siddiqi, Credit Risk Scorecards, Wiley, 2006.
    """

    shift: float
    chance: float
    unused: float

    def __str__(self) -> str:
        return f"cells of the codes: stability index {self.shift:.3f} ({self.chance:.3f} by chance)"


def occupancy(reference: BlockStatistics, window: BlockStatistics) -> Occupancy:
    """Compare the frequencies of the cells of each code byte."""
    cells = reference.occupancy.shape[1]
    counts = [each.occupancy.astype(np.float64) for each in (reference, window)]
    old, new = ((each + 0.5) / (each.sum(axis=1, keepdims=True) + 0.5 * cells) for each in counts)
    index = ((new - old) * np.log(new / old)).sum(axis=1).mean()
    used = counts[0] > 0
    unused = (used & (counts[1] == 0)).sum() / max(int(used.sum()), 1)
    chance = (cells - 1) * (1 / max(reference.n, 1) + 1 / max(window.n, 1))
    return Occupancy(float(index), chance, float(unused))


def _largest(values: _Values) -> float:
    """Return the value of largest magnitude."""
    return float(values[np.argmax(np.abs(values))])


def _farthest(ratios: _Values) -> float:
    """Return the ratio farthest from 1, in logarithms."""
    return float(ratios[np.argmax(np.abs(np.log(ratios)))])


def _design_effect(
    features: Features,
    reference: BlockStatistics,
    rows: NDArray[np.float32],
    sums: NDArray[np.float32],
) -> float:
    """Return the variance of block sums relative to sums of independent rows (Kish 1965)."""
    _, variances = spectrum(features, reference)
    projections = sums[:, : len(variances)].astype(np.float64)
    residuals = projections - rows[:, None] * (projections.sum(axis=0) / rows.sum())
    block_variances = np.square(residuals).sum(axis=0) / rows.sum()
    return max(1.0, float(np.median(block_variances / np.maximum(variances, 1e-30))))
