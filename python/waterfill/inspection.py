"""One look at all rows: what is wrong with each, their norms, dimensions that never change."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from waterfill import _core
from waterfill.admission import NONFINITE, Flaws, RowNumbers, bit
from waterfill.analysis import Norms
from waterfill.codec import Codec
from waterfill.rows import FloatRows, Rows

Bounds = tuple[float, float]


class Inspection:
    """One look at all rows: flaws uint8 (n,), norms, and dimensions that never change."""

    def __init__(
        self, rows: Rows, codec: Codec | None, bounds: Bounds | None, duplicates: bool
    ) -> None:
        self._codec, self._bounds = codec, bounds
        self.flaws = np.zeros(rows.n, dtype=np.uint8)
        hashes = np.zeros(rows.n if duplicates else 0, dtype=np.uint64)
        dimensions = _core.ConstantDimensions(rows.d)
        self._n, self._total, self._squares = 0, 0.0, 0.0
        self._least, self._largest = np.inf, 0.0
        for first, block in rows.blocks(finite=False):
            here = slice(first, first + len(block))
            flaws, squares, own = _core.inspect(block, duplicates)
            dimensions.update(block, flaws)
            finite = np.flatnonzero(np.isfinite(squares))
            whole = len(finite) == len(block)
            flaws[finite] |= self._others(block if whole else block[finite], squares[finite])
            self.flaws[here] = flaws
            if own is not None:
                hashes[here] = own
        if duplicates:
            self.flaws[_copies(hashes, self.flaws)] |= bit("duplicate")
        self.constant = tuple(dimensions.dimensions.tolist()) if self._n > 1 else ()

    def _others(self, finite: FloatRows, squares: NDArray[np.float64]) -> Flaws:
        """Return what else is wrong with finite rows, and remember their norms."""
        flaws = np.zeros(len(squares), dtype=np.uint8)
        if len(squares) == 0:
            return flaws
        norms = np.sqrt(squares)
        self._n += len(norms)
        self._total += float(norms.sum())
        self._squares += float(squares.sum())
        self._least = min(self._least, float(norms.min()))
        self._largest = max(self._largest, float(norms.max()))
        if self._bounds is not None:
            flaws[(norms < self._bounds[0]) | (norms > self._bounds[1])] |= bit("norm")
        if self._codec is not None:
            flaws[self._codec._cut_off(self._codec._coded(finite))] |= bit("beyond the codec")
        return flaws

    @property
    def norms(self) -> Norms | None:
        """Of the finite rows."""
        if self._n == 0:
            return None
        mean = self._total / self._n
        std = float(np.sqrt(max(0.0, self._squares / self._n - mean**2)))
        return Norms(self._least, self._largest, mean, std)


def _copies(hashes: NDArray[np.uint64], flaws: Flaws) -> RowNumbers:
    """Return the numbers of finite rows that equal an earlier one."""
    numbers = np.flatnonzero((flaws & NONFINITE) == 0)
    first = np.unique(hashes[numbers], return_index=True)[1]
    return np.delete(numbers, first)
