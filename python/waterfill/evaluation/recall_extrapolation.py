"""Extrapolation of recall from a sample to a larger collection.

Recall on a sample is too high for two reasons. Among few vectors, neighbours are far apart, so that
errors seldom change their order: recall is measured at several sizes, where its log-odds follow a
line against the logarithm of the size. And the codebooks were trained on the sample's vectors and
fit them better than new ones: a second codec, trained on half of the sample, measures how much
lower the line of new vectors lies, and its slope. docs/decisions/0018 has the measurements.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from waterfill.evaluation.sample_split import Accuracy, Split, accuracy
from waterfill.index.flat import IndexFlat
from waterfill.index.search_parameters import SearchParameters
from waterfill.index.selectors import IDSelectorRange

Shares = NDArray[np.float64]

_HALVINGS = 4  # sizes are a half, a quarter ... of the sample
_FEWEST_TIMES = 20  # the smallest size is at least 20 k
_HALF_TO_WHOLE = 0.5  # gap of a codec trained on all rows, as a share of that of half of them
_NEW_SLOPE = 0.7  # weight of the slope of new vectors; the rest is that of training vectors
_ERROR_PER_DOUBLING = 0.004  # standard deviation of recall
_GAP_ERROR = 0.35  # standard deviation of the gap, as a share of it
_LEAST_GAP_ERROR = 0.03  # in log-odds
_GAP_SIZES = 2  # the gap is the mean at the two largest sizes
_LEAST_SHARE = 1e-4  # keeps log-odds finite
_DRAWS = 400
_INTERVAL = (2.5, 97.5)


@dataclass(frozen=True)
class Expected:
    """An extrapolated recall and its 95 % interval.

    Attributes
    ----------
    recall : float
        The recall, 0 to 1.
    low, high : float
        Bounds of the interval: quantiles over bootstrap samples of the queries [1]_ and over the
        error of the extrapolation.

    References
    ----------
    .. [1] B. Efron, "Bootstrap methods: another look at the jackknife", Annals of Statistics 7(1),
       1979.
    """

    recall: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.recall:.3f} ({self.low:.3f} to {self.high:.3f})"


@dataclass(frozen=True)
class Optimism:
    """The difference in recall between training vectors and new ones.

    Attributes
    ----------
    gap : float
        Log-odds of recall among training vectors, less those among as many new vectors.
    slope : float
        Change of the log-odds among new vectors per doubling of the collection.
    """

    gap: float
    slope: float


@dataclass(frozen=True, eq=False)
class Growth:
    """Recall measured at several collection sizes, and its extrapolation.

    Attributes
    ----------
    sizes : tuple of int
        Ascending; the last one is all stored vectors of the sample.
    recalls : tuple of float
        Recall at each size, averaged over parts of the sample.
    optimism : Optimism or None
        None if unknown: new vectors then count as training vectors.
    """

    sizes: tuple[int, ...]
    recalls: tuple[float, ...]
    optimism: Optimism | None
    _shares: Shares = field(repr=False)  # (sizes, queries): share of true neighbours found

    def at(self, n: int) -> Expected:
        """Return the expected recall in a larger collection.

        Parameters
        ----------
        n : int
            Number of vectors, which include those of the sample.

        Returns
        -------
        Expected
            The recall and its interval.

        Raises
        ------
        ValueError
            If `n` is below 1.
        """
        if n < 1:
            raise ValueError(f"n={n} must be at least 1")
        recall = float(self._extrapolated(self._shares.mean(axis=1), n, np.zeros(())))
        rng = np.random.default_rng(0)
        queries = self._shares.shape[1]
        drawn = rng.integers(0, queries, (_DRAWS, queries))
        means = self._shares[:, drawn].mean(axis=2)
        values = self._extrapolated(means, n, rng.standard_normal(_DRAWS))
        beyond = max(0.0, float(np.log2(n / self.sizes[-1])))
        values = values + _ERROR_PER_DOUBLING * beyond * rng.standard_normal(_DRAWS)
        low, high = np.clip(np.percentile(values, _INTERVAL), 0, 1)
        return Expected(recall, float(min(low, recall)), float(max(high, recall)))

    def _extrapolated(self, recalls: Shares, n: int, deviations: Shares) -> Shares:
        """Extrapolate recalls, (sizes,) or (sizes, draws), to n vectors.

        `deviations`, () or (draws,), are those of the gap, in standard deviations.
        """
        size, doublings = self.sizes[-1], float(np.log2(n / self.sizes[-1]))
        odds = _log_odds(recalls)
        training = extrapolate(self.sizes, recalls, n)
        if n <= size or self.optimism is None:
            return training
        mean_gap = _HALF_TO_WHOLE * self.optimism.gap
        gap = mean_gap + (_GAP_ERROR * mean_gap + _LEAST_GAP_ERROR) * deviations
        slope = _NEW_SLOPE * self.optimism.slope + (1 - _NEW_SLOPE) * _slope(self.sizes, odds)
        new = np.minimum(_share(odds[-1] - gap + np.minimum(slope, 0) * doublings), training)
        result: Shares = new + size / n * (training - new)
        return result


def extrapolate(sizes: Sequence[int], recalls: Shares, n: int) -> Shares:
    """Extrapolate recalls, (sizes,) or (sizes, draws), to n vectors: linear in log-odds."""
    odds = _log_odds(recalls)
    # Recall does not rise with the size; a rise in the sample is noise.
    return _share(odds[-1] + np.minimum(_slope(sizes, odds), 0) * float(np.log2(n / sizes[-1])))


def _log_odds(shares: Shares) -> Shares:
    clipped = np.clip(shares, _LEAST_SHARE, 1 - _LEAST_SHARE)
    odds: Shares = np.log(clipped / (1 - clipped))
    return odds


def _share(odds: Shares) -> Shares:
    share: Shares = 1 / (1 + np.exp(-odds))
    return share


def _slope(sizes: Sequence[int], odds: Shares) -> Shares:
    """Fit a line to log-odds, (sizes,) or (sizes, draws); return its slope per doubling."""
    steps = np.log2(np.array(sizes, dtype=np.float64))
    centred = steps - steps.mean()
    spread = max(float((centred**2).sum()), 1e-9)  # slope 0 for a single size
    slope: Shares = np.tensordot(centred, odds, 1) / spread
    return slope


def measure_growth(
    index: IndexFlat,
    split: Split,
    parts: int,
    optimism: Optimism | None,
    counted: Accuracy = "recall",
) -> Growth:
    """Measure recall on parts of the sample, at most `parts` per size."""
    sizes, table = curve(index, split, (0, len(split.base)), parts, counted)
    return Growth(sizes, tuple(map(float, table.mean(axis=1))), optimism, table)


def optimism_of(
    index: IndexFlat, split: Split, parts: int, counted: Accuracy = "recall"
) -> Optimism:
    """Measure the optimism of a codec trained on the first half of the sample.

    `index` holds all vectors of the sample.
    """
    half = len(split.base) // 2
    old, new = (curve(index, split, (first, first + half), parts, counted) for first in (0, half))
    gaps = _log_odds(old[1].mean(axis=1)) - _log_odds(new[1].mean(axis=1))
    slope = _slope(new[0], _log_odds(new[1].mean(axis=1)))
    return Optimism(max(0.0, float(gaps[-_GAP_SIZES:].mean())), float(slope))


def curve(
    index: IndexFlat, split: Split, rows: tuple[int, int], parts: int, counted: Accuracy
) -> tuple[tuple[int, ...], Shares]:
    """Return sizes, and the accuracy of each query among that many rows, (sizes, queries)."""
    (begin, end), shares, sizes = rows, [], []
    for halving in range(_HALVINGS, -1, -1):
        size = (end - begin) >> halving
        if size < max(_FEWEST_TIMES * split.k, 1) and halving > 0:
            continue
        firsts = range(begin, begin + min((end - begin) // size, parts) * size, size)
        found = [_part(index, split, first, size, counted) for first in firsts]
        shares.append(np.mean(found, axis=0))
        sizes.append(size)
    return tuple(sizes), np.array(shares)


def _part(index: IndexFlat, split: Split, first: int, size: int, counted: Accuracy) -> Shares:
    """Return the accuracy of each query among rows [first, first + size)."""
    k = min(split.k, size)
    part = SearchParameters(sel=IDSelectorRange(first, first + size))
    found = index.search(split.queries, k, params=part)[1]
    return accuracy(split.hits(found, split.truth_among(first, size)), k, counted)
