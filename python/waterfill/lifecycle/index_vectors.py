"""Read the vectors of an index, from its refinement rows or by decoding its codes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from waterfill.data.rows import FloatRows, Rows
from waterfill.index.base import Index

DECODED = "decoded vectors"
_CHECKED = 512  # rows to compare with their codes
# Least fraction of rows nearer to their own code than to another one. The measured fraction is 0.93
# to 1 for the vectors of an index, and 0.5 for a random order.
_MIN_MATCHED = 0.85


class StoredRows:
    """Block source of an index's vectors, in order of position.

    Parameters
    ----------
    index : IndexFlat or IndexIVF
        Must not change while it is read.
    """

    def __init__(self, index: Index) -> None:
        self._index = index
        self._core = index._trained()
        self._refined = self._core.refine_row_kind is not None
        self.name = _refine_row_name(index) or DECODED
        self.shape = (self._core.size, index.d)
        self.dtype = np.dtype(np.float32)

    def read(self, first: int, n: int) -> FloatRows:
        """Return rows first to first + n - 1: refinement rows, or else decoded codes."""
        return self._core.refine_rows(first, n) if self._refined else decoded(self._index, first, n)

    def take(self, rows: NDArray[np.int64]) -> FloatRows:
        """Return the rows at these positions, which ascend."""
        parts = [self.read(int(row), 1) for row in rows]
        return np.concatenate([np.empty((0, self.shape[1]), np.float32), *parts])


def _refine_row_name(index: Index) -> str | None:
    """Return a description of the refinement rows of an index; None without any."""
    kind = index._trained().refine_row_kind
    if kind is None:
        return None
    if isinstance(index.refine, str):
        return f"{kind.name} refinement rows"
    return f"array of {kind.name} rows"


def decoded(index: Index, first: int, n: int) -> FloatRows:
    """Decode vectors with the alpha of the index's metric.

    After re-encoding, this gives higher recall than decoding with the least squared error:
    recall@10 0.763 against 0.726 (MiniLM, 48 bytes, L2), and 0.017 more in the median of 24 cases.
    """
    return index._decode(index._trained().codes(first, n))


def check_order(index: Index, rows: Rows) -> None:
    """Raise ValueError unless rows are the vectors of the index, in order of position."""
    if rows.n != index.ntotal:
        raise ValueError(
            f"{rows.name}: expected {index.ntotal} rows, one for each vector of the index in order "
            f"of position, got {rows.n}"
        )
    chosen = np.unique(np.linspace(0, rows.n - 1, min(rows.n, _CHECKED)).astype(np.int64))
    if len(chosen) < 2:
        return
    prepared = index._prepare(rows.take(chosen))
    decoded_rows = np.concatenate([decoded(index, int(row), 1) for row in chosen])
    own = np.square(prepared - decoded_rows).sum(axis=1)
    other = np.square(prepared - np.roll(decoded_rows, 1, axis=0)).sum(axis=1)
    matched = float((own <= other).mean())
    if matched < _MIN_MATCHED:
        raise ValueError(
            f"{rows.name}: expected the vectors of the index in order of position, but only "
            f"{matched:.0%} of {len(chosen)} rows are nearer to their own code than to another"
        )
