"""Encoding of a source into the segments of a folder, shard by shard."""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator
from contextlib import closing
from dataclasses import dataclass
from functools import partial

import numpy as np

from waterfill._util.progress import Meter
from waterfill.building.record import FinishedShard, Journal
from waterfill.building.segments import Segment, SegmentFormat
from waterfill.building.shards import Shard, in_one_go, split
from waterfill.building.source import Source
from waterfill.building.streams import RemoteStream, Stream, blocks_of
from waterfill.building.vector_ids import VectorIds
from waterfill.building.workers import Stop, own_threads, run
from waterfill.data.rows import Rows


@dataclass(frozen=True)
class EncodingJob:
    """What is done with the vectors of a source: the segments that they become, and how.

    Attributes
    ----------
    format : SegmentFormat
    shard_rows : int
        Most rows of a shard.
    path : str
        The folder.
    journal : Journal
        Has the shards that are finished, and gets the others.
    workers : int
    meter : Meter
    """

    format: SegmentFormat
    shard_rows: int
    path: str
    journal: Journal
    workers: int
    meter: Meter

    @property
    def strict(self) -> bool:
        """Whether a row that cannot be used is an error."""
        return self.format.policy == "raise"

    def finish(self, segment: Segment) -> None:
        """Write a segment, and then its line in the journal."""
        self.record(segment.write(self.path))

    def record(self, shard: FinishedShard) -> None:
        """Write the line of a shard whose segment is written."""
        self.journal.write(shard)
        self.meter.add(0, shards=1)


def encode_source(source: Source, vector_ids: VectorIds, job: EncodingJob) -> None:
    """Encode the shards that the journal lacks, side by side."""
    meter, shards = job.meter, split(source.parts, job.shard_rows)
    left = [shard for shard in shards if shard.number not in job.journal.shards]
    before = sum(len(shard) for shard in shards) - sum(len(shard) for shard in left)
    meter.begin("encoding", source.n, before, len(shards) - len(left))

    def work() -> Callable[[Shard, Stop], Segment]:
        return _Encoder(source, vector_ids, job).encode

    run(left, min(job.workers, max(1, len(left))), work, job.finish, meter.tell)
    meter.tell(at_once=True)


class _Encoder:
    """Encodes shards, one after the other, in one worker."""

    def __init__(self, source: Source, vector_ids: VectorIds, job: EncodingJob) -> None:
        self._source, self._job = source, job
        self._ids = vector_ids.reader(source.parts)
        self._open: tuple[int, Rows] | None = None

    def encode(self, shard: Shard, stop: Stop) -> Segment:
        segment = Segment(shard.number, self._job.format)
        try:
            self._fill(segment, shard, stop)
        except BaseException:
            self.close()
            raise
        return segment

    def _fill(self, segment: Segment, shard: Shard, stop: Stop) -> None:
        strict = self._job.strict
        for span in shard.spans:
            rows, part = self._rows(span.part), self._source.parts[span.part]
            for start, end in in_one_go(span, part):
                for first, block in rows.blocks(
                    finite=strict, missing=not strict, start=start, stop=end, step=part.block_rows
                ):
                    stop.check()
                    ids = self._ids.read(span, first, len(block))
                    segment.add(block, ids, rows.name, first)
                    self._job.meter.add(len(block))

    def close(self) -> None:
        """Close the part that is open."""
        if self._open is not None:
            number, rows = self._open
            self._open = None
            if self._source.parts[number].opened_anew:
                getattr(rows.source, "close", lambda: None)()

    def _rows(self, number: int) -> Rows:
        """Return the rows of a part, which stays open until another one is needed."""
        if self._open is None or self._open[0] != number:
            self.close()
            part = self._source.parts[number]
            rows = Rows(part.open(), part.name, part.d)
            if rows.n != part.n:
                raise ValueError(f"{part.name}: had {part.n} rows before, and has {rows.n} now")
            self._open = number, rows
        return self._open[1]


def encode_stream(stream: Stream, ids: str | None, job: EncodingJob) -> None:
    """Encode batches as they come. Those of shards that the journal has are compared with it.

    `ids` names the column of ids.
    """
    left = dict(job.journal.shards)
    job.meter.begin("encoding", None, 0, len(left))
    encoded = stream.encoded if isinstance(stream, RemoteStream) else partial(_encoded, stream)
    rows = 0
    with closing(encoded(ids, job, set(left))) as shards:
        for shard in shards:
            known = left.pop(shard.shard, None)
            if known is None:
                job.record(shard)
            elif (known.rows, known.checksum) != (shard.rows, shard.checksum):
                raise ValueError(
                    f"source: {stream.name} gives other vectors than in the run before, in rows "
                    f"{rows:,} and after; delete {job.path} and build again"
                )
            rows += shard.rows
    if rows == 0:
        raise ValueError(f"{stream.name}: expected at least 1 row, got 0")
    job.meter.tell(at_once=True)
    if left:
        raise ValueError(
            f"source: {stream.name} gives fewer vectors than in the run before; delete "
            f"{job.path} and build again"
        )


def _encoded(
    stream: Stream, ids: str | None, job: EncodingJob, known: Collection[int]
) -> Generator[FinishedShard, None, None]:
    """Yield the shards of a stream in order, each when it is written; count those known."""
    segment, meter = Segment(0, job.format), job.meter
    with own_threads(job.workers):
        blocks = blocks_of(stream.batches(ids), finite=job.strict, missing=not job.strict)
        for batch, first, block in blocks:
            numbers = None if batch.ids is None else batch.ids[first : first + len(block)]
            while len(block):
                n = min(len(block), job.shard_rows - segment.rows)
                position = segment.shard * job.shard_rows + segment.rows
                own = (
                    np.arange(position, position + n, dtype=np.int64)
                    if numbers is None
                    else numbers[:n]
                )
                segment.add_or_count(block[:n], own, batch.rows.name, first, known)
                meter.add(n)
                meter.tell()
                if segment.rows == job.shard_rows:
                    yield segment.write_or_count(job.path, known)
                    segment = Segment(segment.shard + 1, job.format)
                block, first = block[n:], first + n
                numbers = None if numbers is None else numbers[n:]
        if segment.rows:
            yield segment.write_or_count(job.path, known)
