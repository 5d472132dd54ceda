"""What full scores depend on, on a device."""

from __future__ import annotations

import numpy as np

from waterfill import _core
from waterfill.device.backend import Device, Memory, f32, u32, upload


class ScoreTables:
    """What scores depend on besides codes and queries, on a device."""

    def __init__(self, device: Device, index: _core.Index) -> None:
        tables = index.score_tables()
        self.euclidean = index.metric == _core.Metric.l2
        self.with_cells = index.codec.cells > 0
        self.kind = 0 if not self.euclidean else 1 + int(self.with_cells)
        self.gain, self.middle, self.norm_range = map(float, tables["terms"])
        self.alpha_of_scale, self.alpha = map(int, tables["alphas"])
        self.multiplier = float(tables["pq_multiplier"])
        self.stride, self.p = int(tables["stride"]), int(tables["p"])
        widths = tables["widths"]
        self.groups = len(widths)
        side = np.concatenate([tables["z"], tables["rho"], tables["factor"]])
        starts = np.cumsum(widths, dtype=np.uint32) - widths
        names = (
            "lines", "lengths", "scale", "widths", "binary", "books", "squared_lengths",
            "squared_cells", "centroids", "points", "projected_centroids",
        )  # fmt: skip
        self.memory = {name: upload(device, tables[name]) for name in names}
        self.memory |= {"side": upload(device, side), "offsets": upload(device, starts)}

    def full_tables(self, device: Device, projected: Memory, units: Memory, n: int) -> Memory:
        """Return the tables of full scores of n queries."""
        memory = self.memory
        full = device.allocate(n * self.groups * 256 * 4)
        device.launch(
            "full_tables", (self.groups, n), 256, projected, u32(self.stride), units,
            memory["offsets"], memory["widths"], memory["binary"], memory["books"],
            f32(self.multiplier), full,
        )  # fmt: skip
        return full
