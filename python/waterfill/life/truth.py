"""Which vectors each query should find: given, or found among vectors at full length."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from waterfill.collection import Labels
from waterfill.index import Index
from waterfill.life.source import Stored, check_order
from waterfill.rows import FloatRows, Rows
from waterfill.tuning.split import Nearest

INT8 = "int8"  # rows of a byte a value name one or two of a thousand neighbours wrongly


def true_ids(
    old: Index, new: Index, queries: FloatRows, k: int, truth: Any, vectors: Any
) -> tuple[Labels | None, str]:
    """Return ids of the true neighbours, int64 (m, k), and where they come from.

    None, and why, if nothing at hand tells.
    """
    if truth is not None:
        return _given(truth, len(queries), k), "true neighbours that were given"
    if vectors is not None:
        rows = Rows(vectors, "vectors", old.d)
        check_order(old, rows)
        return _named(old, _nearest(rows, queries, old, k)), "vectors that were given"
    for index, name in ((old, "old"), (new, "new")):
        kind = index._trained().exact_kind
        if kind is not None and kind.name != INT8:
            stored = Stored(index)
            found = _nearest(Rows(stored, stored.name), queries, index, k)
            return _named(index, found), f"{stored.name} of the {name} index"
    return None, "not known: neither index keeps vectors, and no truth= or vectors= was given"


def _given(truth: Any, m: int, k: int) -> Labels:
    ids = np.asarray(truth)
    if ids.dtype.kind not in "iu":
        raise TypeError(f"truth must hold ids, which are integers, got dtype {ids.dtype}")
    if ids.ndim != 2 or len(ids) != m or ids.shape[1] < k:
        raise ValueError(
            f"truth must have shape ({m}, {k}) or more columns, a row of ids a query, best first; "
            f"got {ids.shape}"
        )
    return ids[:, :k].astype(np.int64)


def _named(index: Index, positions: NDArray[np.int64]) -> Labels:
    return index.ids()[positions] if index.has_ids else positions


def _nearest(rows: Rows, queries: FloatRows, index: Index, k: int) -> NDArray[np.int64]:
    """Find the k nearest rows of each query, a block at a time: int64 (m, k), best first."""
    nearest = Nearest(queries, index.metric, k)
    for first, block in rows.blocks():
        nearest.add(block, first)
    return nearest.ids()
