"""The builder of a folder: its codec, its segments, and the manifest that makes it an index."""

from __future__ import annotations

import time
from typing import Any

from waterfill import _core
from waterfill._util.progress import Meter
from waterfill._util.system import sync_directory
from waterfill._util.validation import (
    METRICS,
)
from waterfill.building.budget import Budget
from waterfill.building.codecs import CODEC, CodecChoice
from waterfill.building.duplicates import require_distinct, require_distinct_written
from waterfill.building.encoding import EncodingJob, encode_source, encode_stream
from waterfill.building.output_folder import unfinished
from waterfill.building.record import (
    FinishedShard,
    Journal,
    Record,
    differences,
    read_record,
    remove_journal,
)
from waterfill.building.result import BuildResult, result_of, warn_of_rows
from waterfill.building.segments import FIRST_SEGMENT, SegmentFormat
from waterfill.building.source import Source
from waterfill.building.streams import Stream
from waterfill.building.vector_ids import VectorIds
from waterfill.codec import Codec
from waterfill.folder.directory import (
    BUILD_JOURNAL,
    BUILD_RECORD,
    LOCK,
    codec_name,
    remove_others,
    segment_name,
)
from waterfill.folder.snapshot import log_format, mark_of, write_manifest
from waterfill.folder.write_ahead_log import create_log
from waterfill.index.list_recall import ListRecall
from waterfill.index.trainable import ROW_KINDS

_NUMBER_OF_LOG = 2


class FolderBuilder:
    """Builds a folder that is locked, or what an earlier run has left to do."""

    def __init__(
        self,
        path: str,
        source: Source | Stream,
        choice: CodecChoice,
        vector_ids: VectorIds,
        record: Record,
        budget: Budget,
        meter: Meter,
    ) -> None:
        self._path, self._source = path, source
        self._choice, self._vector_ids = choice, vector_ids
        self._record, self._budget, self._meter = record, budget, meter
        self._started = time.monotonic()

    def run(self, *, given_shard_rows: bool) -> BuildResult:
        """Do what is left to do."""
        old = read_record(self._path)
        if old is not None:
            self._take_over(old, given_shard_rows)
            if not unfinished(self._path):
                remove_journal(self._path)
                return result_of(self._path, self._source.skipped, finished_before=True)
        workers = self._budget.workers_for(self._record.shard_rows)
        self._record.write(self._path)
        journal = Journal(self._path)
        try:
            return self._go_on(journal, workers)
        finally:
            journal.close()

    def _take_over(self, old: Record, given_shard_rows: bool) -> None:
        """Go on with the sizes of an earlier run; raise ValueError if it was another build."""
        found = differences(old, self._record)
        if given_shard_rows and old.shard_rows != self._record.shard_rows:
            found.append(f"shard_rows={self._record.shard_rows} instead of {old.shard_rows}")
        if found:
            state = "is being built" if unfinished(self._path) else "was built"
            raise ValueError(
                f"{self._path} {state} otherwise: this call has {'; '.join(found)}. Repeat the "
                "call of before; or delete the folder, or choose another one"
            )
        self._record.shard_rows, self._record.sample_rows = old.shard_rows, old.sample_rows

    def _go_on(self, journal: Journal, workers: int) -> BuildResult:
        self._check_ids(journal)
        codec = self._choice.make(
            self._source,
            self._path,
            journal,
            self._record.sample_rows,
            self._record.policy,
            workers,
            self._meter,
        )
        journal.drop_missing()
        resumed = len(journal.shards)
        self._remove_leftovers(journal)
        job = EncodingJob(
            SegmentFormat(
                codec,
                self._manifest(codec, 0),
                self._choice.metric == "cosine",
                self._record.policy,
            ),
            self._record.shard_rows,
            self._path,
            journal,
            workers,
            self._meter,
        )
        if isinstance(self._source, Stream):
            encode_stream(self._source, self._vector_ids.column, job)
        else:
            encode_source(self._source, self._vector_ids, job)
            self._require_unchanged(self._source)
        done = [journal.shards[number] for number in sorted(journal.shards)]
        manifest = self._manifest_of(codec, done)
        self._check_written_ids(codec, manifest)
        self._publish(codec, manifest)
        journal.remove()
        warn_of_rows(self._source.name, done)
        return result_of(
            self._path,
            self._source.skipped,
            done=done,
            resumed=resumed,
            seconds=time.monotonic() - self._started,
        )

    def _check_ids(self, journal: Journal) -> None:
        """Raise ValueError if an id occurs twice in a source that can be read before."""
        source = self._source
        if self._vector_ids.given and not journal.ids and isinstance(source, Source):
            require_distinct(source, self._vector_ids, self._budget.memory // 2, self._meter)
            journal.write({"ids": True})

    def _check_written_ids(self, codec: Codec, manifest: _core.Manifest) -> None:
        """Raise ValueError if an id occurs twice in the segments, as a stream is read only once."""
        if self._vector_ids.given and isinstance(self._source, Stream):
            require_distinct_written(
                self._path,
                manifest,
                codec,
                self._source.name,
                self._budget.memory // 2,
                self._meter,
            )

    def _remove_leftovers(self, journal: Journal) -> None:
        """Remove files of shards that were not finished."""
        kept = {LOCK, BUILD_RECORD, BUILD_JOURNAL, codec_name(CODEC)}
        kept |= {segment_name(done.segment) for done in journal.shards.values() if done.vectors}
        remove_others(self._path, kept)

    def _manifest(self, codec: Codec, vectors: int, **more: Any) -> _core.Manifest:
        settings = self._record.settings
        refine = settings["refine"]
        return _core.Manifest(
            metric=METRICS[self._choice.metric],
            d=codec.d,
            number=1,
            log=_NUMBER_OF_LOG,
            nprobe=self._nprobe(codec, vectors),
            target_recall=settings["target_recall"],
            row_kind=None if refine is None else ROW_KINDS[refine],
            k_factor=settings["k_factor"],
            codecs=[_core.ManifestCodec(CODEC, mark_of(codec))],
            **{"next_file": FIRST_SEGMENT, **more},
        )

    def _nprobe(self, codec: Codec, vectors: int) -> int:
        """Return `nprobe` of the folder; 0 without lists."""
        settings = self._record.settings
        if settings["target_recall"] is None:
            return settings["nprobe"] or 0
        known = ListRecall.of(codec._core, self._choice.metric)
        return known.nprobe(settings["target_recall"], vectors)

    def _require_unchanged(self, source: Source) -> None:
        """Raise ValueError if a file has changed while it was read."""
        for part, before in zip(source.parts, self._record.source, strict=True):
            now = [*part.identity_now(), part.n]
            if now != before:
                raise ValueError(
                    f"{part.name}: changed while it was read; delete {self._path} and build again"
                )

    def _manifest_of(self, codec: Codec, done: list[FinishedShard]) -> _core.Manifest:
        """Return the manifest of a folder with all shards."""
        return self._manifest(
            codec,
            sum(each.vectors for each in done),
            next_file=FIRST_SEGMENT + len(done),
            next_id=min(max((each.next_id for each in done), default=0), 2**63 - 1),
            segments=[
                _core.ManifestSegment(
                    number=each.segment,
                    vectors=each.vectors,
                    bytes=each.bytes,
                    codec=CODEC,
                    crc=each.crc,
                )
                for each in done
                if each.vectors
            ],
        )

    def _publish(self, codec: Codec, manifest: _core.Manifest) -> None:
        """Write the manifest: from then on the folder is an index."""
        create_log(self._path, _NUMBER_OF_LOG, log_format(codec, manifest.row_kind))
        sync_directory(self._path)
        write_manifest(self._path, manifest)
