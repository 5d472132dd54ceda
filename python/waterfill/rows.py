"""Rows of vectors from whatever holds them, a float32 block at a time.

Nothing here copies the whole input: blocks are converted as they are asked for, and pages of a
memory-mapped file are given back once they have been read.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from waterfill import _core
from waterfill.errors import ArgumentError

FloatRows = NDArray[np.float32]

_BLOCK_BYTES = 8 << 20
_DLPACK_CPU = 1


class Rows:
    """A matrix of vectors, read in float32 blocks.

    Parameters
    ----------
    x : array_like, shape (n, d)
        NumPy array or memory map of any real dtype, an object with ``__dlpack__`` on the CPU (such
        as a torch tensor) or with ``__array__``, or a nested sequence.
    name : str
        What error messages call it.
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
        array = _as_array(x, name)
        if array.ndim != 2:
            hint = "; for a single vector use x[None, :]" if array.ndim == 1 else ""
            raise ArgumentError(
                f"{name} must have shape (n, d), got shape {tuple(array.shape)}{hint}"
            )
        if array.shape[1] == 0:
            raise ArgumentError(f"{name} has 0 dimensions; at least 1 is needed")
        if d is not None and array.shape[1] != d:
            raise ArgumentError(f"{name} has {array.shape[1]} dimensions, expected {d}")
        self._array = array
        self._pages = _Pages.of(array)
        self.name = name
        self.n = int(array.shape[0])
        self.d = int(array.shape[1])

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the values as they came."""
        return self._array.dtype

    @property
    def block_rows(self) -> int:
        """Rows of a block: about 8 MiB of float32."""
        return max(64, _BLOCK_BYTES // (4 * self.d))

    def blocks(self, *, finite: bool = True) -> Iterator[tuple[int, FloatRows]]:
        """Yield (number of the first row, block as C-contiguous float32).

        With `finite`, a NaN or an infinity raises ValueError with the row's number.
        """
        for first in range(0, self.n, self.block_rows):
            part = self._array[first : first + self.block_rows]
            block = _to_float32(part)
            if finite:
                _core.require_finite(block, self.name, first)
            yield first, block
            if self._pages is not None:
                self._pages.release(part)

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
            block = _to_float32(self._array[chosen])
            for i in np.flatnonzero(~np.isfinite(block).all(axis=1))[:1] if finite else ():
                _core.require_finite(block[i : i + 1], self.name, int(chosen[i]))
            out[start:stop] = block
            if self._pages is not None:
                self._pages.release(self._array[chosen[0] : chosen[-1] + 1])
        return out


class _Pages:
    """The memory map under an array, if it is one whose pages can be dropped without loss."""

    def __init__(self, mapping: mmap.mmap) -> None:
        self._mapping = mapping
        self._start = np.frombuffer(mapping, dtype=np.uint8).ctypes.data

    @staticmethod
    def of(array: NDArray[Any]) -> _Pages | None:
        base: Any = array
        shared = False
        while isinstance(base, np.ndarray):
            # Dropping pages of a copy-on-write map (mode 'c') would lose what was written to it.
            shared = shared or getattr(base, "mode", "c") in ("r", "r+", "w+")
            base = base.base
        usable = isinstance(base, mmap.mmap) and shared and hasattr(base, "madvise")
        return _Pages(base) if usable else None

    def release(self, part: NDArray[Any]) -> None:
        if not part.flags.c_contiguous:
            return
        page = mmap.PAGESIZE
        first = (part.ctypes.data - self._start) // page * page
        last = -(-(part.ctypes.data - self._start + part.nbytes) // page) * page
        self._mapping.madvise(mmap.MADV_DONTNEED, first, min(last, len(self._mapping)) - first)


def _as_array(x: Any, name: str) -> NDArray[Any]:
    array: NDArray[Any] = x if isinstance(x, np.ndarray) else _import_array(x, name)
    if array.dtype.kind not in "fiub":
        raise TypeError(f"{name} must hold real numbers, got dtype {array.dtype}")
    return array


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
