"""Recall of an index as it is, measured against an exact search of the rows that it keeps."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from waterfill.data.rows import FloatRows
from waterfill.evaluation.ground_truth import true_neighbours
from waterfill.index.flat import IndexFlat
from waterfill.managed.settings import Measured
from waterfill.managed.stored_rows import recent, sample, search_exactly

if TYPE_CHECKING:
    from waterfill.index.vector_index import Labels
    from waterfill.managed.index import ManagedIndex

K = 10
"""Neighbours per query."""
_QUERIES = 200
_FEWEST_ASKED = 32
_BLOCK = 20  # queries between pauses
_Z_95 = 1.96
_ROUNDING = 1e-6  # relative difference between two scores of one vector


def measure_stored(index: ManagedIndex, seed: int) -> Measured | None:
    """Measure recall@10 with stored vectors as queries; None if there are too few.

    Half of them are drawn from those that came last. None is counted among its own neighbours.
    """
    n = index.ntotal
    if n <= 2 * K:
        return None
    if index._reservoir is not None:
        half = sample(index, _QUERIES // 2, seed)[1]
        return _by_codes(index, np.concatenate([half, recent(index, _QUERIES // 2)[1]]), K + 1)
    drawn = [sample(index, _QUERIES // 2, seed), recent(index, _QUERIES // 2)]
    shares = [
        _shares(index, rows[first : first + _BLOCK], ids[first : first + _BLOCK])
        for ids, rows in drawn
        for first in range(0, len(ids), _BLOCK)
    ]
    return _measured(shares, n)


def measure_asked(index: ManagedIndex, queries: FloatRows, seed: int) -> Measured | None:
    """Measure recall@10 with queries that were asked; None if there are too few."""
    n = index.ntotal
    if n <= 2 * K or len(queries) < _FEWEST_ASKED:
        return None
    order = np.random.default_rng(seed).permutation(len(queries))[:_QUERIES]
    if index._reservoir is not None:
        return _by_codes(index, queries[order], K)
    shares = [
        _shares(index, queries[order[first : first + _BLOCK]], None)
        for first in range(0, len(order), _BLOCK)
    ]
    return _measured(shares, n)


def _by_codes(index: ManagedIndex, queries: FloatRows, k: int) -> Measured:
    """Measure the codec in use on the reservoir, where there are no rows of all vectors.

    k: of those that are found; with one more than 10, a query may be among the vectors.
    """
    assert index._reservoir is not None
    assert index._codec is not None
    rows = index._reservoir.rows
    codes = IndexFlat(index._codec, index.metric)
    codes._warns_of_clipped = False
    codes.add(rows)
    true = true_neighbours(rows, queries, index.metric, k)
    found = codes.search(queries, k)[1]
    hits = (found[:, :, None] == true[:, None, :]).any(axis=2).sum(axis=1)
    shares = np.clip((hits - (k - K)) / K, 0, 1)  # without the query itself
    return _measured([shares], len(rows))


def _measured(shares: list[NDArray[np.float64]], n: int) -> Measured:
    """Return the mean over queries, with its interval."""
    found = np.concatenate(shares)
    mean, half = float(found.mean()), _Z_95 * float(found.std()) / math.sqrt(len(found))
    return Measured(
        recall=round(mean, 4),
        low=round(max(0.0, mean - half), 4),
        high=round(min(1.0, mean + half), 4),
        vectors=n,
        queries=len(found),
    )


def _shares(index: ManagedIndex, queries: FloatRows, own: Labels | None) -> NDArray[np.float64]:
    """Return the share of its true neighbours that each query finds."""
    k = K if own is None else K + 1
    exact, exact_ids = search_exactly(index, queries, k)
    found, found_ids = index._search_quietly(queries, k)
    if own is not None:
        exact = _without(exact, exact_ids, own)
        found = _without(found, found_ids, own)
    sign = 1.0 if index.metric == "l2" else -1.0  # smaller is nearer
    last = sign * exact[:, -1:].astype(np.float64)
    near = sign * found.astype(np.float64) <= last + _ROUNDING * np.maximum(1, np.abs(last))
    shares: NDArray[np.float64] = near.mean(axis=1)
    return shares


def _without(distances: FloatRows, ids: Labels, own: Labels) -> FloatRows:
    """Leave the own id of each query out of its results, or the last one if it is not there."""
    drop = np.where((ids == own[:, None]).any(axis=1), (ids == own[:, None]).argmax(axis=1), -1)
    kept = np.ones(ids.shape, bool)
    kept[np.arange(len(ids)), drop] = False
    return distances[kept].reshape(len(ids), -1)
