"""Building an index in a folder from a Ray dataset: workers write the segments."""

from __future__ import annotations

import os
from collections.abc import Collection, Generator
from typing import Any

import numpy as np

from waterfill import _core
from waterfill._util.progress import Meter, Option
from waterfill._util.validation import Metric, as_positive_int
from waterfill.building.build import build as build_folder
from waterfill.building.encoding import EncodingJob
from waterfill.building.record import FinishedShard
from waterfill.building.result import BuildResult
from waterfill.building.sample import drawn_numbers, usable_rows
from waterfill.building.segments import Segment, SegmentFormat
from waterfill.building.streams import RemoteStream
from waterfill.codec import Codec
from waterfill.data.row_policy import Policy
from waterfill.data.rows import FloatRows, Rows
from waterfill.io import Path
from waterfill.plan import Plan
from waterfill.recipe import Recipe
from waterfill.scale.cluster import Chunk, cpus, each_chunk
from waterfill.scale.dataset_rows import DatasetRows, DatasetVectors


def build(
    dataset: Any,
    out: Path,
    codec: Codec | Plan | Recipe | None = None,
    *,
    ids: str | None = None,
    column: str | None = None,
    metric: Metric | int | None = None,
    nlist: int | None = None,
    nprobe: int | None = None,
    target_recall: float | None = None,
    refine: str | None = None,
    k_factor: float = 4.0,
    queries: Any = None,
    seed: int = 0,
    policy: Policy = "raise",
    workers: int | None = None,
    memory: int | str = "1GB",
    shard_rows: int | None = None,
    progress: Option = False,
) -> BuildResult:
    """Build an index in a folder from a Ray dataset.

    Workers read, encode and write shards, each to a segment of the folder. This process commits
    them once, when all are there. It is the folder that `waterfill.build` makes from an iterator
    of the same rows. A shard that is done twice, because its worker died, replaces itself by the
    same bytes. A build that was interrupted goes on when the same call is made again.

    Parameters
    ----------
    dataset : ray.data.Dataset
        Each pass must give the same rows in the same order. Of a random transformation, call
        ``materialize()`` first.
    out : str or path-like
        The folder. On several machines, it lies on a file system that all of them mount.
    codec : Codec, Plan or Recipe, optional
        See `waterfill.build`. A codec is trained in this process on rows that workers draw.
    ids : str, optional
        The column with the ids, each once. By default a vector's id is its position.
    column : str, optional
        The column of vectors, if there are several.
    metric : {'ip', 'l2', 'cosine'} or int, optional
        See `waterfill.build`; likewise what follows without an explanation.
    nlist, nprobe : int, optional
        Number of lists, and of those that a query searches.
    target_recall : float, optional
        Instead of `nprobe`.
    refine : {'float16', 'int8', 'float32'}, optional
        Rows for re-ranking.
    k_factor : float
        Candidates per requested neighbour that are re-ranked.
    queries : array_like, shape (m, d), optional
        Training queries.
    seed : int
        Of the sample, and of training.
    policy : {'raise', 'drop'}
        What to do with rows that hold a NaN or an infinity.
    workers : int, optional
        Shards that are written at once, each on one CPU; by default as many as there are CPUs.
    memory : int or str
        Most bytes that a worker may hold. The rows of its shard are in Ray's object store besides.
    shard_rows : int, optional
        Rows of a shard; by default 1,048,576, or fewer if memory asks for it. As many rows for each
        worker are in the object store, or on Ray's disk if it is full.
    progress : bool or callable, optional
        As for `waterfill.build`.

    Returns
    -------
    waterfill.building.BuildResult
        The folder, and what was read, left out and written.

    Raises
    ------
    ValueError, TypeError, OSError
        As `waterfill.build`; or if the dataset gives other rows than in an interrupted build.

    Warns
    -----
    RuntimeWarning
        If rows are left out, or distances are clipped.
    """
    require_local(out, "out")
    if ids is not None and not isinstance(ids, str):
        raise TypeError(f"ids must be the name of a column, got {type(ids).__name__}")
    number = cpus() if workers is None else as_positive_int("workers", workers)
    stream = DatasetStream(DatasetVectors(dataset, column, () if ids is None else (ids,)), number)
    return build_folder(
        stream, out, codec, ids=ids, metric=metric, nlist=nlist, nprobe=nprobe,
        target_recall=target_recall, refine=refine, k_factor=k_factor, queries=queries, seed=seed,
        policy=policy, workers=1, memory=memory, shard_rows=shard_rows, progress=progress,
    )  # fmt: skip


def require_local(path: Any, name: str) -> None:
    """Raise ValueError for the address of an object store."""
    text = os.fsdecode(path) if isinstance(path, str | bytes | os.PathLike) else ""
    if "://" in text:
        raise ValueError(
            f"{name}={text!r}: expected a folder on a mounted file system, since segments are "
            "renamed, locked and mapped; copy the finished folder to or from the object store"
        )


class DatasetStream(RemoteStream):
    """The vectors of a Ray dataset, which workers encode."""

    name = "the dataset"

    def __init__(self, vectors: DatasetVectors, workers: int) -> None:
        self.d = vectors.d
        self._vectors, self._workers = vectors, workers

    def draw(self, rows: int, seed: int, policy: Policy, meter: Meter) -> FloatRows:
        """Draw rows to train on, as `waterfill.build` does."""
        source = DatasetRows(self._vectors)
        meter.begin("sample", source.shape[0])
        numbers = drawn_numbers(source.shape[0], rows, seed)
        source.fetch(numbers, missing=policy != "raise")
        sample = Rows(source).take(numbers, finite=policy == "raise")
        return usable_rows(sample, self.name, policy)

    def encoded(
        self, ids: str | None, job: EncodingJob, known: Collection[int]
    ) -> Generator[FinishedShard, None, None]:
        """Yield the shards in order, each when a worker has written its segment."""
        format, meter = job.format, job.meter
        shared = (format.codec, format.manifest.to_bytes(), format.cosine, format.policy)
        arguments = (self._vectors.column, ids, shared, job.path, known)
        for chunk, shard in each_chunk(
            self._vectors.dataset, job.shard_rows, _encode_shard, *arguments,
            workers=self._workers, tell=meter.tell,
        ):  # fmt: skip
            meter.add(len(chunk))
            yield shard


def _encode_shard(
    chunk: Chunk, column: str, ids: str | None, shared: Any, path: str, known: Collection[int]
) -> FinishedShard:
    """Encode a chunk and write it to its segment, in a worker."""
    if not os.path.isdir(path):
        raise FileNotFoundError(
            2, "this machine does not have the folder; all machines must mount it", path
        )
    codec, manifest, cosine, policy = shared
    segment = Segment(
        chunk.number, SegmentFormat(codec, _core.Manifest.from_bytes(manifest), cosine, policy)
    )
    strict = policy == "raise"
    for first, part in chunk.parts(column):
        rows = Rows(part.open(), part.name, codec.d)
        numbers = np.arange(first, first + part.n, dtype=np.int64)
        if ids is not None:
            numbers = part.open_ids(ids).read(0, part.n)
        for start, block in rows.blocks(finite=strict, missing=not strict, step=part.block_rows):
            own = numbers[start : start + len(block)]
            segment.add_or_count(block, own, part.name, start, known)
    return segment.write_or_count(path, known, alone=False)
