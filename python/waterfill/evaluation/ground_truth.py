"""Ground truth: exact nearest neighbours by brute force."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from waterfill import _core
from waterfill._util.validation import Metric
from waterfill.data.rows import FloatRows

Neighbours = NDArray[np.int64]

_BLOCK = 4096


def true_neighbours(base: FloatRows, queries: FloatRows, metric: Metric, k: int) -> Neighbours:
    """Find the k nearest rows of `base` for each query by exact search.

    Parameters
    ----------
    base : float32 (n, d)
    queries : float32 (m, d)
    metric : {'ip', 'l2', 'cosine'}
    k : int

    Returns
    -------
    int64 (m, min(n, k))
        Row numbers, nearest first.
    """
    nearest = Nearest(queries, metric, k)
    for first in range(0, len(base), _BLOCK):
        nearest.add(base[first : first + _BLOCK], first)
    return nearest.ids()


class Nearest:
    """Exact search over rows that arrive block by block."""

    def __init__(self, queries: FloatRows, metric: Metric, k: int) -> None:
        self._metric, self._k = metric, k
        self._queries = _core.normalize_rows(queries) if metric == "cosine" else queries
        self._scores = np.empty((len(queries), 0), np.float32)
        self._ids = np.empty((len(queries), 0), np.int64)

    def add(self, block: FloatRows, first: int) -> None:
        """Compare a block of rows, numbered from `first`."""
        rows = _core.normalize_rows(block) if self._metric == "cosine" else block
        products = self._queries @ rows.T
        if self._metric == "l2":
            products = 2 * products - np.square(rows).sum(axis=1)
        numbers = np.tile(np.arange(first, first + len(rows)), (len(products), 1))
        scores, ids = np.hstack([self._scores, products]), np.hstack([self._ids, numbers])
        if scores.shape[1] > self._k:
            best = np.argpartition(-scores, self._k - 1, axis=1)[:, : self._k]
            scores = np.take_along_axis(scores, best, 1)
            ids = np.take_along_axis(ids, best, 1)
        self._scores, self._ids = scores, ids

    def ids(self) -> Neighbours:
        """Return the row numbers, int64 (m, k), nearest first."""
        order = np.argsort(-self._scores, axis=1, kind="stable")
        return np.take_along_axis(self._ids, order, 1)
