"""What a new index must show before it takes the place of the old one."""

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
    """Limits, and the queries that they are checked with.

    The estimated drop of recall decides, a mean of differences query by query. Whether it is
    certain does not: the fewer queries, the more would pass. With `certain` the far end of its 95 %
    interval must be within the limit as well, so that few queries can let nothing pass.

    Parameters
    ----------
    recall_drop : float or None
        Recall that may be lost, as a share of 1; None if recall is not looked at.
    canary : array_like, shape (m, d), a pair of it and ids of int, shape (m, k or more), or Canary
        Queries; or queries and their true neighbours, best first; or the queries of what drift is
        measured with. Some hundreds.
    vectors : array_like or BlockSource, shape (ntotal, d), optional
        Where the true neighbours are found if they are not given: see `compare`.
    k : int
        Neighbours that recall and overlap count.
    certain : bool
    overlap : float, optional
        Least share of the old index's ids that the new one must find.
    latency : float, optional
        Most that the new median time of a search may be, as a multiple of the old one.

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
        for name, least in (("recall_drop", 0), ("overlap", 0), ("latency", 0)):
            value = getattr(self, name)
            if value is not None:
                as_number(name, value, least)
        as_positive_int("k", self.k)
        if isinstance(self.canary, tuple) and len(self.canary) != 2:
            raise ValueError(f"canary has {len(self.canary)} parts, expected 2: queries and ids")
        if Rows(self.queries, "canary").n == 0:
            raise ValueError("canary has no queries; at least 1 is needed")
        if self.recall_drop is None and self.overlap is None and self.latency is None:
            raise ValueError("recall_drop, overlap and latency are all None: nothing is checked")

    @property
    def queries(self) -> Any:
        """The canary's queries, shape (m, d)."""
        if isinstance(self.canary, Canary):
            return self.canary.queries
        return self.canary[0] if isinstance(self.canary, tuple) else self.canary

    @property
    def truth(self) -> Any:
        """Ids of their true neighbours, or None."""
        return self.canary[1] if isinstance(self.canary, tuple) else None

    def shadow(self, old: Index, new: Index) -> Comparison:
        """Ask both indexes the canary's queries; errors as those of `compare`."""
        timed = 0 if self.latency is None else 500
        return compare(
            old, new, self.queries, self.k, truth=self.truth, vectors=self.vectors, timed=timed
        )

    def reasons(self, found: Comparison) -> tuple[str, ...]:
        """Say in words what is beyond a limit; nothing if the new index passes."""
        return tuple([*self._recall(found), *self._overlap(found), *self._latency(found)])

    def _recall(self, found: Comparison) -> list[str]:
        if self.recall_drop is None:
            return []
        change = found.recall_change
        if change is None:
            return [f"recall is {found.truth}"]
        drop, most = -change.value, -change.low
        limit = f"recall_drop={self.recall_drop:g}"
        if drop > self.recall_drop:
            return [
                f"recall@{found.k} falls by {drop:.4f} ({-change.high:.4f} to {most:.4f}), more "
                f"than {limit}"
            ]
        if self.certain and most > self.recall_drop:
            return [
                f"recall@{found.k} falls by {drop:.4f}, but {found.queries} queries cannot tell it "
                f"from {most:.4f}, more than {limit}"
            ]
        return []

    def _overlap(self, found: Comparison) -> list[str]:
        if self.overlap is None or found.overlap.value >= self.overlap:
            return []
        return [f"overlap@{found.k} is {found.overlap.value:.4f}, below overlap={self.overlap:g}"]

    def _latency(self, found: Comparison) -> list[str]:
        ratio = found.latency_ratio
        if self.latency is None or ratio is None or ratio <= self.latency:
            return []
        return [
            f"a search takes {ratio:.2f} times as long at the median, more than "
            f"latency={self.latency:g}"
        ]
