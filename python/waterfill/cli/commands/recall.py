"""The command ``waterfill recall``: how many of the true neighbours an index finds."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

import waterfill as wf
from waterfill._util.optional import require_faiss
from waterfill.cli.errors import UsageError, options_named
from waterfill.cli.faiss_files import open_any
from waterfill.cli.inputs import open_queries, open_stored, read_ids
from waterfill.cli.options import Format, Ids, Key, Neighbours, Seed
from waterfill.cli.output import Output
from waterfill.evaluation.index_recall import MOST_QUERIES, measure_recall


def recall(
    out: Output,
    index: Annotated[
        Path,
        typer.Argument(
            metavar="INDEX", help="An index: a file or folder of waterfill, or a file of FAISS."
        ),
    ],
    base: Annotated[
        Path, typer.Argument(metavar="BASE", help="The vectors that the index was made of.")
    ],
    queries: Annotated[Path, typer.Argument(metavar="QUERIES", help="Vectors to search with.")],
    k: Neighbours = 10,
    nprobe: Annotated[
        int | None,
        typer.Option(
            "--nprobe", metavar="N", help="Inverted lists to scan per query.", show_default=False
        ),
    ] = None,
    ids: Ids = None,
    max_queries: Annotated[
        int,
        typer.Option("--max-queries", metavar="N", help="Draw so many if there are more."),
    ] = MOST_QUERIES,
    seed: Seed = 0,
    key: Key = None,
    format: Format = None,
    queries_key: Annotated[
        str | None,
        typer.Option(
            "--queries-key", metavar="NAME", help="Like --key, for QUERIES.", show_default=False
        ),
    ] = None,
    queries_format: Annotated[
        str | None,
        typer.Option(
            "--queries-format",
            metavar="NAME",
            help="Like --format, for QUERIES.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Measure the recall of an index against exact search, with an interval.

    BASE has the vectors of the index, row 0 with id 0, or with the ids of
    --ids. The interval is for other queries like these.

    Example:
      waterfill recall base.wf base.npy query.npy
      waterfill recall ivfpq.faiss base.npy query.npy -k 100 --nprobe 16
    """
    searched = open_any(index)
    stored = open_stored(base, key, format)
    asked = open_queries(queries, queries_key, int(searched.d), queries_format)
    if nprobe is not None:
        set_nprobe(searched, index, nprobe)
    progress = out.progress("comparing", stored.n, then="searching")
    with progress as stored.advance, options_named():
        found = measure_recall(
            searched,
            stored,
            asked,
            k,
            ids=None if ids is None else read_ids(ids, stored.n),
            max_queries=max_queries,
            seed=seed,
        )
    document: dict[str, Any] = {
        "index": str(index),
        "k": k,
        "recall": found.recall,
        "low": found.low,
        "high": found.high,
        "queries": found.queries,
        "vectors": found.vectors,
        "queries_without_any": int((found.shares == 0).sum()),
    }
    out.show(document, f"{index}: {found}")


def set_nprobe(index: Any, path: Path, nprobe: int) -> None:
    """Set the lists that a search scans; UsageError if there are none."""
    if isinstance(index, wf.IndexFlat | wf.IndexHNSW):
        raise UsageError(f"--nprobe {nprobe} needs inverted lists; {path} has none")
    if isinstance(index, wf.IndexIVF):
        lists: Any = index
    else:
        lists = require_faiss("--nprobe").try_extract_index_ivf(index)
    if lists is None:
        raise UsageError(f"--nprobe {nprobe} needs inverted lists; {path} has none")
    if not 1 <= nprobe <= lists.nlist:
        raise UsageError(f"--nprobe {nprobe} must be from 1 to {lists.nlist}, the lists of {path}")
    lists.nprobe = nprobe
