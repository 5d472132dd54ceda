"""Tests of a window against the baseline, family by family."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from waterfill.drift.block_statistics import BlockStatistics, balanced
from waterfill.drift.feature_families import Features
from waterfill.drift.permutation_test import Difference, compare

FEWEST_BLOCKS = 8
_Values = NDArray[np.float64]


@dataclass(frozen=True)
class Verdict:
    """What the test of one family of features says.

    Attributes
    ----------
    family : {'mean', 'variance', 'dimensions', 'subspace', 'norm', 'quantization'}
    p : float
        Probability of such a difference if nothing had changed: of this family, at this look.
    corrected : float
        The same over all families and all looks, past and to come.
    alarm : bool
        Whether that is alpha at most.
    effect : float
        The largest change: of ``mean`` and ``dimensions`` in standard deviations of a row, of the
        others as a ratio to the baseline; ``norm``: of norms, or of distances from the mean.
    """

    family: str
    p: float
    corrected: float
    alarm: bool
    effect: float

    def __str__(self) -> str:
        if self.family in ("mean", "dimensions"):
            return f"{self.family} ({self.effect:+.2g} standard deviations)"
        near = 0.9 < self.effect < 1.1
        change = f"{self.effect - 1:+.2%}" if near else f"x {self.effect:.3g}"
        return f"{self.family} ({change})"


@dataclass(frozen=True, eq=False)
class Comparison:
    """Verdicts, and what they are made of.

    Attributes
    ----------
    verdicts : tuple of Verdict
        Empty where there are too few blocks to tell.
    differences : dict of Difference
        Of each family.
    design : float
        How much more the mean of a block varies than that of as many independent rows would.
    """

    verdicts: tuple[Verdict, ...]
    differences: dict[str, Difference]
    design: float


def judge(
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
    """Compare a window with the baseline.

    Parameters
    ----------
    features : Features
    reference, window : BlockStatistics
    errors : bool
        Whether they have errors of quantization.
    alpha : float
        Probability of a false alarm, ever.
    share : float
        Of it, what this look may spend.
    permutations, seed : int

    Returns
    -------
    Comparison
    """
    before, now = balanced(reference, window)
    if min(len(before), len(now)) < FEWEST_BLOCKS:
        return Comparison((), {}, 1.0)
    old, new = features.judged(before.sums, errors), features.judged(now.sums, errors)
    families = features.families(errors)
    found = compare(
        type(before)(before.rows, old),
        type(now)(now.rows, new),
        families,
        features.floors(reference.means, errors),
        permutations,
        seed,
    )
    effects = _effects(features, reference, window, errors)
    verdicts = []
    for name, difference in found.items():
        corrected = min(1.0, difference.p * len(found) / share)
        verdicts.append(Verdict(name, difference.p, corrected, corrected <= alpha, effects[name]))
    return Comparison(tuple(verdicts), found, _design(features, reference, before.rows, old))


def spectrum(features: Features, bank: BlockStatistics) -> tuple[_Values, _Values]:
    """Return mean and variance of a row along each direction that the codec keeps."""
    means = bank.means
    centres = features.basis.astype(np.float64) @ means[features.z]
    return centres, np.maximum(means[features.y2] - np.square(centres), 0)


def coordinates(features: Features, bank: BlockStatistics) -> tuple[_Values, _Values]:
    """Return mean (less that of the codec) and variance of each dimension of the vectors."""
    means = bank.means
    centres = means[features.z]
    return centres, np.maximum(means[features.z2] - np.square(centres), 0)


def relative(new: _Values, old: _Values, floor: float) -> _Values:
    """Return ratios of two non-negative quantities, neither of them below the floor."""
    ratios: _Values = np.maximum(new, floor) / np.maximum(old, floor)
    return ratios


def usual_variance(features: Features, bank: BlockStatistics) -> float:
    """Return the mean squared distance from the codec's mean, a dimension."""
    return max(float(bank.means[features.lengths][2]) / features.d, 1e-30)


def _effects(
    features: Features, reference: BlockStatistics, window: BlockStatistics, errors: bool
) -> dict[str, float]:
    floor = 1e-6 * usual_variance(features, reference)
    old, new = reference.means, window.means
    centres, variances = spectrum(features, reference)
    moved, spread = spectrum(features, window)
    own, own_variances = coordinates(features, reference)
    shift = coordinates(features, window)[0] - own
    old_lengths, new_lengths = old[features.lengths], new[features.lengths]
    shares = [
        1 - each[features.y2].sum() / max(each[features.lengths][2], 1e-30) for each in (old, new)
    ]
    effects = {
        "mean": _largest((moved - centres) / np.sqrt(np.maximum(variances, floor))),
        "variance": _farthest(relative(spread, variances, floor)),
        "dimensions": _largest(shift / np.sqrt(np.maximum(own_variances, floor))),
        "subspace": _farthest(relative(np.array(shares[1:]), np.array(shares[:1]), 1e-6)),
        "norm": _farthest(_lengths(new_lengths) / _lengths(old_lengths)),
    }
    if errors:
        effects["quantization"] = error_ratio(features, reference, window)
    return effects


def _lengths(means: _Values) -> _Values:
    """Return the mean norm, and the root of the mean squared distance from the codec's mean."""
    lengths: _Values = np.maximum(np.array([means[0], np.sqrt(means[2])]), 1e-30)
    return lengths


def error_ratio(features: Features, reference: BlockStatistics, window: BlockStatistics) -> float:
    """Return the growth of the squared error of decoded vectors over the variance of theirs."""
    old, new = (np.array([_relative_error(features, bank)]) for bank in (reference, window))
    return float(relative(new, old, 1e-12)[0])


def _relative_error(features: Features, bank: BlockStatistics) -> float:
    means = bank.means
    variance = float(means[features.lengths][2] - np.square(means[features.z]).sum())
    variance *= bank.n / max(bank.n - 1, 1)
    return float(means[features.errors][1]) / max(variance, 1e-30)


@dataclass(frozen=True)
class Occupancy:
    """How the cells of code bytes (their high nibbles) are used, beside the baseline.

    Attributes
    ----------
    shift : float
        Population stability index: the mean over code bytes of ``sum (p - q) log(p / q)``; 0.1 is
        little, 0.25 much.
    chance : float
        What it comes to without a change, from rows as few as these.
    unused : float
        Share of the cells in use that are no longer.
    """

    shift: float
    chance: float
    unused: float

    def __str__(self) -> str:
        return f"cells of the codes: stability index {self.shift:.3f} ({self.chance:.3f} by chance)"


def occupancy(reference: BlockStatistics, window: BlockStatistics) -> Occupancy:
    """Compare how often each cell of each code byte was used."""
    cells = reference.occupancy.shape[1]
    counts = [bank.occupancy.astype(np.float64) for bank in (reference, window)]
    old, new = ((each + 0.5) / (each.sum(axis=1, keepdims=True) + 0.5 * cells) for each in counts)
    index = ((new - old) * np.log(new / old)).sum(axis=1).mean()
    used = counts[0] > 0
    unused = (used & (counts[1] == 0)).sum() / max(int(used.sum()), 1)
    chance = (cells - 1) * (1 / max(reference.n, 1) + 1 / max(window.n, 1))
    return Occupancy(float(index), chance, float(unused))


def _largest(values: _Values) -> float:
    return float(values[np.argmax(np.abs(values))])


def _farthest(ratios: _Values) -> float:
    return float(ratios[np.argmax(np.abs(np.log(ratios)))])


def _design(
    features: Features,
    reference: BlockStatistics,
    rows: NDArray[np.float32],
    sums: NDArray[np.float32],
) -> float:
    """Compare the variance of sums of blocks with what independent rows would give (Kish 1965)."""
    _, variances = spectrum(features, reference)
    own = sums[:, : len(variances)].astype(np.float64)
    left = own - rows[:, None] * (own.sum(axis=0) / rows.sum())
    found = np.square(left).sum(axis=0) / rows.sum()
    return max(1.0, float(np.median(found / np.maximum(variances, 1e-30))))
