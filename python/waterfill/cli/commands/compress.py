"""The command ``waterfill compress``: make an index from a file of FAISS."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import waterfill as wf
from waterfill.cli.description import describe_index, file_line, index_lines
from waterfill.cli.errors import UsageError, options_named
from waterfill.cli.faiss_files import read_faiss
from waterfill.cli.inputs import check_output, open_queries, open_stored, read_ids
from waterfill.cli.options import (
    Cells,
    CodeBytes,
    Effort,
    EffortName,
    Format,
    Key,
    Queries,
    QueriesFormat,
    QueriesKey,
    RefineName,
    Seed,
    cells_of,
    out_file,
)
from waterfill.cli.output import Output, pairs, size


def compress(
    out: Output,
    index: Annotated[
        Path, typer.Argument(metavar="FAISS_INDEX", help="A file of faiss.write_index.")
    ],
    output: Annotated[Path, out_file("The index", "INDEX")],
    code_bytes: CodeBytes = 48,
    rows: Annotated[
        Path | None,
        typer.Option(
            "--rows",
            metavar="FILE",
            help="The vectors that were added, for an index that keeps only codes of them.",
            show_default=False,
        ),
    ] = None,
    row_ids: Annotated[
        Path | None,
        typer.Option(
            "--row-ids",
            metavar="FILE",
            help="The id of each row: a .npy file of integers, or text with an id on each line.",
            show_default=False,
        ),
    ] = None,
    nlist: Annotated[
        int | None,
        typer.Option(
            "--nlist",
            metavar="N",
            help="Build an index of N inverted lists; those of the file are kept.",
            show_default=False,
        ),
    ] = None,
    refine: Annotated[
        RefineName | None,
        typer.Option(
            "--refine", help="Also store rows, to rescore candidates.", show_default=False
        ),
    ] = None,
    queries: Queries = None,
    effort: Effort = EffortName.balanced,
    cells: Cells = None,
    seed: Seed = 0,
    drop: Annotated[
        bool,
        typer.Option("--drop", help="Leave out rows with a NaN or an infinity, with a warning."),
    ] = False,
    key: Key = None,
    format: Format = None,
    queries_key: QueriesKey = None,
    queries_format: QueriesFormat = None,
) -> None:
    """Compress a FAISS index; ids, metric and lists stay the same.

    Full vectors are read as they are. Those of an index that keeps codes, such
    as PQ, are decoded, with a warning; --rows gives the original ones instead.

    Example:
      waterfill compress old.faiss -o new.wf
      waterfill compress ivfpq.faiss --rows base.npy --code-bytes 48 -o new.wf
    """
    check_output(output, (index, rows, row_ids, queries))
    if output.suffix == ".wfx":
        raise UsageError(
            f"-o {output}: expected a file such as {output.with_suffix('.wf')}, got the name of a "
            "folder; waterfill build makes one, of the vectors themselves"
        )
    for option, value in {"--row-ids": row_ids, "--key": key, "--format": format}.items():
        if value is not None and rows is None:
            raise UsageError(f"{option} {value} needs --rows FILE")
    with out.progress("reading"):
        old = read_faiss(index)
    vectors = None if rows is None else open_stored(rows, key, format)
    ids = None if vectors is None or row_ids is None else read_ids(row_ids, vectors.n)
    with options_named():
        made = wf.compress(
            old,
            code_bytes,
            nlist=nlist,
            refine=None if refine is None else refine.value,
            rows=vectors,
            row_ids=ids,
            queries=open_queries(queries, queries_key, old.d, queries_format),
            seed=seed,
            effort=effort.value,
            policy="drop" if drop else "raise",
            cells=cells_of(cells),
            progress=out.shown,
        )
    with out.progress("writing"):
        wf.write_index(made, output)
    before, after = index.stat().st_size, output.stat().st_size
    document = {
        "output": str(output),
        "file_bytes": after,
        "faiss_file_bytes": before,
        **describe_index(made, after),
    }
    lines = {"file": f"{file_line(after, made)}; was {size(before)}", **index_lines(made)}
    out.show(document, pairs(str(output), lines))
