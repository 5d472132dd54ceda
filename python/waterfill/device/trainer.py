"""Training on a device: k-means of cells and of codebooks, with the results of the CPU."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from waterfill import _core
from waterfill._util.progress import Share
from waterfill.device.backend import Device, upload
from waterfill.device.cell_training import train_cells
from waterfill.device.codebook_settings import CodebookSettings
from waterfill.device.codebook_training import Codebooks, coordinates, train_codebooks

FloatRows = NDArray[np.float32]


class DeviceTrainer:
    """What `waterfill.training` lets a device do, instead of `HostTrainer`.

    Parameters
    ----------
    device : Device
    """

    def __init__(self, device: Device) -> None:
        self._device = device

    def cells(
        self, sample: FloatRows, mean: FloatRows, count: int, by_direction: bool, seed: int,
        tell: Share | None,
    ) -> FloatRows:  # fmt: skip
        """Return the centroids of cells, float32 (count, d).

        More than 4,096 are trained on the CPU, which then compares rows with some of them only. A
        device does not tell how far it is.
        """
        if min(count, len(sample)) > _core.MOST_COMPARED_CELLS:
            return _core.train_partition(sample, mean, count, by_direction, seed, tell)
        x = upload(self._device, sample)
        return train_cells(self._device, x, len(sample), mean, count, by_direction, seed)

    def codebooks(self, sample: FloatRows, settings: CodebookSettings) -> Codebooks | None:
        """Return the codebooks of all groups; None for binary groups, which the CPU trains."""
        if any(kind == "binary" for _, kind in settings.shapes):
            return None
        y = coordinates(self._device, upload(self._device, sample), len(sample), settings)
        return train_codebooks(self._device, y, settings)


class TrainedOn:
    """Rows in host memory, which a device is to train on: a block source.

    Parameters
    ----------
    source : BlockSource
    device : Device
    """

    def __init__(self, source: Any, device: Device) -> None:
        self._source, self.training_device = source, device

    def __getattr__(self, name: str) -> Any:  # what sources may have
        return getattr(self._source, name)

    @property
    def shape(self) -> tuple[int, ...]:
        """Numbers of rows and dimensions."""
        return tuple(self._source.shape)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the rows."""
        dtype: np.dtype[Any] = np.dtype(self._source.dtype)
        return dtype

    def read(self, first: int, n: int) -> NDArray[Any]:
        """Return n rows."""
        rows: NDArray[Any] = self._source.read(first, n)
        return rows

    def take(self, rows: NDArray[np.int64]) -> NDArray[Any]:
        """Return some rows."""
        taken: NDArray[Any] = self._source.take(rows)
        return taken
