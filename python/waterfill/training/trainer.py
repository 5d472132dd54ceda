"""Who does the work of training on rows: the CPU, or the device that has them."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from waterfill import _core
from waterfill._util.progress import Share
from waterfill.data.rows import FloatRows, Rows
from waterfill.device.codebook_settings import CodebookSettings

Codebooks = tuple[NDArray[np.float32], NDArray[np.float32]]


class Trainer(Protocol):
    """k-means of cells and of codebooks."""

    def cells(
        self, sample: FloatRows, mean: FloatRows, count: int, by_direction: bool, seed: int,
        tell: Share | None,
    ) -> FloatRows:  # fmt: skip
        """Return the centroids of cells, float32 (count, d); `tell` takes the share done."""
        ...

    def codebooks(self, sample: FloatRows, settings: CodebookSettings) -> Codebooks | None:
        """Return codebooks for `_core.Codec.train`, or None to let it train them."""
        ...


class HostTrainer:
    """The CPU."""

    def cells(
        self, sample: FloatRows, mean: FloatRows, count: int, by_direction: bool, seed: int,
        tell: Share | None,
    ) -> FloatRows:  # fmt: skip
        """Return the centroids of cells, float32 (count, d)."""
        return _core.train_partition(sample, mean, count, by_direction, seed, tell)

    def codebooks(self, sample: FloatRows, settings: CodebookSettings) -> None:
        """Let `_core.Codec.train` train codebooks."""


def trainer_of(rows: Rows) -> Trainer:
    """Return the device whose memory rows lie in, or that they are to be trained on, or the CPU."""
    device = getattr(rows.source, "training_device", None)
    if device is None:
        return HostTrainer()
    from waterfill.device.trainer import DeviceTrainer

    return DeviceTrainer(device)
