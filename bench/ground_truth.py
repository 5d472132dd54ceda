"""Exact nearest neighbours, computed in blocks, and recall against them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

NEIGHBOURS = 100


def exact_neighbours(base: Array, query: Array, metric: str, block: int = 8_192) -> Array:
    """Find the exact nearest rows of `base` (at most 100) for each query.

    Parameters
    ----------
    base, query
        Stored vectors, one per row.
    metric
        ``"ip"`` (largest inner product) or ``"l2"`` (smallest distance).
    block
        Base rows per block, which bounds memory.

    Returns
    -------
    Array
        Row numbers, int32, best first.
    """
    queries, size = query.astype(np.float32), min(NEIGHBOURS, len(base))
    candidates = min(size + 32, len(base))  # float32 finds extra candidates, float64 orders them
    scores: Array = np.empty((len(query), 0), np.float32)
    ids: Array = np.empty((len(query), 0), np.int32)
    for lo in range(0, len(base), block):
        part = base[lo : lo + block].astype(np.float32)
        new = queries @ part.T
        if metric == "l2":
            new -= np.float32(0.5) * np.square(part).sum(axis=1)
        rows = np.broadcast_to(np.arange(lo, lo + len(part), dtype=np.int32), new.shape)
        scores, ids = np.hstack([scores, new]), np.hstack([ids, rows])
        if scores.shape[1] > candidates:
            best = np.argpartition(scores, -candidates, axis=1)[:, -candidates:]
            scores, ids = (np.take_along_axis(a, best, axis=1) for a in (scores, ids))
    pairs = zip(ids, query, strict=True)
    return np.stack([_rank(base, near, one, metric)[:size] for near, one in pairs])


def recall(found: Array, truth: Array) -> float:
    """Return recall@k: the share of the k true neighbours among the k found, in any order."""
    truth = truth[:, : found.shape[1]]
    hits = sum(len(np.intersect1d(f, t)) for f, t in zip(found, truth, strict=True))
    return hits / int(truth.size)


def _rank(base: Array, ids: Array, query: Array, metric: str) -> Array:
    near, one = base[ids].astype(np.float64), query.astype(np.float64)
    keys = -(near @ one) if metric == "ip" else np.square(near - one).sum(axis=1)
    return np.asarray(ids[np.lexsort((ids, keys))])
