"""Segments in memory: vectors of a shard as codes, until they are written."""

from __future__ import annotations

import zlib
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from waterfill import _core
from waterfill.building.id_columns import Ids
from waterfill.building.record import FinishedShard
from waterfill.codec import Codec
from waterfill.data.row_policy import Policy, reasons_of, unusable
from waterfill.data.rows import FloatRows
from waterfill.encoding import clipped
from waterfill.folder.publication import (
    describe_segment,
    replace_segment_file,
    write_segment_file,
)
from waterfill.folder.snapshot import empty_core, next_after, open_core

FIRST_SEGMENT = 3
"""Number of the file of shard 0, behind the codec's and the log's."""

_APPENDED_ROWS = 1 << 15  # at once
_READ_IDS = 1 << 16  # at once
_MAX_LISTED = 10


@dataclass(frozen=True)
class SegmentFormat:
    """What all segments of a folder have in common.

    Attributes
    ----------
    codec : Codec
    manifest : _core.Manifest
        Metric and rows of the folder; without segments.
    cosine : bool
        Whether vectors are divided by their norms.
    policy : {'raise', 'drop'}
    """

    codec: Codec
    manifest: _core.Manifest
    cosine: bool
    policy: Policy

    @property
    def float16(self) -> bool:
        """Whether a value may be beyond the rows that are kept."""
        return self.manifest.row_kind == _core.RowKind.float16 and not self.cosine


@dataclass
class Segment:
    """The vectors of a shard, encoded one block after the other."""

    shard: int
    format: SegmentFormat
    core: _core.Index = field(init=False)
    rows: int = 0
    next_id: int = 0
    clipped: int = 0
    left: int = 0
    left_out: list[Any] = field(default_factory=list)
    checksum: int = 0

    def __post_init__(self) -> None:
        self.core = empty_core(
            self.format.codec, self.format.manifest.metric, self.format.manifest.row_kind
        )
        self._codes = np.empty((_APPENDED_ROWS, self.format.codec.code_size), np.uint8)
        self._filled = 0
        self._ids: list[Ids] = []
        self._kept: _core.RefineRows | None = None

    def add(self, block: FloatRows, ids: Ids, name: str, first: int) -> None:
        """Encode a block, whose first row is row `first` of `name`."""
        format = self.format
        self.rows += len(block)
        if format.policy != "raise":
            block, ids = self._usable(block, ids, name, first)
        if len(block) == 0:
            return
        self.next_id = max(self.next_id, next_after(ids))
        if format.cosine:
            block = _core.normalize_rows(block)
        if self._filled + len(block) > len(self._codes):
            self.flush()
            if len(block) > len(self._codes):
                self._codes = np.empty((len(block), format.codec.code_size), np.uint8)
        place = slice(self._filled, self._filled + len(block))
        format.codec._core.encode(block, self._codes[place])
        self._ids.append(ids)
        self._keep(block, name, first)
        self._filled = place.stop

    def add_or_count(
        self, block: FloatRows, ids: Ids, name: str, first: int, known: Collection[int]
    ) -> None:
        """Add a block that comes once, with its checksum; encode it unless the shard is known."""
        vectors, numbers = divmod(self.checksum, 1 << 32)
        vectors, numbers = zlib.crc32(block.data, vectors), zlib.crc32(ids.data, numbers)
        self.checksum = vectors << 32 | numbers
        if self.shard in known:
            self.rows += len(block)
        else:
            self.add(block, ids, name, first)

    def flush(self) -> None:
        """Append what is encoded: an append of many rows costs less than many of few."""
        if self._filled == 0:
            return
        codes = self._codes[: self._filled]
        self.clipped += int(np.count_nonzero(clipped(self.format.codec._core, codes)))
        self.core.append(codes, np.concatenate(self._ids), self._kept, None)
        self._filled, self._ids, self._kept = 0, [], None

    def _usable(self, block: FloatRows, ids: Ids, name: str, first: int) -> tuple[FloatRows, Ids]:
        """Leave out the rows that cannot be used."""
        flaws = unusable(block, self.format.float16)
        bad = np.flatnonzero(flaws)
        if len(bad) == 0:
            return block, ids
        self.left += len(bad)
        listed = bad[: max(0, _MAX_LISTED - len(self.left_out))]
        reasons = reasons_of(flaws[listed])
        self.left_out += [
            [name, first + row, list(why)]
            for row, why in zip(listed.tolist(), reasons, strict=True)
        ]
        kept = flaws == 0
        return np.ascontiguousarray(block[kept]), ids[kept]

    def _keep(self, block: FloatRows, name: str, first: int) -> None:
        """Keep rows beside the codes, if the folder has them."""
        kind = self.format.manifest.row_kind
        if kind is None:
            return
        if self._kept is None:
            self._kept = _core.RefineRows(kind, block.shape[1])
        try:
            self._kept.append(block, first)
        except ValueError as error:
            raise type(error)(str(error).replace("x:", f"{name}:", 1)) from None

    def write_or_count(
        self, path: str, known: Collection[int], *, alone: bool = True
    ) -> FinishedShard:
        """Write it, as `write`, or only describe a known shard."""
        if self.shard not in known:
            return self.write(path, alone=alone)
        return FinishedShard(self.shard, 0, 0, 0, 0, 0, rows=self.rows, checksum=self.checksum)

    def write(self, path: str, *, alone: bool = True) -> FinishedShard:
        """Write it to a file of the folder and sync that.

        alone: False if another process may write the same shard.
        """
        self.flush()
        self._codes = self._codes[:0]
        done = FinishedShard(
            shard=self.shard,
            segment=FIRST_SEGMENT + self.shard,
            vectors=self.core.size,
            bytes=0,
            crc=0,
            next_id=self.next_id,
            clipped=self.clipped,
            left=self.left,
            left_out=self.left_out,
            rows=self.rows,
            checksum=self.checksum,
        )
        if done.vectors:
            write = partial(write_segment_file, own=True) if alone else replace_segment_file
            name, _ = write(path, done.segment, self.core, self.format.codec)
            entry = describe_segment(name, done.segment, done.vectors, 1)
            done.bytes, done.crc = entry.bytes, entry.crc
        return done


def written_ids(path: str, manifest: _core.Manifest, codec: Codec) -> Iterator[tuple[int, Ids]]:
    """Yield (number of the first vector, ids) of all segments of a manifest, in order."""
    before = 0
    for i in range(len(manifest.segments)):
        core = open_core(path, manifest, codec, verify=False, segments=slice(i, i + 1))
        for first in range(0, core.size, _READ_IDS):
            yield before + first, core.ids(first, min(_READ_IDS, core.size - first))
        before += core.size
