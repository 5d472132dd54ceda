"""A stream of vectors or of queries: the statistics of its baseline and of its window."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from waterfill import _core
from waterfill.data.rows import FloatRows, Rows
from waterfill.drift.attribution import Movement, movement
from waterfill.drift.block_statistics import SHARES, BlockStatistics, Numbers, numbers_of, slots_of
from waterfill.drift.feature_families import Features
from waterfill.drift.report import Part, Relevance
from waterfill.drift.window_comparison import Comparison, judge

_BUDGET = 1_930_000  # bytes of a state
_OTHERS = 170  # of these, for each dimension: extremes of four banks, and 64 probes
_FEWEST_SLOTS = 16, 8, 8, 8
_FAR = 10.0  # times the largest norm of the baseline: such a row would hide all others
RECENT = 4096  # rows that copies are looked for among, about
_LARGEST = 1e15  # beyond it, sums of squares of squares leave float32's range


@dataclass(eq=False)
class Stream:
    """The vectors, or the queries, of a monitor.

    Attributes
    ----------
    features : Features
    reference, window : BlockStatistics
        The baseline, and what came since.
    learns : int
        Rows that are still wanted for the baseline.
    looks : int
        Looks at this baseline so far.
    looked : int
        Rows of the window at the last of them; -1 if it is another window.
    recent : uint32 (4096,) or None
        Hashes of rows, each in a place of its own that the next one takes, to tell copies by. None
        where copies count: a query that is asked twice is asked twice, and a vector that is stored
        twice is still one.
    """

    features: Features
    reference: BlockStatistics
    window: BlockStatistics
    learns: int
    looks: int = 0
    looked: int = -1
    recent: NDArray[np.uint32] | None = None

    @classmethod
    def empty(cls, features: Features, slots: tuple[int, int], groups: int, learns: int) -> Stream:
        """Return a stream without rows; 0 groups mean no reconstruction errors."""
        banks = [BlockStatistics.empty(s, len(features), features.d, groups) for s in slots]
        return cls(features, banks[0], banks[1], learns)

    @property
    def nbytes(self) -> int:
        """Size of the state in bytes."""
        hashes = 0 if self.recent is None else self.recent.nbytes
        return self.reference.nbytes + self.window.nbytes + hashes

    @property
    def errors(self) -> bool:
        """Whether rows are encoded."""
        return len(self.window.occupancy) > 0

    def learn(self, rows: Rows, chosen: Any, block: Any, fewest: int) -> None:
        """Use rows as the baseline: all, or those with the ascending numbers `chosen`."""
        numbers = numbers_of(block, rows.n, f"blocks of {rows.name}")
        if rows.n < fewest:
            raise ValueError(f"{rows.name} has {rows.n} rows; at least {fewest} are needed")
        for first, part in rows.blocks():
            some = np.arange(len(part)) if chosen is None else chosen - first
            some = some[(some >= 0) & (some < len(part))]
            own = None if numbers is None else numbers[first + some]
            self._add(self.reference, part[some], own)
        self.learns = 0
        self.forget()

    def update(self, rows: Rows, block: Any) -> None:
        """Add rows to the window, or to the baseline until it is complete."""
        numbers = numbers_of(block, rows.n)
        for first, part in rows.blocks(finite=False):
            own = None if numbers is None else numbers[first : first + len(part)]
            self._add(self.reference if self.learns > 0 else self.window, part, own)
            self.learns = max(0, self.learns - len(part))

    def _add(self, bank: BlockStatistics, x: FloatRows, blocks: Numbers | None) -> None:
        _, squares, hashes = _core.inspect(x, True)
        assert hashes is not None
        finite = np.isfinite(squares)
        limit = _LARGEST
        if bank is self.window and self.reference.n:
            limit = min(limit, _FAR * float(self.reference.largest[0]))
        near = finite & (np.sqrt(squares, where=finite, out=np.zeros_like(squares)) <= limit)
        bank.count("rows", len(x))
        bank.count("nonfinite", int((~finite).sum()))
        bank.count("zero", int((squares == 0).sum()))
        bank.count("outliers", int((finite & ~near).sum()))
        copies = near & self._copies(hashes)
        bank.count("duplicates", int(copies.sum()))
        used = near & ~copies if blocks is None else near
        if not used.all():
            x, hashes = x[used], hashes[used]
            blocks = None if blocks is None else blocks[used]
        if len(x) == 0:
            return
        slots = slots_of(hashes if blocks is None else blocks, len(bank.rows))
        norms, outside, codes = self.features.sums.add(
            np.ascontiguousarray(x), slots, bank.rows, bank.sums, self.errors
        )
        bank.largest[0] = max(float(bank.largest[0]), float(norms.max()))
        np.minimum(bank.minima, x.min(axis=0), out=bank.minima)
        np.maximum(bank.maxima, x.max(axis=0), out=bank.maxima)
        bins = np.minimum((outside * SHARES).astype(np.int64), SHARES - 1)
        bank.outside += np.bincount(bins, minlength=SHARES)
        for group, own in enumerate(bank.occupancy):
            own += np.bincount(codes[:, group] >> 4, minlength=16)

    def _copies(self, hashes: Numbers) -> NDArray[np.bool_]:
        """Return which rows are copies of earlier ones, and remember all."""
        copies = np.zeros(len(hashes), np.bool_)
        if self.recent is None:
            return copies
        keys, places = (hashes >> np.uint64(32)).astype(np.uint32), hashes % np.uint64(RECENT)
        copies[:] = True
        copies[np.unique(keys, return_index=True)[1]] = False
        copies |= self.recent[places] == keys
        self.recent[places] = keys
        return copies

    def look(self, alpha: float, permutations: int, seed: int) -> Part:
        """Test the window. Without new rows since the last test, the test is the same."""
        if self.learns > 0 or self.window.n == 0:
            return self._part(Comparison((), {}, 1.0))
        if self.looked != self.window.n:
            self.looks, self.looked = self.looks + 1, self.window.n
        found = judge(
            self.features,
            self.reference,
            self.window,
            errors=self.errors,
            alpha=alpha,
            share=1 / (self.looks * (self.looks + 1)),
            permutations=permutations,
            seed=seed,
        )
        return self._part(found)

    def _part(self, found: Comparison) -> Part:
        alarm = any(verdict.alarm for verdict in found.verdicts)
        return Part(
            rows=self.window.n,
            baseline_rows=self.reference.n,
            blocks=self.window.blocks,
            look=self.looks,
            learning=self.learns > 0,
            verdicts=found.verdicts,
            moved=movement(self.features, self.reference, self.window, found)
            if alarm
            else Movement(),
            relevances=self._relevances(),
        )

    def _relevances(self) -> tuple[Relevance, ...]:
        shares = [self._shares(bank) for bank in (self.reference, self.window)]
        counts = {name: self.features.classes.count(name) for name in ("high", "medium")}
        counts["low"] = self.features.d - sum(counts.values())
        return tuple(
            Relevance(name, count, shares[0][name], shares[1][name])
            for name, count in counts.items()
            if count
        )

    def _shares(self, bank: BlockStatistics) -> dict[str, float]:
        means = bank.means
        energy = max(float(means[self.features.lengths][2]), 1e-30)
        kept = means[self.features.y2] / energy
        own = np.array(self.features.classes)
        shares = {name: float(kept[own == name].sum()) for name in ("high", "medium")}
        return shares | {"low": max(0.0, 1 - sum(shares.values())) if bank.n else 0.0}

    def forget(self) -> None:
        """Start a new window."""
        old = self.window
        self.window = BlockStatistics.empty(
            len(old.rows), old.sums.shape[1], len(old.minima), len(old.occupancy)
        )
        self.looked = -1
        if self.recent is not None:
            self.recent[:] = 0

    def require_like(self, other: Stream) -> None:
        """Raise ValueError unless another worker's rows can be added."""
        if self.errors != other.errors:
            raise ValueError("other was made with another `errors`")
        if self.learns > 0 and other.learns > 0:
            return
        if self.reference.digest() != other.reference.digest():
            raise ValueError("other has another baseline: give workers copies of one monitor")

    def merge(self, other: Stream) -> None:
        """Add another worker's rows."""
        if self.learns > 0:
            self.learns = max(0, self.learns - other.reference.n)
            self.reference.merge(other.reference)
        self.window.merge(other.window)
        if self.recent is not None and other.recent is not None:
            self.recent = np.maximum(self.recent, other.recent)
        self.looks = max(self.looks, other.looks)


def slots_for(features: int, d: int) -> tuple[int, int, int, int]:
    """Return the numbers of slots of baseline and window, for vectors and for queries.

    Powers of two, as many as memory is for; queries go short first.
    """
    for slots in (256, 128, 64, 32, 16):
        for asked in ((max(slots // 4, 16), max(slots // 16, 16)), (16, 16), (8, 8)):
            counts = (slots, max(slots // 4, 16), *asked)
            if 4 * features * sum(counts) + _OTHERS * d <= _BUDGET:
                return counts
    return _FEWEST_SLOTS
