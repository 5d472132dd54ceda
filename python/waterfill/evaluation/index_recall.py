"""Recall of an index that exists, against exact search of the vectors that it was made of."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from waterfill import _core
from waterfill._util.optional import loaded_faiss
from waterfill._util.validation import Metric, as_positive_int, metric_name
from waterfill.data.arrays import read_numbers
from waterfill.data.rows import FloatRows, Rows
from waterfill.evaluation.ground_truth import Nearest, Neighbours

MOST_QUERIES = 1000

_Z_95 = 1.959964
_ROUNDING = 1e-6  # of float32 sums, relative to the score


@dataclass(frozen=True)
class IndexRecall:
    """Recall@k of an index.

    Attributes
    ----------
    recall : float
        Mean share of the k nearest vectors that a search finds; a vector as near as the k-th counts
        as one of them.
    low, high : float
        Wilson's 95 % interval [1]_, for other queries like these. The neighbours of a query are
        found or missed together, so it counts as many trials as the spread over queries is worth
        (design effect [2]_).
    k : int
        Neighbours per query.
    queries : int
        Number of queries that were asked.
    vectors : int
        Number of vectors in the index.
    shares : float64 (queries,)
        The recall of each query.

    References
    ----------
    .. [1] E. B. Wilson, "Probable inference, the law of succession, and statistical inference",
       Journal of the American Statistical Association 22, 1927.
    .. [2] L. Kish, Survey Sampling, Wiley, 1965.
    """

    recall: float
    low: float
    high: float
    k: int
    queries: int
    vectors: int
    shares: NDArray[np.float64]

    def __str__(self) -> str:
        return (
            f"recall@{self.k} {self.recall:.3f} ({self.low:.3f} to {self.high:.3f}) of "
            f"{self.queries:,} queries among {self.vectors:,} vectors"
        )


def measure_recall(
    index: Any,
    base: Any,
    queries: Any,
    k: int = 10,
    *,
    ids: Any = None,
    metric: Metric | None = None,
    max_queries: int = MOST_QUERIES,
    seed: int = 0,
) -> IndexRecall:
    """Measure the recall of an index against exact search, as it is set to search now.

    The interval is Wilson's [1]_, for as many trials as the spread over queries is worth (design
    effect [2]_).

    Parameters
    ----------
    index : IndexFlat, IndexIVF, IndexHNSW, an index in a folder, or faiss.Index
        The index, with its settings of searches.
    base : array_like or BlockSource, shape (n, d)
        The vectors that were added to `index`, read in blocks. There may be more than `index` has;
        those with other ids do not count as neighbours.
    queries : array_like, shape (m, d)
        Queries like those of users.
    k : int
        Neighbours per query, at most the vectors of the index.
    ids : array_like of int64, shape (n,), optional
        The id of each row of `base`; by default its number.
    metric : {'ip', 'l2', 'cosine'}, optional
        By default that of the index.
    max_queries : int
        If there are more queries, so many are drawn at random.
    seed : int
        Of that draw.

    Returns
    -------
    IndexRecall
        The mean recall, its interval, and the recall of each query.

    Raises
    ------
    ValueError
        If `base` lacks vectors of the index, or has another number of dimensions; if the index has
        fewer than `k` vectors; if the index finds an id that `base` lacks.
    TypeError
        If an argument is of the wrong type.

    References
    ----------
    .. [1] E. B. Wilson, "Probable inference, the law of succession, and statistical inference",
       Journal of the American Statistical Association 22, 1927.
    .. [2] L. Kish, Survey Sampling, Wiley, 1965.
    """
    k = as_positive_int("k", k)
    rows = Rows(base, "base", int(index.d))
    asked = _drawn(Rows(queries, "queries", int(index.d)), max_queries, seed)
    numbers = _row_ids(ids, rows.n)
    counted = _counted(index, numbers)
    total = int(counted.sum())
    if total < k:
        raise ValueError(f"k={k} must be at most the {total} vectors of the index")
    chosen = _metric(index) if metric is None else metric_name(metric)
    truth = _nearest(rows, asked, chosen, k, counted)
    found = _search(index, asked, k)
    near = _near(rows, asked, chosen, truth, _as_rows(found, numbers))
    shares: NDArray[np.float64] = near.mean(axis=1)
    low, high = _interval(shares, k)
    return IndexRecall(float(shares.mean()), low, high, k, len(asked), total, shares)


def _drawn(queries: Rows, most: int, seed: int) -> FloatRows:
    if queries.n == 0:
        raise ValueError("queries has no rows; at least 1 is needed")
    count = min(queries.n, as_positive_int("max_queries", most))
    chosen = np.random.default_rng(seed).choice(queries.n, count, replace=False)
    return queries.take(np.sort(chosen))


def _row_ids(ids: Any, n: int) -> Neighbours:
    if ids is None:
        return np.arange(n)
    given = read_numbers(ids, "ids")
    if given.shape != (n,) or given.dtype.kind not in "iu":
        raise ValueError(
            f"ids: expected {n} integers, one for each row of base, got shape {given.shape} and "
            f"dtype {given.dtype}"
        )
    numbers: Neighbours = given.astype(np.int64)
    if len(np.unique(numbers)) < n:
        raise ValueError("ids: expected each id once; some rows of base have the same")
    return numbers


def _counted(index: Any, numbers: Neighbours) -> NDArray[np.bool_]:
    """Return which rows the index has; ValueError if it has others."""
    stored = _stored_ids(index)
    ids = np.arange(index.ntotal) if stored is None else np.unique(stored)
    counted: NDArray[np.bool_] = np.isin(numbers, ids)
    missing = len(ids) - int(counted.sum())
    if missing:
        way_out = "pass all of them" if stored is None else "pass ids=, the id of each row"
        raise ValueError(f"base lacks {missing} of the {len(ids)} vectors of the index; {way_out}")
    return counted


def _stored_ids(index: Any) -> Neighbours | None:
    """Return the ids of an index, of ours or of FAISS; None if they are positions."""
    if hasattr(index, "has_ids"):
        return index.ids() if index.has_ids else None
    faiss = loaded_faiss()
    if faiss is None or not isinstance(index, faiss.Index):
        raise TypeError(f"index must be one of waterfill or a faiss.Index, got {type(index)}")
    index = faiss.downcast_index(index)
    while isinstance(index, faiss.IndexRefine | faiss.IndexPreTransform):
        refined = isinstance(index, faiss.IndexRefine)
        index = faiss.downcast_index(index.base_index if refined else index.index)
    if isinstance(index, faiss.IndexIDMap):
        ids: Neighbours = faiss.vector_to_array(index.id_map)
        return ids
    if not isinstance(index, faiss.IndexIVF):
        return None
    parts = [np.empty(0, np.int64)]
    for number in range(index.nlist):
        size = index.invlists.list_size(number)
        if size:
            start = index.invlists.get_ids(number)
            parts.append(faiss.rev_swig_ptr(start, size).copy())
            index.invlists.release_ids(number, start)
    return np.concatenate(parts)


def _metric(index: Any) -> Metric:
    """Return the metric of an index; inner products of vectors that it normalises are cosines."""
    if hasattr(index, "has_ids"):
        own: Metric = index.metric
        return own
    faiss = loaded_faiss()
    metric = metric_name(int(index.metric_type))
    index = faiss.downcast_index(index)
    while isinstance(index, faiss.IndexIDMap | faiss.IndexRefine):
        refined = isinstance(index, faiss.IndexRefine)
        index = faiss.downcast_index(index.base_index if refined else index.index)
    if metric == "ip" and isinstance(index, faiss.IndexPreTransform):
        first = faiss.downcast_VectorTransform(index.chain.at(0))
        return "cosine" if isinstance(first, faiss.NormalizationTransform) else "ip"
    return metric


def _nearest(
    rows: Rows, queries: FloatRows, metric: Metric, k: int, counted: NDArray[np.bool_]
) -> Neighbours:
    nearest = Nearest(queries, metric, k)
    kept = np.flatnonzero(counted)
    step = 4096
    if len(kept) == rows.n:
        for first, block in rows.blocks(step=step):
            nearest.add(block, first)
        return nearest.ids()
    for first in range(0, len(kept), step):
        nearest.add(rows.take(kept[first : first + step]), first)
    return kept[nearest.ids()]


def _search(index: Any, queries: FloatRows, k: int) -> Neighbours:
    found: Neighbours = np.asarray(index.search(queries, k)[1])
    return found


def _as_rows(found: Neighbours, numbers: Neighbours) -> Neighbours:
    """Return the rows of found ids; -1 stays."""
    order = np.argsort(numbers, kind="stable")
    places = np.minimum(np.searchsorted(numbers[order], found), len(numbers) - 1)
    rows = order[places]
    unknown = (numbers[rows] != found) & (found != -1)
    if unknown.any():
        raise ValueError(
            f"base: the index finds id {found[unknown][0]}, which no row has; pass ids=, the id of "
            "each row"
        )
    rows[found == -1] = -1
    return rows


def _near(
    rows: Rows, queries: FloatRows, metric: Metric, truth: Neighbours, found: Neighbours
) -> NDArray[np.bool_]:
    """Return which of the found rows are among the nearest, or as near as the last of these."""
    wanted = np.unique(np.concatenate([truth.ravel(), found[found >= 0]]))
    vectors = rows.take(wanted).astype(np.float64)
    last = _scores(vectors, queries, metric, np.searchsorted(wanted, truth)).min(axis=1)
    scores = _scores(vectors, queries, metric, np.searchsorted(wanted, np.maximum(found, 0)))
    margin = _ROUNDING * np.maximum(1, np.abs(last))
    near: NDArray[np.bool_] = (scores >= (last - margin)[:, None]) & (found >= 0)
    return near


def _scores(
    vectors: NDArray[np.float64], queries: FloatRows, metric: Metric, places: Neighbours
) -> NDArray[np.float64]:
    """Return scores, of which the largest is the nearest, float64 (m, k)."""
    asked = _core.normalize_rows(queries) if metric == "cosine" else queries
    scores = np.empty(places.shape)
    for row, (query, own) in enumerate(zip(asked.astype(np.float64), places, strict=True)):
        near = vectors[np.minimum(own, len(vectors) - 1)]
        if metric == "l2":
            scores[row] = -np.square(near - query).sum(axis=1)
            continue
        scores[row] = near @ query
        if metric == "cosine":
            norms = np.linalg.norm(near, axis=1)
            scores[row] /= np.where(norms > 0, norms, 1)
    return scores


def _interval(shares: NDArray[np.float64], k: int) -> tuple[float, float]:
    """Return Wilson's interval, for as many trials as the spread over queries is worth.

    The neighbours of a query are found or missed together, so m queries are worth fewer than m k
    trials. If all have the same share, its spread says nothing, and they count as m.
    """
    m, p = len(shares), float(shares.mean())
    variance = float(shares.var()) / m
    n = min(m * k, p * (1 - p) / variance) if variance > 0 and 0 < p < 1 else m
    z = _Z_95**2 / n
    center = (p + z / 2) / (1 + z)
    half = _Z_95 * math.sqrt(p * (1 - p) / n + z / (4 * n)) / (1 + z)
    return max(0.0, center - half), min(1.0, center + half)
