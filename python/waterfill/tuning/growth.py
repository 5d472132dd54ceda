"""How recall falls as a collection grows beyond the sample.

Two things make a sample flatter. Among few vectors neighbours are far apart, so that errors seldom
change their order: recall is measured at several sizes and follows a line in log-odds against the
logarithm of the size. And the sample's vectors are those that codebooks were trained on, which fit
them better than others: a second codec, trained on half of the sample, tells by how much.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from waterfill.flat import IndexFlat
from waterfill.parameters import SearchParameters
from waterfill.selectors import IDSelectorRange
from waterfill.tuning.split import Accuracy, Split, accuracy

Shares = NDArray[np.float64]

_HALVINGS = 4  # sizes are a half, a quarter ... of the sample
_FEWEST_TIMES = 20  # vectors of the smallest size, times k
_HALF_TO_WHOLE = 0.6  # of what half of the rows show to be lost: docs/decisions/0018
_HALF_TO_WHOLE_ERROR = 0.2  # one deviation, as a share
_LEAST_OPTIMISM_ERROR = 0.02
_LEAST_MISSED = 0.01  # where nearly all are found there is nothing to divide by
_ERROR_A_DOUBLING = 0.003  # of recall: what lines have been off by
_DRAWS = 400
_INTERVAL = (2.5, 97.5)


@dataclass(frozen=True)
class Expected:
    """A recall that was not measured.

    Attributes
    ----------
    recall : float
    low, high : float
        It lies between them in 95 % of cases.
    """

    recall: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.recall:.3f} ({self.low:.3f} to {self.high:.3f})"


@dataclass(frozen=True, eq=False)
class Growth:
    """Recall at several sizes of a collection, and where they lead.

    Attributes
    ----------
    sizes : tuple of int
        Ascending; the last one is all stored vectors of the sample.
    recalls : tuple of float
        Measured among so many of them: means over as many parts of the sample.
    optimism : float
        The share of missed neighbours by which vectors that were not trained on miss more.
    """

    sizes: tuple[int, ...]
    recalls: tuple[float, ...]
    optimism: float
    _shares: Shares = field(repr=False)  # (sizes, queries): of true neighbours that were found

    def at(self, n: int) -> Expected:
        """Return the recall to expect among n vectors, the sample's among them."""
        if n < 1:
            raise ValueError(f"n={n} must be at least 1")
        recall = float(_extrapolate(self.sizes, self._shares.mean(axis=1), n, self.optimism))
        rng = np.random.default_rng(0)
        queries = self._shares.shape[1]
        drawn = rng.integers(0, queries, (_DRAWS, queries))
        means = self._shares[:, drawn].mean(axis=2)
        relative = _HALF_TO_WHOLE_ERROR * self.optimism + _LEAST_OPTIMISM_ERROR
        optimism = self.optimism + relative * rng.standard_normal(_DRAWS)
        values = _extrapolate(self.sizes, means, n, optimism)
        beyond = max(0.0, float(np.log2(n / self.sizes[-1])))
        values = values + _ERROR_A_DOUBLING * beyond * rng.standard_normal(_DRAWS)
        low, high = np.clip(np.percentile(values, _INTERVAL), 0, 1)
        return Expected(recall, float(min(low, recall)), float(max(high, recall)))


def _extrapolate(
    sizes: tuple[int, ...], recalls: Shares, n: int, optimism: float | Shares
) -> Shares:
    """Follow the line through recalls, (sizes,) or (sizes, draws), to n vectors."""
    least = 0.5 / 5000  # keeps log-odds finite
    odds = np.clip(recalls, least, 1 - least)
    odds = np.log(odds / (1 - odds))
    steps = np.log2(np.array(sizes) / sizes[-1])
    slope = np.zeros_like(odds[-1])
    if len(sizes) > 1:
        centred = steps - steps.mean()
        # Recall does not rise with more vectors; a sample may have it otherwise by chance.
        slope = np.minimum(np.tensordot(centred, odds, 1) / (centred**2).sum(), 0)
    value = 1 / (1 + np.exp(-(odds[-1] + slope * np.log2(n / sizes[-1]))))
    new = max(0.0, 1 - sizes[-1] / n)  # share of vectors that were not trained on
    result: Shares = value - new * optimism * (1 - value)
    return np.clip(result, 0, 1)


def measure_growth(
    index: IndexFlat, split: Split, parts: int, optimism: float, counted: Accuracy = "recall"
) -> Growth:
    """Search parts of the sample, at most so many of each size."""
    n, shares, sizes = len(split.base), [], []
    for halving in range(_HALVINGS, -1, -1):
        size = n >> halving
        if size < max(_FEWEST_TIMES * split.k, 1) and halving > 0:
            continue
        firsts = range(0, min(n // size, parts) * size, size)
        shares.append(
            np.mean([_part(index, split, first, size, counted) for first in firsts], axis=0)
        )
        sizes.append(size)
    table = np.array(shares)
    return Growth(tuple(sizes), tuple(map(float, table.mean(axis=1))), optimism, table)


def _part(index: IndexFlat, split: Split, first: int, size: int, counted: Accuracy) -> Shares:
    """Return each query's accuracy among some rows."""
    k = min(split.k, size)
    part = SearchParameters(sel=IDSelectorRange(first, first + size))
    found = index.search(split.queries, k, params=part)[1]
    return accuracy(split.hits(found, split.truth_among(first, size)), k, counted)


def optimism_of(index: IndexFlat, split: Split, counted: Accuracy = "recall") -> float:
    """Return the optimism of a codec, from one that half of the sample trained.

    index : with all of the sample's vectors, of which the first half was trained on.
    """
    half = len(split.base) // 2
    size = max(half // 4, min(half, _FEWEST_TIMES * split.k))

    def mean(begin: int, end: int) -> float:
        firsts = range(begin, end - size + 1, size)
        return float(np.mean([_part(index, split, first, size, counted) for first in firsts]))

    own, new = mean(0, half), mean(half, len(split.base))
    return _HALF_TO_WHOLE * max(0.0, (own - new) / max(1 - own, _LEAST_MISSED))
