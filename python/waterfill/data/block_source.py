"""Base class of files that are read block by block, and concatenation of several files."""

from __future__ import annotations

import copy
import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from waterfill._core import FormatError
from waterfill.data.missing_rows import missing_as_nan
from waterfill.data.rows import BlockSource

RowNumbers = NDArray[np.int64]

_MAX_RUN = 4096  # rows that `take_by_runs` reads at once
# What libraries raise for files that are damaged or of another format.
_DAMAGE_ERRORS: tuple[type[Exception], ...] = (
    OSError,
    EOFError,
    KeyError,
    NotImplementedError,
    OverflowError,
    RuntimeError,
    ValueError,
    zlib.error,
)


class NoRowsError(FormatError):
    """A file has no rows, and does not tell the number of dimensions."""


class FileSource(ABC):
    """Vectors of a file, read on demand.

    Accepted wherever waterfill accepts an array. ``x[first:last]`` and ``np.asarray(x)`` read rows
    into memory.

    Parameters
    ----------
    name : str
        The file, and the dataset or column in it.
    shape : (int, int)
        Numbers of rows and dimensions.
    dtype : dtype
        Of the values in the file.

    Attributes
    ----------
    name : str
        As given.
    shape : (int, int)
        As given.
    dtype : numpy.dtype
        Of the values in the file.

    Raises
    ------
    FormatError
        If the shape is invalid, so that the file is damaged.
    """

    ndim = 2

    def __init__(self, name: str, shape: tuple[int, int], dtype: Any) -> None:
        if min(shape) < 0:
            raise FormatError(f"{name}: invalid shape {shape}; the file is damaged")
        self.name = name
        self.shape = shape
        self.dtype: np.dtype[Any] = np.dtype(dtype)

    @abstractmethod
    def take(self, rows: RowNumbers) -> NDArray[Any]:
        """Return the rows with given numbers.

        Parameters
        ----------
        rows : int64 (m,)
            Numbers of rows, ascending.

        Returns
        -------
        dtype (m, d)
            The rows, in the dtype of the source.
        """

    def read(self, first: int, n: int) -> NDArray[Any]:
        """Return consecutive rows.

        Parameters
        ----------
        first : int
            Number of the first row.
        n : int
            Number of rows.

        Returns
        -------
        dtype (n, d)
            The rows, in the dtype of the source.
        """
        return self.take(np.arange(first, first + n, dtype=np.int64))

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: Any) -> NDArray[Any]:
        if not isinstance(key, slice):
            raise TypeError(f"{self.name}: expected a slice such as x[0:1000], got {key!r}")
        rows = range(len(self))[key]
        if rows.step == 1:
            return self.read(rows.start, len(rows))
        if rows.step < 0:
            return self.take(np.array(rows[::-1], dtype=np.int64))[::-1]
        return self.take(np.array(rows, dtype=np.int64))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return np.asarray(self.read(0, len(self)), dtype=dtype)

    def __repr__(self) -> str:
        return f"{self.name}: {self.shape[0]:,} vectors of {self.shape[1]} dimensions, {self.dtype}"


class ConcatenatedSource(FileSource):
    """Several sources, concatenated along the rows."""

    def __init__(self, parts: Sequence[BlockSource], names: Sequence[str]) -> None:
        for part, name in zip(parts, names, strict=True):
            if part.shape[1] != parts[0].shape[1]:
                raise ValueError(
                    f"{name} has {part.shape[1]} dimensions, but {names[0]} has "
                    f"{parts[0].shape[1]}; files that are opened together must agree"
                )
        self._parts = parts
        self._starts = np.cumsum([0, *(part.shape[0] for part in parts)])
        shape = (int(self._starts[-1]), int(parts[0].shape[1]))
        dtype = np.result_type(*(part.dtype for part in parts))
        super().__init__(f"{names[0]} and {len(parts) - 1} more", shape, dtype)

    def read(self, first: int, n: int) -> NDArray[Any]:
        """Return the rows from `first` to ``first + n - 1``, shape (n, d)."""
        chunks = []
        for part, start, stop in self._spans():
            a, b = max(first, start), min(first + n, stop)
            if a < b:
                chunks.append(part.read(a - start, b - a))
        return self._concatenate(chunks)

    def take(self, rows: RowNumbers) -> NDArray[Any]:
        """Return the rows with these ascending numbers, shape (len(rows), d)."""
        chunks = []
        for part, start, stop in self._spans():
            a, b = np.searchsorted(rows, [start, stop])
            if a < b:
                chunks.append(part.take(rows[a:b] - start))
        return self._concatenate(chunks)

    def missing_as_nan(self) -> ConcatenatedSource:
        """Return the same rows, with NaN in those that are no vectors."""
        view = copy.copy(self)
        view._parts = [missing_as_nan(part) for part in self._parts]
        view.dtype = np.result_type(*(part.dtype for part in view._parts))
        return view

    def _spans(self) -> Iterator[tuple[BlockSource, int, int]]:
        for part, start, stop in zip(self._parts, self._starts, self._starts[1:], strict=False):
            yield part, int(start), int(stop)

    def _concatenate(self, chunks: list[NDArray[Any]]) -> NDArray[Any]:
        if len(chunks) == 1:
            return chunks[0]
        empty = np.empty((0, self.shape[1]), dtype=self.dtype)
        return np.concatenate([empty, *chunks])


class CountedRows:
    """A block source that counts the rows that are read of another one.

    Parameters
    ----------
    source : BlockSource
        The rows.
    count : callable
        Takes the number of rows of each block that was read.
    """

    def __init__(self, source: BlockSource, count: Callable[[int], object]) -> None:
        self._source, self._count = source, count
        self.name = getattr(source, "name", "x")
        self.shape, self.dtype = source.shape, source.dtype

    def read(self, first: int, n: int) -> NDArray[Any]:
        """Return `n` consecutive rows, and count them."""
        rows = self._source.read(first, n)
        self._count(n)
        return rows

    def take(self, rows: RowNumbers) -> NDArray[Any]:
        """Return the rows of the given numbers."""
        return self._source.take(rows)


def take_by_runs(
    read: Callable[[int, int], NDArray[Any]], rows: RowNumbers, gap: int
) -> list[NDArray[Any]]:
    """Gather ascending rows by reading runs of nearby rows.

    Parameters
    ----------
    read : callable
        ``read(first, n)`` returns n consecutive rows.
    rows : int64 (m,)
        Ascending row numbers.
    gap : int
        Rows at most this far apart belong to the same run; the rows between them are read, too.

    Returns
    -------
    list of arrays
        The requested rows of each run.
    """
    if len(rows) == 0:
        return []
    max_run = max(gap, _MAX_RUN)
    starts_run = (np.diff(rows) > gap) | (np.diff((rows - rows[0]) // max_run) > 0)
    parts = []
    for run in np.split(rows, np.flatnonzero(starts_run) + 1):
        first = int(run[0])
        parts.append(read(first, int(run[-1]) - first + 1)[run - first])
    return parts


@contextmanager
def raising_format_errors(name: str, kind: str, *errors: type[Exception]) -> Iterator[None]:
    """Turn the exceptions of libraries that read a damaged file into a one-line FormatError.

    Parameters
    ----------
    name : str
        The file, which exists.
    kind : str
        Its expected kind, such as ``an HDF5 file``.
    *errors : exception types
        The library's own exceptions.
    """
    try:
        yield
    except _DAMAGE_ERRORS + errors as error:
        if str(error).startswith(name):  # raised by waterfill
            raise
        reason = str(error.args[0] if isinstance(error, KeyError) else error).partition("\n")[0]
        raise FormatError(f"{name}: not {kind}, or damaged: {reason}") from None
