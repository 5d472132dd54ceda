"""Indexes that live in a folder: their changes are on the disk, and other processes see them."""

from __future__ import annotations

import contextlib
import os
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from itertools import count
from typing import TYPE_CHECKING, Any

import numpy as np

from waterfill import _core
from waterfill._util.fork_safe_lock import fork_safe_lock
from waterfill.codec import Codec, Codes
from waterfill.data.row_policy import Policy
from waterfill.errors import ArgumentError
from waterfill.folder.compaction import choose_segments, merge_segments
from waterfill.folder.directory import (
    HEADER_BYTES,
    WriterLock,
    copy_folder,
    files_of,
    remove_others,
    segment_name,
)
from waterfill.folder.publication import Merger, publish
from waterfill.folder.snapshot import Snapshot, next_after, open_snapshot, read_manifest
from waterfill.folder.write_ahead_log import Sync, WriteAheadLog
from waterfill.index.base import Index
from waterfill.index.collection import Labels
from waterfill.index.flat import IndexFlat
from waterfill.index.ivf import IndexIVF
from waterfill.index.selector_graph import Step
from waterfill.index.selector_members import sorted_unique

if TYPE_CHECKING:
    from typing_extensions import Self

_READ_ONLY = "the folder is open with mode='r'; open it with mode='a'"
_FORKED = "the folder was opened before a fork; open it in the child, with mode='r' or 'a'"


class FolderIndex(Index):
    """What an index in a folder can do besides an `IndexFlat` or `IndexIVF`; see `open_index`."""

    _path: str
    _snapshot: Snapshot
    _lock: WriterLock | None  # None: open to read
    _log: WriteAheadLog | None
    _sync: Sync
    _flush_bytes: int
    _flush_at: int  # bytes of the log, more after a flush that failed
    _compaction: str
    _changing: threading.RLock  # held during a change; `_writing` while readers must wait
    _numbers: Iterator[int]  # of new files
    _merging: threading.Lock  # held by a merger of segments
    _merger: threading.Thread | None
    _in_progress: str  # the file that it writes

    # Opening and closing.

    @classmethod
    def _open(
        cls,
        path: str,
        snapshot: Snapshot,
        lock: WriterLock | None,
        *,
        sync: Sync,
        flush_bytes: int,
        compaction: str,
    ) -> Self:
        manifest = snapshot.manifest
        index = cls._of_codec(snapshot.codec, snapshot)
        kind = manifest.row_kind
        index._refine = None if kind is None else kind.name
        index._attach(snapshot.core, snapshot.codec)
        index._keeps_ids = False
        index._path, index._snapshot, index._lock = path, snapshot, lock
        index._sync = sync
        index._flush_bytes = index._flush_at = flush_bytes
        index._compaction = compaction
        index._changing = fork_safe_lock(index, "_changing", threading.RLock)
        index._numbers = count(manifest.next_file)
        index._merging = fork_safe_lock(index, "_merging", threading.Lock)
        index._merger = None
        index._in_progress = ""
        index._log = None
        if lock is None:
            index._frozen = _READ_ONLY
        else:
            remove_others(path, files_of(manifest))
            index._log = WriteAheadLog(path, manifest.log, snapshot.log, sync)
        return index

    @classmethod
    def _of_codec(cls, codec: Codec, snapshot: Snapshot) -> Self:
        raise NotImplementedError

    @property
    def _changes(self) -> threading.RLock:
        return self._changing

    def _trained(self) -> _core.Index:
        if self._core is None:
            raise ValueError(f"the index in {self._path!r} is closed; call open_index")
        return self._core

    def close(self) -> None:
        """Write what is not on the disk yet, and give the folder back to other writers.

        Raises
        ------
        OSError
            If records could not be written; the folder is closed in any case.
        """
        if self._merger is not None:
            self._merger.join()
        with self._changing, self._writing:
            log, self._log = self._log, None
            lock, self._lock = self._lock, None
            self._core = None
            try:
                if log is not None:
                    log.close(sync=lock is not None and lock.held and self._sync != "none")
            finally:
                if lock is not None:
                    lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        from waterfill.folder.opening import open_index

        return open_index, (self._path, "r")

    # Changes.

    def upsert(self, ids: Any, x: Any, *, policy: Policy = "raise") -> None:
        """Add vectors, and remove those that had their ids, in one step.

        Parameters
        ----------
        ids : array_like of int, shape (n,)
            Each once, and not -1.
        x : array_like, shape (n, d)
        policy : {'raise', 'drop', 'quarantine'}
            As for `add`; old vectors of rows that are left out stay.

        Raises
        ------
        ValueError
            As `add_with_ids`; or if an id occurs twice.
        TypeError, OSError
            As `add_with_ids`.
        """
        self._append(x, _as_distinct(ids), "upsert", policy, replaces=True)

    def _require_changeable(self) -> None:
        self._trained()
        super()._require_changeable()
        if self._lock is None or not self._lock.held:
            raise ValueError(f"the index cannot be changed: {_FORKED}")

    def _store(
        self,
        codes: Codes,
        ids: Labels | None,
        rows: _core.RefineRows | None = None,
        *,
        replaces: bool = False,
    ) -> None:
        with self._changing:
            self._require_changeable()
            core = self._trained()
            own = self._next_ids(len(codes)) if ids is None else ids
            if len(codes) == 0:
                return
            stored = None if rows is None else rows.to_array()
            kind = "upsert" if replaces else "append"
            replaced = [("set", sorted_unique(own))] if replaces else None
            self._logged(kind, own, codes, stored, lambda: core.append(codes, own, rows, replaced))
            self._snapshot.next_id = max(self._snapshot.next_id, next_after(own))
            self._flush_if_large()

    def _next_ids(self, n: int) -> Labels:
        first = self._snapshot.next_id
        if first > 2**63 - 1 - n:
            raise ArgumentError(
                "x: no ids are left for vectors without ids: the largest id is in use; call "
                "add_with_ids(x, ids)"
            )
        return np.arange(first, first + n, dtype=np.int64)

    def _remove(self, steps: list[Step]) -> int:
        with self._changing:
            self._require_changeable()
            core = self._trained()
            ids = core.selected_ids(steps)
            if len(ids) == 0:
                return 0
            removed = self._logged("remove", ids, None, None, lambda: core.remove([("set", ids)]))
            self._flush_if_large()
            return int(removed)

    def _logged(
        self, kind: str, ids: Labels, codes: Codes | None, rows: Any, change: Callable[[], Any]
    ) -> Any:
        """Write a change to the log, then make it. After an error neither has happened."""
        log = self._log
        assert log is not None
        before = log.position
        try:
            log.append(kind, ids, codes, rows)
            with self._writing:
                return change()
        except BaseException:
            if log.position != before:
                log.truncate(before)
            raise

    def reset(self) -> None:
        """Remove all vectors."""
        with self._changing:
            self._require_changeable()
            self._publish(keep_vectors=False)

    def merge_from(self, otherIndex: Any, add_id: int = 0) -> None:  # noqa: N803
        """Raise an error: the vectors of another index are added by `add_sa_codes`.

        Raises
        ------
        ValueError
            Always.
        """
        raise ValueError(
            "merge_from: an index in a folder takes no vectors out of another one; call "
            "add_with_ids(x, ids), or add_sa_codes(other.codes(), other.ids()) with the same codec"
        )

    # Files.

    @property
    def path(self) -> str:
        """The folder."""
        return self._path

    @property
    def segments(self) -> list[dict[str, int]]:
        """The segments as of the last `flush`: number, vectors, removed and bytes of each."""
        return [
            {"number": one.number, "vectors": one.vectors, "removed": one.dead, "bytes": one.bytes}
            for one in self._snapshot.manifest.segments
        ]

    @property
    def log_bytes(self) -> int:
        """Bytes of the changes since the last `flush`, which lie in the write-ahead log."""
        log = self._log
        return (self._snapshot.log.offset if log is None else log.size) - HEADER_BYTES

    def flush(self) -> None:
        """Write the vectors of the log to a segment, and what has been removed, and sync them.

        Happens by itself when the log reaches `flush_bytes`. Opening a folder reads its log, so a
        folder that has been flushed opens faster.

        Raises
        ------
        OSError
            If the files cannot be written; nothing is lost.
        ValueError
            If the folder is not open for changes.
        """
        with self._changing:
            self._require_changeable()
            self._publish()
            self._merge_if_worthwhile()

    def _flush_if_large(self) -> None:
        """Flush a large log. An error is a warning: the change that was just made is kept."""
        assert self._log is not None
        if self._log.size < self._flush_at:
            return
        try:
            self.flush()
            self._flush_at = self._flush_bytes
        except OSError as error:
            self._flush_at = self._log.size + self._flush_bytes
            warnings.warn(
                f"{self._path}: the log cannot be flushed and grows; nothing is lost: {error}",
                RuntimeWarning,
                stacklevel=2,
            )

    def _publish(self, merger: Merger | None = None, *, keep_vectors: bool = True) -> None:
        """Make a new manifest, and an index of the core from what it names."""
        assert self._log is not None
        self._log.require_sound()
        old, core = self._snapshot, self._trained()
        try:
            manifest = publish(
                self._path,
                old.manifest,
                core,
                numbers=self._numbers,
                next_id=old.next_id,
                settings=(self._stored_nprobe(), self._k_factor),
                merger=merger,
                keep_vectors=keep_vectors,
            )
        except BaseException:
            if read_manifest(self._path) == old.manifest:
                remove_others(self._path, files_of(old.manifest) | {self._in_progress})
            raise
        try:
            new = open_snapshot(self._path, verify=False, known=old)
            log = WriteAheadLog(self._path, manifest.log, new.log, self._sync)
        except BaseException:
            self._log.fail()  # the manifest names another log
            raise
        with self._writing:
            self._snapshot, self._core = new, new.core
        self._log.close(sync=False)
        self._log = log
        remove_others(self._path, files_of(manifest) | {self._in_progress})

    def _stored_nprobe(self) -> int:
        return 0

    def compact(self) -> None:
        """Merge all segments into one, without removed vectors; their space is free afterwards.

        Searches and changes go on meanwhile. Needs room for a copy of the index on the disk.

        Raises
        ------
        OSError
            If the files cannot be written; nothing is lost.
        ValueError
            If the folder is not open for changes.
        """
        with self._merging:
            with self._changing:
                self._require_changeable()
                self._publish()
                segments = self._snapshot.manifest.segments
            if len(segments) > 1 or any(segment.dead for segment in segments):
                self._merge((0, len(segments)))

    def _merge_if_worthwhile(self) -> None:
        """Start a merger in the background, if the segments call for one and none is running."""
        segments = self._snapshot.manifest.segments
        chosen = choose_segments(
            [segment.vectors for segment in segments], [segment.dead for segment in segments]
        )
        if self._compaction == "off" or chosen is None or not self._merging.acquire(blocking=False):
            return
        self._merger = threading.Thread(
            target=self._merge_in_background,
            args=(chosen,),
            name=f"waterfill-merger-{os.path.basename(self._path)}",
            daemon=True,
        )
        self._merger.start()

    def _merge_in_background(self, chosen: tuple[int, int]) -> None:
        try:
            self._merge(chosen)
        except Exception as error:
            warnings.warn(f"{self._path}: merging segments failed: {error}", stacklevel=1)
        finally:
            self._merging.release()

    def _merge(self, chosen: tuple[int, int]) -> None:
        """Merge some segments while changes go on, and publish the result."""
        with self._changing:
            before, number = self._snapshot, next(self._numbers)
            self._in_progress = segment_name(number)
        try:
            merger = merge_segments(
                self._path, before.manifest, before.core, before.codec, chosen, number
            )
            with self._changing:
                # Only `reset` takes segments away, as there is one merger at a time.
                same = before.manifest.segments[: chosen[1]]
                now = self._snapshot.manifest.segments[: chosen[1]]
                if self._log is not None and numbers_of(now) == numbers_of(same):
                    self._publish(merger)
        finally:
            self._in_progress = ""

    def snapshot(self, path: Any) -> None:
        """Make a folder with the present state, as a hard link of each file where possible.

        Parameters
        ----------
        path : str or path-like
            Must not exist. On the same file system it takes almost no space and no time.

        Raises
        ------
        FileExistsError
            If `path` exists.
        OSError
            If it cannot be written.
        """
        with self._changing:
            if self._lock is not None:
                self._require_changeable()
                self._publish()
            state = self._snapshot
            copy_folder(self._path, state.manifest, state.log.offset, os.fspath(path))

    def refresh(self) -> bool:
        """Take in what the writer of the folder has done since, and return whether it is anything.

        Searches that run meanwhile see the state of before. An index that is open for changes is
        always up to date.

        Raises
        ------
        FormatError, OSError
            If the folder is damaged or gone; the index stays as it was.
        """
        self._trained()
        if self._lock is not None:
            return False
        with self._changing:
            old = self._snapshot
            if read_manifest(self._path) == old.manifest:
                with contextlib.suppress(FileNotFoundError):  # there is another manifest by now
                    return old.read_log()
            new = open_snapshot(self._path, verify=False, known=old)
            with self._writing:
                self._snapshot, self._core, self._codec = new, new.core, new.codec
            return True


class FolderIndexFlat(FolderIndex, IndexFlat):
    """An `IndexFlat` in a folder; see `open_index`."""

    @classmethod
    def _of_codec(cls, codec: Codec, snapshot: Snapshot) -> Self:
        index = cls.__new__(cls)
        IndexFlat.__init__(index, codec, snapshot.metric, k_factor=snapshot.manifest.k_factor)
        return index


class FolderIndexIVF(FolderIndex, IndexIVF):
    """An `IndexIVF` in a folder; see `open_index`."""

    @classmethod
    def _of_codec(cls, codec: Codec, snapshot: Snapshot) -> Self:
        index = cls.__new__(cls)
        IndexIVF.__init__(
            index, codec, codec.cells, metric=snapshot.metric, k_factor=snapshot.manifest.k_factor
        )
        index.nprobe = snapshot.manifest.nprobe
        return index

    def _stored_nprobe(self) -> int:
        return self._nprobe


def numbers_of(segments: Sequence[_core.ManifestSegment]) -> list[int]:
    """Return the numbers of the files of some segments."""
    return [segment.number for segment in segments]


def _as_distinct(ids: Any) -> Labels:
    from waterfill.index.collection import _as_new_ids

    numbers = _as_new_ids(ids)
    if len(sorted_unique(numbers)) != len(numbers):
        unique, times = np.unique_counts(numbers)
        raise ArgumentError(f"ids: id {unique[times > 1][0]} occurs twice")
    return numbers
