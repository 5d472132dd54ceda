"""Permutation test of two samples of blocks.

Rows of one block (repeats, a session) are correlated, so whole blocks are permuted, not rows. The
test statistic of a family is the largest standardised difference of its features, compared with
the permutation distribution of that maximum: max-T (Westfall & Young 1993). Differences are Welch's
t with moderated variances (Smyth 2004): permutation stays valid if the samples' variances differ
(Janssen 1997), and tails stay short with few blocks.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

_PRIOR = 8.0  # degrees of freedom of the mean variance that variances are moderated towards
_ROUNDING = 0.1  # of a feature's floor: smaller shifts of a mean count as rounding
_CHUNK = 128  # permutations at a time: intermediate results fit the cache
_TINY = 1e-30
_MIN_DRAWN = 4  # blocks
_TAIL = 0.1  # largest fraction of the permuted values, to which the tail is fitted


@dataclass(frozen=True)
class Blocks:
    """Sums over blocks of rows.

    Attributes
    ----------
    rows : float32 (b,)
        Number of rows of each block, above 0.
    sums : float32 (b, f)
        Sum of each feature over the rows of a block.
    """

    rows: Floats
    sums: Floats

    def __len__(self) -> int:
        return len(self.rows)


@dataclass(frozen=True)
class Difference:
    """Difference of a family of features between reference and window.

    Attributes
    ----------
    p : float
        p-value of the family's largest difference.
    t : float64 (f,)
        Moderated Welch t of each feature; positive if the window's mean is larger.
    """

    p: float
    t: NDArray[np.float64]


@dataclass(frozen=True)
class Group:
    """A family of features that is tested by its largest difference.

    Attributes
    ----------
    features : slice
        Positions of the family's features.
    pools : tuple of int64 arrays
        Positions of other features; the sum of squared differences of each pool is tested as well,
        because many small shifts can be significant where no single one is.
    """

    features: slice
    pools: tuple[NDArray[np.int64], ...] = ()

    def largest(self, t: Floats) -> Floats:
        """Return the largest absolute difference of each row of t."""
        candidates = [np.abs(t[:, self.features]).max(axis=1)]
        candidates += [_pooled(t[:, pool]) for pool in self.pools]
        largest: Floats = np.max(candidates, axis=0)
        return largest


def _pooled(t: Floats) -> Floats:
    """Return the sum of squares of each row as a normal deviate (Wilson & Hilferty 1931)."""
    rate = 2 / (9 * t.shape[1])
    deviates: Floats = (np.cbrt(np.square(t).mean(axis=1)) - (1 - rate)) / np.sqrt(rate)
    return deviates


def compare(
    reference: Blocks,
    window: Blocks,
    groups: dict[str, Group],
    floors: Floats,
    permutations: int,
    seed: int,
) -> dict[str, Difference]:
    """Compare two samples of blocks by families of features.

    Parameters
    ----------
    reference, window : Blocks
        At least 8 blocks each.
    groups : dict of str to Group
        Families of features, each tested by its largest difference.
    floors : float32 (f,)
        Lower bound of the standard deviation of a row. Shifts of a mean below a tenth of it count
        as rounding, whatever the number of rows.
    permutations : int
        Number of permutations.
    seed : int
        Seed of the permutations.

    Returns
    -------
    dict of str to Difference
    """
    rows = np.concatenate([reference.rows, window.rows])
    selected = np.zeros((1, len(rows)), np.float32)
    selected[:, len(reference) :] = 1
    sums = _StandardisedSums(np.concatenate([reference.sums, window.sums]), rows, floors)
    t = sums.t(selected)
    size = sums.drawn_blocks(selected)
    null = _null_distributions(sums, groups, len(rows), size, permutations, seed)
    differences = {}
    for name, group in groups.items():
        p = _tail_probability(null[name], float(group.largest(t)[0]))
        differences[name] = Difference(p, t[0, group.features].astype(np.float64))
    return differences


def _standardised(sums: Floats, rows: Floats, floors: Floats) -> tuple[Floats, Floats]:
    """Return standardised sums, and the squared rounding allowance of each mean.

    The common mean is subtracted, and the sums are divided by their standard deviation per row.
    """
    exact, n = sums.astype(np.float64), rows.astype(np.float64)
    centred = exact - n[:, None] * (exact.sum(axis=0) / n.sum())
    scale = np.maximum(np.sqrt(np.square(centred).sum(axis=0) / n.sum()), floors)
    scale = np.maximum(scale, 1e-150)
    allowance = np.square(_ROUNDING * floors / scale)
    return (centred / scale).astype(np.float32), allowance.astype(np.float32)


class _StandardisedSums:
    """Sums over blocks, from which t of any division into two samples is a matrix product."""

    def __init__(self, sums: Floats, rows: Floats, floors: Floats) -> None:
        self._rows = rows
        self._sums, self._allowance = _standardised(sums, rows, floors)
        self._products = self._sums * rows[:, None]
        self._squares = np.square(self._sums)
        self._totals = self._moments(np.ones((1, len(rows)), np.float32))

    def _moments(self, selected: Floats) -> tuple[Floats, ...]:
        """Return what `_mean_and_error` takes, for each row of zeros and ones."""
        rows = self._rows[:, None]
        return (
            selected @ self._sums,
            selected @ self._products,
            selected @ self._squares,
            selected @ rows,
            selected @ np.square(rows),
            selected.sum(axis=1, keepdims=True),
        )

    def t(self, selected: Floats) -> Floats:
        """Return t of each feature, for each row of zeros and ones that selects a window."""
        window, reference = self._means_and_errors(selected)
        t: Floats = (window[0] - reference[0]) / np.sqrt(window[1] + reference[1] + self._allowance)
        return t

    def drawn_blocks(self, selected: Floats) -> int:
        """Return the number of blocks to draw in each permutation.

        Means over fewer rows have longer tails, so a draw must match the window's effective number
        of rows, not its number of blocks: rows that are more correlated within blocks than those of
        the baseline (duplicates, for example) count for fewer, by the ratio of design effects
        (Kish 1965).
        """
        rows = float((selected @ self._rows)[0]), float(((1 - selected) @ self._rows)[0])
        errors = [float(np.median(error)) for _, error in self._means_and_errors(selected)]
        ratio = errors[1] * rows[1] / max(errors[0] * rows[0], _TINY)
        blocks = len(self._rows)
        size = round(blocks * rows[0] / sum(rows) * ratio)
        return min(max(size, _MIN_DRAWN), blocks - _MIN_DRAWN)

    def _means_and_errors(
        self, selected: Floats
    ) -> tuple[tuple[Floats, Floats], tuple[Floats, Floats]]:
        """Return means and squared standard errors of the selected blocks and of the others."""
        window = self._moments(selected)
        reference = tuple(total - own for total, own in zip(self._totals, window, strict=True))
        return _mean_and_error(*window), _mean_and_error(*reference)


def _mean_and_error(
    sums: Floats, products: Floats, squares: Floats, rows: Floats, rows_squared: Floats, n: Floats
) -> tuple[Floats, Floats]:
    """Return means and squared standard errors of standardised features.

    Variances are moderated towards their mean over all features of the same sample, because the
    blocks of one sample may be more correlated than those of the other.
    """
    mean = sums / rows
    variances = np.maximum(squares - 2 * mean * products + np.square(mean) * rows_squared, 0) / rows
    variances *= n / (n - 1)
    prior = variances.mean(axis=1, keepdims=True)
    moderated = ((n - 1) * variances + _PRIOR * prior) / (n - 1 + _PRIOR)
    return mean, np.maximum(moderated / rows, _TINY)


def _null_distributions(
    sums: _StandardisedSums,
    groups: dict[str, Group],
    blocks: int,
    size: int,
    permutations: int,
    seed: int,
) -> dict[str, NDArray[np.float64]]:
    """Return the largest difference of each group for random draws of `size` blocks."""
    rng = np.random.default_rng(seed)
    chunks: dict[str, list[Floats]] = {name: [] for name in groups}
    for first in range(0, permutations, _CHUNK):
        n = min(_CHUNK, permutations - first)
        order = np.argsort(rng.random((n, blocks), dtype=np.float32), axis=1)
        t = sums.t((order < size).astype(np.float32))
        for name, group in groups.items():
            chunks[name].append(group.largest(t))
    return {name: np.concatenate(each).astype(np.float64) for name, each in chunks.items()}


def _tail_probability(null: NDArray[np.float64], value: float) -> float:
    """Return the p-value of `value`, also beyond the largest permuted value.

    If fewer than 10 permutations reach it, a generalised Pareto tail is fitted to the largest ones
    (Knijnenburg et al. 2009), by moments and in squares, whose tail is exponential for a normal t.
    """
    exceeding = int((null >= value).sum())
    if exceeding >= 10:
        return (1 + exceeding) / (1 + len(null))
    squares = np.sort(np.square(null))
    count = max(10, int(_TAIL * len(null)))
    threshold = 0.5 * float(squares[-count] + squares[-count - 1])
    excess = squares[-count:] - threshold
    mean, variance = float(excess.mean()), float(excess.var(ddof=1))
    shape = max(0.0, 0.5 * (1 - mean * mean / variance)) if variance > 0 else 0.0
    distance = max(0.0, value * value - threshold)
    share = count / len(null)
    if shape < 1e-6:
        return share * float(np.exp(-distance / mean))
    scale = mean * (1 - shape)
    return share * float((1 + shape * distance / scale) ** (-1 / shape))
