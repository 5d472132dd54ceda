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
    from waterfill.managed.maintained_index import MaintainedIndex

K = 10
"""Neighbours per query."""
_QUERIES = 200
_FEWEST_ASKED = 32
_BLOCK = 20  # queries between pauses
_Z_95 = 1.96
_RESERVE = 0.5  # of what a target leaves, as queries to come may find less
_NEAR_ALL = 0.01  # recall below that of all lists with which to be content
_STEP = 1.4  # of nprobe
_ROUNDING = 1e-6  # relative difference between two scores of one vector


def measure(
    index: MaintainedIndex, asked: FloatRows, seed: int, target: float
) -> tuple[Measured | None, Measured | None]:
    """Measure recall@10 with stored vectors as queries, and with queries that were asked.

    Half of the stored vectors are drawn from those that came last. None is counted among its own
    neighbours. If queries of a kind find too little because of the lists that they search,
    searches get more of them: `nprobe` was chosen for the vectors of the last training.

    Returns
    -------
    stored, asked : Measured or None
        None if there are too few vectors or queries.
    """
    n = index.ntotal
    if n <= 2 * K:
        return None, None
    order = np.random.default_rng(seed).permutation(len(asked))[:_QUERIES]
    enough = len(asked) >= _FEWEST_ASKED
    half = _QUERIES // 2
    if index._reservoir is not None:
        stored = np.concatenate([sample(index, half, seed)[1], recent(index, half)[1]])
        by_asked = _by_codes(index, asked[order], K) if enough else None
        return _by_codes(index, stored, K + 1), by_asked
    groups = [_probes(index, *sample(index, half, seed)), _probes(index, *recent(index, half))]
    if enough:
        groups += [_probes(index, None, asked[order]), _probes(index, None, asked[-half:])]
    shares = _widen(index, groups, target)
    return _measured(shares[:2], n), _measured(shares[2:3], n) if enough else None


class _Probe:
    """Some queries, and how near their true neighbours are.

    own : ids of the queries, if they are stored vectors
    """

    def __init__(self, index: MaintainedIndex, queries: FloatRows, own: Labels | None) -> None:
        self._queries, self._own = queries, own
        self._k = K if own is None else K + 1
        self._sign = 1.0 if index.metric == "l2" else -1.0  # smaller is nearer
        exact, ids = search_exactly(index, queries, self._k)
        last = self._sign * self._others(exact, ids)[:, -1:].astype(np.float64)
        self._last = last + _ROUNDING * np.maximum(1, np.abs(last))

    def shares(self, index: MaintainedIndex, nprobe: int) -> NDArray[np.float64]:
        """Return the share of its true neighbours that each query finds."""
        found = self._others(*index._search_quietly(self._queries, self._k, nprobe))
        shares: NDArray[np.float64] = (self._sign * found <= self._last).mean(axis=1)
        return shares

    def _others(self, distances: FloatRows, ids: Labels) -> FloatRows:
        """Leave the own id of each query out of its results, or the last one if it is not there."""
        if self._own is None:
            return distances
        own = ids == self._own[:, None]
        drop = np.where(own.any(axis=1), own.argmax(axis=1), -1)
        kept = np.ones(ids.shape, bool)
        kept[np.arange(len(ids)), drop] = False
        return distances[kept].reshape(len(ids), -1)


def _probes(index: MaintainedIndex, own: Labels | None, queries: FloatRows) -> list[_Probe]:
    """Return queries in blocks, between which a background thread may pause."""
    blocks = [slice(first, first + _BLOCK) for first in range(0, len(queries), _BLOCK)]
    return [_Probe(index, queries[one], None if own is None else own[one]) for one in blocks]


def _widen(
    index: MaintainedIndex, groups: list[list[_Probe]], target: float
) -> list[NDArray[np.float64]]:
    """Raise `nprobe` until queries of each group find enough; return the shares that they find."""

    def found(nprobe: int) -> list[NDArray[np.float64]]:
        return [np.concatenate([one.shares(index, nprobe) for one in group]) for group in groups]

    nprobe = min(index.nprobe, index.nlist)
    shares = found(nprobe)
    wanted = np.full(len(groups), target + _RESERVE * (1 - target))
    if nprobe == index.nlist or (_means(shares) >= wanted).all():
        return shares
    most = _means(found(index.nlist))
    wanted = np.minimum(wanted, most - _NEAR_ALL)  # what codes lose, lists cannot bring back
    before = nprobe
    while nprobe < index.nlist and (_means(shares) < wanted).any():
        nprobe = min(index.nlist, math.ceil(_STEP * nprobe))
        shares = found(nprobe)
    if nprobe > before:
        index._search_more_lists(nprobe)
    return shares


def _means(shares: list[NDArray[np.float64]]) -> NDArray[np.float64]:
    return np.array([one.mean() for one in shares])


def _by_codes(index: MaintainedIndex, queries: FloatRows, k: int) -> Measured:
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
