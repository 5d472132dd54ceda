"""`open_index`: an index in a folder, opened to read, to change, or made new."""

from __future__ import annotations

import contextlib
import os
from typing import Literal

from waterfill import _core
from waterfill._util.system import sync_directory
from waterfill._util.validation import (
    METRICS,
    Metric,
    as_number,
    as_positive_int,
    metric_name,
    metric_of,
)
from waterfill.codec import Codec
from waterfill.folder.directory import (
    BUILD_JOURNAL,
    BUILD_RECORD,
    MANIFEST,
    WriterLock,
    codec_name,
    files_of,
    remove_others,
)
from waterfill.folder.index import FolderIndex, FolderIndexFlat, FolderIndexIVF
from waterfill.folder.snapshot import (
    log_format,
    mark_of,
    open_snapshot,
    read_manifest,
    write_manifest,
)
from waterfill.folder.write_ahead_log import SYNCS, Sync, create_log
from waterfill.index.list_recall import ListRecall, as_target_recall
from waterfill.index.trainable import ROW_KINDS, check_refine
from waterfill.io import Path, write_codec

_FLUSH_BYTES = 64 << 20


def open_index(
    path: Path,
    mode: Literal["r", "a", "w"] = "r",
    *,
    codec: Codec | None = None,
    metric: Metric | int | None = None,
    nprobe: int | None = None,
    target_recall: float | None = None,
    refine: str | None = None,
    k_factor: float | None = None,
    sync: Sync = "commit",
    verify: Literal["header", "full"] = "header",
    flush_bytes: int = _FLUSH_BYTES,
    compaction: Literal["background", "off"] = "background",
    kind: type[FolderIndexIVF] = FolderIndexIVF,
) -> FolderIndexFlat | FolderIndexIVF:
    """Open an index that lives in a folder, made with a codec; see `waterfill.open_index`.

    kind: of an index with lists.
    """
    name = os.path.abspath(os.fsdecode(os.fspath(path)))
    _check_options(mode, sync, verify, compaction)
    flush_bytes = as_positive_int("flush_bytes", flush_bytes)
    if target_recall is not None:
        target_recall = as_target_recall(target_recall)
        if nprobe is not None:
            raise ValueError("nprobe and target_recall: expected one of them")
    if os.path.exists(name) and not os.path.isdir(name):
        raise NotADirectoryError(
            20, "expected a folder, got a file; read_index reads index files", name
        )
    exists = os.path.exists(os.path.join(name, MANIFEST))
    if not exists and mode != "w" and os.path.exists(os.path.join(name, BUILD_RECORD)):
        raise FileNotFoundError(
            2, "the build of this folder is not finished; call waterfill.build again", name
        )
    if not exists and (mode == "r" or codec is None):
        raise FileNotFoundError(
            2, "no index in this folder; open_index(path, 'w', codec=codec) makes one", name
        )
    if codec is not None and not isinstance(codec, Codec):
        raise TypeError(f"codec must be a waterfill.Codec, got {type(codec).__name__}")
    if mode == "w" and codec is None:
        raise ValueError("codec is needed to make a folder: codec=wf.Codec.train(x, plan)")
    lock = None
    if mode != "r":
        os.makedirs(name, exist_ok=True)
        lock = WriterLock(name)
    try:
        if mode == "w" or not exists:
            assert codec is not None
            lists = _lists_for(codec, metric, nprobe, target_recall)
            _create(name, codec, metric, lists, refine, k_factor)
        snapshot = open_snapshot(name, verify=verify == "full")
        if exists and mode != "w":
            inverted = nprobe is not None or target_recall is not None
            _require_same(snapshot.manifest, snapshot.codec, codec, metric, inverted, refine)
        made: type[FolderIndex] = kind if snapshot.manifest.nprobe else FolderIndexFlat
        index = made._open(
            name, snapshot, lock, sync=sync, flush_bytes=flush_bytes, compaction=compaction
        )
    except BaseException:
        if lock is not None:
            lock.release()
        raise
    assert isinstance(index, FolderIndexFlat | FolderIndexIVF)
    if nprobe is not None and isinstance(index, FolderIndexIVF):
        index.nprobe = nprobe
    if target_recall is not None and isinstance(index, FolderIndexIVF):
        index.target_recall = target_recall
    if k_factor is not None:
        index.k_factor = k_factor
    return index


def _check_options(mode: str, sync: str, verify: str, compaction: str) -> None:
    for name, value, known in (
        ("mode", mode, ("r", "a", "w")),
        ("sync", sync, SYNCS),
        ("verify", verify, ("header", "full")),
        ("compaction", compaction, ("background", "off")),
    ):
        if value not in known:
            raise ValueError(f"{name}={value!r} must be one of {', '.join(map(repr, known))}")


def _lists_for(
    codec: Codec, metric: Metric | int | None, nprobe: int | None, target_recall: float | None
) -> tuple[int, float | None]:
    """Return `nprobe` of a new folder, 0 for one that searches all lists, and its target recall."""
    if nprobe is None and target_recall is None:
        return 0, None
    if not codec.cells:
        name = "nprobe" if target_recall is None else "target_recall"
        raise ValueError(f"{name} needs a codec with cells: train an IndexIVF and use its codec")
    if target_recall is None:
        return as_positive_int("nprobe", nprobe), None
    known = ListRecall.of(codec._core, metric_name("ip" if metric is None else metric))
    return known.nprobe(target_recall, known.rows), target_recall


def _create(
    path: str,
    codec: Codec,
    metric: Metric | int | None,
    lists: tuple[int, float | None],
    refine: str | None,
    k_factor: float | None,
) -> None:
    """Write the files of a folder without vectors; those of before stay until the last step."""
    kind = METRICS[metric_name("ip" if metric is None else metric)]
    core = _core.Index(codec._core, kind)  # raises if the codec does not go with the metric
    rows = check_refine(refine)
    if rows is not None and not isinstance(rows, str):
        raise TypeError("refine must be the name of a row type, since the folder keeps the rows")
    if rows is not None:
        core.keep_refine_rows(ROW_KINDS[rows])
    numbers = range(1, 4)
    if os.path.exists(os.path.join(path, MANIFEST)):
        first = read_manifest(path).next_file
        numbers = range(first, first + 3)
    mark = mark_of(codec)
    write_codec(codec, os.path.join(path, codec_name(numbers[0])))
    manifest = _core.Manifest(
        metric=kind,
        d=codec.d,
        number=1,
        log=numbers[1],
        next_file=numbers[2],
        next_id=0,
        nprobe=lists[0],
        target_recall=lists[1],
        row_kind=core.refine_row_kind,
        k_factor=4.0 if k_factor is None else as_number("k_factor", k_factor, 1, finite=True),
        codecs=[_core.ManifestCodec(numbers[0], mark)],
    )
    create_log(path, numbers[1], log_format(codec, manifest.row_kind))
    sync_directory(path)
    for build in (BUILD_RECORD, BUILD_JOURNAL):  # the folder is no longer what was built
        with contextlib.suppress(FileNotFoundError):
            os.unlink(os.path.join(path, build))
    write_manifest(path, manifest)
    remove_others(path, files_of(manifest))


def _require_same(
    manifest: _core.Manifest,
    own: Codec,
    codec: Codec | None,
    metric: Metric | int | None,
    inverted: bool,
    refine: str | None,
) -> None:
    """Raise ValueError if arguments contradict an existing folder."""
    if codec is not None and codec is not own and codec.fingerprint != own.fingerprint:
        raise ValueError(
            "codec is another than that of the folder; leave it out, or call change_codec(codec)"
        )
    if metric is not None and METRICS[metric_name(metric)] != manifest.metric:
        raise ValueError(f"metric={metric!r}: the folder has metric {metric_of(manifest.metric)!r}")
    if inverted and not manifest.nprobe:
        raise ValueError(
            "nprobe, target_recall: the folder searches all lists; make a new one with either"
        )
    kept = None if manifest.row_kind is None else manifest.row_kind.name
    if refine is not None and check_refine(refine) != kept:
        raise ValueError(f"refine={refine!r}: the folder keeps {kept or 'no rows'}")
