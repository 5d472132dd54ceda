"""The space that stock FAISS quantizes in: where every coordinate of a codec goes.

A codec's groups have unequal widths; FAISS's sub-quantizers are equally wide. Every group gets a
sub-quantizer as wide as the widest, with slots to spare. Directions that the codec leaves out fill
spare slots as far as scores need them, other slots stay 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from waterfill.faiss.file_writer import Floats
from waterfill.training.train import QUARTERS

Doubles = NDArray[np.float64]

_CENTROIDS = 256
_NOTHING = 1e-6  # a part of the mean, relative to it, that is rounding


class Decoder:
    """The directions that codes stand for, in numbers: a codec's arrays and tables of them.

    Attributes
    ----------
    rows : float64 (p, d)
        The codec's basis; a dimension with a second byte has its row twice.
    values : float64 (p, 256)
        Coordinates of the centroids of each dimension's group along those rows.
    origins : float64 (c, d)
        The centroids of the cells, or the mean alone.
    angles : float64 (r,)
        How the dimension of each second byte is split in two coordinates: so that `excess` is
        small.
    """

    def __init__(self, arrays: dict[str, Any], settings: dict[str, Any]) -> None:
        weights = arrays["weights"].astype(np.float64)[:, None]
        self.rows = arrays["basis"].astype(np.float64)
        self.values = arrays["books"] / weights
        self.mean = arrays["mean"].astype(np.float64)
        self.cells = len(arrays["centroids"])
        origins = arrays["centroids"] if self.cells else arrays["mean"][None]
        self.origins = origins.astype(np.float64)
        self.widths = [width for width, _ in arrays["shapes"]]
        self.groups = len(self.widths)
        self.starts = np.cumsum([0, *self.widths])
        self.rests: list[tuple[int, int]] = arrays["rests"]
        self.angles = self._angles()
        self._lengths = self._squares(self.values)
        self._cell_lengths = self._squares(np.repeat(arrays["cells"] / weights, 16, axis=1))
        low, step = settings["scale"]
        self._scales = np.concatenate([[0.0], np.exp(low + step * np.arange(255))])
        self._stored_alpha = settings["alpha_ip"] / QUARTERS
        self.middle_scale = float(self._scales[128])

    def _squares(self, values: Doubles) -> Doubles:
        return np.add.reduceat(np.square(values), self.starts[:-1], axis=0)

    def cell_numbers(self, codes: NDArray[np.uint8]) -> NDArray[np.int64]:
        """Return the cell of each code, 0 where there are none."""
        tail = codes[:, self.groups + 1 :].astype(np.int64)
        return np.asarray((tail << (8 * np.arange(tail.shape[1]))).sum(axis=1), dtype=np.int64)

    def coordinates(self, codes: NDArray[np.uint8]) -> Floats:
        """Return <row, u_hat> along the codec's rows, (n, p)."""
        parts = [
            self.values[start : start + width][:, codes[:, g]].astype(np.float32)
            for g, (start, width) in enumerate(zip(self.starts, self.widths, strict=False))
        ]
        return np.ascontiguousarray(np.concatenate(parts).T)

    def scales(self, codes: NDArray[np.uint8], alpha: float) -> tuple[Doubles, Doubles]:
        """Return s and |u_hat|^2 of each code; s is 0 where nothing can be scaled."""
        squares = np.zeros(len(codes))
        cells = np.zeros(len(codes))
        for g in range(self.groups):
            squares += self._lengths[g][codes[:, g]]
            cells += self._cell_lengths[g][codes[:, g]]
        z = self._scales[codes[:, self.groups]]
        rho = z * cells ** (self._stored_alpha / 2)
        return rho / np.maximum(np.sqrt(squares), 1e-6) ** alpha, squares

    def excess(self, codes: NDArray[np.uint8]) -> Doubles:
        """Return by how much second bytes make |u_hat|^2 too long in FAISS's space.

        A dimension of two bytes a and b is split in two coordinates at an angle, which hold
        ``a / cos`` and ``b / sin``. Products come out right; the square of the length is
        ``(a tan)^2 + (b / tan)^2`` more than the ``a^2 + b^2`` that the codec reckons with.
        """
        total = np.zeros(len(codes))
        for (column, whole), angle in zip(self.rests, self.angles, strict=True):
            first, second = self._pair(codes, column, whole)
            total += np.square(first * np.tan(angle)) + np.square(second / np.tan(angle))
        return total

    def leanings(self, codes: NDArray[np.uint8]) -> Doubles:
        """Return <origin, u_hat> of each code."""
        points = self.origins @ self.rows.T
        if len(points) == 1:  # a number each centroid, without going back to coordinates
            products = np.add.reduceat(points[0][:, None] * self.values, self.starts[:-1], axis=0)
            own = [products[g][codes[:, g]] for g in range(self.groups)]
            return np.asarray(np.sum(own, axis=0))
        points = points.astype(np.float32)[self.cell_numbers(codes)]
        return np.asarray(np.einsum("ij,ij->i", points, self.coordinates(codes)), dtype=np.float64)

    def _pair(self, codes: NDArray[np.uint8], column: int, whole: int) -> tuple[Doubles, Doubles]:
        def value(at: int) -> Doubles:
            group = int(np.searchsorted(self.starts, at, side="right")) - 1
            return np.asarray(self.values[at][codes[:, group]])

        return value(whole), value(column)

    def _angles(self) -> Doubles:
        ratios = [
            np.abs(self.values[column]).mean() / np.abs(self.values[whole]).mean()
            for column, whole in self.rests
        ]
        return np.arctan(np.sqrt(np.clip(ratios, 1e-6, 1))) if ratios else np.zeros(0)


@dataclass(frozen=True)
class Space:
    """A chain of transforms, and what is quantized behind it.

    Attributes
    ----------
    widen : int64 (d + more,)
        First step: dimensions, and zeros behind them.
    matrix, bias : float64
        Second step: orthonormal rows.
    slots : int64 (sub-quantizers * width,)
        Third step: the row that each slot takes, or -1.
    books : float32 (sub-quantizers, 256, width)
        What the codec's bytes stand for there, and zeros for the byte that may stand behind them.
    origins : float32 (cells, slots)
        The centroids of the cells there; empty without cells.
    """

    widen: NDArray[np.int64]
    matrix: Doubles
    bias: Doubles
    slots: NDArray[np.int64]
    books: Floats
    origins: Floats


def build_space(decoder: Decoder, *, scale: float, l2: bool, extra: bool) -> Space:
    """Lay out the space: `scale` times directions, with a byte more for offsets if `extra`.

    That byte's sub-quantizer has two slots of its own. Behind the first stands 1 for inner
    products and 0 for L2, behind the second 0.
    """
    coded, factors = _coded_rows(decoder)
    left = _left_over(decoder, every=l2 or decoder.cells > 0)
    one = extra and not l2
    d, more = decoder.rows.shape[1], len(decoder.rests) + one
    matrix = np.zeros((len(coded) + len(left) + one, d + more))
    matrix[: len(coded), : d + len(decoder.rests)] = coded
    matrix[len(coded) : len(coded) + len(left), :d] = left
    bias = np.zeros(len(matrix))
    if one:
        matrix[-1, -1] = bias[-1] = 1
    slots, width = _slots(decoder.widths, len(left), extra, len(matrix) - 1 if one else -1)
    points = np.concatenate([decoder.origins, np.zeros((len(decoder.origins), more))], axis=1)
    points = _take(points @ matrix.T, slots)  # the coordinate of the 1 stays 0
    books = _books(decoder, scale / factors, slots, width)
    if not decoder.cells:
        books += points.reshape(-1, 1, width)
    return Space(
        widen=np.concatenate([np.arange(d), np.full(more, -1)]),
        matrix=matrix,
        bias=bias,
        slots=slots,
        books=books.astype(np.float32),
        origins=points.astype(np.float32) if decoder.cells else np.zeros((0, len(slots)), "f4"),
    )


def _coded_rows(decoder: Decoder) -> tuple[Doubles, Doubles]:
    """Return rows of the codec's dimensions, and what centroids' coordinates are divided by."""
    rows = np.concatenate([decoder.rows, np.zeros((len(decoder.rows), len(decoder.rests)))], axis=1)
    factors = np.ones(len(rows))
    for i, ((column, whole), angle) in enumerate(zip(decoder.rests, decoder.angles, strict=True)):
        zero = decoder.rows.shape[1] + i
        factors[whole], factors[column] = np.cos(angle), np.sin(angle)
        rows[whole] *= np.cos(angle)
        rows[column] *= np.sin(angle)
        rows[whole, zero], rows[column, zero] = -np.sin(angle), np.cos(angle)
    return rows, factors


def _left_over(decoder: Decoder, *, every: bool) -> Doubles:
    """Return orthonormal rows for what the codec leaves out: all of it, or what the mean needs."""
    second = [column for column, _ in decoder.rests]
    rows = np.delete(decoder.rows, second, axis=0)
    if every:
        full, _ = np.linalg.qr(rows.T, mode="complete")
        return np.asarray(full[:, len(rows) :].T)
    rest = decoder.mean - rows.T @ (rows @ decoder.mean)
    rest -= rows.T @ (rows @ rest)
    length = np.linalg.norm(rest)
    if len(rows) == len(rest) or length <= _NOTHING * np.linalg.norm(decoder.mean):
        return np.zeros((0, len(rest)))
    return np.asarray(rest[None] / length)


def _slots(
    widths: list[int], left: int, extra: bool, constant: int
) -> tuple[NDArray[np.int64], int]:
    """Spread rows over sub-quantizers of one width."""
    own = [*widths, 2] if extra else widths
    width = max(*own, -(-(sum(own) + left) // len(own)))
    slots = np.full((len(own), width), -1)
    free = np.ones(slots.shape, dtype=bool)
    row = 0
    for g, count in enumerate(own):
        free[g, :count] = False
        if g < len(widths):
            slots[g, :count] = np.arange(row, row + count)
            row += count
    if extra:
        slots[-1, 0] = constant
    slots[tuple(np.argwhere(free)[:left].T)] = np.arange(row, row + left)
    return slots.reshape(-1), width


def _take(rows: Doubles, slots: NDArray[np.int64]) -> Doubles:
    return np.where(slots >= 0, rows[:, slots], 0)


def _books(decoder: Decoder, factors: Doubles, slots: NDArray[np.int64], width: int) -> Doubles:
    books = np.zeros((len(slots) // width, _CENTROIDS, width))
    values = decoder.values * factors[:, None]
    for g, (start, count) in enumerate(zip(decoder.starts, decoder.widths, strict=False)):
        books[g, :, :count] = values[start : start + count].T
    return books
