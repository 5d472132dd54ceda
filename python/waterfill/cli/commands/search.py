"""Commands that use files of ours: search, info, export-faiss."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.table import Table

import waterfill as wf
from waterfill._core import FormatError
from waterfill._util.atomic_file import atomic_write
from waterfill.cli.description import codec_words, describe_codec, describe_index, index_words
from waterfill.cli.errors import UsageError
from waterfill.cli.inputs import check_output, read_queries
from waterfill.cli.options import Neighbours, out_file
from waterfill.cli.output import Output, grid, pairs, size
from waterfill.io import file_kind

_SHOWN_QUERIES = 10
_SHOWN_NEIGHBOURS = 4

QueriesKey = Annotated[
    str | None,
    typer.Option(
        "--key",
        "--column",
        metavar="NAME",
        help="Array of an .npz, dataset of an HDF5 file (default: test), column of a table.",
        show_default=False,
    ),
]
IndexFile = Annotated[Path, typer.Argument(metavar="INDEX", help="An index of waterfill.")]


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
            "--nprobe", metavar="N", help="Lists that a query looks at.", show_default=False
        ),
    ] = None,
    k_factor: Annotated[
        float | None,
        typer.Option(
            "--k-factor",
            metavar="F",
            help="Candidates a neighbour that get exact scores.",
            show_default=False,
        ),
    ] = None,
    key: QueriesKey = None,
) -> None:
    """Find the k nearest vectors of each query.

    Example:
      waterfill search base.wf query.npy -k 10 -o result.npz
      waterfill search base.wf query.npy --nprobe 32 --json
    """
    if output is not None:
        check_output(output, (index, queries))
    searched = wf.read_index(index)
    asked = read_queries(queries, key, searched.d)
    assert asked is not None
    if nprobe is not None:
        if not isinstance(searched, wf.IndexIVF):
            raise UsageError(f"--nprobe {nprobe} is for inverted lists, {index} has none")
        searched.nprobe = nprobe
    if k_factor is not None:
        searched.k_factor = k_factor
    with out.progress("searching", asked.n) as asked.advance:
        distances, ids = searched.search(asked, k)
    if output is not None:
        with atomic_write(output) as target:
            np.savez(target, ids=ids, distances=distances)
    document = {
        "queries": asked.n,
        "k": k,
        "metric": searched.metric,
        **({"ids": ids, "distances": distances} if output is None else {"output": str(output)}),
    }
    rows = [
        [
            str(number),
            ", ".join(
                f"{i} ({distance:.4g})"
                for i, distance in zip(ids[number], distances[number], strict=True)
                if i != -1
            ),
        ]
        for number in range(min(asked.n, _SHOWN_QUERIES if output is None else 0))
    ]
    if output is not None:
        out.show(document, f"{output}: {k} neighbours of {asked.n:,} queries")
        return
    rest = asked.n - len(rows)
    last = f"... and {rest:,} more queries; -o or --json gives all" if rest else ""
    table = grid(None, ("query", f"ids ({searched.metric}), best first"), rows)
    out.show(document, table, *([last] if last else []))


def info(
    out: Output,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A codec or an index.")],
) -> None:
    """Say what a file of waterfill holds.

    Example:
      waterfill info base.wf
      waterfill info codec.wf --json
    """
    kind = file_kind(file)
    if kind is None:
        raise FormatError(
            f"{file}: not a file of waterfill; for vectors there is waterfill analyze"
        )
    index = None if kind == "codec" else wf.read_index(file)
    codec = wf.read_codec(file) if index is None else index.codec
    assert codec is not None
    bytes_ = file.stat().st_size
    document: dict[str, Any] = {"file": str(file), "kind": kind, "file_bytes": bytes_}
    values = {"file": f"{size(bytes_)}, {kind}"}
    if index is not None:
        document["index"] = describe_index(index)
        values |= index_words(index)
    document["codec"] = describe_codec(codec)
    values |= codec_words(codec)
    tables: list[Table | str] = [pairs(str(file), values)]
    if codec.manifest is not None:
        document["manifest"] = asdict(codec.manifest)
        tables.append(pairs("\nManifest", codec.manifest.words()))
    out.show(document, *tables)


def export_faiss(
    out: Output,
    index: IndexFile,
    output: Annotated[Path, out_file("The index, as FAISS writes it")],
    offsets: Annotated[
        bool, typer.Option(help="Give codes a byte more, where that finds more neighbours.")
    ] = True,
    rows: Annotated[bool, typer.Option(help="Write the rows to refine with, too.")] = True,
) -> None:
    """Write an index as a file of stock FAISS.

    The codes are the same; docs/faiss-export.md says what FAISS's scores lose.

    Example:
      waterfill export-faiss base.wf -o base.faiss
    """
    check_output(output, (index,))
    read = wf.read_index(index)
    with out.progress("exporting"):
        wf.export_faiss(read, output, offsets=offsets, rows=rows)
    bytes_ = output.stat().st_size
    document = {"output": str(output), "n": read.ntotal, "file_bytes": bytes_}
    out.show(document, f"{output}: {read.ntotal:,} vectors for FAISS, {size(bytes_)}")
