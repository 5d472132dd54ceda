"""Layout of an export: the coordinates of a codec in the sub-quantizers of stock FAISS.

The groups of a codec have unequal widths; the sub-quantizers of FAISS have one. Each group gets a
sub-quantizer as wide as the widest group. Its spare slots take the directions outside the codec's
basis that scores need, or stay 0.
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
_TOLERANCE = 1e-6  # relative norm below which a remainder of the mean is rounding error


class Decoder:
    """Decoding tables of a codec, in float64.

    Attributes
    ----------
    rows : float64 (p, d)
        The codec's basis; a dimension with a second byte has its row twice.
    values : float64 (p, 256)
        Coordinates of each group's centroids along those rows.
    origins : float64 (c, d)
        Cell centroids; the mean if there are no cells.
    angles : float64 (r,)
        Angles that split each dimension with a second byte into two coordinates, chosen to keep
        `excess` small.
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
        self.second_bytes: list[tuple[int, int]] = arrays["rests"]  # (second column, first)
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
        """Return the cell of each code, int64 (n,); 0 without cells."""
        tail = codes[:, self.groups + 1 :].astype(np.int64)
        return np.asarray((tail << (8 * np.arange(tail.shape[1]))).sum(axis=1), dtype=np.int64)

    def coordinates(self, codes: NDArray[np.uint8]) -> Floats:
        """Return <row, u_hat> for each row of the basis, float32 (n, p)."""
        parts = [
            self.values[start : start + width][:, codes[:, g]].astype(np.float32)
            for g, (start, width) in enumerate(zip(self.starts, self.widths, strict=False))
        ]
        return np.ascontiguousarray(np.concatenate(parts).T)

    def nearest(self, coordinates: Doubles) -> Floats:
        """Return the nearest centroid of each group, as `coordinates`: float32 (n, p)."""
        parts = []
        for start, width in zip(self.starts, self.widths, strict=False):
            book = self.values[start : start + width].T.astype(np.float32)
            part = coordinates[:, start : start + width].astype(np.float32)
            distances = np.square(book).sum(axis=1) - 2 * part @ book.T
            parts.append(book[distances.argmin(axis=1)])
        return np.concatenate(parts, axis=1)

    def scales(self, codes: NDArray[np.uint8], alpha: float) -> tuple[Doubles, Doubles]:
        """Return s and |u_hat|^2 of each code; s is 0 for a vector at its origin."""
        squares = np.zeros(len(codes))
        cells = np.zeros(len(codes))
        for g in range(self.groups):
            squares += self._lengths[g][codes[:, g]]
            cells += self._cell_lengths[g][codes[:, g]]
        z = self._scales[codes[:, self.groups]]
        rho = z * cells ** (self._stored_alpha / 2)
        return rho / np.maximum(np.sqrt(squares), 1e-6) ** alpha, squares

    def excess(self, codes: NDArray[np.uint8]) -> Doubles:
        """Return by how much second bytes increase |u_hat|^2 in FAISS's space, float64 (n,).

        A dimension with two bytes, of values a and b, becomes two coordinates at an angle, with
        values ``a / cos`` and ``b / sin``. Inner products stay exact. The squared norm exceeds the
        codec's ``a^2 + b^2`` by ``(a tan)^2 + (b / tan)^2``.
        """
        total = np.zeros(len(codes))
        for (second, first), angle in zip(self.second_bytes, self.angles, strict=True):
            a, b = self._values_at(codes, first), self._values_at(codes, second)
            total += np.square(a * np.tan(angle)) + np.square(b / np.tan(angle))
        return total

    def origin_products(self, codes: NDArray[np.uint8]) -> Doubles:
        """Return <origin, u_hat> of each code, float64 (n,)."""
        points = self.origins @ self.rows.T
        if len(points) == 1:  # one table entry per centroid is enough
            products = np.add.reduceat(points[0][:, None] * self.values, self.starts[:-1], axis=0)
            parts = [products[g][codes[:, g]] for g in range(self.groups)]
            return np.asarray(np.sum(parts, axis=0))
        points = points.astype(np.float32)[self.cell_numbers(codes)]
        return np.asarray(np.einsum("ij,ij->i", points, self.coordinates(codes)), dtype=np.float64)

    def _values_at(self, codes: NDArray[np.uint8], column: int) -> Doubles:
        """Return the decoded coordinate of each code along one row of the basis."""
        group = int(np.searchsorted(self.starts, column, side="right")) - 1
        return np.asarray(self.values[column][codes[:, group]])

    def _angles(self) -> Doubles:
        ratios = [
            np.abs(self.values[second]).mean() / np.abs(self.values[first]).mean()
            for second, first in self.second_bytes
        ]
        return np.arctan(np.sqrt(np.clip(ratios, 1e-6, 1))) if ratios else np.zeros(0)


@dataclass(frozen=True)
class Space:
    """The transform of an export, and its codebooks and centroids.

    The M sub-quantizers have `width` slots each. A vector x becomes ``matrix @ x + bias``.

    Attributes
    ----------
    matrix, bias : float64 (M * width, d), float64 (M * width,)
        The value of each slot. The columns are orthonormal, unless scores need no direction outside
        the codec's basis.
    books : float32 (M, 256, width)
        Codebooks; zeros for the offset byte, if there is one.
    origins : float32 (cells, M * width)
        Transformed cell centroids; empty without cells.
    """

    matrix: Doubles
    bias: Doubles
    books: Floats
    origins: Floats


def build_space(
    decoder: Decoder,
    *,
    scale: float,
    l2: bool,
    extra: bool,
    cell_offsets: Doubles | None = None,
) -> Space:
    """Return the layout for directions times `scale`, with an offset byte if `extra`.

    The sub-quantizer of the offset byte has two slots. The first coordinate of a transformed vector
    is 1 for inner products and 0 for L2; the second is 0. `cell_offsets`, (cells,), are terms that
    L2 distances to the vectors of a cell contain besides: squares of a coordinate that is 0 in all
    transformed vectors.
    """
    coded, factors = _coded_rows(decoder)
    rest = _complement(decoder, every=l2 or decoder.cells > 0)
    zero = np.zeros((int(cell_offsets is not None), decoder.rows.shape[1]))
    rows = np.concatenate([coded, rest, zero])
    slots, width = _slots(decoder.widths, len(rest) + len(zero), extra)
    points = decoder.origins @ rows.T
    if cell_offsets is not None:
        points[:, -1] = np.sqrt(cell_offsets)
    points = _take(points, slots)
    bias = np.zeros(len(slots))
    if extra and not l2:
        bias[-width] = 1  # a coordinate that is always 1, but 0 for centroids
    books = _books(decoder, scale / factors, slots, width)
    if not decoder.cells:
        books += points.reshape(-1, 1, width)
    return Space(
        matrix=_take(rows.T, slots).T,
        bias=bias,
        books=books.astype(np.float32),
        origins=points.astype(np.float32) if decoder.cells else np.zeros((0, len(slots)), "f4"),
    )


def _coded_rows(decoder: Decoder) -> tuple[Doubles, Doubles]:
    """Return the rows of the codec's dimensions, and the divisors of its centroids' coordinates.

    The row of a dimension with two bytes appears twice, times the cosine and the sine of an angle.
    """
    rows, factors = decoder.rows.copy(), np.ones(len(decoder.rows))
    for (second, first), angle in zip(decoder.second_bytes, decoder.angles, strict=True):
        factors[first], factors[second] = np.cos(angle), np.sin(angle)
    return rows * factors[:, None], factors


def _complement(decoder: Decoder, *, every: bool) -> Doubles:
    """Return orthonormal rows outside the codec's basis: all of them, or the mean's remainder."""
    repeated = [second for second, _ in decoder.second_bytes]
    rows = np.delete(decoder.rows, repeated, axis=0)
    if every:
        full, _ = np.linalg.qr(rows.T, mode="complete")
        return np.asarray(full[:, len(rows) :].T)
    rest = decoder.mean - rows.T @ (rows @ decoder.mean)
    rest -= rows.T @ (rows @ rest)
    length = np.linalg.norm(rest)
    if len(rows) == len(rest) or length <= _TOLERANCE * np.linalg.norm(decoder.mean):
        return np.zeros((0, len(rest)))
    return np.asarray(rest[None] / length)


def _slots(widths: list[int], rest: int, extra: bool) -> tuple[NDArray[np.int64], int]:
    """Assign rows to the slots of sub-quantizers of one width; return slots and that width.

    The last sub-quantizer, if `extra`, has no row in its first two slots.
    """
    counts = [*widths, 2] if extra else widths
    width = max(*counts, -(-(sum(counts) + rest) // len(counts)))
    slots = np.full((len(counts), width), -1)
    free = np.ones(slots.shape, dtype=bool)
    row = 0
    for g, count in enumerate(counts):
        free[g, :count] = False
        if g < len(widths):
            slots[g, :count] = np.arange(row, row + count)
            row += count
    slots[tuple(np.argwhere(free)[:rest].T)] = np.arange(row, row + rest)
    return slots.reshape(-1), width


def _take(rows: Doubles, slots: NDArray[np.int64]) -> Doubles:
    return np.where(slots >= 0, rows[:, slots], 0)


def _books(decoder: Decoder, factors: Doubles, slots: NDArray[np.int64], width: int) -> Doubles:
    books = np.zeros((len(slots) // width, _CENTROIDS, width))
    values = decoder.values * factors[:, None]
    for g, (start, count) in enumerate(zip(decoder.starts, decoder.widths, strict=False)):
        books[g, :, :count] = values[start : start + count].T
    return books
