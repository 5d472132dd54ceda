"""The cells of rows, on a device."""

from __future__ import annotations

from typing import Any

from waterfill.device.backend import Device, Memory, blocks, f64, part_of, u32, upload
from waterfill.device.rotation import Rotation

_THREADS = 256
_PARTS = 16  # lanes that share a row in `quantize_for_cells`
_WARP = 32
_PRODUCT_BYTES = 1 << 28  # of products with centroids that exist together


class CellAssignment:
    """The centroids of cells on a device: `Partition::assign` of the core.

    Parameters
    ----------
    device : Device
    tables : dict
        As of `_core.partition_tables`.
    mean : Memory
        float32 (d,).
    d : int
        Dimensions of the rows.
    """

    def __init__(self, device: Device, tables: dict[str, Any], mean: Memory, d: int) -> None:
        self._products = Rotation(device, tables)
        self._biases = upload(device, tables["biases"])
        self._count, self._unit = len(tables["biases"]), float(tables["unit"])
        self._mean, self._d = mean, d

    def assign(self, device: Device, rows: Memory, n: int) -> Memory:
        """Return the cells of n rows, uint16."""
        width = self._products.width
        quantized, units = device.allocate(n * width), device.allocate(n * 4)
        relative, cells = device.allocate(n * 4), device.allocate(n * 2)
        device.launch(
            "quantize_for_cells", (blocks(n * _PARTS, _THREADS), 1), _THREADS, rows, u32(n),
            u32(self._d), self._mean, f64(self._unit), u32(width), quantized, units, relative,
        )  # fmt: skip
        row_bytes = self._products.stride * 2
        step = max(1, min(n, _PRODUCT_BYTES // row_bytes))
        products = device.allocate(step * row_bytes)
        for first in range(0, n, step):
            count = min(step, n - first)
            own = part_of(quantized, first * width, count * width)
            own_units = part_of(units, first * 4, count * 4)
            self._products.multiply(device, own, own_units, count, products)
            device.launch(
                "best_cells", (blocks(count * _WARP, _THREADS), 1), _THREADS, products, u32(count),
                u32(self._products.stride), u32(self._count),
                part_of(relative, first * 4, count * 4), self._biases,
                part_of(cells, first * 2, count * 2),
            )  # fmt: skip
        return cells
