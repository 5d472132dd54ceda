"""A stream of vectors or queries: statistics of its baseline and its window, and their test."""

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
from waterfill.drift.report import Relevance, StreamReport
from waterfill.drift.window_comparison import Comparison, compare_windows

_MAX_STATE_BYTES = 1_930_000
_BYTES_PER_DIMENSION = 170  # besides the sums: extremes of four statistics, and 64 probes
_MIN_SLOTS = 16, 8, 8, 8
_OUTLIER_NORM = 10.0  # times the largest norm of the baseline; one such row would dominate the sums
MAX_SLOTS = 1024  # that a saved state may have
RECENT = 4096  # hashes of recent rows, to detect duplicates
_MAX_NORM = 1e15  # larger ones overflow float32 in sums of fourth powers


@dataclass(eq=False)
class Stream:
    """The vectors, or the queries, of a monitor.

    Attributes
    ----------
    features : Features
    reference, window : BlockStatistics
        Statistics of the baseline, and of the rows since the last reset.
    rows_to_learn : int
        Number of further rows that will be added to the baseline.
    looks : int
        Number of tests against this baseline so far.
    tested_rows : int
        Number of rows in the window at the last test; -1 if the window was not tested.
    recent : uint32 (4096,) or None
        Hash table of recent rows, to detect duplicates. None for queries, because a repeated query
        is a query of its own, while a vector that is stored twice adds no evidence.
    """

    features: Features
    reference: BlockStatistics
    window: BlockStatistics
    rows_to_learn: int
    looks: int = 0
    tested_rows: int = -1
    recent: NDArray[np.uint32] | None = None

    @classmethod
    def empty(
        cls, features: Features, slots: tuple[int, int], groups: int, rows_to_learn: int
    ) -> Stream:
        """Return a stream without rows; 0 groups mean that rows are not encoded."""
        reference, window = (
            BlockStatistics.empty(n, len(features), features.d, groups) for n in slots
        )
        return cls(features, reference, window, rows_to_learn)

    @property
    def nbytes(self) -> int:
        """Size of the state in bytes."""
        hashes = 0 if self.recent is None else self.recent.nbytes
        return self.reference.nbytes + self.window.nbytes + hashes

    @property
    def errors(self) -> bool:
        """Whether rows are encoded."""
        return len(self.window.occupancy) > 0

    def learn(self, rows: Rows, positions: Any, block: Any, min_rows: int) -> None:
        """Use rows as the baseline: all, or those at ascending `positions`."""
        numbers = numbers_of(block, rows.n, f"blocks of {rows.name}")
        if rows.n < min_rows:
            raise ValueError(
                f"{rows.name}: expected at least {min_rows} rows, got {rows.n}; give more, or none "
                "to make the first rows of the stream the baseline"
            )
        for first, chunk in rows.blocks():
            selected = np.arange(len(chunk)) if positions is None else positions - first
            selected = selected[(selected >= 0) & (selected < len(chunk))]
            blocks = None if numbers is None else numbers[first + selected]
            self._add(self.reference, chunk[selected], blocks)
        self.rows_to_learn = 0
        self.reset()

    def update(self, rows: Rows, block: Any) -> None:
        """Add rows to the window, or to the baseline until it is complete."""
        numbers = numbers_of(block, rows.n)
        for first, chunk in rows.blocks(finite=False):
            blocks = None if numbers is None else numbers[first : first + len(chunk)]
            self._add(self.reference if self.rows_to_learn > 0 else self.window, chunk, blocks)
            self.rows_to_learn = max(0, self.rows_to_learn - len(chunk))

    def _add(self, statistics: BlockStatistics, x: FloatRows, blocks: Numbers | None) -> None:
        _, squares, hashes = _core.inspect(x, True)
        assert hashes is not None
        finite = np.isfinite(squares)
        max_norm = _MAX_NORM
        if statistics is self.window and self.reference.n:
            max_norm = min(max_norm, _OUTLIER_NORM * float(self.reference.largest[0]))
        norms = np.sqrt(squares, where=finite, out=np.zeros_like(squares))
        valid = finite & (norms <= max_norm)
        statistics.count("rows", len(x))
        statistics.count("nonfinite", int((~finite).sum()))
        statistics.count("zero", int((squares == 0).sum()))
        statistics.count("outliers", int((finite & ~valid).sum()))
        duplicates = valid & self._duplicates(hashes)
        statistics.count("duplicates", int(duplicates.sum()))
        used = valid & ~duplicates if blocks is None else valid
        if not used.all():
            x, hashes = x[used], hashes[used]
            blocks = None if blocks is None else blocks[used]
        if len(x) == 0:
            return
        slots = slots_of(hashes if blocks is None else blocks, len(statistics.rows))
        norms, outside, codes = self.features.sums.add(
            np.ascontiguousarray(x), slots, statistics.rows, statistics.sums, self.errors
        )
        statistics.largest[0] = max(float(statistics.largest[0]), float(norms.max()))
        np.minimum(statistics.minima, x.min(axis=0), out=statistics.minima)
        np.maximum(statistics.maxima, x.max(axis=0), out=statistics.maxima)
        bins = np.minimum((outside * SHARES).astype(np.int64), SHARES - 1)
        statistics.outside += np.bincount(bins, minlength=SHARES)
        for group, counts in enumerate(statistics.occupancy):
            counts += np.bincount(codes[:, group] >> 4, minlength=16)

    def _duplicates(self, hashes: Numbers) -> NDArray[np.bool_]:
        """Return which rows repeat an earlier one, and enter all rows in the hash table."""
        duplicates = np.zeros(len(hashes), np.bool_)
        if self.recent is None:
            return duplicates
        keys, cells = (hashes >> np.uint64(32)).astype(np.uint32), hashes % np.uint64(RECENT)
        duplicates[:] = True
        duplicates[np.unique(keys, return_index=True)[1]] = False
        duplicates |= self.recent[cells] == keys
        self.recent[cells] = keys
        return duplicates

    def test(self, alpha: float, permutations: int, seed: int) -> StreamReport:
        """Test the window; a repeated test without new rows is not counted as another look."""
        if self.rows_to_learn > 0 or self.window.n == 0:
            return self._report(Comparison((), {}, 1.0))
        if self.tested_rows != self.window.n:
            self.looks, self.tested_rows = self.looks + 1, self.window.n
        comparison = compare_windows(
            self.features,
            self.reference,
            self.window,
            errors=self.errors,
            alpha=alpha,
            share=1 / (self.looks * (self.looks + 1)),
            permutations=permutations,
            seed=seed,
        )
        return self._report(comparison)

    def _report(self, comparison: Comparison) -> StreamReport:
        alarm = any(verdict.alarm for verdict in comparison.verdicts)
        return StreamReport(
            rows=self.window.n,
            baseline_rows=self.reference.n,
            blocks=self.window.blocks,
            look=self.looks,
            learning=self.rows_to_learn > 0,
            verdicts=comparison.verdicts,
            moved=movement(self.features, self.reference, self.window, comparison)
            if alarm
            else Movement(),
            relevances=self._relevances(),
        )

    def _relevances(self) -> tuple[Relevance, ...]:
        before, now = self._shares(self.reference), self._shares(self.window)
        counts = {name: self.features.classes.count(name) for name in ("high", "medium")}
        counts["low"] = self.features.d - sum(counts.values())
        return tuple(
            Relevance(name, count, before[name], now[name])
            for name, count in counts.items()
            if count
        )

    def _shares(self, statistics: BlockStatistics) -> dict[str, float]:
        """Return the share of energy of each relevance class."""
        means = statistics.means
        energy = max(float(means[self.features.lengths][2]), 1e-30)
        kept = means[self.features.y2] / energy
        classes = np.array(self.features.classes)
        shares = {name: float(kept[classes == name].sum()) for name in ("high", "medium")}
        return shares | {"low": max(0.0, 1 - sum(shares.values())) if statistics.n else 0.0}

    def reset(self) -> None:
        """Start a new window."""
        old = self.window
        self.window = BlockStatistics.empty(
            len(old.rows), old.sums.shape[1], len(old.minima), len(old.occupancy)
        )
        self.tested_rows = -1
        if self.recent is not None:
            self.recent[:] = 0

    def require_mergeable(self, other: Stream) -> None:
        """Raise ValueError unless `other` has the same settings and baseline."""
        if self.errors != other.errors:
            raise ValueError(
                f"other: expected errors={self.errors} as in this monitor, got "
                f"errors={other.errors}; give workers copies of one monitor"
            )
        if self.rows_to_learn > 0 and other.rows_to_learn > 0:
            return
        if self.reference.digest() != other.reference.digest():
            raise ValueError(
                "other: expected the baseline of this monitor, got another one; give workers "
                "copies of one monitor"
            )

    def merge(self, other: Stream) -> None:
        """Add another worker's rows."""
        if self.rows_to_learn > 0:
            self.rows_to_learn = max(0, self.rows_to_learn - other.reference.n)
            self.reference.merge(other.reference)
        self.window.merge(other.window)
        if self.recent is not None and other.recent is not None:
            self.recent = np.maximum(self.recent, other.recent)
        self.looks = max(self.looks, other.looks)


def slots_for(features: int, d: int) -> tuple[int, int, int, int]:
    """Return the numbers of slots of baseline and window, for vectors and for queries.

    They are the largest powers of two that fit the memory limit; queries are reduced first.
    """
    for slots in (256, 128, 64, 32, 16):
        for query_slots in ((max(slots // 4, 16), max(slots // 16, 16)), (16, 16), (8, 8)):
            counts = (slots, max(slots // 4, 16), *query_slots)
            if 4 * features * sum(counts) + _BYTES_PER_DIMENSION * d <= _MAX_STATE_BYTES:
                return counts
    return _MIN_SLOTS
