"""An index made of the segments of a folder: what it holds, and how it goes on to another state."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator
from itertools import count
from typing import TYPE_CHECKING, Any, TypeVar

from waterfill import _core
from waterfill._util.fork_safe_lock import fork_safe_lock
from waterfill._util.system import GONE
from waterfill.codec import Codec
from waterfill.data.rows import FloatRows
from waterfill.folder.directory import (
    HEADER_BYTES,
    WriterLock,
    copy_folder,
    files_of,
    remove_others,
)
from waterfill.folder.mixed_index import MixedIndex
from waterfill.folder.publication import Merger, publish
from waterfill.folder.snapshot import Snapshot, open_snapshot, read_manifest
from waterfill.folder.write_ahead_log import Sync, WriteAheadLog
from waterfill.index.base import Index
from waterfill.index.vector_index import Labels

if TYPE_CHECKING:
    from typing_extensions import Self

T = TypeVar("T")

_READ_ONLY = "the folder is open with mode='r'; open it with mode='a'"


class SegmentedIndex(Index):
    """What an index in a folder does with its files; see `open_index`."""

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
    _unpublished: set[str]  # files that will be named by a later manifest
    _codec_changes: int  # odd during a change of the codec

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
        index._refine = _name_of(manifest.row_kind)
        index._attach(snapshot.core, snapshot.codec)
        index._keeps_ids = False
        index._path, index._snapshot, index._lock = path, snapshot, lock
        index._sync = sync
        index._flush_bytes = index._flush_at = flush_bytes
        index._compaction = compaction
        index._changing = fork_safe_lock(index, "_changing", threading.RLock)
        index._numbers = count(manifest.next_file)
        index._unpublished = set()
        index._codec_changes = 0
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

    # Files.

    @property
    def path(self) -> str:
        """The folder."""
        return self._path

    @property
    def segments(self) -> list[dict[str, int]]:
        """The segments as of the last `flush`: vectors, removed, bytes, codec."""
        return [
            {
                "number": one.number,
                "vectors": one.vectors,
                "removed": one.dead,
                "bytes": one.bytes,
                "codec": one.codec,
            }
            for one in self._snapshot.manifest.segments
        ]

    @property
    def log_bytes(self) -> int:
        """Bytes of the changes since the last `flush`, which lie in the write-ahead log."""
        log = self._log
        return (self._snapshot.log.offset if log is None else log.size) - HEADER_BYTES

    @property
    def codecs(self) -> dict[int, int]:
        """Number of vectors by the number of their codec: of the newest one, which comes last, too.

        There are several after `change_codec`, until `recode` or the background is done.
        """
        state = self._snapshot
        counts = dict.fromkeys((entry.number for entry in state.manifest.codecs), 0)
        older = state.core.older_sizes if isinstance(state.core, MixedIndex) else []
        counts.update(zip(counts, older, strict=False))
        counts[state.manifest.codecs[-1].number] = state.core.size - sum(older)
        return counts

    def _publish(
        self,
        merger: Merger | None = None,
        *,
        keep_vectors: bool = True,
        codec: tuple[int, Codec] | None = None,
        keep_rows: bool = True,
    ) -> None:
        """Make a new manifest, and an index of the core from what it names."""
        self._trained()
        assert self._log is not None
        self._log.require_sound()
        old = self._snapshot
        try:
            manifest = publish(
                self._path,
                old,
                numbers=self._numbers,
                settings=self._manifest_settings(),
                codec=codec,
                merger=merger,
                keep_vectors=keep_vectors,
                keep_rows=keep_rows,
            )
        except BaseException:
            if read_manifest(self._path) == old.manifest:
                remove_others(self._path, files_of(old.manifest) | self._unpublished)
            raise
        try:
            new = open_snapshot(self._path, verify=False, known=old)
            log = WriteAheadLog(self._path, manifest.log, new.log, self._sync)
        except BaseException:
            self._log.fail()  # the manifest names another log
            raise
        self._adopt(new)
        self._log.close(sync=False)
        self._log = log
        remove_others(self._path, files_of(manifest) | self._unpublished)

    def _manifest_settings(self) -> dict[str, Any]:
        """Return the settings that the manifest holds."""
        return {"nprobe": 0, "target_recall": None, "k_factor": self._k_factor}

    def _adopt(self, new: Snapshot) -> None:
        """Answer calls from a snapshot from now on."""
        with self._writing:
            old = self._snapshot.manifest
            if new.codec is self._codec:
                self._snapshot, self._core = new, new.core
                self._take_stored_settings(old, new.manifest)
                return
            self._codec_changes += 1
            try:
                self._snapshot, self._core, self._codec = new, new.core, new.codec
                self._take_settings(new.codec)
                self._take_stored_settings(old, new.manifest)
            finally:
                self._codec_changes += 1

    def _take_stored_settings(self, old: _core.Manifest, new: _core.Manifest) -> None:
        """Take the settings that the writer of the folder has changed."""
        self._refine = _name_of(new.row_kind)
        if new.k_factor != old.k_factor:
            self.k_factor = new.k_factor

    def _take_settings(self, codec: Codec) -> None:
        """Take the settings of searches from another codec, except those that were set."""
        self._chosen = {}
        if self._given.get("coarse_groups", 0) > codec._core.groups:
            del self._given["coarse_groups"]

    def _with_one_codec(self, read: Callable[[], T]) -> T:
        """Call a function that must not see a change of the codec."""
        while True:
            before = self._codec_changes
            if before % 2 == 0:
                try:
                    result = read()
                except Exception:
                    if self._codec_changes == before:
                        raise
                else:
                    if self._codec_changes == before:
                        return result
            with self._writing:  # until the change is complete
                if self._codec_changes % 2:  # a fork came in between
                    self._core, self._codec = self._snapshot.core, self._snapshot.codec
                    self._take_settings(self._snapshot.codec)
                    self._codec_changes += 1

    def _found(self, *arguments: Any) -> Any:
        found = super()._found
        return self._with_one_codec(lambda: found(*arguments))

    def _found_within(self, *arguments: Any) -> Any:
        found = super()._found_within
        return self._with_one_codec(lambda: found(*arguments))

    def _by_id(self, keys: Labels) -> FloatRows:
        by_id = super()._by_id
        return self._with_one_codec(lambda: by_id(keys))

    @property
    def _contents(self) -> str:
        return "rows" if isinstance(self._core, MixedIndex) else super()._contents

    # Copies.

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
        """Take in what the writer of the folder has done since.

        Searches that run meanwhile see the state of before. An index that is open for changes is
        always up to date.

        Returns
        -------
        bool
            Whether it has done anything.

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
                with contextlib.suppress(*GONE):  # there is another manifest by now
                    return old.read_log()
            self._adopt(open_snapshot(self._path, verify=False, known=old))
            return True


def _name_of(kind: _core.RowKind | None) -> str | None:
    return None if kind is None else kind.name
