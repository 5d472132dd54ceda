"""Established drift detectors in their usual configuration, behind a common interface.

All of them assume independent rows and ignore the blocks of a window. Each imports the packages
that it needs.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from drift_streams import Rows, Window
from numpy.typing import NDArray

Values = NDArray[np.float32]

ALPHA = 0.01  # per window


class Detector(Protocol):
    """The interface of a detector.

    Attributes
    ----------
    name : str
    nbytes : int
        Bytes of the stored baseline.
    """

    name: str
    nbytes: int

    def learn(self, window: Window) -> None:
        """Learn the baseline."""

    def alarms(self, window: Window) -> bool:
        """Return whether a window raises an alarm, as if it were the first."""


class KolmogorovSmirnov:
    """A KS test per dimension with SciPy's default p-values, Bonferroni over dimensions.

    All dimensions have equally many rows, so the largest statistic has the smallest p-value. It is
    enough to pass that dimension to `scipy.stats.ks_2samp`, which is much faster.
    """

    name = "ks"

    def learn(self, window: Window) -> None:
        """Store the sorted values of each dimension."""
        self._tested = self._dimensions(window[0])
        self._columns = np.sort(window[0].T[self._tested], axis=1)
        self.nbytes = self._columns.nbytes

    def alarms(self, window: Window) -> bool:
        """Return whether a p-value is below alpha / d."""
        from scipy.stats import ks_2samp

        columns = np.sort(window[0].T[self._tested], axis=1)
        pairs = list(zip(self._columns, columns, strict=True))
        old, new = pairs[int(np.argmax([_ks_statistic(*pair) for pair in pairs]))]
        return bool(ks_2samp(old, new).pvalue < ALPHA / len(pairs))

    def _dimensions(self, rows: Rows) -> NDArray[np.int64]:
        return np.arange(rows.shape[1])


class VaryingKolmogorovSmirnov(KolmogorovSmirnov):
    """The same for dimensions that vary; in constant ones, the test reacts to rounding errors."""

    name = "ks-varying"

    def _dimensions(self, rows: Rows) -> NDArray[np.int64]:
        spread = rows.std(axis=0)
        return np.flatnonzero(spread > 1e-3 * np.median(spread))


def _ks_statistic(old: Values, new: Values) -> float:
    """Return the KS statistic of two sorted samples."""
    both = np.concatenate([old, new])
    shares = [np.searchsorted(own, both, side="right") / len(own) for own in (old, new)]
    return float(np.abs(shares[0] - shares[1]).max())


class RandomFeatureMMD:
    """Maximum mean discrepancy (Gretton et al. 2012) by permutation of rows.

    The kernel is Gaussian with the median distance as bandwidth, approximated by 500 random Fourier
    features (Rahimi & Recht 2007).
    """

    name = "mmd"

    def __init__(self, features: int = 500, permutations: int = 1000, seed: int = 0) -> None:
        self._features, self._permutations = features, permutations
        self._rng = np.random.default_rng(seed)

    def learn(self, window: Window) -> None:
        """Draw random features and store those of the rows."""
        rows = window[0]
        sample = rows[self._rng.permutation(len(rows))[:1000]]
        width = np.sqrt(np.median(_squared_distances(sample)[np.triu_indices(len(sample), 1)]))
        weights = self._rng.standard_normal((rows.shape[1], self._features)) / width
        self._weights = weights.astype(np.float32)
        self._phases = self._rng.uniform(0, 2 * np.pi, self._features).astype(np.float32)
        self._reference = self._mapped(rows)
        self.nbytes = self._weights.nbytes + self._phases.nbytes + self._reference.nbytes

    def _mapped(self, rows: Rows) -> Rows:
        return np.cos(rows @ self._weights + self._phases)

    def alarms(self, window: Window) -> bool:
        """Return whether the p-value of the permutation test is at most alpha."""
        mapped = self._mapped(window[0])
        n, both = len(mapped), np.concatenate([self._reference, mapped])
        both -= both.mean(axis=0)
        statistic = np.square(both[-n:].sum(axis=0)).sum()  # the other rows sum to the negative
        beyond = 0
        for first in range(0, self._permutations, 100):
            shuffles = self._rng.random((min(100, self._permutations - first), len(both)))
            chosen = np.zeros(shuffles.shape, np.float32)
            np.put_along_axis(chosen, np.argpartition(shuffles, n, axis=1)[:, :n], 1, axis=1)
            beyond += int((np.square(chosen @ both).sum(axis=1) >= statistic).sum())
        return (1 + beyond) / (1 + self._permutations) <= ALPHA


def _squared_distances(rows: Rows) -> Values:
    squares = np.square(rows).sum(axis=1)
    distances: Values = np.maximum(squares[:, None] + squares - 2 * rows @ rows.T, 0)
    return distances


class AlibiKS:
    """alibi-detect's `KSDrift` with its defaults: asymptotic p-values, Bonferroni."""

    name = "alibi-ks"

    def learn(self, window: Window) -> None:
        """Create the detector."""
        from alibi_detect.cd import KSDrift

        self._detector = KSDrift(window[0], p_val=ALPHA)
        self.nbytes = self._detector.x_ref.nbytes

    def alarms(self, window: Window) -> bool:
        """Return its verdict."""
        return bool(self._detector.predict(window[0])["data"]["is_drift"])


class AlibiMMD:
    """alibi-detect's `MMDDrift` with its defaults, on PyTorch, with the full kernel matrix.

    With its 100 permutations, a p-value below 1 % is zero.
    """

    name = "alibi-mmd"

    def learn(self, window: Window) -> None:
        """Create the detector."""
        import torch
        from alibi_detect.cd import MMDDrift

        torch.set_num_threads(1)
        self._detector = MMDDrift(window[0], backend="pytorch", p_val=ALPHA)
        n = len(window[0])
        self.nbytes = self._detector._detector.x_ref.nbytes + 4 * n * n

    def alarms(self, window: Window) -> bool:
        """Return its verdict."""
        return bool(self._detector.predict(window[0])["data"]["is_drift"])


ESTABLISHED = {
    each.name: each
    for each in (KolmogorovSmirnov, VaryingKolmogorovSmirnov, RandomFeatureMMD, AlibiKS, AlibiMMD)
}
