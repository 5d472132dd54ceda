"""Searches whose scans and full scores a device does, with the results of `_core.Index.search`.

The core prepares queries, chooses their lists, and ranks the candidates that come back; the device
finds them. So what a search returns does not depend on where it ran.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from waterfill import _core
from waterfill.device.backend import Device, Memory, blocks, f32, u32, upload
from waterfill.device.candidate_keys import ordered_scores, positions_of, scores_of
from waterfill.device.codes import DeviceCodes, Piece
from waterfill.device.range_search import RangeSearch
from waterfill.device.scan_plan import Runs
from waterfill.device.score_tables import ScoreTables

_BATCH_QUERIES = 1024  # whose tables and candidates are on the device together
_BATCH_LISTS = 1 << 22  # that they may scan
_FRESH_KEYS = 1 << 23  # that scans find and there is room for, of all queries of a batch
_LEAST_ROOM, _MOST_ROOM = 1 << 12, 1 << 16  # for those of a query
_ROOM = 8  # the same, as a multiple of the candidates that are kept
_SCAN_THREADS, _THREADS, _WARP = 128, 256, 32
_PAIRS_AT_ONCE, _PAIRS, _PAIRS_BYTES = 256, 4, 512  # of a scan; tables of four pairs
_LOWEST = np.finfo(np.float32).min

Found = tuple[NDArray[np.uint64], NDArray[np.float32]]
"""Keys of candidates, (n, kept) with 0 for none, and full scores."""


class _Queries:
    """Queries of one batch on a device, with the candidates that they keep."""

    def __init__(
        self, device: Device, scores: ScoreTables, tables: dict[str, Any], n: int, kept: int
    ) -> None:
        self.n, self.kept = n, kept
        self.room = max(_ROOM * kept, min(_MOST_ROOM, max(_LEAST_ROOM, _FRESH_KEYS // n)))
        self.masks = tables["masks"]
        self.pairs, self.pair_count = upload(device, tables["pairs"]), len(tables["pairs"])
        self.luts = upload(device, tables["luts"])
        self.units = upload(device, tables["units"])
        self.projected = upload(device, tables["projected"])
        self.scaled = upload(device, tables["scaled"])
        self.fresh = device.allocate(n * self.room * 8)
        self.counts = device.allocate(n * 4)
        self.best = device.allocate(n * kept * 8)
        self.spare = device.allocate(n * kept * 8)
        self.best_counts = device.allocate(n * 4)
        self.thresholds = device.allocate(n * 8)
        self.again = device.allocate(n)
        self.full = scores.full_tables(device, self.projected, self.units, n)


class DeviceSearch:
    """Searches one state of an index on a device.

    Parameters
    ----------
    device : Device
    index : _core.Index
        It must not change; make another object when its `version` has risen.
    memory : int
        Bytes that the codes may take: see `DeviceCodes`.
    """

    def __init__(self, device: Device, index: _core.Index, memory: int) -> None:
        self._device, self._index = device, index
        self.codes = DeviceCodes(device, index, memory)
        self._scores = ScoreTables(device, index)

    def search(
        self,
        x: NDArray[np.float32],
        k: int,
        candidates: int,
        coarse_groups: int,
        prune_sigma: float,
        probes: Any,
        selector: Any,
        refine_candidates: int,
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Search; arguments and results as of `_core.Index.search`."""
        distances = np.empty((len(x), k), np.float32)
        ids = np.empty((len(x), k), np.int64)
        lists = probes if isinstance(probes, int) else self._index.codec.cells
        step = max(1, min(_BATCH_QUERIES, _BATCH_LISTS // max(lists, 1)))
        for first in range(0, len(x), step):
            some = slice(first, first + step)
            own = probes[some] if isinstance(probes, np.ndarray) else probes
            arguments = (
                x[some], k, candidates, coarse_groups, prune_sigma, own, selector,
                refine_candidates,
            )  # fmt: skip
            found = self._candidates(*arguments)
            if found is None:  # all vectors are candidates: there are too few for a device
                distances[some], ids[some], _ = self._index.search(*arguments)
                continue
            distances[some], ids[some] = self._index.merge_shares(
                x[some], k, candidates, coarse_groups, own, refine_candidates, found
            )
        return distances, ids

    def range_search(
        self, x: NDArray[np.float32], radius: float, probes: Any, selector: Any
    ) -> tuple[NDArray[np.uint64], NDArray[np.float32], NDArray[np.int64]]:
        """Search within a radius; arguments and results as of `_core.Index.range_search`."""
        search = RangeSearch(self._device, self._index, self.codes, self._scores)
        return search.run(x, radius, probes, selector)

    def _candidates(
        self,
        x: NDArray[np.float32],
        k: int,
        candidates: int,
        coarse_groups: int,
        prune_sigma: float,
        probes: Any,
        selector: Any,
        refine_candidates: int,
    ) -> tuple[NDArray[Any], ...] | None:
        """Return candidates with their scores, as `_core.Index.merge_shares` takes them."""
        tables = self._index.scan_tables(
            x, k, candidates, coarse_groups, prune_sigma, probes, selector, refine_candidates
        )
        if tables is None:
            return None
        kept = min(max(k, candidates, refine_candidates), self._index.size)
        queries = _Queries(self._device, self._scores, tables, len(x), kept)
        thresholds = np.full(len(x), _LOWEST, np.float32)
        starts = self.codes.list_starts
        found = self._scan(queries, Runs.of(tables["nearest"], starts), thresholds)
        if len(tables["bounds"]):  # the nearest lists decide which others matter
            thresholds = _last_scores(found, len(x), kept)
            others = Runs.of(tables["others"], starts).above(tables["bounds"], thresholds)
            found += self._scan(queries, others, thresholds)
        return _joined(found, len(x), self.codes)

    def _scan(self, queries: _Queries, runs: Runs, thresholds: NDArray[np.float32]) -> list[Found]:
        """Scan the lists of all queries, piece by piece."""
        found: list[Found] = []
        if not len(runs):
            return found
        device = self._device
        least = ordered_scores(thresholds).astype(np.uint64) << np.uint64(32)
        device.write(queries.thresholds, least)
        for piece in self.codes.pieces():
            own = runs.within(piece.first, piece.first + piece.count)
            if not len(own):
                continue
            device.fill(queries.best_counts, 0)
            device.fill(queries.counts, 0)
            masks = self.codes.masks_of(queries.masks, piece)
            for stage in own.stages(queries.room, queries.kept):
                self._scan_stage(queries, stage, piece, masks)
            found.append(self._scored(queries, piece))
        return found

    def _scan_stage(
        self, queries: _Queries, stage: Runs, piece: Piece, masks: Memory | None
    ) -> None:
        """Scan some runs. Where there was no room for what was found, the threshold has risen."""
        device, scores, memory = self._device, self._scores, self._scores.memory
        shared = blocks(min(queries.pair_count, _PAIRS_AT_ONCE), _PAIRS) * _PAIRS_BYTES
        while len(stage):
            items = stage.items()
            few = bool((items["queries"][:, 2:] < 0).all())
            kernel = "scan_few" if few else "scan_many"
            device.launch(
                kernel, (len(items), 1), _SCAN_THREADS, piece.high, piece.scale, piece.extra,
                piece.sizes, masks, u32(piece.first), upload(device, items), queries.pairs,
                u32(queries.pair_count), u32(self.codes.layout.high), queries.luts, queries.units,
                u32(scores.kind), memory["scale"], memory["side"], f32(scores.gain),
                f32(scores.middle), f32(scores.norm_range), memory["lines"], queries.thresholds,
                queries.fresh, queries.counts, u32(queries.room), shared=shared,
            )  # fmt: skip
            device.launch(
                "select_best", (queries.n, 1), _THREADS, queries.best, u32(queries.kept),
                queries.best_counts, queries.fresh, u32(queries.room), queries.counts,
                queries.spare, queries.thresholds, queries.again,
            )  # fmt: skip
            queries.best, queries.spare = queries.spare, queries.best
            again = device.read(queries.again, np.uint8, queries.n).astype(bool)
            stage = stage.of_queries(again)

    def _scored(self, queries: _Queries, piece: Piece) -> Found:
        """Return the candidates of a piece with full scores."""
        device, scores, memory = self._device, self._scores, self._scores.memory
        n, kept = queries.n, queries.kept
        euclidean, first = u32(int(scores.euclidean)), u32(piece.first)
        terms = device.allocate(n * kept * 4) if scores.with_cells else None
        if terms is not None:
            device.launch(
                "list_terms", (blocks(n * kept * _WARP, _THREADS), 1), _THREADS, queries.best,
                u32(n), u32(kept), queries.best_counts, piece.lists, first, queries.scaled,
                u32(self._index.codec.d), memory["centroids"], memory["lengths"], queries.units,
                euclidean, terms,
            )  # fmt: skip
        result = device.allocate(n * kept * 4)
        device.launch(
            "full_scores", (blocks(n * kept, _THREADS), 1), _THREADS, queries.best, u32(n),
            u32(kept), queries.best_counts, piece.high, piece.low, piece.scale,
            u32(self.codes.layout.high), u32(self.codes.layout.low), first, piece.lists,
            queries.full,
            u32(scores.groups), memory["widths"], memory["squared_lengths"],
            memory["squared_cells"], memory["scale"], u32(scores.alpha_of_scale),
            u32(scores.alpha), terms, queries.units, euclidean, memory["projected_centroids"],
            memory["points"], u32(scores.p), result,
        )  # fmt: skip
        keys = device.read(queries.best, np.uint64, n * kept).reshape(n, kept)
        counts = device.read(queries.best_counts, np.uint32, n)
        values = device.read(result, np.float32, n * kept).reshape(n, kept)
        keys[np.arange(kept) >= counts[:, None]] = 0
        return keys, values


def _joined(found: list[Found], n: int, codes: DeviceCodes) -> tuple[NDArray[Any], ...]:
    """Return the candidates of all scans, by query."""
    keys = np.concatenate([np.empty((n, 0), np.uint64), *(one[0] for one in found)], axis=1)
    full = np.concatenate([np.empty((n, 0), np.float32), *(one[1] for one in found)], axis=1)
    valid = keys != 0
    limits = np.zeros(n + 1, np.uint64)
    limits[1:] = np.cumsum(valid.sum(axis=1))
    own = keys[valid]
    none = np.empty(0, np.uint32)
    return (
        limits,
        scores_of(own),
        codes.slots_of(positions_of(own)),
        none,
        full[valid],
        none.astype(np.float32),
    )


def _last_scores(found: list[Found], n: int, kept: int) -> NDArray[np.float32]:
    """Return the score of the last of the candidates that are kept, or the lowest, by query."""
    keys = np.concatenate([np.empty((n, 0), np.uint64), *(one[0] for one in found)], axis=1)
    if keys.shape[1] < kept:
        return np.full(n, _LOWEST, np.float32)
    last = np.partition(keys, -kept, axis=1)[:, -kept]
    return np.where(last != 0, scores_of(last), _LOWEST).astype(np.float32)
