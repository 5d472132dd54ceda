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
    block : int, str, or array_like of them, shape (rows,)
        One for all rows, or one for each.

    Raises
    ------
    ValueError
        If there are not as many as rows.
    TypeError
        If they are neither integers nor strings.
    """
    if block is None:
        return None
    refuse_masked(block, name)
    values = np.asarray(block)
    if values.dtype == object:
        values = np.asarray([str(value) for value in values.reshape(-1)]).reshape(values.shape)
    if values.dtype.kind not in "iuUS":
        raise TypeError(f"{name} must hold integers or strings, got dtype {values.dtype}")
    if values.ndim == 0:
        values = np.broadcast_to(values, (rows,))
    if values.shape != (rows,):
        raise ValueError(f"{name} must have shape ({rows},), got {values.shape}")
    if values.dtype.kind in "iu":
        return values.astype(np.int64, casting="unsafe").view(np.uint64)
    names, where = np.unique(values, return_inverse=True)
    return np.array([_hash(each) for each in names.tolist()], np.uint64)[where.reshape(-1)]


def _hash(name: str | bytes) -> int:
    data = name.encode() if isinstance(name, str) else name
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "little")


SHARES = 64  # bins of the histogram of energy outside the leading directions
_NAMES = ("rows", "nonfinite", "zero", "outliers", "duplicates")


@dataclass(eq=False)
class BlockStatistics:
    """Sums over slots of blocks. The slot of a block depends on its number alone.

    So blocks need no list, the same session seen by two workers ends in one slot, and banks are
    merged by adding them up.

    Attributes
    ----------
    rows : float32 (s,)
        Rows in each slot; s is a power of two.
    sums : float32 (s, f)
    minima, maxima : float32 (d,)
    largest : float64 (1,)
        Norm.
    outside : int64 (64,)
        Histogram of the share of a row's energy that is not in the leading directions.
    occupancy : int64 (g, 16)
        How often each high nibble of each code byte was seen; empty without errors.
    counts : int64 (5,)
        Rows that were seen, with a NaN or an infinity, zero, too far off to be summed up, and
        copies of one that came not long before.
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
            counts=np.zeros(len(_NAMES), np.int64),
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
        """Count rows of one kind."""
        self.counts[_NAMES.index(name)] += n

    def counted(self) -> dict[str, int]:
        """Return the counts by name."""
        return dict(zip(_NAMES, map(int, self.counts), strict=True))

    def merge(self, other: BlockStatistics) -> None:
        """Add the sums of another object of the same layout."""
        np.minimum(self.minima, other.minima, out=self.minima)
        np.maximum(self.maxima, other.maxima, out=self.maxima)
        np.maximum(self.largest, other.largest, out=self.largest)
        for name in ("rows", "sums", "outside", "occupancy", "counts"):
            getattr(self, name).__iadd__(getattr(other, name))

    def folded(self, slots: int) -> Blocks:
        """Return the blocks, merged into a number of slots; empty slots are omitted."""
        rows = self.rows.reshape(-1, slots).sum(axis=0)
        sums = self.sums.reshape(-1, slots, self.sums.shape[1]).sum(axis=0)
        return Blocks(rows[rows > 0], sums[rows > 0])

    def arrays(self, prefix: str) -> dict[str, NDArray[Any]]:
        """Return the arrays by name, as they are saved."""
        return {f"{prefix}.{f.name}": getattr(self, f.name) for f in fields(self)}

    @classmethod
    def of_arrays(cls, prefix: str, arrays: Mapping[str, NDArray[Any]]) -> BlockStatistics:
        """Read what `arrays` returned."""
        return cls(**{f.name: np.array(arrays[f"{prefix}.{f.name}"]) for f in fields(cls)})

    def digest(self) -> str:
        """Return the SHA-256 of the content."""
        state = hashlib.sha256()
        for f in fields(self):
            state.update(np.ascontiguousarray(getattr(self, f.name)).tobytes())
        return state.hexdigest()


def slots_of(blocks: NDArray[np.uint64], slots: int) -> NDArray[np.uint32]:
    """Return the slot of each block (Fibonacci hashing spreads similar numbers)."""
    mixed = blocks * np.uint64(0x9E3779B97F4A7C15)
    mixed ^= mixed >> np.uint64(29)
    mixed *= np.uint64(0xBF58476D1CE4E5B9)
    return ((mixed >> np.uint64(32)) % np.uint64(slots)).astype(np.uint32)


def balanced(
    reference: BlockStatistics, window: BlockStatistics, fewest: int = 16
) -> tuple[Blocks, Blocks]:
    """Merge slots of one object until slots of both hold about as many rows."""
    slots = [len(reference.rows), len(window.rows)]
    banks = (reference, window)
    for own, other in ((0, 1), (1, 0)):
        while slots[own] > fewest and (
            banks[own].n / slots[own] < 0.5 * banks[other].n / slots[other]
        ):
            slots[own] //= 2
    return reference.folded(slots[0]), window.folded(slots[1])
