"""Rows of vectors from arrays, tensors and files, in blocks of float32.

Nothing here copies the whole input: blocks are converted on demand, and pages of a memory-mapped
file are released once they have been read.
"""

from __future__ import annotations

import copy
import mmap
from collections.abc import Callable, Iterator
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from waterfill import _core
from waterfill.data.arrays import read_numbers, require_real
from waterfill.data.in_memory import read_vectors
from waterfill.data.missing_rows import missing_as_nan
from waterfill.errors import ArgumentError

FloatRows = NDArray[np.float32]

_BLOCK_BYTES = 8 << 20
_FLOAT32 = np.dtype(np.float32)


@runtime_checkable
class BlockSource(Protocol):
    """Protocol of vectors that are read in blocks and need not fit in memory.

    `waterfill.open_vectors` returns one for formats that cannot be mapped. Objects of any class
    with these attributes and methods are accepted as vectors. Error messages use the attribute
    ``name`` if there is one.

    Attributes
    ----------
    shape : tuple of int
        Numbers of rows and dimensions.
    dtype : numpy.dtype
        Of the values.
    """

    @property
    def shape(self) -> tuple[int, ...]:
        """Numbers of rows and dimensions."""
        ...

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the arrays that `read` and `take` return."""
        ...

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
        ...

    def take(self, rows: NDArray[np.int64]) -> NDArray[Any]:
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
        ...


class Rows:
    """A matrix of vectors, read in float32 blocks.

    Parameters
    ----------
    x : array_like or BlockSource, shape (n, d)
        NumPy array or memory map of any real dtype; a torch tensor, or an object with
        ``__dlpack__``, on the CPU; an object with ``__array__``; a sequence of vectors; a column of
        vectors, or a frame or table of numbers, of pandas or Arrow; or a `BlockSource`.
    name : str
        Name for error messages if `x` has no attribute ``name``.
    d : int, optional
        Expected number of dimensions.

    Raises
    ------
    TypeError
        If `x` cannot be read as an array of real numbers, or is not on the CPU.
    ValueError
        If `x` is not two-dimensional, has another number of dimensions than `d`, or has masked
        values. Rows of a column that are null or of another length raise when they are read.
    """

    def __init__(self, x: Any, name: str = "x", d: int | None = None) -> None:
        source = as_source(x, name)
        name = getattr(source, "name", name)
        shape = tuple(source.shape)
        if len(shape) != 2:
            hint = "; for a single vector use x[None, :]" if len(shape) == 1 else ""
            raise ArgumentError(f"{name} must have shape (n, d), got shape {shape}{hint}")
        if shape[1] == 0:
            raise ArgumentError(f"{name} has 0 dimensions; at least 1 is needed")
        if d is not None and shape[1] != d:
            raise ArgumentError(f"{name} has {shape[1]} dimensions, expected {d}")
        self._source = source
        self.name = name
        self.n = int(shape[0])
        self.d = int(shape[1])

    @property
    def source(self) -> BlockSource:
        """The source that rows are read from."""
        return self._source

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the source, before conversion to float32."""
        return np.dtype(self._source.dtype)

    @property
    def block_rows(self) -> int:
        """Rows per block: about 8 MiB of float32."""
        return max(64, _BLOCK_BYTES // (4 * self.d))

    def blocks(
        self,
        *,
        finite: bool = True,
        missing: bool = False,
        start: int = 0,
        stop: int | None = None,
        step: int | None = None,
    ) -> Iterator[tuple[int, FloatRows]]:
        """Yield (number of the first row, block as C-contiguous float32).

        With `finite`, a NaN or an infinity raises ValueError with the row's number. With `missing`,
        rows that are null or of another length are NaN; otherwise they raise ValueError, too.
        `start` and `stop` limit the rows; `step` is their number in a block.
        """
        source = missing_as_nan(self._source) if missing else self._source
        stop = self.n if stop is None else stop
        step = self.block_rows if step is None else step
        for first in range(start, stop, step):
            n = min(step, stop - first)
            part = self._checked(source.read(first, n), n)
            block = _to_float32(part)
            if finite:
                _core.require_finite(block, self.name, first)
            yield first, block
            _release(part)

    def joined(self, convert: Callable[[FloatRows], FloatRows]) -> FloatRows:
        """Return all rows in one array, checked to be finite and converted block by block.

        It is a view of an array in memory that is float32 already and that `convert` returns as it
        is.
        """
        joined: FloatRows | None = None
        for first, block in self.blocks():
            part = convert(block)
            if joined is None:
                if len(part) == self.n:
                    return part
                view = self._view() if part is block else None
                joined = np.empty((self.n, self.d), np.float32) if view is None else view
            if part is not block or not np.shares_memory(block, joined):
                joined[first : first + len(part)] = part
        return np.empty((0, self.d), np.float32) if joined is None else joined

    def _view(self) -> FloatRows | None:
        """Return a view of all rows as float32, or None."""
        if not isinstance(self._source, _ArraySource):
            return None
        rows = self._checked(self._source.read(0, self.n), self.n)
        usable = rows.dtype == np.float32 and rows.flags.c_contiguous and rows.flags.aligned
        return rows if usable else None

    def take(
        self, rows: NDArray[np.int64], *, finite: bool = True, missing: bool = False
    ) -> FloatRows:
        """Gather the rows with these ascending numbers; options as for `blocks`."""
        source = missing_as_nan(self._source) if missing else self._source
        fetch = getattr(source, "fetch", None)
        if fetch is not None:  # rows that lie elsewhere come at once
            fetch(rows)
        out = np.empty((len(rows), self.d), dtype=np.float32)
        # Reading one row of a map may make megabytes around it resident, so rows are gathered
        # block by block.
        splits = np.flatnonzero(np.diff(rows // self.block_rows)) + 1
        for start, stop in zip([0, *splits], [*splits, len(rows)], strict=True):
            numbers = rows[start:stop]
            if len(numbers) == 0:
                continue
            block = _to_float32(self._checked(source.take(numbers), len(numbers)))
            bad = _core.first_nonfinite(block) if finite else len(block)
            if bad < len(block):
                _core.require_finite(block[bad : bad + 1], self.name, int(numbers[bad]))
            out[start:stop] = block
        return out

    def take_unordered(self, rows: NDArray[np.int64], *, finite: bool = True) -> FloatRows:
        """Gather the rows with these numbers, in any order; `finite` as for `blocks`."""
        order = np.argsort(rows, kind="stable")
        out = np.empty((len(rows), self.d), dtype=np.float32)
        out[order] = self.take(rows[order], finite=finite)
        return out

    def without(self, numbers: NDArray[np.int64]) -> Rows:
        """Return a view without the rows of these ascending numbers."""
        return Rows(FilteredSource(self._source, numbers, self.name)) if len(numbers) else self

    def _checked(self, part: NDArray[Any], n: int) -> NDArray[Any]:
        """Return rows of a source as an array of the right shape: a user may have written it."""
        if not isinstance(part, np.ndarray) or isinstance(part, np.ma.MaskedArray):
            part = read_numbers(part, self.name)
        if type(part) not in (np.ndarray, np.memmap):
            part = np.asarray(part)  # a subclass may return another shape than its memory has
        if part.shape != (n, self.d):
            raise ValueError(
                f"{self.name}: expected the source to return shape {(n, self.d)}, got {part.shape}"
            )
        return part


def plain_rows(x: Any, d: int) -> FloatRows | None:
    """Return `x` if the core can read it as it is, or None: then `Rows` reads or refuses it.

    That is a C-contiguous float32 array of shape (n, d) in memory. Values are not checked.
    """
    if type(x) is not np.ndarray or x.dtype is not _FLOAT32 or x.ndim != 2 or x.shape[1] != d:
        return None
    flags = x.flags
    return x if flags.c_contiguous and flags.aligned else None


class _ArraySource:
    """An array, in memory or mapped, as a block source."""

    def __init__(self, array: NDArray[Any]) -> None:
        self._array = array
        self.shape = array.shape
        self.dtype = array.dtype

    def read(self, first: int, n: int) -> NDArray[Any]:
        return self._array[first : first + n]

    def take(self, rows: NDArray[np.int64]) -> NDArray[Any]:
        taken: NDArray[Any] = self._array[rows]
        if len(rows):
            _release(self._array[rows[0] : rows[-1] + 1])
        return taken


class FilteredSource:
    """A view of a block source without some of its rows.

    Parameters
    ----------
    source : BlockSource
    excluded : int64 (m,)
        Ascending numbers of the rows to leave out.
    name : str
        Name for error messages.
    """

    def __init__(self, source: BlockSource, excluded: NDArray[np.int64], name: str) -> None:
        self._source = source
        self._before = excluded - np.arange(len(excluded))  # remaining rows before each of them
        self.name = name
        self.shape = (int(source.shape[0]) - len(excluded), int(source.shape[1]))
        self.dtype = source.dtype

    def __len__(self) -> int:
        return self.shape[0]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        if copy is False:
            raise ValueError(f"{self.name}: some rows are left out, so copy=False is not possible")
        return self.read(0, len(self)).astype(self.dtype if dtype is None else dtype, copy=False)

    def numbers(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the numbers in the source of rows of this view."""
        return rows + np.searchsorted(self._before, rows, side="right")

    def missing_as_nan(self) -> FilteredSource:
        """Return the same rows, with NaN in those that are no vectors."""
        view = copy.copy(self)
        view._source = missing_as_nan(self._source)
        return view

    def read(self, first: int, n: int) -> NDArray[Any]:
        """Return the rows from `first` to ``first + n - 1``; a slice of the source if possible."""
        numbers = self.numbers(np.arange(first, first + n))
        if n == 0 or numbers[-1] - numbers[0] == n - 1:
            return self._source.read(int(numbers[0]) if n else 0, n)
        return self._source.take(numbers)

    def take(self, rows: NDArray[np.int64]) -> NDArray[Any]:
        """Return the rows with these ascending numbers."""
        return self._source.take(self.numbers(rows))


def as_source(x: Any, name: str = "x") -> BlockSource:
    """Return any input that `Rows` accepts as a block source; TypeError for other objects."""
    vectors = x if _is_source(x) else read_vectors(x, name)
    source = vectors if _is_source(vectors) else _ArraySource(vectors)
    require_real(np.dtype(source.dtype), getattr(source, "name", name))
    return source


def _is_source(x: Any) -> bool:
    # An array lacks `read`; the check of a protocol takes as long as the rest of a small search.
    return type(x) is not np.ndarray and isinstance(x, BlockSource)


def _release(part: NDArray[Any]) -> None:
    """Release the pages of a memory map under rows that have been read, if it is safe.

    The rows are consecutive, with or without gaps between them.
    """
    mapping = _mapping(part)
    if mapping is None or part.ndim != 2 or part.size == 0:
        return
    row = part.shape[1] * part.itemsize
    if part.strides[0] < row or part.strides[1] != part.itemsize:
        return
    start = part.ctypes.data - np.frombuffer(mapping, dtype=np.uint8).ctypes.data
    stop = start + (len(part) - 1) * part.strides[0] + row
    first = start // mmap.PAGESIZE * mmap.PAGESIZE
    last = min(-(-stop // mmap.PAGESIZE) * mmap.PAGESIZE, len(mapping))
    mapping.madvise(mmap.MADV_DONTNEED, first, last - first)


def _mapping(array: NDArray[Any]) -> mmap.mmap | None:
    """Return the memory map under an array if its pages can be dropped without loss."""
    base: Any = array
    shared = False
    while isinstance(base, np.ndarray):
        # Dropping pages of a copy-on-write map (mode 'c') would lose its changes.
        shared = shared or getattr(base, "mode", "c") in ("r", "r+", "w+")
        base = base.base
    usable = isinstance(base, mmap.mmap) and shared and hasattr(base, "madvise")
    return base if usable else None


def _to_float32(block: NDArray[Any]) -> FloatRows:
    with np.errstate(over="ignore"):  # overflow becomes inf, which is then reported
        return np.require(block, np.float32, ["C_CONTIGUOUS", "ALIGNED"])
