"""Ids that occur twice in a source, found within a limit of memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from waterfill import _core
from waterfill._util.progress import Meter
from waterfill.building.id_columns import Ids
from waterfill.building.segments import written_ids
from waterfill.building.source import Source
from waterfill.building.vector_ids import VectorIds
from waterfill.codec import Codec

_BYTES_EACH = 24  # of an id while it is sorted
_SPREAD = np.uint64(0x9E3779B97F4A7C15)  # of Fibonacci hashing: 2**64 over the golden ratio

Batches = Callable[[], Iterator[tuple[int, Ids]]]
"""Starts over: (position of the first id, ids), in order."""


def require_distinct(source: Source, ids: VectorIds, memory: int, meter: Meter) -> None:
    """Raise ValueError if an id occurs twice in a source."""
    found = _first_counted(lambda: ids.batches(source), source.n, memory, meter)
    if found is not None:
        id, *positions = found
        first, second = (_place(source, position) for position in positions)
        raise ValueError(f"ids: {second}: id {id} is also that of {first}")


def require_distinct_written(
    path: str, manifest: _core.Manifest, codec: Codec, name: str, memory: int, meter: Meter
) -> None:
    """Raise ValueError if an id occurs twice in the segments of a manifest, made from `name`."""
    n = sum(segment.vectors for segment in manifest.segments)
    found = _first_counted(lambda: written_ids(path, manifest, codec), n, memory, meter)
    if found is not None:
        id, first, second = found
        raise ValueError(
            f"ids: expected each id once, got {id} for vectors {first} and {second} of {name}; "
            f"delete {path} and build again"
        )


def _first_counted(
    batches: Batches, n: int, memory: int, meter: Meter
) -> tuple[int, int, int] | None:
    """Return what `first_duplicate` does, and tell how far it is."""
    meter.begin("ids", n)

    def told() -> Iterator[tuple[int, Ids]]:
        for each in batches():
            yield each
            meter.tell()

    return first_duplicate(told, n, memory)


def _place(source: Source, position: int) -> str:
    """Return the part and the row of a position, in words."""
    part = int((source.firsts <= position).sum()) - 1
    return f"{source.parts[part].name}, row {position - int(source.firsts[part])}"


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
