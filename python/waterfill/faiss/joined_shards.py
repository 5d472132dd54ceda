"""The vectors of several FAISS indexes that are searched as one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from waterfill.data.rows import FloatRows
from waterfill.faiss.stored_index import Lists, Stored, Vectors
from waterfill.index.selector_graph import Ids


def joined(parts: Sequence[Stored], *, successive: bool) -> Stored:
    """Return what shards store, one after the other.

    Parameters
    ----------
    parts : sequence of Stored
        At least one.
    successive : bool
        Whether the ids of a shard count on from those of the shards before it.

    Raises
    ------
    ValueError
        If ids do not count on, and two shards have the same.
    """
    starts = np.cumsum([0, *(part.n for part in parts)])
    ids: Ids | None = None
    if not successive or any(part.ids is not None for part in parts):
        ids = np.concatenate(
            [
                (np.arange(part.n) if part.ids is None else part.ids) + start * successive
                for part, start in zip(parts, starts.tolist(), strict=False)
            ]
        )
        if len(np.unique(ids)) != len(ids):
            raise ValueError(
                "index: expected shards with ids of their own, got the same id in several; make "
                "IndexShards with successive_ids=True, or add to each with its own ids"
            )
    why = next((part.why for part in parts if part.vectors is None), "")
    vectors = [part.vectors for part in parts if part.vectors is not None]
    return replace(
        parts[0],
        vectors=None if why else _JoinedVectors(vectors, starts),
        n=int(starts[-1]),
        ids=ids,
        lists=_joined_lists([part.lists for part in parts]),
        in_order=ids is None and all(part.in_order for part in parts),
        losses=tuple(dict.fromkeys(loss for part in parts for loss in part.losses)),
        why=why,
    )


def _joined_lists(lists: Sequence[Lists | None]) -> Lists | None:
    """Return the lists of shards: the same ones, or as many new ones; None if one has none."""
    known = [one for one in lists if one is not None]
    if len(known) < len(lists):
        return None
    first, *others = known
    if all(_same_centroids(first, other) for other in others):
        return first
    return Lists(None, sum(one.nlist for one in known), sum(one.nprobe for one in known))


def _same_centroids(a: Lists, b: Lists) -> bool:
    if a.nlist != b.nlist or a.quantizer is None or b.quantizer is None:
        return False
    one, other = (each.quantizer.reconstruct_n(0, each.nlist) for each in (a, b))
    return bool(np.array_equal(one, other))


class _JoinedVectors:
    """Vectors of several indexes; `starts` are the numbers of the first of each, and of all."""

    def __init__(self, parts: Sequence[Vectors], starts: Ids) -> None:
        self._parts, self._starts = parts, starts

    def read(self, first: int, n: int) -> FloatRows:
        blocks = []
        starts = self._starts.tolist()
        for part, start, end in zip(self._parts, starts[:-1], starts[1:], strict=True):
            begin, stop = max(first, start), min(first + n, end)
            if begin < stop:
                blocks.append(part.read(begin - start, stop - begin))
        return blocks[0] if len(blocks) == 1 else np.concatenate(blocks)

    def take(self, numbers: Ids) -> FloatRows:
        owners = np.searchsorted(self._starts, numbers, side="right") - 1
        order = np.argsort(owners, kind="stable")
        blocks = [
            part.take(numbers[owners == owner] - self._starts[owner])
            for owner, part in enumerate(self._parts)
            if (owners == owner).any()
        ]
        taken: FloatRows = np.empty((len(numbers), blocks[0].shape[1]), np.float32)
        taken[order] = np.concatenate(blocks)
        return taken
