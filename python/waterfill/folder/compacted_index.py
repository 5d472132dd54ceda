"""Segments of a folder that are written anew: merged, or encoded with another codec."""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from waterfill import _core
from waterfill._util.fork_safe_lock import fork_safe_lock
from waterfill.codec import Codec
from waterfill.folder.compaction import (
    choose_segments,
    merge_segments,
    recode_segments,
    same_codec,
)
from waterfill.folder.directory import WriterLock, codec_name, segment_name
from waterfill.folder.publication import Merger
from waterfill.folder.segmented_index import SegmentedIndex
from waterfill.folder.snapshot import Snapshot
from waterfill.index.vector_index import Labels
from waterfill.io import write_codec

if TYPE_CHECKING:
    from typing_extensions import Self

Vectors = Callable[[Labels], Any]
"""Returns the vectors with some ids, int64 (n,), as an array (n, d)."""


class CompactedIndex(SegmentedIndex):
    """An index in a folder whose segments are merged and encoded anew; see `open_index`."""

    _merging: threading.Lock  # held by whoever writes segments anew
    _merger: threading.Thread | None
    _closing: bool

    @classmethod
    def _open(cls, path: str, snapshot: Snapshot, lock: WriterLock | None, **options: Any) -> Self:
        index = super()._open(path, snapshot, lock, **options)
        index._merging = fork_safe_lock(index, "_merging", threading.Lock)
        index._merger = None
        index._closing = False
        return index

    def compact(self) -> None:
        """Merge all segments into one, without removed vectors; their space is free afterwards.

        Searches and changes go on meanwhile. Needs room for a copy of the index on the disk. After
        `change_codec`, vectors are encoded anew if the folder keeps their rows; otherwise there
        stays a segment for each codec.

        Raises
        ------
        OSError
            If the files cannot be written; nothing is lost.
        ValueError
            If the folder is not open for changes.
        """
        if self._refine is not None:
            self.recode()
        with self._merging:
            with self._changing:
                self._require_changeable()
                self._publish()
                segments = self._snapshot.manifest.segments
            for first, last in same_codec(segments):
                if last - first > 1 or segments[first].dead:
                    self._merge((first, last))
        self._erase_removed()

    def _erase_removed(self) -> None:
        """Erase removed vectors from files other than the segments and the log."""

    def _merge_if_worthwhile(self) -> None:
        """Start a merger in the background, if the segments call for one and none is running."""
        if self._compaction == "off" or not self._merging.acquire(blocking=False):
            return
        if self._next_merger() is None:
            self._merging.release()
            return
        self._merger = threading.Thread(
            target=self._merge_in_background,
            name=f"waterfill-merger-{os.path.basename(self._path)}",
            daemon=True,
        )
        self._merger.start()

    def _next_merger(self) -> Callable[[], None] | None:
        """Return what the background has to do next; None if that is nothing."""
        segments = self._snapshot.manifest.segments
        older = self._older_segment()
        if older is not None and self._refine is not None:
            return lambda: self._recode(older, None)
        chosen = choose_segments(segments)
        return None if chosen is None else lambda: self._merge(chosen)

    def _merge_in_background(self) -> None:
        try:
            while not self._closing and (merger := self._next_merger()) is not None:
                merger()
        except Exception as error:
            warnings.warn(f"{self._path}: merging segments failed: {error}", stacklevel=1)
        finally:
            self._merging.release()

    def _merge(self, chosen: tuple[int, int]) -> None:
        """Merge some segments while changes go on, and publish the result."""
        self._replace_segments(
            chosen[1], lambda old: merge_segments(self._path, old, chosen, self._new_segment())
        )

    def _replace_segments(self, last: int, write: Callable[[Snapshot], Merger]) -> None:
        """Write some segments anew, the last of which is number `last` - 1, and publish that."""
        with self._changing:
            old = self._snapshot
        try:
            merger = write(old)
            with self._changing:
                # Only `reset` takes segments away, as there is one merger at a time. A codec goes
                # if another one came before any vector had it.
                now = self._snapshot.manifest
                same = [segment.number for segment in now.segments[:last]] == [
                    segment.number for segment in old.manifest.segments[:last]
                ]
                known = any(codec.number == merger.codec for codec in now.codecs)
                if self._log is not None and same and known:
                    self._publish(merger)
        finally:
            self._unpublished.clear()

    def _new_segment(self) -> int:
        """Return the number of a new file, which no publication removes meanwhile."""
        with self._changing:
            number = next(self._numbers)
            self._unpublished.add(segment_name(number))
            return number

    # Change of the codec.

    def change_codec(self, codec: Codec) -> None:
        """Encode vectors with another codec from now on, as after retraining.

        Those of before keep their codes for the time being: `codecs` says how many there are. If
        the folder keeps rows (`refine`), they are encoded anew in the background, or by `recode`;
        otherwise `recode` needs the vectors. Meanwhile searches answer from both: results are the
        best of each by score. What shows codes or lists raises ValueError.

        Parameters
        ----------
        codec : Codec
            For the same number of dimensions and the metric of the folder. With cells, if the
            folder has `nprobe`.

        Raises
        ------
        ValueError
            If the codec does not go with the folder, or that is not open for changes.
        TypeError
            If `codec` is not a codec.
        OSError
            If the files cannot be written; nothing is changed.
        """
        if not isinstance(codec, Codec):
            raise TypeError(f"codec must be a waterfill.Codec, got {type(codec).__name__}")
        with self._changing:
            self._require_changeable()
            manifest = self._snapshot.manifest
            if codec.d != manifest.d:
                raise ValueError(f"codec: expected {manifest.d} dimensions, got {codec.d}")
            if manifest.nprobe and not codec.cells:
                raise ValueError("codec: expected one with cells, as the folder has nprobe")
            _core.Index(codec._core, manifest.metric)  # raises if it does not go with the metric
            if codec.fingerprint == self._snapshot.codec.fingerprint:
                return
            number = next(self._numbers)
            name = codec_name(number)
            self._unpublished.add(name)
            try:
                write_codec(codec, os.path.join(self._path, name))
                self._publish(codec=(number, codec))
            finally:
                self._unpublished.discard(name)
            self._merge_if_worthwhile()

    def recode(self, vectors: Vectors | None = None) -> None:
        """Encode the vectors that have older codecs with the newest one, segment by segment.

        Searches and changes go on meanwhile; what is done stays done after an interruption.

        Parameters
        ----------
        vectors : callable, optional
            Given ids, int64 (n,), returns their vectors, array_like (n, d). Needed if, and only if,
            the folder keeps no rows (`refine`), from which they are encoded.

        Raises
        ------
        ValueError
            If `vectors` is missing, is not needed, or returns anything else; or if the folder is
            not open for changes.
        OSError
            If the files cannot be written; nothing is lost.
        """
        self._trained()
        self._require_changeable()
        if vectors is not None and self._refine is not None:
            raise ValueError("vectors: the folder keeps rows, from which vectors are encoded")
        if vectors is None and self._refine is None and len(self.codecs) > 1:
            raise ValueError(
                "vectors: expected a function that returns the vectors of ids, since the folder "
                "keeps no rows to encode anew"
            )
        with self._merging:
            while (older := self._older_segment()) is not None:
                self._require_changeable()  # another thread may have closed the folder
                self._recode(older, vectors)

    def _older_segment(self) -> int | None:
        """Return the last segment that has an older codec: those behind it have the newest."""
        manifest = self._snapshot.manifest
        numbers = [segment.codec for segment in manifest.segments]
        older = sum(number != manifest.codecs[-1].number for number in numbers)
        return older - 1 if older else None

    def _recode(self, segment: int, vectors: Vectors | None) -> None:
        self._replace_segments(
            segment + 1,
            lambda old: recode_segments(
                self._path,
                old,
                (segment, segment + 1),
                (old.manifest.codecs[-1].number, old.codec),
                self._new_segment,
                self._prepare,
                vectors,
                warns=self._warns_of_clipped,
            ),
        )

    def _exchange_codec(self, codec: Codec, *, keep_rows: bool) -> None:
        """Encode all vectors with another codec, from their rows, in one step.

        Searches see the state of before or after it; changes wait meanwhile. There must be vectors
        of one codec only. `keep_rows`: whether their rows stay.
        """
        with self._merging, self._changing:
            self._require_changeable()
            self._publish()  # the vectors of the log become a segment
            old = self._snapshot
            number = next(self._numbers)
            name = codec_name(number)
            self._unpublished.add(name)
            try:
                write_codec(codec, os.path.join(self._path, name))
                merger = None
                if old.manifest.segments:
                    merger = recode_segments(
                        self._path,
                        old,
                        (0, len(old.manifest.segments)),
                        (number, codec),
                        self._new_segment,
                        self._prepare,
                        None,
                        keep_rows=keep_rows,
                        warns=self._warns_of_clipped,
                    )
                self._publish(merger, codec=(number, codec), keep_rows=keep_rows)
            finally:
                self._unpublished.clear()
