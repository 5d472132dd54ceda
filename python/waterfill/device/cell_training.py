"""k-means of cells on a device: `train_partition` of the core."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from waterfill import _core
from waterfill.device.backend import Device, Memory, blocks, u32, upload
from waterfill.device.cell_assignment import CellAssignment
from waterfill.device.row_samples import read_rows, take_rows

_THREADS = 128


def train_cells(
    device: Device,
    x: Memory,
    n: int,
    mean: NDArray[np.float32],
    cells: int,
    by_direction: bool,
    seed: int,
) -> NDArray[np.float32]:
    """Return the centroids of n rows, float32 (cells, d); `cells` at most 4,096."""
    d = len(mean)
    seeds = np.array(_core.partition_seeds(n, cells, seed), np.uint32)
    training = _core.PartitionTraining(n, mean, read_rows(device, x, d, seeds), by_direction)
    center = upload(device, mean)
    some, step = x, 1
    while not training.done:
        if training.row_step != step:  # two phases: some rows, then all
            step = training.row_step
            numbers = np.arange(0, n, step, dtype=np.uint32)
            some = take_rows(device, x, d, numbers) if step > 1 else x
        _move(device, training, some, -(-n // step), center, d)
    return training.centroids


def _move(
    device: Device, training: _core.PartitionTraining, x: Memory, n: int, center: Memory, d: int
) -> None:
    """Do a step with n rows."""
    tables = training.tables()
    cells = len(tables["biases"])
    assigned = CellAssignment(device, tables, center, d).assign(device, x, n)
    labels = device.read(assigned, np.uint16, n)
    order = np.argsort(labels, kind="stable").astype(np.uint32)
    counts = np.bincount(labels, minlength=cells).astype(np.uint32)
    starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.uint32)
    sums = device.allocate(cells * d * 8)
    device.launch(
        "cell_sums", (cells, blocks(d, _THREADS)), _THREADS, x, u32(d), upload(device, order),
        upload(device, starts), sums,
    )  # fmt: skip
    first = order[np.minimum(starts[:-1], n - 1)]
    for cell, row in training.move(device.read(sums, np.float64, cells * d), counts, first):
        training.set(cell, device.read(x, np.float32, d, row * d * 4))
