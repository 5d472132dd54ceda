"""`compare`: recall, overlap and latency of two indexes on the same queries."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from waterfill._util.validation import as_int, as_positive_int
from waterfill.data.arrays import read_numbers
from waterfill.data.rows import FloatRows, Rows
from waterfill.evaluation.ground_truth import Nearest
from waterfill.index.base import Index
from waterfill.index.vector_index import Labels
from waterfill.lifecycle.index_vectors import StoredRows, check_order

_INT8 = "int8"  # too coarse for ground truth: one or two of 1,000 neighbours are wrong
_Z_95 = 1.96  # standard deviations on either side of a 95 % normal interval
_BLOCK = 256  # queries whose ids are compared at once
_MAX_SECONDS = 5.0  # time limit for the timed searches
_MIN_TIMED = 20


@dataclass(frozen=True)
class Mean:
    """A mean over queries, with its 95 % confidence interval.

    Attributes
    ----------
    value : float
        The mean.
    low, high : float
        Bounds of the interval. It uses the normal approximation [1]_, and is too narrow below 30
        queries.

    References
    ----------
    .. [1] L. Wasserman, All of Statistics, Springer, 2004, section 6.3.2.
    """

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.4f} ({self.low:.4f} to {self.high:.4f})"


@dataclass(frozen=True)
class Side:
    """Measurements of one of the two indexes.

    Attributes
    ----------
    fingerprint : str
        Fingerprint of its codec.
    ntotal : int
        Number of vectors.
    bytes_per_vector : float
        See `IndexFlat.bytes_per_vector`.
    recall : Mean or None
        Recall@k; None if the true neighbours are not known.
    median_seconds, p99_seconds : float or None
        Median and 99th percentile of the time of a search with one query; None if not timed.
    """

    fingerprint: str
    ntotal: int
    bytes_per_vector: float
    recall: Mean | None
    median_seconds: float | None
    p99_seconds: float | None


@dataclass(frozen=True, repr=False)
class Comparison:
    """Result of `compare`: how two indexes answer the same queries.

    Attributes
    ----------
    k, queries : int
        Neighbours per query, and number of queries.
    old, new : Side
        Measurements of each index.
    overlap : Mean
        Fraction of the ids found by the old index that the new one finds too.
    same_first : float
        Fraction of queries for which both indexes return the same first id.
    recall_change : Mean or None
        Paired difference: recall of the new index minus recall of the old one.
    truth : str
        Source of the true neighbours, or the reason why they are not known.
    """

    k: int
    queries: int
    old: Side
    new: Side
    overlap: Mean
    same_first: float
    recall_change: Mean | None
    truth: str

    @property
    def latency_ratio(self) -> float | None:
        """Median search time of the new index divided by that of the old; None if not timed."""
        before, after = self.old.median_seconds, self.new.median_seconds
        return None if before is None or after is None else after / before

    def summary(self) -> str:
        """Return the comparison as a few lines of text."""
        lines = [f"Comparison over {self.queries:,} queries, {self.k} neighbours each"]
        return "\n".join([*lines, *(f"  {name:<18}{value}" for name, value in self.rows())])

    def rows(self) -> list[tuple[str, str]]:
        """Return pairs of name and formatted value."""
        old, new = self.old, self.new
        rows = [
            ("codec", f"{old.fingerprint[:12]} -> {new.fingerprint[:12]}"),
            ("vectors", f"{old.ntotal:,} -> {new.ntotal:,}"),
            ("bytes per vector", f"{old.bytes_per_vector:.1f} -> {new.bytes_per_vector:.1f}"),
            (f"overlap@{self.k}", str(self.overlap)),
            ("same first id", f"{self.same_first:.4f}"),
        ]
        if old.recall is not None and new.recall is not None:
            rows += [
                (f"recall@{self.k}", f"{old.recall.value:.4f} -> {new.recall.value:.4f}"),
                ("recall change", str(self.recall_change)),
            ]
        rows.append(("true neighbours", self.truth))
        if self.latency_ratio is not None:
            rows += [("median time", _times(old.median_seconds, new.median_seconds))]
            rows += [("p99 time", _times(old.p99_seconds, new.p99_seconds))]
        return rows

    def to_dict(self) -> dict[str, Any]:
        """Return all fields as numbers and strings, ready for JSON."""
        return asdict(self) | {"latency_ratio": self.latency_ratio}

    def __repr__(self) -> str:
        return self.summary()

    def _repr_html_(self) -> str:
        from waterfill.reporting.html_tables import table

        caption = f"Comparison over {self.queries:,} queries, {self.k} neighbours each"
        return table(caption, ("measure", "value"), self.rows())


def compare(
    old: Index,
    new: Index,
    queries: Any,
    k: int = 10,
    *,
    truth: Any = None,
    vectors: Any = None,
    timed: int = 500,
) -> Comparison:
    """Compare two indexes on the same queries: overlap, recall and latency.

    Intervals use the normal approximation [1]_.

    Parameters
    ----------
    old, new : IndexFlat or IndexIVF
        Trained indexes with the same dimensions and metric.
    queries : array_like, shape (m, d)
        Queries like those of users; a few hundred resolve a difference of 0.01 in recall.
    k : int
        Neighbours per query.
    truth : array_like of int, shape (m, k or more), optional
        Ids of the true neighbours, best first.
    vectors : array_like or BlockSource, shape (old.ntotal, d), optional
        Vectors of the old index in order of position, to compute the true neighbours from. By
        default the refinement rows of an index (float16, float32 or an array) are used; if neither
        index has any, recall is not known.
    timed : int
        Number of single-query searches to time in each index, alternating between the two; timing
        stops after about 5 seconds. 0 measures no latency.

    Returns
    -------
    Comparison
        Overlap, recall and latency of both.

    Raises
    ------
    ValueError
        If shapes, dimensions or metrics of the arguments do not match, or `vectors` are not those
        of the old index.
    TypeError
        If an argument has the wrong type.
    NotTrainedError
        If an index is not trained.

    References
    ----------
    .. [1] L. Wasserman, All of Statistics, Springer, 2004, section 6.3.2.
    """
    for name, index in (("old", old), ("new", new)):
        if not isinstance(index, Index):
            raise TypeError(
                f"{name} must be an IndexFlat or IndexIVF of waterfill, got {type(index).__name__}"
            )
        index._trained()
    if (old.d, old.metric) != (new.d, new.metric):
        raise ValueError(
            f"new: expected {old.d} dimensions and metric {old.metric!r} as in old, got {new.d} "
            f"and metric {new.metric!r}"
        )
    k, timed = as_positive_int("k", k), as_int("timed", timed)
    if timed < 0:
        raise ValueError(f"timed={timed} must be at least 0")
    rows = Rows(queries, "queries", old.d)
    if rows.n == 0:
        raise ValueError("queries: expected at least 1 row, got 0")
    query_rows = rows.take(np.arange(rows.n))
    count = min(k, max(old.ntotal, 1))
    true_ids, source = _true_ids(old, new, query_rows, count, truth, vectors)
    found = [index.search(query_rows, count)[1] for index in (old, new)]
    recalls = None if true_ids is None else [overlap_per_query(true_ids, ids) for ids in found]
    times = _time(old, new, query_rows, k, timed) if timed else [None, None]
    sides = [
        _side(index, None if recalls is None else recalls[i], times[i])
        for i, index in enumerate((old, new))
    ]
    return Comparison(
        k=k,
        queries=rows.n,
        old=sides[0],
        new=sides[1],
        overlap=mean(overlap_per_query(*found)),
        same_first=float((found[0][:, 0] == found[1][:, 0]).mean()),
        recall_change=None if recalls is None else mean(recalls[1] - recalls[0]),
        truth=source,
    )


def _true_ids(
    old: Index, new: Index, queries: FloatRows, k: int, truth: Any, vectors: Any
) -> tuple[Labels | None, str]:
    """Return the ids of the true neighbours, int64 (m, k), and their source.

    Return None and the reason if they cannot be computed.
    """
    if truth is not None:
        return _truth_ids(truth, len(queries), k), "truth argument"
    if vectors is not None:
        rows = Rows(vectors, "vectors", old.d)
        check_order(old, rows)
        return _ids_at(old, _nearest(rows, queries, old, k)), "vectors argument"
    for index, name in ((old, "old"), (new, "new")):
        kind = index._trained().refine_row_kind
        if kind is not None and kind.name != _INT8:
            stored = StoredRows(index)
            found = _nearest(Rows(stored, stored.name), queries, index, k)
            return _ids_at(index, found), f"{stored.name} of the {name} index"
    return None, "not known: neither index has refinement rows; pass truth= or vectors="


def _truth_ids(truth: Any, m: int, k: int) -> Labels:
    ids = read_numbers(truth, "truth")
    if ids.dtype.kind not in "iu":
        raise TypeError(f"truth: expected integer ids, got dtype {ids.dtype}")
    if ids.ndim != 2 or len(ids) != m or ids.shape[1] < k:
        raise ValueError(
            f"truth: expected shape ({m}, {k} or more), the ids for each query, best first; "
            f"got {ids.shape}"
        )
    return ids[:, :k].astype(np.int64)


def _ids_at(index: Index, positions: NDArray[np.int64]) -> Labels:
    return index.ids()[positions] if index.has_ids else positions


def _nearest(rows: Rows, queries: FloatRows, index: Index, k: int) -> NDArray[np.int64]:
    """Return the k nearest rows of each query, int64 (m, k), best first; reads in blocks."""
    nearest = Nearest(queries, index.metric, k)
    for first, block in rows.blocks():
        nearest.add(block, first)
    return nearest.ids()


def overlap_per_query(reference: Labels, found: Labels) -> NDArray[np.float64]:
    """Return the fraction of reference ids that were found, float64 (m,); -1 is padding."""
    fractions = np.ones(len(reference))
    for first in range(0, len(reference), _BLOCK):
        block = slice(first, first + _BLOCK)
        valid = reference[block] != -1
        hit = (reference[block][:, :, None] == found[block][:, None, :]).any(axis=2) & valid
        counts = valid.sum(1)
        fractions[block] = np.where(counts > 0, hit.sum(1) / np.maximum(counts, 1), 1.0)
    return fractions


def mean(values: NDArray[np.float64]) -> Mean:
    """Return the mean over queries, with its 95 % confidence interval."""
    average = float(values.mean())
    deviation = float(values.std(ddof=1)) if len(values) > 1 else 0.0
    half_width = _Z_95 * deviation / len(values) ** 0.5
    return Mean(average, average - half_width, average + half_width)


def _time(old: Index, new: Index, queries: FloatRows, k: int, timed: int) -> list[Any]:
    """Time single-query searches in both indexes, alternating which one goes first."""
    seconds: tuple[list[float], list[float]] = ([], [])
    sides = [(old, seconds[0]), (new, seconds[1])]
    for index, _ in sides:
        index.search(queries[:1], k)
    started = time.perf_counter()
    for i in range(timed):
        query = queries[i % len(queries)][None]
        for index, durations in sides if i % 2 else sides[::-1]:
            start = time.perf_counter()
            index.search(query, k)
            durations.append(time.perf_counter() - start)
        if i >= _MIN_TIMED and time.perf_counter() - started > _MAX_SECONDS:
            break
    return [np.asarray(each) for each in seconds]


def _side(index: Index, recall: NDArray[np.float64] | None, times: Any) -> Side:
    assert index.codec is not None
    return Side(
        fingerprint=index.codec.fingerprint,
        ntotal=index.ntotal,
        bytes_per_vector=index.bytes_per_vector,
        recall=None if recall is None else mean(recall),
        median_seconds=None if times is None else float(np.median(times)),
        p99_seconds=None if times is None else float(np.quantile(times, 0.99)),
    )


def _times(before: float | None, after: float | None) -> str:
    assert before is not None
    assert after is not None
    return f"{1e6 * before:.0f} -> {1e6 * after:.0f} µs"
