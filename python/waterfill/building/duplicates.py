"""Ids that occur twice in a source, found within a limit of memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from waterfill.building.id_columns import Ids

_BYTES_EACH = 24  # of an id while it is sorted
_SPREAD = np.uint64(0x9E3779B97F4A7C15)  # of Fibonacci hashing: 2**64 over the golden ratio

Batches = Callable[[], Iterator[tuple[int, Ids]]]
"""Starts over: (position of the first id, ids), in order."""


def first_duplicate(batches: Batches, n: int, memory: int) -> tuple[int, int, int] | None:
    """Return an id that occurs twice, and two positions of it; None if all differ.

    Ids that rise are compared as they come. Others are divided by a hash into as many groups as
    memory asks for, each of which is sorted after a pass over all of them.
    """
    if _rising(batches()):
        return None
    groups = max(1, -(-n * _BYTES_EACH // memory))
    for group in range(groups):
        chosen = [_of_group(ids, group, groups) for _, ids in batches()]
        ids = np.concatenate(chosen)
        del chosen
        ids.sort()
        same = np.flatnonzero(ids[1:] == ids[:-1])
        if len(same):
            return _located(batches(), int(ids[same[0]]))
    return None


def _rising(batches: Iterator[tuple[int, Ids]]) -> bool:
    last: int | None = None
    rising = True
    for _, ids in batches:  # to the end: what is read is checked, too
        if rising and len(ids):
            rising = (last is None or int(ids[0]) > last) and bool((ids[1:] > ids[:-1]).all())
            last = int(ids[-1])
    return rising


def _of_group(ids: Ids, group: int, groups: int) -> Ids:
    if groups == 1:
        return ids
    mixed = (ids.view(np.uint64) * _SPREAD) >> np.uint64(32)
    chosen: Ids = ids[mixed % np.uint64(groups) == np.uint64(group)]
    return chosen


def _located(batches: Iterator[tuple[int, Ids]], wanted: int) -> tuple[int, int, int]:
    found: list[int] = []
    for first, ids in batches:
        found += (first + np.flatnonzero(ids == wanted)).tolist()
        if len(found) >= 2:
            break
    return wanted, found[0], found[1]
