"""`build`: an index in a folder from vectors that need not fit into memory."""

from __future__ import annotations

import logging
import os
from typing import Any

from waterfill import _core
from waterfill._util.progress import Option, check_progress, metered
from waterfill._util.validation import (
    Metric,
    as_file_name,
    as_number,
    as_positive_int,
    metric_name,
)
from waterfill.building.budget import Budget, as_bytes
from waterfill.building.codecs import choose, shard_row_bytes
from waterfill.building.folder_builder import FolderBuilder
from waterfill.building.output_folder import locked
from waterfill.building.record import (
    Record,
)
from waterfill.building.result import BuildResult
from waterfill.building.sample import wanted_rows
from waterfill.building.source import Source, open_source
from waterfill.building.streams import Stream
from waterfill.building.vector_ids import VectorIds
from waterfill.codec import Codec
from waterfill.data.row_policy import WITHOUT_QUARANTINE, Policy, as_policy
from waterfill.index.ivf import as_nlist
from waterfill.index.list_recall import DEFAULT_TARGET_RECALL, as_target_recall
from waterfill.index.trainable import check_refine
from waterfill.io import Path
from waterfill.plan import Plan
from waterfill.recipe import Recipe
from waterfill.training.train import as_seed

_LOG = logging.getLogger("waterfill.building")
_MOST_VECTORS = 2**32 - 1  # of an index


def build(
    source: Any,
    out: Path,
    codec: Codec | Plan | Recipe | None = None,
    *,
    ids: Any = None,
    key: str | None = None,
    format: str | None = None,
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
    """Build an index in a folder from vectors that need not fit into memory.

    The source is divided into shards, which workers read, encode and write side by side; each
    becomes a segment of the folder. A build that was interrupted, even by a crash, goes on where it
    stopped when the same call is made again. When it is finished, the same call does nothing.
    `waterfill.open_index` opens the result; without a codec of yours, one is trained on rows that
    are drawn over the whole source.

    Parameters
    ----------
    source : object
        A file that `waterfill.open_vectors` reads, a folder of such files, a pattern such as
        ``"part-*.parquet"``, or a sequence of these; a ``pyarrow.dataset.Dataset``; a
        ``datasets.Dataset``; vectors in memory, or a list of arrays or tables; an iterator of
        arrays, tables or mappings, which is read once, or a function that returns one.
    out : str or path-like
        The folder, by convention with the suffix ``.wfx``.
    codec : Codec, Plan or Recipe, optional
        A trained codec, or how to train one; by default a recipe of 48 bytes. An iterator that is
        read once needs a trained one.
    ids : str or array_like of int, shape (n,), optional
        The column with the ids, beside the vectors, or the ids in the order of the source. Each
        once, and not -1. By default a vector's id is its position in the source.
    key, format : str, optional
        Column of the vectors, and format of the files: see `open_vectors`.
    metric : {'ip', 'l2', 'cosine'} or int, optional
        As for `open_index`.
    nlist : int, optional
        Lists of an inverted file. A trained codec must have as many cells.
    nprobe : int, optional
        Lists to search per query.
    target_recall : float, optional
        Instead of `nprobe`: the share of the neighbours in all lists to find, 0.9 by default; see
        `IndexIVF`.
    refine : {'float16', 'int8', 'float32'}, optional
        As for `open_index`.
    k_factor : float
        As for `open_index`.
    queries : array_like, shape (m, d), optional
        Training queries: see `Codec.train`.
    seed : int
        Of the sample, and of training.
    policy : {'raise', 'drop'}
        What to do with rows that hold a NaN or an infinity, or that are null or of another length.
        ``drop`` leaves them and their ids out.
    workers : int, optional
        Threads that encode; `get_num_threads()` by default. Fewer work if memory asks for it.
    memory : int or str
        Most bytes that the process may hold, such as ``"1GB"``. Smaller shards and a smaller sample
        are the consequence of less.
    shard_rows : int, optional
        Most rows of a shard; by default 1,048,576, or fewer if memory asks for it.
    progress : bool or callable, optional
        True shows a bar with the time left, None does so in a terminal or a notebook. A callable
        gets a `waterfill.building.Progress` five times a second, in the caller's thread.

    Returns
    -------
    BuildResult
        The folder, and what was read, left out and written.

    Raises
    ------
    ValueError
        If an argument is invalid; if the folder was built, or is being built, from another source
        or with other arguments; if a row cannot be used, an id is missing or occurs twice (with
        file and row).
    TypeError
        If an argument has the wrong type.
    FileExistsError
        If the folder holds an index that was not built, or other files.
    BlockingIOError
        If another process builds it.
    FormatError, OSError
        If a file cannot be read or written. What is finished stays.

    Warns
    -----
    RuntimeWarning
        If rows are left out, or distances are clipped: see `Codec.encode`.
    """
    # First what needs no vectors: an iterator that is refused then still has all of them.
    path = os.path.abspath(os.fsdecode(as_file_name(out, "out")))
    check_progress(progress)
    number = _core.get_num_threads() if workers is None else as_positive_int("workers", workers)
    limit = as_bytes(memory)
    most = None if shard_rows is None else as_positive_int("shard_rows", shard_rows)
    named = None if metric is None else metric_name(metric)
    lists = None if nlist is None else as_nlist(nlist)
    rows = check_refine(refine)
    if rows is not None and not isinstance(rows, str):
        raise TypeError("refine must be the name of a row type, since the folder keeps the rows")
    settings = {
        "nlist": lists,
        **_as_probes(nprobe, target_recall, lists),
        "refine": rows,
        "k_factor": as_number("k_factor", k_factor, 1, finite=True),
    }
    policy = as_policy(policy, WITHOUT_QUARANTINE)
    seed = as_seed(seed)
    opened = open_source(source, key, format)
    if isinstance(opened, Stream) and not opened.again and not isinstance(codec, Codec):
        raise ValueError(
            "source: an iterator is read once, and training reads it before; pass a trained codec, "
            "or a function that returns a new iterator each time"
        )
    vector_ids = VectorIds(ids, None if isinstance(opened, Stream) else opened.n)
    choice = choose(codec, opened.d, named, lists, queries, seed, rows)
    if isinstance(opened, Source) and opened.n > _MOST_VECTORS:
        raise ValueError(
            f"source has {opened.n:,} vectors, and an index holds at most {_MOST_VECTORS:,}; build "
            "several"
        )
    budget = Budget(limit, number, shard_row_bytes(choice, opened.d, rows), lists or 0)
    record = Record(
        source=opened.identity,
        ids=vector_ids.identity,
        codec=choice.identity,
        settings={"metric": choice.metric, **settings},
        policy=policy,
        shard_rows=budget.shard_rows if most is None else most,
        sample_rows=budget.sample_rows(opened.d, wanted_rows(opened.d, lists or 0)),
    )
    for name in opened.skipped:
        _LOG.info("%s has no rows, and is skipped", name)
    with locked(path), metered(progress) as meter:
        return FolderBuilder(path, opened, choice, vector_ids, record, budget, meter).run(
            given_shard_rows=shard_rows is not None
        )


def _as_probes(
    nprobe: int | None, target_recall: float | None, nlist: int | None
) -> dict[str, float | None]:
    given = {"nprobe": nprobe, "target_recall": target_recall}
    names = [name for name, value in given.items() if value is not None]
    if nlist is None and names:
        raise ValueError(f"{names[0]} needs lists: give nlist")
    if len(names) == 2:
        raise ValueError("nprobe and target_recall: expected one of them")
    if nprobe is not None:
        given["nprobe"] = as_positive_int("nprobe", nprobe)
    elif nlist is not None:
        target = DEFAULT_TARGET_RECALL if target_recall is None else target_recall
        given["target_recall"] = as_target_recall(target)
    return given
