"""Split a sample into stored vectors and queries, and find the true neighbours."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from waterfill._util.validation import Metric
from waterfill.data.rows import FloatRows, Rows
from waterfill.evaluation.ground_truth import Neighbours, true_neighbours
from waterfill.training.cells import MIN_QUERIES

Accuracy = Literal["recall", "forgiving_accuracy"]

MOST_ROWS = 50_000
_MOST_BYTES = 512 << 20
_MOST_QUERIES = 500
_SHARE = 10  # at most one row in ten of the sample becomes a query
_FEWEST_TIMES = 3  # there are at least 3 k stored vectors


@dataclass(frozen=True)
class Draw:
    """A reproducible random draw: the same draw of the same arrays gives the same split.

    Attributes
    ----------
    rows : int
        Rows of the sample.
    stored, held_out : int
        Rows of the sample drawn as stored vectors, and as queries.
    queries, asked, training : int
        Separate queries (0 without any), and the numbers of them drawn for searching and training.
    seed : int
        Seed of the draw.
    """

    rows: int
    stored: int
    held_out: int
    queries: int
    asked: int
    training: int
    seed: int

    @classmethod
    def plan(cls, sample: Rows, queries: Rows | None, seed: int, most: int) -> Draw:
        """Choose the sizes of a draw.

        Parameters
        ----------
        sample : Rows
            The sample.
        queries : Rows or None
            Separate queries, if there are any.
        seed : int
            Seed of the draw.
        most : int
            Most vectors to store.

        Returns
        -------
        Draw
            The sizes and the seed.
        """
        n_queries = 0 if queries is None else queries.n
        held_out = 0 if n_queries else min(_MOST_QUERIES, sample.n // _SHARE)
        stored = min(sample.n - held_out, most, max(1000, _MOST_BYTES // (4 * sample.d)))
        # Recall must not be measured with queries that the codec was fitted to.
        enough = n_queries >= 2 * MIN_QUERIES
        asked = min(_MOST_QUERIES, n_queries // 2 if enough else n_queries)
        training = n_queries - asked if enough else 0
        return cls(sample.n, stored, held_out, n_queries, asked, training, seed)

    def stored_numbers(self) -> Neighbours:
        """Return the numbers of the rows to store, in random order."""
        stored = np.sort(self._chosen()[self.held_out :])
        return stored[np.random.default_rng(self.seed).permutation(self.stored)]

    def stored_rows(self, sample: Rows) -> FloatRows:
        """Return the rows to store, in random order.

        Parameters
        ----------
        sample : Rows
            The sample.

        Returns
        -------
        float32 (stored, d)
            Its rows.
        """
        return sample.take_unordered(self.stored_numbers())

    def asked_rows(self, sample: Rows, queries: Rows | None) -> FloatRows:
        """Return the queries to search with.

        Parameters
        ----------
        sample : Rows
            The sample.
        queries : Rows or None
            Separate queries, if there are any.

        Returns
        -------
        float32 (m, d)
            Separate queries, or held-out rows.
        """
        if queries is None:
            return sample.take(np.sort(self._chosen()[: self.held_out]))
        return queries.take(np.sort(self._chosen_queries()[: self.asked]))

    def training_rows(self, queries: Rows | None) -> FloatRows | None:
        """Return the queries to train with.

        Parameters
        ----------
        queries : Rows or None
            Separate queries, if there are any.

        Returns
        -------
        float32 (training, d) or None
            The queries; None if there are none to train with.
        """
        if queries is None or self.training == 0:
            return None
        return queries.take(np.sort(self._chosen_queries()[self.asked :]))

    def _chosen(self) -> Neighbours:
        rng = np.random.default_rng(self.seed)
        return rng.choice(self.rows, self.stored + self.held_out, replace=False)

    def _chosen_queries(self) -> Neighbours:
        return np.random.default_rng(self.seed).permutation(self.queries)

    def to_dict(self) -> dict[str, int]:
        """Return the attributes, as a manifest records them."""
        return asdict(self)


@dataclass(frozen=True, eq=False)
class Split:
    """Stored vectors, queries, and the true neighbours of each query.

    Attributes
    ----------
    draw : Draw
        How the sample was divided.
    base : float32 (n, d)
        In random order, so that any slice of them is a random sample.
    queries : float32 (m, d)
        The queries.
    training_queries : float32 (l, d) or None
        Other queries, for training.
    truth : int64 (m, k)
        The nearest rows of `base`, best first, by exact search.
    metric : {'ip', 'l2', 'cosine'}
        The metric of `truth`.
    k : int
        Neighbours per query.
    """

    draw: Draw
    base: FloatRows
    queries: FloatRows
    training_queries: FloatRows | None
    truth: Neighbours
    metric: Metric
    k: int
    _truths: dict[tuple[int, int], Neighbours] = field(default_factory=dict, repr=False)

    def truth_among(self, first: int, size: int) -> Neighbours:
        """Return the true neighbours among consecutive rows of `base`.

        Parameters
        ----------
        first : int
            Number of the first row.
        size : int
            Number of rows.

        Returns
        -------
        int64 (m, min(k, size))
            Rows of `base`, best first.
        """
        if size == len(self.base):
            return self.truth
        part = first, size
        if part not in self._truths:
            rows = self.base[first : first + size]
            self._truths[part] = first + true_neighbours(
                rows, self.queries, self.metric, min(self.k, size)
            )
        return self._truths[part]

    def hits(self, found: Neighbours, truth: Neighbours | None = None) -> Neighbours:
        """Count the found vectors of each query that are as near as its k-th true neighbour.

        Ties count as hits: a duplicate of a neighbour is as good as the neighbour.

        Parameters
        ----------
        found : int64 (m, k)
            Rows of `base` that a search found; -1 for none.
        truth : int64 (m, k), optional
            The true neighbours; by default `truth`.

        Returns
        -------
        int64 (m,)
            Number of hits of each query.
        """
        truth = self.truth if truth is None else truth
        least = self._scores(truth).min(axis=1, keepdims=True)
        near = (self._scores(found) >= least) & (found >= 0)
        counts: Neighbours = near.sum(axis=1, dtype=np.int64)
        return counts

    def _scores(self, ids: Neighbours) -> NDArray[np.float64]:
        rows = self.base[ids].astype(np.float64)
        queries = self.queries[:, None].astype(np.float64)
        if self.metric == "l2":
            distances: NDArray[np.float64] = np.square(rows - queries).sum(axis=2)
            return -distances
        products: NDArray[np.float64] = (rows * queries).sum(axis=2)
        if self.metric == "cosine":
            norms = np.linalg.norm(rows, axis=2)
            products /= np.where(norms > 0, norms, 1)
        return products


def accuracy(hits: Neighbours, k: int, name: Accuracy = "recall") -> NDArray[np.float64]:
    """Return the accuracy of each query from its number of true neighbours found."""
    shares: NDArray[np.float64] = hits / k
    return shares if name == "recall" else np.where(2 * hits >= k, 1.0, shares)


def split_sample(
    sample: Any, queries: Any, metric: Metric, k: int, seed: int, *, most: int = MOST_ROWS
) -> Split:
    """Draw queries and at most `most` stored vectors, and find the true neighbours.

    Raises
    ------
    ValueError
        If the sample has too few rows, the queries have another number of dimensions, or a drawn
        row holds a NaN or an infinity.
    TypeError
        If either is not an array of real numbers on the CPU.
    """
    rows = Rows(sample, "sample")
    separate = None if queries is None else Rows(queries, "queries", rows.d)
    if separate is not None and separate.n == 0:
        raise ValueError("queries has no rows; at least 1 is needed")
    draw = Draw.plan(rows, separate, seed, most)
    least = max(_FEWEST_TIMES * k, _SHARE)
    if draw.stored < least:
        raise ValueError(
            f"sample has {rows.n} rows; at least {least + draw.held_out} are needed for k={k}, and "
            "thousands for a reliable result"
        )
    base, searched = draw.stored_rows(rows), draw.asked_rows(rows, separate)
    truth = true_neighbours(base, searched, metric, k)
    return Split(draw, base, searched, draw.training_rows(separate), truth, metric, k)
