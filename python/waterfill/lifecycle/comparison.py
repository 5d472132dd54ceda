"""Compare two indexes of the same vectors on the same queries."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from waterfill._util.validation import as_int, as_positive_int
from waterfill.data.rows import FloatRows, Rows
from waterfill.evaluation.ground_truth import Nearest
from waterfill.index.base import Index
from waterfill.index.collection import Labels
from waterfill.lifecycle.index_vectors import Stored, check_order

_INT8 = "int8"  # such rows name one or two of a thousand neighbours wrongly
_DEVIATIONS = 1.96  # of a normal distribution, to either side: 95 %
_BLOCK = 256  # queries whose ids are compared at once
_MOST_SECONDS = 5.0  # that searches are timed for
_FEWEST_TIMED = 20


@dataclass(frozen=True)
class Mean:
    """A mean over queries, with its 95 % interval.

    Attributes
    ----------
    value, low, high : float
        The interval is that of a normal distribution; of few queries (under thirty) it is too
        narrow.
    """

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.4f} ({self.low:.4f} to {self.high:.4f})"


@dataclass(frozen=True)
class Side:
    """One of two indexes.

    Attributes
    ----------
    fingerprint : str
        Of its codec.
    ntotal : int
    bytes_per_vector : float
        Of memory, all in: codes, ids, rows to refine with.
    recall : Mean or None
        Share of the k true neighbours among k found; None if those are not known.
    median_seconds, p99_seconds : float or None
        Of searches with one query.
    """

    fingerprint: str
    ntotal: int
    bytes_per_vector: float
    recall: Mean | None
    median_seconds: float | None
    p99_seconds: float | None


@dataclass(frozen=True, repr=False)
class Comparison:
    """What two indexes found for the same queries. Made by `compare`.

    Attributes
    ----------
    k, queries : int
        Neighbours asked for, and number of queries.
    old, new : Side
    overlap : Mean
        Share of the old index's ids that the new one finds, too.
    same_first : float
        Share of queries with the same best id.
    recall_change : Mean or None
        Recall of the new index less that of the old, query by query.
    truth : str
        Where the true neighbours come from, or why there are none.
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
        """Median time of the new index over that of the old; None if they were not timed."""
        before, after = self.old.median_seconds, self.new.median_seconds
        return None if before is None or after is None else after / before

    def summary(self) -> str:
        """Return it in a few lines."""
        lines = [f"Comparison over {self.queries:,} queries, {self.k} neighbours each"]
        return "\n".join([*lines, *(f"  {name:<18}{value}" for name, value in self.rows())])

    def rows(self) -> list[tuple[str, str]]:
        """Return names and values, in words."""
        old, new = self.old, self.new
        rows = [
            ("codec", f"{old.fingerprint[:12]} -> {new.fingerprint[:12]}"),
            ("vectors", f"{old.ntotal:,} -> {new.ntotal:,}"),
            ("bytes a vector", f"{old.bytes_per_vector:.1f} -> {new.bytes_per_vector:.1f}"),
            (f"overlap@{self.k}", str(self.overlap)),
            ("same first", f"{self.same_first:.4f}"),
        ]
        if old.recall is not None and new.recall is not None:
            rows += [
                (f"recall@{self.k}", f"{old.recall.value:.4f} -> {new.recall.value:.4f}"),
                ("change of recall", str(self.recall_change)),
            ]
        rows.append(("true neighbours", self.truth))
        if self.latency_ratio is not None:
            rows += [("median time", _times(old.median_seconds, new.median_seconds))]
            rows += [("p99 time", _times(old.p99_seconds, new.p99_seconds))]
        return rows

    def to_dict(self) -> dict[str, Any]:
        """Return all of it as numbers and strings, for JSON."""
        return asdict(self) | {"latency_ratio": self.latency_ratio}

    def __repr__(self) -> str:
        return self.summary()

    def _repr_html_(self) -> str:
        from waterfill.reporting.html_tables import table

        caption = f"Comparison over {self.queries:,} queries, {self.k} neighbours each"
        return table(caption, ("what", "value"), self.rows())


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
    """Search two indexes with the same queries.

    Parameters
    ----------
    old, new : IndexFlat or IndexIVF
        Of the same dimensions and metric.
    queries : array_like, shape (m, d)
        Such as users ask; a few hundred tell a difference of 0.01 in recall.
    k : int
    truth : array_like of int, shape (m, k or more), optional
        Ids of the true neighbours, best first.
    vectors : array_like or BlockSource, shape (old.ntotal, d), optional
        The old index's vectors in order of position, to find the true neighbours in. By default
        they are found among rows that an index keeps to refine with (float16, float32 or an
        array); without any, recall is not known.
    timed : int
        Searches of one query that are timed, in turns, in each index (no more than some seconds);
        0: none.

    Returns
    -------
    Comparison

    Raises
    ------
    ValueError
        If the indexes, queries, truth or vectors do not go together.
    TypeError
        If an argument has the wrong type.
    NotTrainedError
        If an index is not trained.
    """
    for name, index in (("old", old), ("new", new)):
        if not isinstance(index, Index):
            raise TypeError(f"{name} must be a waterfill index, got {type(index).__name__}")
        index._trained()
    if (old.d, old.metric) != (new.d, new.metric):
        raise ValueError(
            f"new has {new.d} dimensions and metric {new.metric!r}, old {old.d} and {old.metric!r}"
        )
    k, timed = as_positive_int("k", k), as_int("timed", timed)
    if timed < 0:
        raise ValueError(f"timed={timed} must be at least 0")
    rows = Rows(queries, "queries", old.d)
    if rows.n == 0:
        raise ValueError("queries has no rows; at least 1 is needed")
    asked = rows.take(np.arange(rows.n))
    count = min(k, max(old.ntotal, 1))
    true, words = _true_ids(old, new, asked, count, truth, vectors)
    found = [index.search(asked, count)[1] for index in (old, new)]
    recalls = None if true is None else [common(true, each) for each in found]
    times = _time(old, new, asked, k, timed) if timed else [None, None]
    sides = [
        _side(index, None if recalls is None else recalls[i], times[i])
        for i, index in enumerate((old, new))
    ]
    return Comparison(
        k=k,
        queries=rows.n,
        old=sides[0],
        new=sides[1],
        overlap=mean(common(*found)),
        same_first=float((found[0][:, 0] == found[1][:, 0]).mean()),
        recall_change=None if recalls is None else mean(recalls[1] - recalls[0]),
        truth=words,
    )


def _true_ids(
    old: Index, new: Index, queries: FloatRows, k: int, truth: Any, vectors: Any
) -> tuple[Labels | None, str]:
    """Return ids of the true neighbours, int64 (m, k), and where they come from.

    None, and why, if nothing at hand tells.
    """
    if truth is not None:
        return _truth_ids(truth, len(queries), k), "true neighbours that were given"
    if vectors is not None:
        rows = Rows(vectors, "vectors", old.d)
        check_order(old, rows)
        return _named(old, _nearest(rows, queries, old, k)), "vectors that were given"
    for index, name in ((old, "old"), (new, "new")):
        kind = index._trained().refine_row_kind
        if kind is not None and kind.name != _INT8:
            stored = Stored(index)
            found = _nearest(Rows(stored, stored.name), queries, index, k)
            return _named(index, found), f"{stored.name} of the {name} index"
    return None, "not known: neither index keeps vectors, and no truth= or vectors= was given"


def _truth_ids(truth: Any, m: int, k: int) -> Labels:
    ids = np.asarray(truth)
    if ids.dtype.kind not in "iu":
        raise TypeError(f"truth must hold ids, which are integers, got dtype {ids.dtype}")
    if ids.ndim != 2 or len(ids) != m or ids.shape[1] < k:
        raise ValueError(
            f"truth must have shape ({m}, {k}) or more columns, a row of ids a query, best first; "
            f"got {ids.shape}"
        )
    return ids[:, :k].astype(np.int64)


def _named(index: Index, positions: NDArray[np.int64]) -> Labels:
    return index.ids()[positions] if index.has_ids else positions


def _nearest(rows: Rows, queries: FloatRows, index: Index, k: int) -> NDArray[np.int64]:
    """Find the k nearest rows of each query, a block at a time: int64 (m, k), best first."""
    nearest = Nearest(queries, index.metric, k)
    for first, block in rows.blocks():
        nearest.add(block, first)
    return nearest.ids()


def common(wanted: Labels, found: Labels) -> NDArray[np.float64]:
    """Return for each query the share of wanted ids that were found; -1 stands for none."""
    shares = np.ones(len(wanted))
    for first in range(0, len(wanted), _BLOCK):
        part = slice(first, first + _BLOCK)
        there = wanted[part] != -1
        hit = (wanted[part][:, :, None] == found[part][:, None, :]).any(axis=2) & there
        shares[part] = np.where(there.any(axis=1), hit.sum(1) / np.maximum(there.sum(1), 1), 1.0)
    return shares


def mean(values: NDArray[np.float64]) -> Mean:
    """Return the mean of a value a query, with its interval."""
    middle = float(values.mean())
    spread = float(values.std(ddof=1)) if len(values) > 1 else 0.0
    half = _DEVIATIONS * spread / len(values) ** 0.5
    return Mean(middle, middle - half, middle + half)


def _time(old: Index, new: Index, queries: FloatRows, k: int, timed: int) -> list[Any]:
    """Time one query after the other in both, now this one first and now that."""
    seconds: tuple[list[float], list[float]] = ([], [])
    sides = [(old, seconds[0]), (new, seconds[1])]
    for index, _ in sides:
        index.search(queries[:1], k)
    began = time.perf_counter()
    for i in range(timed):
        query = queries[i % len(queries)][None]
        for index, kept in sides if i % 2 else sides[::-1]:
            start = time.perf_counter()
            index.search(query, k)
            kept.append(time.perf_counter() - start)
        if i >= _FEWEST_TIMED and time.perf_counter() - began > _MOST_SECONDS:
            break
    return [np.asarray(each) for each in seconds]


def _side(index: Index, recall: NDArray[np.float64] | None, times: Any) -> Side:
    assert index.codec is not None
    return Side(
        fingerprint=index.codec.fingerprint,
        ntotal=index.ntotal,
        bytes_per_vector=index.nbytes / max(index.ntotal, 1),
        recall=None if recall is None else mean(recall),
        median_seconds=None if times is None else float(np.median(times)),
        p99_seconds=None if times is None else float(np.quantile(times, 0.99)),
    )


def _times(before: float | None, after: float | None) -> str:
    assert before is not None
    assert after is not None
    return f"{1e6 * before:.0f} -> {1e6 * after:.0f} µs"
