"""A permutation test of two samples of blocks.

Rows that come together (repeats, sessions) are alike, so blocks of rows are exchanged, never rows.
Of many features the largest standardised difference is what counts, and its distribution under
permutation is that of the largest as well: max-T (Westfall & Young 1993). The differences are
Welch's t, with variances drawn towards each other (moderated: Smyth 2004), which keeps permutation
valid where the samples' variances differ (Janssen 1997) and its tails short with few blocks.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

_PRIOR = 8.0  # degrees of freedom that the common variance of a family's features stands for
_SLACK = 0.1  # of a feature's floor: less than that is rounding, in however many rows
_CHUNK = 128  # permutations at a time, so that what is computed of them stays in the cache
_TINY = 1e-30
_FEWEST = 4  # blocks that are drawn
_TAIL = 0.1  # of the permutations, those that the tail is fitted to


@dataclass(frozen=True)
class Blocks:
    """Sums over blocks of rows.

    Attributes
    ----------
    rows : float32 (b,)
        Rows of each block, none of them 0.
    sums : float32 (b, f)
        Of each feature, over the rows of a block.
    """

    rows: Floats
    sums: Floats

    def __len__(self) -> int:
        return len(self.rows)


@dataclass(frozen=True)
class Difference:
    """How a family of features differs between reference and window.

    Attributes
    ----------
    p : float
        Probability of a largest difference like this one if nothing had changed; of this family.
    t : float64 (f,)
        Moderated Welch t of each feature, positive where the window's mean is larger.
    """

    p: float
    t: NDArray[np.float64]


@dataclass(frozen=True)
class Group:
    """Features whose largest difference is judged.

    Attributes
    ----------
    part : slice
    pools : tuple of int64 arrays
        Other features, judged here by their differences together: many small ones may be more than
        chance where none of them is.
    """

    part: slice
    pools: tuple[NDArray[np.int64], ...] = ()

    def largest(self, t: Floats) -> Floats:
        """Return the largest absolute difference of each row of t."""
        found = [np.abs(t[:, self.part]).max(axis=1)]
        found += [_pooled(t[:, pool]) for pool in self.pools]
        largest: Floats = np.max(found, axis=0)
        return largest


def _pooled(t: Floats) -> Floats:
    """Return the sum of squares as a normal deviate (Wilson & Hilferty 1931)."""
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
    """Compare two samples, family by family of features.

    Parameters
    ----------
    reference, window : Blocks
        At least 8 blocks each.
    groups : dict of Group
        Families of features that are judged together.
    floors : float32 (f,)
        Standard deviation of a row, below which a feature is not told from a constant; and a tenth
        of it is what means may differ by, however many rows there are.
    permutations : int
    seed : int

    Returns
    -------
    dict of Difference
    """
    rows = np.concatenate([reference.rows, window.rows])
    both = np.concatenate([reference.sums, window.sums])
    chosen = np.zeros((1, len(rows)), np.float32)
    chosen[:, len(reference) :] = 1
    parts = _Sums(both, rows, floors)
    found = parts.t(chosen)
    size = parts.alike(chosen)
    largest = _permuted(parts, groups, len(rows), size, permutations, seed)
    differences = {}
    for name, group in groups.items():
        p = _tail_probability(largest[name], float(group.largest(found)[0]))
        differences[name] = Difference(p, found[0, group.part].astype(np.float64))
    return differences


def _standardised(sums: Floats, rows: Floats, floors: Floats) -> tuple[Floats, Floats]:
    """Take the common mean away, and divide by what a row contributes to the deviation of sums.

    Returns that, and the squares of what means may differ by.
    """
    exact, n = sums.astype(np.float64), rows.astype(np.float64)
    left = exact - n[:, None] * (exact.sum(axis=0) / n.sum())
    scale = np.maximum(np.sqrt(np.square(left).sum(axis=0) / n.sum()), floors)
    scale = np.maximum(scale, 1e-150)
    slack = np.square(_SLACK * floors / scale)
    return (left / scale).astype(np.float32), slack.astype(np.float32)


class _Sums:
    """What t needs of any subset of blocks, as products with a matrix."""

    def __init__(self, sums: Floats, rows: Floats, floors: Floats) -> None:
        self._rows = rows
        self._sums, self._slack = _standardised(sums, rows, floors)
        self._products = self._sums * rows[:, None]
        self._squares = np.square(self._sums)
        one = np.ones((1, len(rows)), np.float32)
        self._whole = self._parts(one)

    def _parts(self, chosen: Floats) -> tuple[Floats, ...]:
        rows = self._rows[:, None]
        return (
            chosen @ self._sums,
            chosen @ self._products,
            chosen @ self._squares,
            chosen @ rows,
            chosen @ np.square(rows),
            chosen.sum(axis=1, keepdims=True),
        )

    def t(self, chosen: Floats) -> Floats:
        """Return t of each feature, for each row of zeros and ones that chooses blocks."""
        (mean, error), (other, beside) = self._sides(chosen)
        t: Floats = (mean - other) / np.sqrt(error + beside + self._slack)
        return t

    def alike(self, chosen: Floats) -> int:
        """Return how many blocks to draw for a window that is like the chosen ones.

        Means of fewer rows have longer tails, so that it is not blocks that must be as many. Nor
        rows: where those of a block have more in common than in the baseline (copies, say), they
        count for fewer, by the ratio of what variances of sums are to rows (Kish 1965).
        """
        rows = float((chosen @ self._rows)[0]), float(((1 - chosen) @ self._rows)[0])
        errors = [float(np.median(side[1])) for side in self._sides(chosen)]
        ratio = errors[1] * rows[1] / max(errors[0] * rows[0], _TINY)
        blocks = len(self._rows)
        size = round(blocks * rows[0] / sum(rows) * ratio)
        return min(max(size, _FEWEST), blocks - _FEWEST)

    def _sides(self, chosen: Floats) -> tuple[tuple[Floats, Floats], tuple[Floats, Floats]]:
        window = self._parts(chosen)
        reference = tuple(whole - part for whole, part in zip(self._whole, window, strict=True))
        return _mean_and_error(*window), _mean_and_error(*reference)


def _mean_and_error(
    sums: Floats, products: Floats, squares: Floats, rows: Floats, rows_squared: Floats, n: Floats
) -> tuple[Floats, Floats]:
    """Return mean and squared standard error, of standardised features.

    What variances are drawn to is their mean over all features, in this sample: blocks of one may
    have more in common than those of the other.
    """
    mean = sums / rows
    own = np.maximum(squares - 2 * mean * products + np.square(mean) * rows_squared, 0) / rows
    own *= n / (n - 1)
    usual = own.mean(axis=1, keepdims=True)
    variance = ((n - 1) * own + _PRIOR * usual) / (n - 1 + _PRIOR)
    return mean, np.maximum(variance / rows, _TINY)


def _permuted(
    parts: _Sums, groups: dict[str, Group], blocks: int, size: int, permutations: int, seed: int
) -> dict[str, NDArray[np.float64]]:
    """Return the largest difference of each group where `size` of the blocks are drawn."""
    rng = np.random.default_rng(seed)
    found: dict[str, list[Floats]] = {name: [] for name in groups}
    for first in range(0, permutations, _CHUNK):
        n = min(_CHUNK, permutations - first)
        order = np.argsort(rng.random((n, blocks), dtype=np.float32), axis=1)
        t = parts.t((order < size).astype(np.float32))
        for name, group in groups.items():
            found[name].append(group.largest(t))
    return {name: np.concatenate(each).astype(np.float64) for name, each in found.items()}


def _tail_probability(null: NDArray[np.float64], found: float) -> float:
    """Return how likely a value as large is, beyond the permutations too.

    Where few permutations reach as far, a generalised Pareto tail is fitted to the largest of them
    (Knijnenburg et al. 2009), by moments, to squares, which fall exponentially if t is normal.
    """
    beyond = int((null >= found).sum())
    if beyond >= 10:
        return (1 + beyond) / (1 + len(null))
    squares = np.sort(np.square(null))
    count = max(10, int(_TAIL * len(null)))
    start = 0.5 * float(squares[-count] + squares[-count - 1])
    excess = squares[-count:] - start
    mean, variance = float(excess.mean()), float(excess.var(ddof=1))
    shape = max(0.0, 0.5 * (1 - mean * mean / variance)) if variance > 0 else 0.0
    distance = max(0.0, found * found - start)
    share = count / len(null)
    if shape < 1e-6:
        return share * float(np.exp(-distance / mean))
    scale = mean * (1 - shape)
    return share * float((1 + shape * distance / scale) ** (-1 / shape))
