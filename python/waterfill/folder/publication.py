"""Publication of a new state of a folder: new files, then the manifest that names them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from waterfill import _core
from waterfill._util.atomic_file import atomic_write
from waterfill._util.system import OPEN_FLAGS, sync_directory
from waterfill.codec import Codec
from waterfill.folder.directory import (
    header_checksum,
    segment_name,
    tombstones_name,
)
from waterfill.folder.snapshot import Snapshot, log_format, mark_of, write_manifest
from waterfill.folder.write_ahead_log import create_log


@dataclass
class Merger:
    """Segments that have been written anew as one, without the vectors removed by then.

    Attributes
    ----------
    first, last : int
        The segments are those from `first` up to `last` in the manifest it was made from.
    number, vectors, codec : int
        The new file, its vectors, and their codec.
    removed : list of uint32 array
        Vectors of the old segments that were left out.
    """

    first: int
    last: int
    number: int
    vectors: int
    codec: int
    removed: list[NDArray[np.uint32]]


def publish(
    path: str,
    old: Snapshot,
    *,
    numbers: Iterator[int],
    settings: dict[str, Any],
    codec: tuple[int, Codec] | None = None,
    merger: Merger | None = None,
    keep_vectors: bool = True,
    keep_rows: bool = True,
) -> _core.Manifest:
    """Write what a snapshot holds beyond its manifest, as a new manifest, with an empty log.

    The new state appears all at once, when the manifest is replaced. After an error the folder is
    as before, but for new files that nothing refers to.

    Parameters
    ----------
    numbers : iterator of int
        For new files.
    settings : dict
        `nprobe` (0 for a flat index), `target_recall` and `k_factor` of the manifest.
    codec : tuple, optional
        The number and the codec of vectors that come later, if it changes.
    merger : Merger, optional
        A segment to take the place of others.
    keep_vectors : bool
        False for a state without vectors.
    keep_rows : bool
        False for a state without refine rows; `merger` then has all vectors.
    """
    manifest = old.manifest
    row_kind = manifest.row_kind if keep_rows else None
    segments: list[_core.ManifestSegment] = []
    if keep_vectors:
        removed = removed_by_segment(old.core, manifest.segments)
        segments = [
            _with_tombstones(path, segment, labels, numbers)
            for segment, labels in zip(manifest.segments, removed, strict=True)
        ]
        if merger is not None:
            segments[merger.first : merger.last] = _merged(path, manifest, merger, removed, numbers)
        segments += _own_segment(path, old, numbers)
    number, newest = codec or (manifest.codecs[-1].number, old.codec)
    log = next(numbers)
    create_log(path, log, log_format(newest, row_kind))
    sync_directory(path)
    new = _core.Manifest(
        metric=manifest.metric,
        d=manifest.d,
        number=manifest.number + 1,
        log=log,
        next_file=next(numbers),
        next_id=min(old.next_id, 2**63 - 1),
        row_kind=row_kind,
        codecs=_codecs_of(segments, manifest, _core.ManifestCodec(number, mark_of(newest))),
        segments=segments,
        **settings,
    )
    write_manifest(path, new)
    return new


def _codecs_of(
    segments: Sequence[_core.ManifestSegment],
    manifest: _core.Manifest,
    newest: _core.ManifestCodec,
) -> list[_core.ManifestCodec]:
    used = {segment.codec for segment in segments} - {newest.number}
    return [codec for codec in manifest.codecs if codec.number in used] + [newest]


def removed_by_segment(
    core: _core.Index, segments: Sequence[_core.ManifestSegment]
) -> list[NDArray[np.uint32]]:
    """Return the removed vectors of each segment, by labels of the segment."""
    labels = core.removed_labels()
    starts = np.cumsum([0, *(segment.vectors for segment in segments)])
    bounds = np.searchsorted(labels, starts)
    return [
        (labels[bounds[i] : bounds[i + 1]] - starts[i]).astype(np.uint32)
        for i in range(len(segments))
    ]


def write_segment_file(
    path: str, number: int, core: _core.Index, codec: Codec, *, own: bool
) -> tuple[str, int]:
    """Write and sync a segment; return its path and its number of vectors."""
    name = os.path.join(path, segment_name(number))
    handle = os.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL | OPEN_FLAGS, 0o666)
    try:
        try:
            vectors = core.write_segment(handle, os.fsencode(name), mark_of(codec), own)
            os.fsync(handle)
        finally:
            os.close(handle)
    except BaseException:
        os.unlink(name)
        raise
    return name, vectors


def replace_segment_file(
    path: str, number: int, core: _core.Index, codec: Codec
) -> tuple[str, int]:
    """Write and sync a segment that another process may be writing, too, with the same bytes."""
    name = os.path.join(path, segment_name(number))
    with atomic_write(name) as file:
        vectors = core.write_segment(file.fileno(), os.fsencode(name), mark_of(codec), True)
    return name, vectors


def describe_segment(name: str, number: int, vectors: int, codec: int) -> _core.ManifestSegment:
    """Return the entry of a manifest for a new segment."""
    return _core.ManifestSegment(
        number=number,
        vectors=vectors,
        bytes=os.path.getsize(name),
        codec=codec,
        crc=header_checksum(name),
    )


def _own_segment(path: str, old: Snapshot, numbers: Iterator[int]) -> list[_core.ManifestSegment]:
    """Write the vectors that lie in no segment yet, if there are any."""
    manifest = old.manifest
    removed = sum(map(len, removed_by_segment(old.core, manifest.segments)))
    mapped = sum(segment.vectors for segment in manifest.segments)
    if old.core.size == mapped - removed:
        return []
    number = next(numbers)
    name, vectors = write_segment_file(path, number, old.core, old.codec, own=True)
    return [describe_segment(name, number, vectors, manifest.codecs[-1].number)]


def _with_tombstones(
    path: str, segment: _core.ManifestSegment, labels: NDArray[np.uint32], numbers: Iterator[int]
) -> _core.ManifestSegment:
    """Return the entry of a segment with these vectors removed, after writing them to a file."""
    if len(labels) == segment.dead:
        return segment
    number = next(numbers)
    name = os.path.join(path, tombstones_name(segment.number, number))
    data = _core.tombstones_to_bytes(segment.number, segment.vectors, labels)
    with open(name, "xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    return _core.ManifestSegment(
        number=segment.number,
        vectors=segment.vectors,
        bytes=segment.bytes,
        codec=segment.codec,
        crc=segment.crc,
        tombstones=number,
        dead=len(labels),
        tombstones_crc=header_checksum(name),
    )


def _merged(
    path: str,
    manifest: _core.Manifest,
    merger: Merger,
    removed: list[NDArray[np.uint32]],
    numbers: Iterator[int],
) -> list[_core.ManifestSegment]:
    """Return the entry of a merged segment; vectors removed meanwhile are its tombstones."""
    if merger.vectors == 0:
        return []
    name = os.path.join(path, segment_name(merger.number))
    entry = describe_segment(name, merger.number, merger.vectors, merger.codec)
    later, start = [], 0
    for i, left_out in enumerate(merger.removed, merger.first):
        since = np.setdiff1d(removed[i], left_out, assume_unique=True)
        later.append(start + since - np.searchsorted(left_out, since))
        start += manifest.segments[i].vectors - len(left_out)
    labels = np.concatenate(later).astype(np.uint32)
    return [_with_tombstones(path, entry, labels, numbers)]
