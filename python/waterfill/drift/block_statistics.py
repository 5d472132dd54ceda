"""Sums over blocks of rows that a monitor keeps instead of the rows themselves."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from waterfill._util.validation import refuse_masked
from waterfill.drift.permutation_test import Blocks, Floats

Numbers = NDArray[np.uint64]


def numbers_of(block: Any, rows: int, name: str = "block") -> Numbers | None:
    """Return the block number of each row, or None without blocks.

    Parameters
    ----------
    block : int, str, or array_like of int or str, shape (rows,), or None
        One label for all rows, or one for each row.
    rows : int
        Number of rows.
    name : str
        Name of the argument in messages.

    Returns
    -------
    uint64 (rows,) or None

    Raises
    ------
    ValueError
        If the number of labels is not the number of rows.
    TypeError
        If the labels are neither integers nor strings.
    """
    if block is None:
        return None
    refuse_masked(block, name)
    values = np.asarray(block)
    if values.dtype == object:
        values = np.asarray([str(value) for value in values.reshape(-1)]).reshape(values.shape)
    if values.dtype.kind not in "iuUS":
        raise TypeError(f"{name}: expected integers or strings, got dtype {values.dtype}")
    if values.ndim == 0:
        values = np.broadcast_to(values, (rows,))
    if values.shape != (rows,):
        raise ValueError(
            f"{name}: expected one label or shape ({rows},), one label per row, got {values.shape}"
        )
    if values.dtype.kind in "iu":
        return values.astype(np.int64, casting="unsafe").view(np.uint64)
    labels, inverse = np.unique(values, return_inverse=True)
    return np.array([_hash(each) for each in labels.tolist()], np.uint64)[inverse.reshape(-1)]


def _hash(label: str | bytes) -> int:
    data = label.encode() if isinstance(label, str) else label
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "little")


SHARES = 64  # bins of the histogram of energy outside the leading directions
_MAX_COUNT = 2**53
_COUNTS = ("rows", "nonfinite", "zero", "outliers", "duplicates")


@dataclass(eq=False)
class BlockStatistics:
    """Sums over blocks of rows, in hash slots: the slot of a block depends on its number alone.

    No list of blocks is kept, two workers put the same session into the same slot, and statistics
    are merged by addition.

    Attributes
    ----------
    rows : float32 (s,)
        Number of rows in each slot; s is a power of two.
    sums : float32 (s, f)
        Sum of each feature over the rows of a slot.
    minima, maxima : float32 (d,)
        Smallest and largest value of each dimension.
    largest : float64 (1,)
        Largest norm.
    outside : int64 (64,)
        Histogram of the share of a row's energy outside the leading directions.
    occupancy : int64 (g, 16)
        Counts of each high nibble of each code byte; empty if rows are not encoded.
    counts : int64 (5,)
        Number of rows: all, with a NaN or an infinity, zero, outliers by their norm (left out of
        the sums), and duplicates of a recent row.
    """

    rows: Floats
    sums: Floats
    minima: Floats
    maxima: Floats
    largest: NDArray[np.float64]
    outside: NDArray[np.int64]
    occupancy: NDArray[np.int64]
    counts: NDArray[np.int64]

    @classmethod
    def empty(cls, slots: int, features: int, d: int, groups: int) -> BlockStatistics:
        """Return statistics of no rows."""
        return cls(
            rows=np.zeros(slots, np.float32),
            sums=np.zeros((slots, features), np.float32),
            minima=np.full(d, np.inf, np.float32),
            maxima=np.full(d, -np.inf, np.float32),
            largest=np.zeros(1),
            outside=np.zeros(SHARES, np.int64),
            occupancy=np.zeros((groups, 16), np.int64),
            counts=np.zeros(len(_COUNTS), np.int64),
        )

    @property
    def n(self) -> int:
        """Number of rows."""
        return int(self.outside.sum())

    @property
    def blocks(self) -> int:
        """Number of slots with rows."""
        return int((self.rows > 0).sum())

    @property
    def nbytes(self) -> int:
        """Size of the arrays in bytes."""
        return sum(getattr(self, f.name).nbytes for f in fields(self))

    @property
    def means(self) -> NDArray[np.float64]:
        """Mean of each feature over all rows, float64 (f,)."""
        means: NDArray[np.float64] = self.sums.sum(axis=0, dtype=np.float64) / max(self.n, 1)
        return means

    def count(self, name: str, n: int) -> None:
        """Add `n` to one of the counts."""
        self.counts[_COUNTS.index(name)] += n

    def counted(self) -> dict[str, int]:
        """Return the counts by name."""
        return dict(zip(_COUNTS, map(int, self.counts), strict=True))

    def merge(self, other: BlockStatistics) -> None:
        """Add the sums of another object of the same layout."""
        np.minimum(self.minima, other.minima, out=self.minima)
        np.maximum(self.maxima, other.maxima, out=self.maxima)
        np.maximum(self.largest, other.largest, out=self.largest)
        for name in ("rows", "sums", "outside", "occupancy", "counts"):
            getattr(self, name).__iadd__(getattr(other, name))

    def folded(self, slots: int) -> Blocks:
        """Merge the slots into a smaller number of blocks; empty ones are omitted."""
        rows = self.rows.reshape(-1, slots).sum(axis=0)
        sums = self.sums.reshape(-1, slots, self.sums.shape[1]).sum(axis=0)
        return Blocks(rows[rows > 0], sums[rows > 0])

    def arrays(self, prefix: str) -> dict[str, NDArray[Any]]:
        """Return the arrays under their names in a saved state."""
        return {f"{prefix}.{f.name}": getattr(self, f.name) for f in fields(self)}

    @classmethod
    def of_arrays(cls, prefix: str, arrays: Mapping[str, NDArray[Any]]) -> BlockStatistics:
        """Read what `arrays` returned."""
        return cls(**{f.name: np.array(arrays[f"{prefix}.{f.name}"]) for f in fields(cls)})

    def require_valid(self, name: str) -> None:
        """Raise ValueError unless the arrays can be sums over rows."""
        for field, least in (("rows", 0), ("sums", -np.inf), ("largest", 0)):
            values = getattr(self, field)
            if not np.isfinite(values).all() or (values < least).any():
                raise ValueError(f"{name}.{field}: expected finite numbers that rows can have")
        for field in ("outside", "occupancy", "counts"):
            values = getattr(self, field)
            if (values < 0).any() or (values > _MAX_COUNT).any():
                raise ValueError(f"{name}.{field}: expected counts from 0 to {_MAX_COUNT}")
        if np.isnan(self.minima).any() or np.isnan(self.maxima).any():
            raise ValueError(f"{name}: expected extremes of numbers, got NaN")

    def digest(self) -> str:
        """Return the SHA-256 of the content."""
        state = hashlib.sha256()
        for f in fields(self):
            state.update(np.ascontiguousarray(getattr(self, f.name)).tobytes())
        return state.hexdigest()


def slots_of(blocks: NDArray[np.uint64], slots: int) -> NDArray[np.uint32]:
    """Return the slot of each block by Fibonacci hashing, which spreads consecutive numbers."""
    mixed = blocks * np.uint64(0x9E3779B97F4A7C15)
    mixed ^= mixed >> np.uint64(29)
    mixed *= np.uint64(0xBF58476D1CE4E5B9)
    return ((mixed >> np.uint64(32)) % np.uint64(slots)).astype(np.uint32)


def balanced(
    reference: BlockStatistics, window: BlockStatistics, min_slots: int = 16
) -> tuple[Blocks, Blocks]:
    """Merge slots of one sample until the slots of both hold similar numbers of rows."""
    slots = [len(reference.rows), len(window.rows)]
    rows = reference.n, window.n
    for own, other in ((0, 1), (1, 0)):
        while slots[own] > min_slots and rows[own] / slots[own] < 0.5 * rows[other] / slots[other]:
            slots[own] //= 2
    return reference.folded(slots[0]), window.folded(slots[1])
