"""A snapshot of a folder: its manifest, and an index of the core made from the files it names."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import cast

import numpy as np
from numpy.typing import NDArray

from waterfill import _core
from waterfill._util.atomic_file import atomic_write
from waterfill._util.system import GONE, read_replaced
from waterfill._util.validation import Metric, metric_of
from waterfill.codec import Codec
from waterfill.folder.directory import (
    MANIFEST,
    codec_name,
    header_checksum,
    segment_name,
    tombstones_name,
)
from waterfill.folder.mixed_index import MixedIndex
from waterfill.folder.write_ahead_log import Change, LogFormat, LogReader
from waterfill.io import read_codec

_ATTEMPTS = 100  # to open a folder whose writer replaces files meanwhile


@dataclass
class Snapshot:
    """What a folder held at one time, opened.

    Attributes
    ----------
    manifest : _core.Manifest
    codecs : dict
        By number; the last one is that of new vectors.
    core : _core.Index
        Mapped segments, and the vectors of the log. A `MixedIndex` if there are several codecs.
    log : LogReader
        At the end of the log.
    next_id : int
        More than any id that was ever in the folder.
    """

    manifest: _core.Manifest
    codecs: dict[int, Codec]
    core: _core.Index
    log: LogReader
    next_id: int

    def read_log(self) -> bool:
        """Apply what has been appended to the log; return whether it is anything."""
        changes = self.log.read()
        replay(self.core, changes)
        self.next_id = max([self.next_id, *(next_after(change[1]) for change in changes)])
        return bool(changes)

    @property
    def codec(self) -> Codec:
        """The codec of new vectors."""
        return self.codecs[self.manifest.codecs[-1].number]

    @property
    def metric(self) -> Metric:
        """The metric of the folder."""
        return metric_of(self.manifest.metric)


def read_manifest(path: str) -> _core.Manifest:
    """Read the manifest of a folder.

    Raises
    ------
    OSError, FormatError
        If there is none, or it is damaged.
    """
    name = os.path.join(path, MANIFEST)
    data = read_replaced(name)
    try:
        return _core.Manifest.from_bytes(data)
    except _core.FormatError as error:
        raise _core.FormatError(f"{name}: {error}") from None


def write_manifest(path: str, manifest: _core.Manifest) -> None:
    """Replace the manifest of a folder: the step that makes a new state the folder's."""
    data = manifest.to_bytes()
    with atomic_write(os.path.join(path, MANIFEST)) as file:
        file.write(data)


def open_snapshot(path: str, *, verify: bool, known: Snapshot | None = None) -> Snapshot:
    """Open what a folder holds now.

    Parameters
    ----------
    path : str
    verify : bool
        Read and verify all files, instead of headers and small sections.
    known : Snapshot, optional
        An earlier one, whose codecs are used if they are still those of the folder.
    """
    for attempt in range(_ATTEMPTS):
        manifest = read_manifest(path)
        try:
            return _open(path, manifest, known, verify)
        except GONE as error:
            # A writer may have replaced the manifest and removed what the old one names.
            if read_manifest(path) == manifest or attempt == _ATTEMPTS - 1:
                raise _core.FormatError(f"{path}: damaged: {error}") from None
    raise AssertionError


def open_state(path: str, manifest: _core.Manifest, log: bytes) -> _core.Index:
    """Open the index that a folder held at some time: of a manifest, and of a log up to then.

    Raises
    ------
    FileNotFoundError
        If a writer has removed files of that time.
    """
    codecs = {entry.number: _read_codec(path, manifest, entry, None) for entry in manifest.codecs}
    core = _open_all(path, manifest, codecs, False)
    replay(core, _core.read_log(log, 0, 1)[0])
    return core


def _open(path: str, manifest: _core.Manifest, known: Snapshot | None, verify: bool) -> Snapshot:
    codecs = {entry.number: _read_codec(path, manifest, entry, known) for entry in manifest.codecs}
    core = _open_all(path, manifest, codecs, verify)
    newest = manifest.codecs[-1]
    form = log_format(codecs[newest.number], manifest.row_kind)
    log = LogReader(path, manifest.log, form)
    snapshot = Snapshot(manifest, codecs, core, log, manifest.next_id)
    snapshot.read_log()
    return snapshot


def _read_codec(
    path: str, manifest: _core.Manifest, entry: _core.ManifestCodec, known: Snapshot | None
) -> Codec:
    if known is not None and entry in known.manifest.codecs:
        return known.codecs[entry.number]
    name = os.path.join(path, codec_name(entry.number))
    codec = read_codec(name)
    if codec.d != manifest.d or mark_of(codec) != entry.fingerprint:
        raise _core.FormatError(f"{name}: damaged: not the codec that the manifest names")
    return codec


def _open_all(
    path: str, manifest: _core.Manifest, codecs: dict[int, Codec], verify: bool
) -> _core.Index:
    """Open the segments of all codecs: as one index, or as a `MixedIndex`."""
    numbers = [segment.codec for segment in manifest.segments]
    indexes = []
    for number in codecs:
        chosen = slice(numbers.index(number), None) if number in numbers else slice(0, 0)
        chosen = slice(chosen.start, chosen.start + numbers.count(number))
        if chosen.start < chosen.stop or number == manifest.codecs[-1].number:
            indexes.append(
                open_core(path, manifest, codecs[number], verify=verify, segments=chosen)
            )
    return indexes[0] if len(indexes) == 1 else cast("_core.Index", MixedIndex(indexes))


def mark_of(codec: Codec) -> bytes:
    """Return what identifies a codec in the files of a folder: half of its fingerprint."""
    return bytes.fromhex(codec.fingerprint)[:16]


def log_format(codec: Codec, row_kind: _core.RowKind | None) -> LogFormat:
    """Return the form of the records of a log for a codec and a kind of refine rows."""
    row_bytes = 0
    if row_kind is not None:
        row_bytes = _core.RefineRows(row_kind, codec.d).to_array().shape[1]
    return LogFormat(codec.code_size, row_bytes, mark_of(codec))


def open_core(
    path: str,
    manifest: _core.Manifest,
    codec: Codec,
    *,
    verify: bool = False,
    segments: slice = slice(None),
    removed: list[NDArray[np.uint32]] | None = None,
) -> _core.Index:
    """Make an index of the core from segments of a manifest that have one codec.

    removed: their removed vectors, if not those that the manifest names.
    """
    core = empty_core(codec, manifest.metric, manifest.row_kind)
    chosen = manifest.segments[segments]
    names = []
    for segment in chosen:
        name = os.path.join(path, segment_name(segment.number))
        _require_file(name, segment.bytes, segment.crc)
        names.append(os.fsencode(name))
    if removed is None:
        removed = [_read_tombstones(path, segment) for segment in chosen]
    found = core.attach_segments(names, mark_of(codec), removed, verify)
    for file, segment, vectors in zip(names, chosen, found, strict=True):
        if vectors != segment.vectors:
            raise _core.FormatError(
                f"{os.fsdecode(file)}: damaged: a segment of {vectors} vectors, where the manifest "
                f"has {segment.vectors}"
            )
    return core


def empty_core(codec: Codec, metric: _core.Metric, row_kind: _core.RowKind | None) -> _core.Index:
    """Make an index of the core for vectors of a folder."""
    core = _core.Index(codec._core, metric)
    if row_kind is not None:
        core.keep_refine_rows(row_kind)
    core.keep_ids()
    return core


def _require_file(name: str, size: int, checksum: int) -> None:
    if os.path.getsize(name) != size or header_checksum(name) != checksum:
        raise _core.FormatError(f"{name}: damaged: not the file that the manifest names")


def _read_tombstones(path: str, segment: _core.ManifestSegment) -> NDArray[np.uint32]:
    if not segment.tombstones:
        return np.empty(0, np.uint32)
    name = os.path.join(path, tombstones_name(segment.number, segment.tombstones))
    with open(name, "rb") as file:
        data = file.read()
    try:
        number, vectors, labels = _core.tombstones_from_bytes(data)
    except _core.FormatError as error:
        raise _core.FormatError(f"{name}: {error}") from None
    same = (number, vectors, len(labels)) == (segment.number, segment.vectors, segment.dead)
    if not same or header_checksum(name) != segment.tombstones_crc:
        raise _core.FormatError(f"{name}: damaged: not the file that the manifest names")
    return labels


def next_after(ids: NDArray[np.int64]) -> int:
    """Return the number behind the largest of some ids, at least 0."""
    return max(0, int(ids.max()) + 1) if len(ids) else 0


def replay(core: _core.Index, changes: list[Change]) -> None:
    """Apply the changes of a log."""
    for kind, ids, codes, rows in changes:
        if codes is None:
            core.remove([("set", np.sort(ids))])
            continue
        kept = core.refine_row_kind
        own = None
        if kept is not None and rows is not None:
            own = _core.RefineRows.from_array(kept, core.codec.d, rows)
        core.append(codes, ids, own, [("set", np.sort(ids))] if kind == "upsert" else None)
