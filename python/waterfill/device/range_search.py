"""Range searches whose full scores a device computes, with the results of the core.

The core chooses the lists of a query, and says which full score is the least within the radius; the
device returns the vectors that reach it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from waterfill import _core
from waterfill.device.backend import Device, Memory, u32, upload
from waterfill.device.candidate_keys import positions_of, scores_of
from waterfill.device.codes import DeviceCodes, Piece
from waterfill.device.scan_plan import QUERIES, Runs
from waterfill.device.score_tables import ScoreTables

Within = tuple[NDArray[np.uint64], NDArray[np.float32], NDArray[np.int64]]
Found = tuple[NDArray[np.uint64], NDArray[np.uint32]]

_BATCH_QUERIES = 512  # whose tables are on the device together
_MOST_FOUND = 1 << 31  # by a batch: counts have 32 bits
_ROOM = 1 << 16  # for what is found in a piece, at first
_THREADS = 256


class RangeSearch:
    """Searches within a radius.

    Parameters
    ----------
    device : Device
    index : _core.Index
        Without refine rows, whose exact scores would decide.
    codes : DeviceCodes
    scores : ScoreTables
    """

    def __init__(
        self, device: Device, index: _core.Index, codes: DeviceCodes, scores: ScoreTables
    ) -> None:
        self._device, self._index, self._codes, self._scores = device, index, codes, scores

    def run(self, x: NDArray[np.float32], radius: float, probes: Any, selector: Any) -> Within:
        """Search; arguments and results as of `_core.Index.range_search`."""
        step = max(1, min(_BATCH_QUERIES, _MOST_FOUND // max(self._index.size, 1)))
        parts = []
        for first in range(0, len(x), step):
            some = slice(first, first + step)
            own = probes[some] if isinstance(probes, np.ndarray) else probes
            parts.append(self._batch(x[some], radius, own, selector))
        limits = [np.zeros(1, np.uint64)]
        for own_limits, _, _ in parts:
            limits.append(own_limits[1:] + limits[-1][-1])
        return (
            np.concatenate(limits),
            np.concatenate([np.empty(0, np.float32), *(part[1] for part in parts)]),
            np.concatenate([np.empty(0, np.int64), *(part[2] for part in parts)]),
        )

    def _batch(self, x: NDArray[np.float32], radius: float, probes: Any, selector: Any) -> Within:
        tables = self._index.range_tables(x, radius, probes, selector)
        found = self._all_found(tables, len(x))
        keys = np.concatenate([np.empty(0, np.uint64), *(own[0] for own in found)])
        numbers = np.concatenate([np.empty(0, np.uint32), *(own[1] for own in found)])
        order = np.argsort(numbers, kind="stable")
        keys = keys[order]
        limits = np.zeros(len(x) + 1, np.uint64)
        limits[1:] = np.cumsum(np.bincount(numbers, minlength=len(x)))
        slots = self._codes.slots_of(positions_of(keys))
        return self._index.merge_range(x, limits, slots, scores_of(keys))

    def _all_found(self, tables: dict[str, Any], n: int) -> list[Found]:
        """Return the vectors within the radius of n queries, by piece."""
        runs = Runs.of(tables["lists"], self._codes.list_starts)
        if not len(runs):
            return []
        device = self._device
        units, least = upload(device, tables["units"]), upload(device, tables["least"])
        projected = upload(device, tables["projected"])
        full = self._scores.full_tables(device, projected, units, n)
        found = []
        for piece in self._codes.pieces():
            own = runs.within(piece.first, piece.first + piece.count)
            if len(own):
                masks = self._codes.masks_of(tables["masks"], piece)
                items = own.items()
                found.append(self._found(piece, items, masks, full, units, least))
        return found

    def _found(
        self, piece: Piece, items: NDArray[np.void], masks: Memory | None, full: Memory,
        units: Memory, least: Memory,
    ) -> Found:  # fmt: skip
        """Return what is found in a piece: keys, and the queries that found them."""
        device, scores, memory, layout = (
            self._device, self._scores, self._scores.memory, self._codes.layout,
        )  # fmt: skip
        with_product = scores.euclidean and scores.with_cells
        given, room = upload(device, items), _ROOM
        while True:
            keys, numbers = device.allocate(room * 8), device.allocate(room * 4)
            count = upload(device, np.zeros(1, np.uint32))
            device.launch(
                "range_scores", (len(items), QUERIES), _THREADS, piece.high, piece.low,
                piece.scale, piece.sizes, masks, u32(layout.high), u32(layout.low),
                u32(piece.first), given, full, u32(scores.groups), memory["widths"],
                memory["squared_lengths"], memory["squared_cells"], memory["scale"],
                u32(scores.alpha_of_scale), u32(scores.alpha), units, u32(int(scores.euclidean)),
                memory["projected_centroids"] if with_product else None, memory["points"],
                u32(scores.p), least, keys, numbers, u32(room), count,
            )  # fmt: skip
            found = int(device.read(count, np.uint32, 1)[0])
            if found <= room:
                return device.read(keys, np.uint64, found), device.read(numbers, np.uint32, found)
            del keys, numbers  # their memory is free before more is taken
            room = found
