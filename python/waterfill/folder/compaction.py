"""Compaction of a folder: which segments are merged, and their merger into one file."""

from __future__ import annotations

from collections.abc import Sequence

from waterfill import _core
from waterfill.codec import Codec
from waterfill.folder.publication import Merger, removed_by_segment, write_segment_file
from waterfill.folder.snapshot import open_core

_FEWEST = 4  # segments that are worth a merger
_GROWTH = 2  # a segment joins those behind it if it is at most so many times as large
_MOST_REMOVED = 0.25  # share of removed vectors beyond which a segment is written anew


def choose_segments(vectors: Sequence[int], removed: Sequence[int]) -> tuple[int, int] | None:
    """Return the range of neighbouring segments to merge next, or None.

    Merged are the last segments, as long as each is at most twice as large as all behind it, once
    there are four of them; so a vector is written anew about as often as the size of the folder
    doubles, and a folder has few segments (the tiers of O'Neil, Cheng, Gawlick and O'Neil, "The
    log-structured merge-tree", 1996). A segment with many removed vectors is written anew alone.

    Parameters
    ----------
    vectors : sequence of int
        Vectors of the segments, with removed ones.
    removed : sequence of int
        The removed ones.
    """
    first, behind = len(vectors), 0
    while first > 0 and (behind == 0 or vectors[first - 1] <= _GROWTH * behind):
        first -= 1
        behind += vectors[first]
    if len(vectors) - first >= _FEWEST:
        return first, len(vectors)
    for i in range(len(vectors)):
        if removed[i] > _MOST_REMOVED * vectors[i]:
            return i, i + 1
    return None


def merge_segments(
    path: str,
    manifest: _core.Manifest,
    core: _core.Index,
    codec: Codec,
    chosen: tuple[int, int],
    number: int,
) -> Merger:
    """Write some segments of a manifest as one file, without the vectors that are removed by now.

    Nothing refers to the file until it is published. Memory: what lists of the segments are packed
    anew, one at a time.
    """
    first, last = chosen
    removed = removed_by_segment(core, manifest.segments)[first:last]
    old = open_core(path, manifest, codec, segments=slice(first, last), removed=removed)
    vectors = old.size
    if vectors:
        write_segment_file(path, number, old, manifest.codecs[-1].fingerprint, own=False)
    return Merger(first, last, number, vectors, removed)
