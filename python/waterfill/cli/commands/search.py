"""The command ``waterfill search``: the nearest neighbours of a file of queries."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray
from rich.table import Table

import waterfill as wf
from waterfill._util.atomic_file import atomic_write
from waterfill.cli.description import Index
from waterfill.cli.errors import UsageError
from waterfill.cli.folders import read_index
from waterfill.cli.inputs import check_output, open_queries
from waterfill.cli.options import Format, IndexFile, Neighbours, out_file
from waterfill.cli.output import Output, grid

_SHOWN_QUERIES = 10


def search(
    out: Output,
    index: IndexFile,
    queries: Annotated[
        Path,
        typer.Argument(metavar="QUERIES", help="Vectors, in any format that analyze reads."),
    ],
    k: Neighbours = 10,
    output: Annotated[
        Path | None, out_file("Arrays ids (int64) and distances (float32)", "NPZ")
    ] = None,
    nprobe: Annotated[
        int | None,
        typer.Option(
            "--nprobe", metavar="N", help="Inverted lists to scan per query.", show_default=False
        ),
    ] = None,
    target_recall: Annotated[
        float | None,
        typer.Option(
            "--target-recall",
            metavar="R",
            help="Scan as many lists as find this share of the neighbours in all lists.",
            show_default=False,
        ),
    ] = None,
    k_factor: Annotated[
        float | None,
        typer.Option(
            "--k-factor",
            metavar="F",
            help="Candidates to rescore per neighbour, with --refine rows.",
            show_default=False,
        ),
    ] = None,
    key: Annotated[
        str | None,
        typer.Option(
            "--key",
            "--column",
            metavar="NAME",
            help="Array of an .npz, dataset of an HDF5 file (default: test), column of a table.",
            show_default=False,
        ),
    ] = None,
    format: Format = None,
) -> None:
    """Find the k nearest neighbours of each query.

    Example:
      waterfill search base.wf query.npy -k 10 -o result.npz
      waterfill search base.wf query.npy --nprobe 32 --json
    """
    if output is not None:
        check_output(output, (index, queries))
    searched = read_index(index)
    query_rows = open_queries(queries, key, searched.d, format)
    assert query_rows is not None
    _choose_lists(searched, index, nprobe, target_recall)
    if k_factor is not None:
        searched.k_factor = k_factor
    with out.progress("searching", query_rows.n) as query_rows.advance:
        distances, ids = searched.search(query_rows, k)
    document: dict[str, Any] = {"queries": query_rows.n, "k": k, "metric": searched.metric}
    if output is None:
        document |= {"ids": ids, "distances": distances}
        out.show(document, *_tables(ids, distances, searched.metric))
        return
    with atomic_write(output) as target:
        np.savez(target, ids=ids, distances=distances)
    document["output"] = str(output)
    out.show(document, f"{output}: {k} neighbours of {query_rows.n:,} queries")


def _choose_lists(
    searched: Index, path: Path, nprobe: int | None, target_recall: float | None
) -> None:
    given = {"--nprobe": nprobe, "--target-recall": target_recall}
    options = [f"{name} {value}" for name, value in given.items() if value is not None]
    if not options:
        return
    if len(options) == 2:
        raise UsageError(f"{options[0]} and {options[1]}: expected one of them")
    if not isinstance(searched, wf.IndexIVF):
        raise UsageError(f"{options[0]} needs inverted lists; {path} is a flat index")
    if nprobe is not None:
        searched.nprobe = nprobe
    else:
        assert target_recall is not None
        searched.target_recall = target_recall


def _tables(
    ids: NDArray[np.int64], distances: NDArray[np.float32], metric: str
) -> list[Table | str]:
    """Return a table of the first queries, and a line about the others."""
    rows = [
        [str(query), ", ".join(f"{i} ({x:.4g})" for i, x in zip(*found, strict=True) if i != -1)]
        for query, found in enumerate(zip(ids[:_SHOWN_QUERIES], distances, strict=False))
    ]
    table = grid(None, ("query", f"ids ({metric}), best first"), rows)
    others = len(ids) - len(rows)
    if not others:
        return [table]
    return [table, f"... and {others:,} more queries; use -o or --json for all"]
