"""Rows of vectors from whatever holds them, a float32 block at a time.

Nothing here copies the whole input: blocks are converted as they are asked for, and pages of a
memory-mapped file are given back once they have been read. What is no array, but can be read in
blocks, is a `BlockSource`.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from waterfill import _core
from waterfill.errors import ArgumentError

FloatRows = NDArray[np.float32]

_BLOCK_BYTES = 8 << 20
_DLPACK_CPU = 1


@runtime_checkable
class BlockSource(Protocol):
    """Vectors that are read in blocks, of a file that need not fit in memory.

    What `waterfill.open_vectors` returns for formats that cannot be mapped; an object of any other
    class with these attributes and methods is read in the same way. If it has a ``name``, error
    messages call it so.
    """

    @property
    def shape(self) -> tuple[int, ...]:
        """Rows and dimensions."""
        ...

    @property
    def dtype(self) -> np.dtype[Any]:
        """What `read` and `take` return."""
        ...

    def read(self, first: int, n: int) -> NDArray[Any]:
        """Return the rows from `first` to ``first + n - 1``, which exist."""
        ...

    def take(self, rows: NDArray[np.int64]) -> NDArray[Any]:
        """Return the rows with these ascending numbers."""
        ...


class Rows:
    """A matrix of vectors, read in float32 blocks.

    Parameters
    ----------
    x : array_like or BlockSource, shape (n, d)
        NumPy array or memory map of any real dtype, an object with ``__dlpack__`` on the CPU (such
        as a torch tensor) or with ``__array__``, a nested sequence, or what is read in blocks.
    name : str
        What error messages call it, if it has no name of its own.
    d : int, optional
        The number of dimensions that is wanted.

    Raises
    ------
    TypeError
        If `x` cannot be read as an array of real numbers, or lies on another device.
    ValueError
        If `x` is not two-dimensional or has another number of dimensions than `d`.
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
        """What the rows are read from."""
        return self._source

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the values as they came."""
        return np.dtype(self._source.dtype)

    @property
    def block_rows(self) -> int:
        """Rows of a block: about 8 MiB of float32."""
        return max(64, _BLOCK_BYTES // (4 * self.d))

    def blocks(self, *, finite: bool = True) -> Iterator[tuple[int, FloatRows]]:
        """Yield (number of the first row, block as C-contiguous float32).

        With `finite`, a NaN or an infinity raises ValueError with the row's number.
        """
        for first in range(0, self.n, self.block_rows):
            n = min(self.block_rows, self.n - first)
            part = self._fitting(self._source.read(first, n), n)
            block = _to_float32(part)
            if finite:
                _core.require_finite(block, self.name, first)
            yield first, block
            _release(part)

    def take(self, rows: NDArray[np.int64], *, finite: bool = True) -> FloatRows:
        """Gather the rows with these ascending numbers; `finite` as for `blocks`."""
        out = np.empty((len(rows), self.d), dtype=np.float32)
        # Reading one row of a map may make megabytes around it resident, so rows are gathered
        # from one stretch of the input after the other.
        stretches = np.flatnonzero(np.diff(rows // self.block_rows)) + 1
        for start, stop in zip([0, *stretches], [*stretches, len(rows)], strict=True):
            chosen = rows[start:stop]
            if len(chosen) == 0:
                continue
            block = _to_float32(self._fitting(self._source.take(chosen), len(chosen)))
            bad = _core.first_nonfinite(block) if finite else len(block)
            if bad < len(block):
                _core.require_finite(block[bad : bad + 1], self.name, int(chosen[bad]))
            out[start:stop] = block
        return out

    def without(self, numbers: NDArray[np.int64]) -> Rows:
        """Return these rows but those with some ascending numbers; nothing is copied."""
        return Rows(Remaining(self._source, numbers, self.name)) if len(numbers) else self

    def _fitting(self, part: NDArray[Any], n: int) -> NDArray[Any]:
        """Return what a source gave, which is not to be trusted."""
        if part.shape != (n, self.d):
            raise ValueError(f"{self.name} gave rows of shape {part.shape}, not {(n, self.d)}")
        return part


class _Held:
    """An array, in memory or mapped, as a source of blocks."""

    def __init__(self, array: NDArray[Any]) -> None:
        self._array = array
        self.shape = array.shape
        self.dtype = array.dtype

    def read(self, first: int, n: int) -> NDArray[Any]:
        return self._array[first : first + n]

    def take(self, rows: NDArray[np.int64]) -> NDArray[Any]:
        chosen: NDArray[Any] = self._array[rows]
        if len(rows):
            _release(self._array[rows[0] : rows[-1] + 1])
        return chosen


class Remaining:
    """A source of blocks without some of its rows; the others are read where they lie.

    Parameters
    ----------
    source : BlockSource
    left_out : int64 (m,)
        Ascending numbers of rows.
    name : str
        What error messages call it.
    """

    def __init__(self, source: BlockSource, left_out: NDArray[np.int64], name: str) -> None:
        self._source = source
        self._before = left_out - np.arange(len(left_out))  # rows that remain before each
        self.name = name
        self.shape = (int(source.shape[0]) - len(left_out), int(source.shape[1]))
        self.dtype = source.dtype

    def __len__(self) -> int:
        return self.shape[0]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        if copy is False:
            raise ValueError(f"{self.name}: rows that remain of others are gathered in a copy")
        return self.read(0, len(self)).astype(self.dtype if dtype is None else dtype, copy=False)

    def numbers(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return what rows are numbered in the source."""
        return rows + np.searchsorted(self._before, rows, side="right")

    def read(self, first: int, n: int) -> NDArray[Any]:
        """Return rows; as the source does where none between them is left out."""
        numbers = self.numbers(np.arange(first, first + n))
        if n == 0 or numbers[-1] - numbers[0] == n - 1:
            return self._source.read(int(numbers[0]) if n else 0, n)
        return self._source.take(numbers)

    def take(self, rows: NDArray[np.int64]) -> NDArray[Any]:
        """Return the rows with these ascending numbers."""
        return self._source.take(self.numbers(rows))


def as_source(x: Any, name: str = "x") -> BlockSource:
    """Return anything that `Rows` reads as a source of blocks; TypeError if it is none."""
    source = x if isinstance(x, BlockSource) else _Held(_as_array(x, name))
    if source.dtype.kind not in "fiub":
        name = getattr(source, "name", name)
        raise TypeError(f"{name} must hold real numbers, got dtype {source.dtype}")
    return source


def _release(part: NDArray[Any]) -> None:
    """Give back the pages under rows that have been read, if nothing is lost with them.

    They are those of a memory map, one after the other, with or without gaps between them.
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
    """Return the memory map under an array, if it is one whose pages can be dropped."""
    base: Any = array
    shared = False
    while isinstance(base, np.ndarray):
        # Dropping pages of a copy-on-write map (mode 'c') would lose what was written to it.
        shared = shared or getattr(base, "mode", "c") in ("r", "r+", "w+")
        base = base.base
    usable = isinstance(base, mmap.mmap) and shared and hasattr(base, "madvise")
    return base if usable else None


def _as_array(x: Any, name: str) -> NDArray[Any]:
    return x if isinstance(x, np.ndarray) else _import_array(x, name)


def _import_array(x: Any, name: str) -> NDArray[Any]:
    if hasattr(x, "__dlpack_device__"):
        device = int(x.__dlpack_device__()[0])
        if device != _DLPACK_CPU:
            raise TypeError(
                f"{name} lies on a device (DLPack type {device}); move it to the CPU first, "
                "for example with x.cpu()"
            )
        try:
            return np.from_dlpack(x)
        except (BufferError, RuntimeError, TypeError) as error:
            raise TypeError(f"{name} cannot be read through DLPack: {error}") from error
    try:
        return np.asarray(x)
    except (TypeError, ValueError) as error:
        raise TypeError(f"{name} cannot be read as an array: {error}") from error


def _to_float32(block: NDArray[Any]) -> FloatRows:
    with np.errstate(over="ignore"):  # what does not fit becomes inf, which is then reported
        return np.ascontiguousarray(block, dtype=np.float32)
