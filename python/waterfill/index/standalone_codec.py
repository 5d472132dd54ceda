"""FAISS's standalone codec interface: codes without an index of them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from waterfill import _core
from waterfill._util.tensors import returned
from waterfill._util.validation import output
from waterfill.data.arrow_codes import read_codes
from waterfill.data.rows import FloatRows, Rows
from waterfill.encoding import Codes, encode_rows
from waterfill.errors import ArgumentError, NotTrainedError
from waterfill.index.trainable import Trainable
from waterfill.layout import scale_bytes
from waterfill.plan import Plan
from waterfill.recipe import Recipe
from waterfill.training.train import QUARTERS


class StandaloneCodec(Trainable):
    """Encodes and decodes vectors as an index does."""

    _warns_of_clipped: bool = True  # of vectors that are unlike those of training

    @property
    def code_size(self) -> int:
        """Bytes of one stored code: one per group, one for the scale, and one more for L2.

        Known before training, as in FAISS. A vector takes more: see `bytes_per_vector`.
        """
        groups = _groups(self._source) if self._core is None else self._core.codec.groups
        return groups + scale_bytes(self._metric)

    def sa_code_size(self) -> int:
        """Return the size of a code of `sa_encode`, which holds the number of its list or cell.

        Returns
        -------
        int
            Bytes.

        Raises
        ------
        NotTrainedError
            Before training, unless the index is an `IndexIVF`: training chooses the cells.
        """
        if self._codec is not None:
            return self._codec.code_size
        nlist: int | None = getattr(self, "_nlist", None)
        if nlist is None:
            raise NotTrainedError(
                f"{type(self).__name__} is not trained: training chooses the cells, whose number "
                "is part of a code; call train(x) first"
            )
        return _groups(self._source) + 1 + _tail_bytes(nlist)

    def sa_encode(self, x: Any, codes: Any = None) -> Codes:
        """Encode vectors as `add` does, without adding them.

        Codes hold no rows of `refine`.

        Parameters
        ----------
        x : array_like, shape (n, d)
            Vectors.
        codes : uint8 (n, sa_code_size()), optional
            Array for the codes.

        Returns
        -------
        uint8 (n, sa_code_size())
            The codes; `codes`, if given.

        Raises
        ------
        ValueError, TypeError, NotTrainedError
            As `add`, or if `codes` has another shape or dtype.
        """
        self._trained()
        rows = Rows(x, "x", self.d)
        if codes is None:
            return returned(self._encode(rows), None, x)
        out = output("codes", codes, (rows.n, self.sa_code_size()), np.uint8)
        out[:] = self._encode(rows)
        return returned(out, codes, x)

    def sa_decode(self, codes: Any, x: Any = None) -> FloatRows:
        """Decode codes as `reconstruct` does without `refine`.

        Parameters
        ----------
        codes : uint8 (n, sa_code_size())
            Codes of `sa_encode`, or a column of `waterfill.columns`.
        x : float32 (n, d), optional
            Array for the vectors.

        Returns
        -------
        float32 (n, d)
            The vectors; `x`, if given.

        Raises
        ------
        ValueError, TypeError
            For codes of another size or dtype, or such an `x`.
        NotTrainedError
            Before training.
        """
        self._trained()
        decoded = self._decode(self._as_codes(codes))
        out = output("x", x, decoded.shape, np.float32)
        out[:] = decoded
        return returned(out, x, codes)

    def _encode(self, rows: Rows) -> Codes:
        assert self._codec is not None
        return encode_rows(self._codec._core, rows, self._prepare, warns=self._warns_of_clipped)

    def _decode(self, codes: Codes) -> FloatRows:
        assert self._codec is not None
        return self._codec.decode(codes, alpha=self._trained().alpha / QUARTERS)

    def _as_codes(self, codes: Any) -> NDArray[np.uint8]:
        """Return codes after checking shape, dtype, and in a column whose they are."""
        assert self._codec is not None
        array, size = read_codes(codes, self._codec), self._codec.code_size
        if array.dtype != np.uint8:
            raise TypeError(f"codes must be uint8, got dtype {array.dtype}")
        if array.ndim != 2 or array.shape[1] != size:
            raise ArgumentError(f"codes must have shape (n, {size}), got {array.shape}")
        return np.ascontiguousarray(array)

    @property
    def _cell_start(self) -> int:
        """Bytes of a code before the number of its cell."""
        return self._trained().codec.groups + 1

    def _cells_of(self, codes: Codes) -> NDArray[np.int64]:
        """Return the cell of each code, int64 (n,); 0 without cells."""
        digits = codes[:, self._cell_start :].astype(np.int64)
        cells: NDArray[np.int64] = (digits << (8 * np.arange(digits.shape[1]))).sum(axis=1)
        return cells

    def _prepare(self, block: FloatRows) -> FloatRows:
        return _core.normalize_rows(block) if self._metric == "cosine" else block


def _groups(source: Plan | Recipe | None) -> int:
    """Return the number of groups of a plan that is not trained yet: the bytes of a code."""
    assert source is not None
    return source.code_bytes if isinstance(source, Recipe) else len(source.groups)


def _tail_bytes(cells: int) -> int:
    """Return the bytes of a cell's number in a code."""
    return -(-(cells - 1).bit_length() // 8)
