"""k-means of codebooks on a device: the core decides, and the device looks at rows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from waterfill import _core
from waterfill.device.backend import Device, Memory, blocks, f64, part_of, u32, upload
from waterfill.device.candidate_keys import scores_of_ordered
from waterfill.device.cell_assignment import CellAssignment
from waterfill.device.codebook_settings import CodebookSettings
from waterfill.device.row_samples import read_rows

Codebooks = tuple[NDArray[np.float32], NDArray[np.float32]]

_THREADS = 256
_NEAREST_THREADS = 128  # each with two rows
_PARTS = 16  # lanes that share a row in `unit_directions`
_TILE = 64  # rows and columns of a tile in `project_rows`
_COLUMN_ROWS = 256  # rows of a block of the kernels that take columns
_SUM_ROWS, _STRIP = 2048, 24  # rows and columns of a block of `centroid_sums`
_BINS = 1024
_CHUNK_ROWS = 1 << 16  # whose directions exist together


@dataclass(frozen=True)
class Coordinates:
    """The coordinates of rows in the memory of a device, float32 (n, columns)."""

    memory: Memory
    n: int
    columns: int


def coordinates(device: Device, x: Memory, n: int, settings: CodebookSettings) -> Coordinates:
    """Return the coordinates of the directions of rows from the mean, or from their centroids."""
    matrix = settings.weights[:, None] * settings.basis
    columns, d = matrix.shape
    center, weights = upload(device, settings.mean), upload(device, matrix)
    cells = None
    if len(settings.centroids):
        tables = _core.partition_tables(settings.centroids, settings.mean, settings.by_direction)
        cells = CellAssignment(device, tables, center, d).assign(device, x, n)
        center = upload(device, settings.centroids)
    y = device.allocate(n * columns * 4)
    directions = device.allocate(min(n, _CHUNK_ROWS) * d * 4)
    for first in range(0, n, _CHUNK_ROWS):
        count = min(_CHUNK_ROWS, n - first)
        device.launch(
            "unit_directions", (blocks(count * _PARTS, _THREADS), 1), _THREADS,
            part_of(x, first * d * 4, count * d * 4), u32(count), u32(d), center,
            None if cells is None else part_of(cells, first * 2, count * 2), directions,
        )  # fmt: skip
        device.launch(
            "project_rows", (blocks(count, _TILE), blocks(columns, _TILE)), _THREADS, directions,
            u32(count), u32(d), weights, u32(columns),
            part_of(y, first * columns * 4, count * columns * 4),
        )  # fmt: skip
    return Coordinates(y, n, columns)


def train_codebooks(device: Device, y: Coordinates, settings: CodebookSettings) -> Codebooks:
    """Train the codebooks of all groups, none of which is binary.

    The columns of second bytes are overwritten in `y`.

    Returns
    -------
    books, cells : float32 (columns * 256,), (columns * 16,)
        As `_core.Codec.train` takes them.
    """
    shapes, rests = settings.shapes, settings.rests
    training = _core.CodebookTraining(shapes, y.n, settings.seed, settings.iterations)
    run = _Run(device, training, y, [width for width, _ in shapes])
    owners = {first for _, first in rests}
    # Groups with a second byte come first: the others include those of the second bytes.
    firsts = [g for g, offset in enumerate(run.offsets) if offset in owners]
    if firsts:
        run.train(firsts)
        run.subtract(firsts, rests)
    run.train([g for g in range(len(shapes)) if g not in set(firsts)])
    return training.result()


class _Run:
    """One training, with the memory of its steps."""

    def __init__(
        self, device: Device, training: _core.CodebookTraining, y: Coordinates, widths: list[int]
    ) -> None:
        self._device, self._training, self._y, self.widths = device, training, y, widths
        self.offsets = [int(first) for first in np.cumsum(widths) - np.array(widths)]
        self._scaled = device.allocate((y.n * y.columns + 1) * 2)  # an odd group reads on
        self._labels = device.allocate(y.n * len(widths))
        self._sums = device.allocate(y.columns * 256 * 8)
        self._counts = device.allocate(len(widths) * 256 * 4)
        self._squares = device.allocate(len(widths) * 16)

    def train(self, groups: list[int]) -> None:
        """Train some groups."""
        if not groups:
            return
        training, y = self._training, self._y
        numbers = np.arange(0, y.n, training.seed_step, dtype=np.uint32)
        seeds = read_rows(self._device, y.memory, y.columns, numbers)
        ranges = self._ranges(groups)
        training.start(groups, ranges, seeds, self._histograms(groups, ranges))
        while active := training.next(groups):
            self._step(active)

    def subtract(self, firsts: list[int], rests: list[tuple[int, int]]) -> None:
        """Fill the columns of second bytes."""
        device, y = self._device, self._y
        self._assign(firsts)
        for column, first in rests:
            group = self.offsets.index(first)
            device.launch(
                "subtract_centroids", (blocks(y.n, _THREADS), 1), _THREADS, y.memory, u32(y.n),
                u32(y.columns), u32(first), u32(column),
                upload(device, self._training.book(group)),
                part_of(self._labels, firsts.index(group), y.n * len(firsts)), u32(len(firsts)),
            )  # fmt: skip

    def _ranges(self, groups: list[int]) -> NDArray[np.float32]:
        """Return the smallest and the largest value of each group."""
        device, y = self._device, self._y
        limits = np.tile(np.array([0xFFFFFFFF, 0], np.uint32), y.columns)
        ranges = upload(device, limits)
        grid = (blocks(y.n, _COLUMN_ROWS), blocks(y.columns, _THREADS))
        device.launch("column_ranges", grid, _THREADS, y.memory, u32(y.n), u32(y.columns), ranges)
        values = scores_of_ordered(device.read(ranges, np.uint32, 2 * y.columns)).reshape(-1, 2)
        parts = [values[self.offsets[g] : self.offsets[g] + self.widths[g]] for g in groups]
        return np.array([[part[:, 0].min(), part[:, 1].max()] for part in parts], np.float32)

    def _histograms(self, groups: list[int], ranges: NDArray[np.float32]) -> NDArray[np.uint32]:
        """Return the histograms of groups of one column; zeros for others."""
        device, y = self._device, self._y
        bins = device.allocate(len(groups) * _BINS * 4)
        device.fill(bins, 0)
        for i, group in enumerate(groups):
            if self.widths[group] > 1:
                continue
            low, high = map(float, ranges[i])
            device.launch(
                "column_histogram", (blocks(y.n, _THREADS), 1), _THREADS, y.memory, u32(y.n),
                u32(y.columns), u32(self.offsets[group]), f64(low),
                f64(self._training.bin_width(low, high)),
                part_of(bins, i * _BINS * 4, _BINS * 4),
            )  # fmt: skip
        return device.read(bins, np.uint32, len(groups) * _BINS).reshape(-1, _BINS)

    def _assign(self, groups: list[int]) -> tuple[int, int, NDArray[np.float32]]:
        """Assign the rows of the next step to centroids; return its rows, and units of sums."""
        device, y, step = self._device, self._y, self._training.step(groups)
        n, row_step, count = step["rows"], step["row_step"], len(groups)
        grid = (blocks(n, _COLUMN_ROWS), blocks(y.columns, _THREADS))
        device.launch(
            "scale_columns", grid, _THREADS, y.memory, u32(n), u32(row_step), u32(y.columns),
            upload(device, step["scales"]), self._scaled,
        )  # fmt: skip
        pairs = np.array([(self.widths[g] + 1) // 2 for g in groups], np.uint32)
        starts = (np.cumsum(pairs) - pairs) * np.uint32(256)
        device.launch(
            "nearest_centroids", (blocks(n, 2 * _NEAREST_THREADS), count), _NEAREST_THREADS,
            self._scaled, u32(n), u32(y.columns), upload(device, np.arange(count, dtype=np.uint32)),
            upload(device, np.array([self.offsets[g] for g in groups], np.uint32)),
            upload(device, pairs), upload(device, starts.astype(np.uint32)),
            upload(device, step["words"]), upload(device, step["half_norms"]), self._labels,
            u32(count),
        )  # fmt: skip
        return n, row_step, step["units"]

    def _step(self, groups: list[int]) -> None:
        device, y, count = self._device, self._y, len(groups)
        n, row_step, units = self._assign(groups)
        for memory in (self._sums, self._counts, self._squares):
            device.fill(memory, 0)
        strips = self._strips(groups)
        device.launch(
            "centroid_sums", (blocks(n, _SUM_ROWS), len(strips)), _THREADS, y.memory, u32(n),
            u32(row_step), u32(y.columns), upload(device, strips), upload(device, units),
            self._labels, u32(count), self._sums, self._counts, self._squares,
        )  # fmt: skip
        sums = device.read(self._sums, np.int64, y.columns * 256).reshape(-1, 256)
        own = [sums[self.offsets[g] : self.offsets[g] + self.widths[g]].ravel() for g in groups]
        empty = self._training.update(
            groups,
            np.concatenate(own),
            device.read(self._counts, np.uint32, count * 256),
            device.read(self._squares, np.uint64, count * 2),
        )
        for group in empty:
            self._repair(group, groups.index(group), count, n, row_step)

    def _strips(self, groups: list[int]) -> NDArray[np.uint32]:
        """Return the strips of columns that `centroid_sums` takes."""
        strips = [
            (i, self.offsets[g], self.widths[g], self.offsets[g] + first,
             min(_STRIP, self.widths[g] - first))
            for i, g in enumerate(groups)
            for first in range(0, self.widths[g], _STRIP)
        ]  # fmt: skip
        return np.array(strips, np.uint32)

    def _repair(self, group: int, index: int, count: int, n: int, row_step: int) -> None:
        """Move centroids without rows to the rows with the largest errors."""
        device, y = self._device, self._y
        offset, width = self.offsets[group], self.widths[group]
        errors = device.allocate(n * 4)
        device.launch(
            "row_errors", (blocks(n, _THREADS), 1), _THREADS, y.memory, u32(n), u32(row_step),
            u32(y.columns), u32(offset), u32(width), upload(device, self._training.book(group)),
            self._labels, u32(count), u32(index), errors,
        )  # fmt: skip
        worst = self._training.worst_rows(group, device.read(errors, np.float32, n))
        rows = read_rows(device, y.memory, y.columns, worst)[:, offset : offset + width]
        self._training.repair(group, np.ascontiguousarray(rows))
