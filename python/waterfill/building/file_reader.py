"""Files of plain rows, read from the front: into one buffer, while the system reads ahead.

A map costs more than a copy here: each page must be mapped, and released again.
"""

from __future__ import annotations

import mmap
import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

from waterfill._core import FormatError
from waterfill._util.system import OPEN_FLAGS
from waterfill.data.rows import BlockSource, as_source

_AHEAD_BYTES = 8 << 20


class SequentialReader:
    """The rows of a mapped array, of which `read` returns consecutive ones through a buffer.

    What `read` returns is overwritten by the next call.

    Parameters
    ----------
    array : numpy.memmap
        Contiguous, of a whole file or of a part of one.
    """

    def __init__(self, array: np.memmap[Any, Any]) -> None:
        self.name = os.fspath(str(array.filename))
        self.shape: tuple[int, int] = (int(array.shape[0]), int(array.shape[1]))
        self.dtype = array.dtype
        self._mapped: BlockSource = as_source(array)
        self._offset = int(array.offset)
        self._row_bytes = self.shape[1] * self.dtype.itemsize
        self._file = os.open(self.name, os.O_RDONLY | OPEN_FLAGS)
        self._buffer = np.empty((0, self.shape[1]), self.dtype)
        self._requested = 0  # bytes of the file that the system has been asked for

    def read(self, first: int, n: int) -> NDArray[Any]:
        """Return the rows from `first` to ``first + n - 1``, until the next call."""
        if len(self._buffer) < n:
            self._buffer = np.empty((n, self.shape[1]), self.dtype)
        rows = self._buffer[:n]
        view = rows.reshape(-1).view(np.uint8).data
        at = self._offset + first * self._row_bytes
        self._read_ahead(at, at + len(view))
        while view:
            got = os.preadv(self._file, [view], at)
            if got == 0:
                raise FormatError(f"{self.name}: the file has become shorter; expected more rows")
            view, at = view[got:], at + got
        return rows

    def take(self, rows: NDArray[np.int64]) -> NDArray[Any]:
        """Return the rows with these ascending numbers."""
        return self._mapped.take(rows)

    def _read_ahead(self, start: int, stop: int) -> None:
        """Let the system read what will be read next."""
        if not hasattr(os, "posix_fadvise"):
            return
        if not start <= self._requested <= start + _AHEAD_BYTES:
            self._requested = stop  # of another place
        if stop + _AHEAD_BYTES // 2 >= self._requested:
            begin, self._requested = self._requested, stop + _AHEAD_BYTES
            os.posix_fadvise(self._file, begin, self._requested - begin, os.POSIX_FADV_WILLNEED)

    def __del__(self) -> None:
        if hasattr(self, "_file"):
            os.close(self._file)


def sequential(vectors: Any) -> SequentialReader | None:
    """Return a reader of a mapped array, if its rows lie one behind the other in its file."""
    if type(vectors) is not np.memmap or not hasattr(os, "preadv"):
        return None
    plain = vectors.ndim == 2 and vectors.flags.c_contiguous and vectors.size > 0
    if not plain or not isinstance(vectors.base, mmap.mmap):
        return None  # a view of another array, such as one without the lengths of rows
    return SequentialReader(vectors)
