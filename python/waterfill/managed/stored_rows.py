"""The rows that a managed index keeps: samples of them, and exact searches."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from waterfill.data.rows import FloatRows

if TYPE_CHECKING:
    from waterfill.index.vector_index import Labels
    from waterfill.managed.maintained_index import MaintainedIndex

_BLOCK = 4096  # rows read at once
_ID_BLOCK = 1 << 16


def sample(index: MaintainedIndex, count: int, seed: int) -> tuple[Labels, FloatRows]:
    """Return ids and rows of vectors drawn without replacement; id -1 for those of a reservoir."""
    if index._reservoir is not None:
        rows = index._reservoir.rows
        chosen = np.random.default_rng(seed).permutation(len(rows))[:count]
        return np.full(len(chosen), -1, np.int64), rows[chosen]
    n = index.ntotal
    random = np.random.default_rng(seed)
    chosen = np.sort(random.choice(n, min(count, n), replace=False, shuffle=False))
    parts = [np.empty(0, np.int64)]
    for first in range(0, n, _ID_BLOCK):
        start, stop = np.searchsorted(chosen, (first, first + _ID_BLOCK))
        with index._writing:
            core = index._trained()
            ids = core.ids(first, max(0, min(_ID_BLOCK, core.size - first)))
        own = chosen[start:stop] - first
        parts.append(ids[own[own < len(ids)]])
    return _still_there(index, np.concatenate(parts))


def recent(index: MaintainedIndex, count: int) -> tuple[Labels, FloatRows]:
    """Return ids and rows of the vectors that came last; id -1 for those of a reservoir."""
    if index._reservoir is not None:
        rows = index._reservoir.latest[-count:]
        return np.full(len(rows), -1, np.int64), rows
    with index._writing:
        core = index._trained()
        first = max(0, core.size - count)
        ids = core.ids(first, core.size - first)
    return _still_there(index, ids)


def search_exactly(index: MaintainedIndex, queries: FloatRows, k: int) -> tuple[FloatRows, Labels]:
    """Compare the rows of all vectors with queries; there must be one codec only."""
    core = index._trained()
    n = core.size + 1  # with fewer vectors than candidates, the rows of all are read
    found = core.search(
        index._prepare(queries),
        k,
        n,
        index.coarse_groups,
        float("inf"),
        index.nlist,
        None,
        n,
        "",
    )
    return found[0], found[1]


def _still_there(index: MaintainedIndex, ids: Labels) -> tuple[Labels, FloatRows]:
    """Return the rows of ids; those that were removed meanwhile are left out."""
    kept = [np.empty(0, np.int64)]
    parts = [np.empty((0, index.d), np.float32)]
    for first in range(0, len(ids), _BLOCK):
        own = ids[first : first + _BLOCK]
        labels, rows = index._trained().find(own, "rows")
        assert rows is not None
        kept.append(own[labels >= 0])
        parts.append(np.asarray(rows, np.float32)[labels >= 0])
    return np.concatenate(kept), np.concatenate(parts)
