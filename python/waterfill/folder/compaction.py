"""Compaction of a folder: which segments are written anew, and how."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from waterfill import _core
from waterfill.codec import Codec
from waterfill.data.rows import FloatRows, Rows
from waterfill.encoding import encode_rows
from waterfill.errors import ArgumentError
from waterfill.folder.directory import segment_name
from waterfill.folder.publication import Merger, removed_by_segment, write_segment_file
from waterfill.folder.snapshot import Snapshot, empty_core, mark_of, open_core
from waterfill.index.vector_index import Labels

_FEWEST = 4  # segments that are worth a merger
_GROWTH = 2  # a segment joins those behind it if it is at most so many times as large
_MOST_REMOVED = 0.25  # share of removed vectors beyond which a segment is written anew
_PART_BYTES = 64 << 20  # of codes and rows in memory while they are coded anew
_BLOCK = 4096  # rows coded at once


def choose_segments(segments: Sequence[_core.ManifestSegment]) -> tuple[int, int] | None:
    """Return the range of neighbouring segments to merge next, or None.

    Merged are the last segments, as long as each is at most twice as large as all behind it, once
    there are four of them; so a vector is written anew about as often as the size of the folder
    doubles, and a folder has few segments (the tiers of O'Neil, Cheng, Gawlick and O'Neil, "The
    log-structured merge-tree", 1996). A segment with many removed vectors is written anew alone.
    Only segments of one codec are merged.
    """
    first, behind = len(segments), 0
    while first > 0 and segments[first - 1].codec == segments[-1].codec:
        if behind and segments[first - 1].vectors > _GROWTH * behind:
            break
        first -= 1
        behind += segments[first].vectors
    if len(segments) - first >= _FEWEST:
        return first, len(segments)
    for i, segment in enumerate(segments):
        if segment.dead > _MOST_REMOVED * segment.vectors:
            return i, i + 1
    return None


def same_codec(segments: Sequence[_core.ManifestSegment]) -> list[tuple[int, int]]:
    """Return the ranges of neighbouring segments with one codec, the last one first."""
    ranges = []
    end = len(segments)
    while end > 0:
        first = end - 1
        while first > 0 and segments[first - 1].codec == segments[first].codec:
            first -= 1
        ranges.append((first, end))
        end = first
    return ranges


def merge_segments(path: str, old: Snapshot, chosen: tuple[int, int], number: int) -> Merger:
    """Write segments of one codec as one file, without the vectors that are removed by now.

    Nothing refers to the file until it is published. Memory: what lists of the segments are packed
    anew, one at a time.
    """
    codec = old.manifest.segments[chosen[0]].codec
    core, merger = _without_removed(path, old, chosen, number)
    if merger.vectors:
        write_segment_file(path, number, core, old.codecs[codec], own=False)
    return merger


def _without_removed(
    path: str, old: Snapshot, chosen: tuple[int, int], number: int
) -> tuple[_core.Index, Merger]:
    """Return some segments as an index, and the merger that a file of it will be."""
    first, last = chosen
    removed = removed_by_segment(old.core, old.manifest.segments)[first:last]
    codec = old.manifest.segments[first].codec
    core = open_core(
        path, old.manifest, old.codecs[codec], segments=slice(first, last), removed=removed
    )
    return core, Merger(first, last, number, core.size, codec, removed)


def recode_segments(
    path: str,
    old: Snapshot,
    chosen: tuple[int, int],
    target: tuple[int, Codec],
    numbers: Callable[[], int],
    prepare: Callable[[FloatRows], FloatRows],
    vectors: Callable[[Labels], Any] | None,
    *,
    keep_rows: bool = True,
    warns: bool = True,
) -> Merger:
    """Write segments of one codec as one with another codec, without the vectors removed by now.

    Codes are made from the refine rows, which stay as they are, or from `vectors` of ids. Memory: a
    part of at most 64 MB; parts are files that one merger joins.

    Parameters
    ----------
    chosen : (int, int)
        The first of the segments, and the one behind the last.
    target : (int, Codec)
        The codec, with its number.
    numbers : callable
        Gives the number of a new file, which nothing removes meanwhile.
    prepare : callable
        What is done with rows before they are encoded.
    keep_rows : bool
        Whether refine rows stay, if there are any.
    warns : bool
        Whether vectors whose distance is clipped lead to a warning, as from `Codec.encode`.
    """
    core, merger = _without_removed(path, old, chosen, numbers())
    metric, row_kind = old.manifest.metric, old.manifest.row_kind if keep_rows else None
    newest, codec = target
    bytes_each = codec.code_size + (2 if core.refine_row_kind is None else 4 * codec.d)
    step = max(_BLOCK, _PART_BYTES // bytes_each)
    names = []
    try:
        for first in range(0, core.size, step):
            part = empty_core(codec, metric, row_kind)
            for at in range(first, min(first + step, core.size), _BLOCK):
                n = min(_BLOCK, first + step - at, core.size - at)
                _append_anew(part, codec, core, at, n, prepare, vectors, warns)
            number = merger.number if step >= core.size else numbers()
            names.append(write_segment_file(path, number, part, codec, own=True)[0])
        if len(names) > 1:
            joined = empty_core(codec, metric, row_kind)
            files = [os.fsencode(name) for name in names]
            joined.attach_segments(
                files, mark_of(codec), [np.empty(0, np.uint32)] * len(files), False
            )
            write_segment_file(path, merger.number, joined, codec, own=False)
    finally:
        for name in names:
            if name != os.path.join(path, segment_name(merger.number)):
                with contextlib.suppress(OSError):
                    os.unlink(name)
    return Merger(*chosen, merger.number, merger.vectors, newest, merger.removed)


def _append_anew(
    part: _core.Index,
    codec: Codec,
    core: _core.Index,
    first: int,
    n: int,
    prepare: Callable[[FloatRows], FloatRows],
    vectors: Callable[[Labels], Any] | None,
    warns: bool,
) -> None:
    """Encode vectors of an index, and append them to another one."""
    ids, kept, kind = core.ids(first, n), None, core.refine_row_kind
    if kind is not None:
        stored = core.refine_rows(first, n)
        if part.refine_row_kind is not None:
            kept = _core.RefineRows(kind, codec.d)
            kept.append(stored, 0)
        rows = Rows(stored)
    else:
        assert vectors is not None
        rows = Rows(vectors(ids), "vectors", codec.d)
        if rows.n != n:
            raise ArgumentError(f"vectors: expected {n} vectors, one per id, got {rows.n}")
    part.append(encode_rows(codec._core, rows, prepare, warns=warns), ids, kept)
