"""The recall of lists: how many a query must probe to find a share of its neighbours."""

from __future__ import annotations

import math
from bisect import bisect_left
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from waterfill._util.validation import as_number

if TYPE_CHECKING:
    from waterfill import _core

DEFAULT_TARGET_RECALL = 0.9
_UNCALIBRATED = 32  # nprobe is nlist / 32 if nothing was measured
_FEWEST = 1 / 64  # of the rows of calibration: below it shares are not extrapolated
_MOST = 1024  # times these rows: above it neither


@dataclass(frozen=True)
class ListRecall:
    """What training measured of the lists of a codec, for one metric.

    Held-out rows (or the queries that training was given) are searched in the training sample, and
    in a quarter of it. `missed` are the shares of the true ten nearest that lie outside the 1, 2,
    4, ... nearest lists, plus one standard error. Between these numbers shares are interpolated on
    logarithmic scales, and from the last to `nlist`, where nothing is missed, on linear ones: the
    curve is convex, so the line is above it. In a larger collection neighbours are nearer, so the
    nearest lists hold more of them. The share that is missed falls as a power of the size; `decay`
    is half the exponent between the two sizes that were measured, as it falls ever more slowly.

    Attributes
    ----------
    nlist : int
    rows : int
        Size of the sample; 0 if nothing was measured.
    missed : tuple of float
        Falling; one for each power of two below `nlist`.
    decay : float
        0 to 0.5.
    """

    nlist: int
    rows: int
    missed: tuple[float, ...]
    decay: float

    @classmethod
    def of(cls, core: _core.Codec, metric: str) -> ListRecall:
        """Return what a trained codec knows of its lists."""
        missed, decay = core.list_recall["l2" if metric == "l2" else "ip"]
        return cls(core.cells, core.calibration_rows, tuple(missed), decay)

    def share(self, nprobe: int, n: int) -> float | None:
        """Return the expected share of the ten nearest of `n` vectors in `nprobe` lists.

        None if training measured nothing: it had fewer than 32 rows to hold out.
        """
        if nprobe >= self.nlist:
            return 1.0
        if not self.missed:
            return None
        below = nprobe.bit_length() - 1
        missed = self.missed[below]
        if below + 1 < len(self.missed):
            missed *= (self.missed[below + 1] / missed) ** (math.log2(nprobe) - below)
        else:
            missed *= (self.nlist - nprobe) / (self.nlist - (1 << below))
        return 1 - min(1.0, missed * self._scale(n))

    def nprobe(self, target: float, n: int) -> int:
        """Return the fewest lists that are expected to hold a share of the ten nearest."""
        if not self.missed:
            return max(1, self.nlist // _UNCALIBRATED)
        lists = range(1, self.nlist + 1)
        return lists[bisect_left(lists, target, key=lambda count: self._known(count, n))]

    def _known(self, nprobe: int, n: int) -> float:
        share = self.share(nprobe, n)
        assert share is not None
        return share

    def _scale(self, n: int) -> float:
        if not self.rows:
            return 1.0
        return float(min(max(n / self.rows, _FEWEST), _MOST) ** -self.decay)


def as_target_recall(value: Any) -> float:
    """Validate a target recall: above 0, at most 1."""
    number = as_number("target_recall", value, 0, finite=True)
    if not 0 < number <= 1:
        raise ValueError(f"target_recall={value!r} must be above 0 and at most 1")
    return number
