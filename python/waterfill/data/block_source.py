"""What files that cannot be mapped have in common, and several files as one."""

from __future__ import annotations

import zipfile
import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from waterfill._core import FormatError
from waterfill.data.rows import BlockSource

RowNumbers = NDArray[np.int64]

_LONGEST_RUN = 4096  # rows that are read at once to take some of them
# What libraries raise over files that are damaged, or others than their names say.
_DAMAGE: tuple[type[Exception], ...] = (
    OSError,
    EOFError,
    KeyError,
    NotImplementedError,
    OverflowError,
    RuntimeError,
    ValueError,
    zipfile.BadZipFile,
    zlib.error,
)


class FileSource(ABC):
    """Vectors of a file, read when they are asked for.

    Every function of waterfill that takes an array takes it, too. ``x[first:last]`` and
    ``np.asarray(x)`` read rows into memory.

    Attributes
    ----------
    name : str
        The file, and what of it.
    shape : (int, int)
        Rows and dimensions.
    dtype : numpy.dtype
    """

    ndim = 2

    def __init__(self, name: str, shape: tuple[int, int], dtype: Any) -> None:
        if min(shape) < 0:
            raise FormatError(f"{name}: shape {shape} cannot be; the file is damaged")
        self.name = name
        self.shape = shape
        self.dtype: np.dtype[Any] = np.dtype(dtype)

    @abstractmethod
    def take(self, rows: RowNumbers) -> NDArray[Any]:
        """Return the rows with these ascending numbers, shape (len(rows), d)."""

    def read(self, first: int, n: int) -> NDArray[Any]:
        """Return the rows from `first` to ``first + n - 1``, shape (n, d)."""
        return self.take(np.arange(first, first + n, dtype=np.int64))

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: Any) -> NDArray[Any]:
        if not isinstance(key, slice):
            raise TypeError(f"{self.name}: rows are read by slices such as x[0:1000], got {key!r}")
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


class Joined(FileSource):
    """Several sources, the rows of each after those of the one before."""

    def __init__(self, parts: Sequence[BlockSource], names: Sequence[str]) -> None:
        for part, name in zip(parts, names, strict=True):
            if part.shape[1] != parts[0].shape[1]:
                raise ValueError(
                    f"{name} has {part.shape[1]} dimensions, {names[0]} {parts[0].shape[1]}; "
                    "files that are read together must have the same"
                )
        self._parts = parts
        self._starts = np.cumsum([0, *(part.shape[0] for part in parts)])
        shape = (int(self._starts[-1]), int(parts[0].shape[1]))
        dtype = np.result_type(*(part.dtype for part in parts))
        super().__init__(f"{names[0]} and {len(parts) - 1} more", shape, dtype)

    def read(self, first: int, n: int) -> NDArray[Any]:
        """Return the rows from `first` to ``first + n - 1``, shape (n, d)."""
        found = []
        for part, start, stop in self._spans():
            a, b = max(first, start), min(first + n, stop)
            if a < b:
                found.append(part.read(a - start, b - a))
        return self._together(found)

    def take(self, rows: RowNumbers) -> NDArray[Any]:
        """Return the rows with these ascending numbers, shape (len(rows), d)."""
        found = []
        for part, start, stop in self._spans():
            a, b = np.searchsorted(rows, [start, stop])
            if a < b:
                found.append(part.take(rows[a:b] - start))
        return self._together(found)

    def _spans(self) -> Iterator[tuple[BlockSource, int, int]]:
        for part, start, stop in zip(self._parts, self._starts, self._starts[1:], strict=False):
            yield part, int(start), int(stop)

    def _together(self, found: list[NDArray[Any]]) -> NDArray[Any]:
        if len(found) == 1:
            return found[0]
        empty = np.empty((0, self.shape[1]), dtype=self.dtype)
        return np.concatenate([empty, *found])


def take_by_runs(
    read: Callable[[int, int], NDArray[Any]], rows: RowNumbers, gap: int
) -> list[NDArray[Any]]:
    """Gather ascending rows by reading those that lie near to each other, with what is between.

    Parameters
    ----------
    read : callable
        Returns n rows from the first.
    rows : int64 (m,)
    gap : int
        Rows so far apart are read together.

    Returns
    -------
    list of arrays
        The wanted rows of each run.
    """
    if len(rows) == 0:
        return []
    longest = max(gap, _LONGEST_RUN)
    apart = (np.diff(rows) > gap) | (np.diff((rows - rows[0]) // longest) > 0)
    ends = np.flatnonzero(apart) + 1
    parts = []
    for chosen in np.split(rows, ends):
        first = int(chosen[0])
        parts.append(read(first, int(chosen[-1]) - first + 1)[chosen - first])
    return parts


@contextmanager
def naming(name: str, what: str, *more: type[Exception]) -> Iterator[None]:
    """Turn what libraries raise over a damaged file into a FormatError of one line.

    Parameters
    ----------
    name : str
        The file, which could be opened.
    what : str
        What it should be.
    *more : exceptions
        That are the library's own.
    """
    try:
        yield
    except _DAMAGE + more as error:
        if str(error).startswith(name):  # ours
            raise
        reason = str(error.args[0] if isinstance(error, KeyError) else error).partition("\n")[0]
        raise FormatError(f"{name}: not {what}, or damaged: {reason}") from None
