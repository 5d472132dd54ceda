"""Indexes that live in a folder: their changes are on the disk, and other processes see them."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from waterfill import _core
from waterfill.codec import Codec
from waterfill.data.row_policy import Policy
from waterfill.encoding import Codes
from waterfill.errors import ArgumentError
from waterfill.folder.compacted_index import CompactedIndex
from waterfill.folder.mixed_index import MixedIndex
from waterfill.folder.snapshot import Snapshot, next_after, open_snapshot
from waterfill.index.flat import IndexFlat
from waterfill.index.ivf import IndexIVF
from waterfill.index.selector_graph import Step
from waterfill.index.selector_members import sorted_unique
from waterfill.index.vector_index import Labels

if TYPE_CHECKING:
    from typing_extensions import Self

_FORKED = "the folder was opened before a fork; open it in the child, with mode='r' or 'a'"


class FolderIndex(CompactedIndex):
    """What an index in a folder can do besides an `IndexFlat` or `IndexIVF`.

    It is made by `open_index`.
    """

    # Closing.

    def close(self) -> None:
        """Write what is not on the disk yet, and give the folder back to other writers.

        Raises
        ------
        OSError
            If records could not be written; the folder is closed in any case.
        """
        self._closing = True
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

    def __reduce_ex__(self, protocol: Any) -> tuple[Callable[..., Any], tuple[Any, ...]]:
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
            Vectors.
        policy : {'raise', 'drop', 'quarantine'}
            As for `add`; old vectors of rows that are left out stay.

        Raises
        ------
        ValueError
            As `add_with_ids`; or if an id occurs twice.
        TypeError, OSError
            As `add_with_ids`.
        """
        self._append(x, as_distinct(ids), "upsert", policy, replaces=True)

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
            kind = "upsert" if replaces else "append"
            replaced = [("set", sorted_unique(own))] if replaces else None
            self._logged(kind, own, codes, rows, lambda: core.append(codes, own, rows, replaced))
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
            if isinstance(self._core, MixedIndex):  # a part of it may have the change
                self._reload()
            raise

    def _reload(self) -> None:
        """Go back to what the files hold."""
        assert self._log is not None
        try:
            self._adopt(open_snapshot(self._path, verify=False, known=self._snapshot))
        except BaseException:
            self._log.fail()
            raise

    def reset(self) -> None:
        """Remove all vectors."""
        with self._changing:
            self._require_changeable()
            self._publish(keep_vectors=False)

    def merge_from(self, otherIndex: Any, add_id: int = 0) -> None:
        """Raise an error: the vectors of another index are added by `add_sa_codes`.

        Parameters
        ----------
        otherIndex : IndexFlat or IndexIVF
            Ignored.
        add_id : int
            Ignored.

        Raises
        ------
        ValueError
            Always.
        """
        raise ValueError(
            "merge_from: an index in a folder takes no vectors out of another one; call "
            "add_with_ids(x, ids), or add_sa_codes(other.codes(), other.ids()) with the same codec"
        )

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


class FolderIndexFlat(FolderIndex, IndexFlat):
    """An `IndexFlat` in a folder; made by `open_index`."""

    @classmethod
    def _of_codec(cls, codec: Codec, snapshot: Snapshot) -> Self:
        index = cls.__new__(cls)
        IndexFlat.__init__(index, codec, snapshot.metric, k_factor=snapshot.manifest.k_factor)
        return index


class FolderIndexIVF(FolderIndex, IndexIVF):
    """An `IndexIVF` in a folder; made by `open_index`."""

    @classmethod
    def _of_codec(cls, codec: Codec, snapshot: Snapshot) -> Self:
        index = cls.__new__(cls)
        IndexIVF.__init__(
            index, codec, codec.cells, metric=snapshot.metric, k_factor=snapshot.manifest.k_factor
        )
        index._set_lists(snapshot.manifest.nprobe, snapshot.manifest.target_recall)
        return index

    def _take_settings(self, codec: Codec) -> None:
        super()._take_settings(codec)
        self._nlist = codec.cells

    def _take_stored_settings(self, old: _core.Manifest, new: _core.Manifest) -> None:
        super()._take_stored_settings(old, new)
        follows = new.target_recall is not None and new.target_recall == old.target_recall
        if not follows and (new.nprobe, new.target_recall) != (old.nprobe, old.target_recall):
            self._set_lists(new.nprobe, new.target_recall)

    def _manifest_settings(self) -> dict[str, Any]:
        lists = {"nprobe": self.nprobe, "target_recall": self.target_recall}
        return super()._manifest_settings() | lists


def as_distinct(ids: Any) -> Labels:
    """Validate ids of which each occurs once."""
    from waterfill.index.stored_vectors import as_new_ids

    numbers = as_new_ids(ids)
    if len(sorted_unique(numbers)) != len(numbers):
        unique, times = np.unique_counts(numbers)
        raise ArgumentError(f"ids: id {unique[times > 1][0]} occurs twice")
    return numbers
