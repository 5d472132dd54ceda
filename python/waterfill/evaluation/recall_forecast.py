"""How recall falls as a collection grows beyond the sample.

Two things make a sample flatter. Among few vectors neighbours are far apart, so that errors seldom
change their order: recall is measured at several sizes and follows a line in log-odds against the
logarithm of the size. And the sample's vectors are those that codebooks were trained on, which fit
them better than others: a second codec, trained on half of the sample, tells how much lower the
line of new vectors lies, and how it falls.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from waterfill.evaluation.split import Accuracy, Split, accuracy
from waterfill.index.flat import IndexFlat
from waterfill.index.search_parameters import SearchParameters
from waterfill.index.selectors import IDSelectorRange

Shares = NDArray[np.float64]

_HALVINGS = 4  # sizes are a half, a quarter ... of the sample
_FEWEST_TIMES = 20  # vectors of the smallest size, times k
_HALF_TO_WHOLE = 0.5  # of the gap that half of the rows show; these three: docs/decisions/0018
_NEW_SLOPE = 0.7  # how far the slope of new vectors counts, and not that of trained-on ones
_ERROR_A_DOUBLING = 0.004  # of recall: what lines have been off by
_GAP_ERROR = 0.35  # one deviation, as a share of the gap
_LEAST_GAP_ERROR = 0.03  # in log-odds
_GAP_SIZES = 2  # the largest ones, which tell the gap
_LEAST_SHARE = 1e-4  # keeps log-odds finite
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


@dataclass(frozen=True)
class Optimism:
    """How recall among new vectors differs from that among those that were trained on.

    Attributes
    ----------
    gap : float
        By how much its log-odds are lower, among as many as the sample has.
    slope : float
        How they change with each doubling of the collection.
    """

    gap: float
    slope: float


@dataclass(frozen=True, eq=False)
class Growth:
    """Recall at several sizes of a collection, and where they lead.

    Attributes
    ----------
    sizes : tuple of int
        Ascending; the last one is all stored vectors of the sample.
    recalls : tuple of float
        Measured among so many of them: means over as many parts of the sample.
    optimism : Optimism or None
        None where it is not known: then new vectors are taken to be as well found.
    """

    sizes: tuple[int, ...]
    recalls: tuple[float, ...]
    optimism: Optimism | None
    _shares: Shares = field(repr=False)  # (sizes, queries): of true neighbours that were found

    def at(self, n: int) -> Expected:
        """Return the recall to expect among n vectors, the sample's among them."""
        if n < 1:
            raise ValueError(f"n={n} must be at least 1")
        recall = float(self._extrapolated(self._shares.mean(axis=1), n, np.zeros(())))
        rng = np.random.default_rng(0)
        queries = self._shares.shape[1]
        drawn = rng.integers(0, queries, (_DRAWS, queries))
        means = self._shares[:, drawn].mean(axis=2)
        values = self._extrapolated(means, n, rng.standard_normal(_DRAWS))
        beyond = max(0.0, float(np.log2(n / self.sizes[-1])))
        values = values + _ERROR_A_DOUBLING * beyond * rng.standard_normal(_DRAWS)
        low, high = np.clip(np.percentile(values, _INTERVAL), 0, 1)
        return Expected(recall, float(min(low, recall)), float(max(high, recall)))

    def _extrapolated(self, recalls: Shares, n: int, deviations: Shares) -> Shares:
        """Follow the lines of recalls, (sizes,) or (sizes, draws), to n vectors.

        deviations : () or (draws,), of the gap from what is expected of it.
        """
        size, doublings = self.sizes[-1], float(np.log2(n / self.sizes[-1]))
        odds = _log_odds(recalls)
        own = follow(self.sizes, recalls, n)
        if n <= size or self.optimism is None:
            return own
        likely = _HALF_TO_WHOLE * self.optimism.gap
        gap = likely + (_GAP_ERROR * likely + _LEAST_GAP_ERROR) * deviations
        both = _NEW_SLOPE * self.optimism.slope + (1 - _NEW_SLOPE) * _slope(self.sizes, odds)
        new = np.minimum(_share(odds[-1] - gap + np.minimum(both, 0) * doublings), own)
        result: Shares = new + size / n * (own - new)
        return result


def follow(sizes: Sequence[int], recalls: Shares, n: int) -> Shares:
    """Follow the line of recalls, (sizes,) or (sizes, draws), in log-odds to n vectors."""
    odds = _log_odds(recalls)
    # Recall does not rise with more vectors; a sample may have it otherwise by chance.
    return _share(odds[-1] + np.minimum(_slope(sizes, odds), 0) * float(np.log2(n / sizes[-1])))


def _log_odds(shares: Shares) -> Shares:
    clipped = np.clip(shares, _LEAST_SHARE, 1 - _LEAST_SHARE)
    odds: Shares = np.log(clipped / (1 - clipped))
    return odds


def _share(odds: Shares) -> Shares:
    share: Shares = 1 / (1 + np.exp(-odds))
    return share


def _slope(sizes: Sequence[int], odds: Shares) -> Shares:
    """Fit a line to log-odds, (sizes,) or (sizes, draws): its rise with each doubling."""
    steps = np.log2(np.array(sizes, dtype=np.float64))
    centred = steps - steps.mean()
    spread = max(float((centred**2).sum()), 1e-9)  # of one size: no slope
    slope: Shares = np.tensordot(centred, odds, 1) / spread
    return slope


def measure_growth(
    index: IndexFlat,
    split: Split,
    parts: int,
    optimism: Optimism | None,
    counted: Accuracy = "recall",
) -> Growth:
    """Search parts of the sample, at most so many of each size."""
    sizes, table = curve(index, split, (0, len(split.base)), parts, counted)
    return Growth(sizes, tuple(map(float, table.mean(axis=1))), optimism, table)


def optimism_of(
    index: IndexFlat, split: Split, parts: int, counted: Accuracy = "recall"
) -> Optimism:
    """Return the optimism of a codec that half of the sample trained.

    index : with all of the sample's vectors, of which the first half was trained on.
    """
    half = len(split.base) // 2
    own, new = (curve(index, split, (first, first + half), parts, counted) for first in (0, half))
    gaps = _log_odds(own[1].mean(axis=1)) - _log_odds(new[1].mean(axis=1))
    slope = _slope(new[0], _log_odds(new[1].mean(axis=1)))
    return Optimism(max(0.0, float(gaps[-_GAP_SIZES:].mean())), float(slope))


def curve(
    index: IndexFlat, split: Split, rows: tuple[int, int], parts: int, counted: Accuracy
) -> tuple[tuple[int, ...], Shares]:
    """Return sizes, and each query's accuracy among so many of some rows: (sizes, queries)."""
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
    """Return each query's accuracy among some rows."""
    k = min(split.k, size)
    part = SearchParameters(sel=IDSelectorRange(first, first + size))
    found = index.search(split.queries, k, params=part)[1]
    return accuracy(split.hits(found, split.truth_among(first, size)), k, counted)
