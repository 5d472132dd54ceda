"""`Gate`: limits that a new index must meet before it replaces the current one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from waterfill._util.validation import as_number, as_positive_int
from waterfill.data.rows import Rows
from waterfill.drift.canary import Canary
from waterfill.index.base import Index
from waterfill.lifecycle.comparison import Comparison, compare


@dataclass(frozen=True, eq=False)
class Gate:
    """Limits for a new index, and the canary queries to check them with.

    Recall is judged by its estimated drop, the mean of the paired differences over the queries.
    With `certain`, the upper end of its 95 % confidence interval must be within the limit too; a
    small canary then passes nothing.

    Parameters
    ----------
    canary : array_like, shape (m, d), or tuple of array_like and int ids (m, k or more), or Canary
        A few hundred queries; or queries and the ids of their true neighbours, best first; or a
        `waterfill.drift.Canary`, whose queries are used.
    recall_drop : float or None
        Largest allowed drop in recall, from 0 to 1; None does not check recall.
    vectors : array_like or BlockSource, shape (ntotal, d), optional
        Vectors to compute the true neighbours from, if the canary has none: see `compare`.
    k : int
        Neighbours per query for recall and overlap.
    certain : bool
        Apply `recall_drop` to the upper end of the 95 % interval as well.
    overlap : float, optional
        Smallest allowed fraction of the old index's ids that the new one finds.
    latency : float, optional
        Largest allowed ratio of the new median search time to the old one.

    Raises
    ------
    ValueError, TypeError
        If an argument is out of range or of the wrong type.
    """

    canary: Any
    recall_drop: float | None = 0.005
    vectors: Any = None
    k: int = 10
    certain: bool = False
    overlap: float | None = None
    latency: float | None = None

    def __post_init__(self) -> None:
        for name in ("recall_drop", "overlap", "latency"):
            value = getattr(self, name)
            if value is not None:
                as_number(name, value, 0)
        as_positive_int("k", self.k)
        if isinstance(self.canary, tuple) and len(self.canary) != 2:
            raise ValueError(
                f"canary: expected a tuple (queries, ids), got {len(self.canary)} items"
            )
        if Rows(self.queries, "canary").n == 0:
            raise ValueError("canary: expected at least 1 query, got 0")
        if self.recall_drop is None and self.overlap is None and self.latency is None:
            raise ValueError(
                "recall_drop, overlap and latency are all None: set at least one limit"
            )

    @property
    def queries(self) -> Any:
        """Queries of the canary, shape (m, d)."""
        if isinstance(self.canary, Canary):
            return self.canary.queries
        return self.canary[0] if isinstance(self.canary, tuple) else self.canary

    @property
    def truth(self) -> Any:
        """Ids of the true neighbours, shape (m, k or more), or None."""
        return self.canary[1] if isinstance(self.canary, tuple) else None

    def shadow(self, old: Index, new: Index) -> Comparison:
        """Compare both indexes on the canary's queries.

        Parameters
        ----------
        old, new : IndexFlat or IndexIVF
            As for `compare`.

        Returns
        -------
        Comparison
            Overlap and recall, and the latency if the gate has a limit of it.

        Raises
        ------
        ValueError, TypeError, NotTrainedError
            As `compare`.
        """
        timed = 0 if self.latency is None else 500
        return compare(
            old, new, self.queries, self.k, truth=self.truth, vectors=self.vectors, timed=timed
        )

    def reasons(self, comparison: Comparison) -> tuple[str, ...]:
        """Return a message for each limit that is exceeded.

        Parameters
        ----------
        comparison : Comparison
            The result of `shadow`.

        Returns
        -------
        tuple of str
            The messages; empty if the new index passes.
        """
        return tuple(
            [*self._recall(comparison), *self._overlap(comparison), *self._latency(comparison)]
        )

    def _recall(self, comparison: Comparison) -> list[str]:
        if self.recall_drop is None:
            return []
        change = comparison.recall_change
        if change is None:
            return [f"recall is {comparison.truth}"]
        drop, upper = -change.value, -change.low
        limit = f"recall_drop={self.recall_drop:g}"
        if drop > self.recall_drop:
            return [
                f"recall@{comparison.k} falls by {drop:.4f} ({-change.high:.4f} to {upper:.4f}), "
                f"more than {limit}"
            ]
        if self.certain and upper > self.recall_drop:
            return [
                f"recall@{comparison.k} falls by {drop:.4f}, but its 95 % interval over "
                f"{comparison.queries} queries reaches {upper:.4f}, more than {limit}"
            ]
        return []

    def _overlap(self, comparison: Comparison) -> list[str]:
        if self.overlap is None or comparison.overlap.value >= self.overlap:
            return []
        return [
            f"overlap@{comparison.k} is {comparison.overlap.value:.4f}, below "
            f"overlap={self.overlap:g}"
        ]

    def _latency(self, comparison: Comparison) -> list[str]:
        ratio = comparison.latency_ratio
        if self.latency is None or ratio is None or ratio <= self.latency:
            return []
        return [
            f"the median search takes {ratio:.2f} times as long, more than latency={self.latency:g}"
        ]
