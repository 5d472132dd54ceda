"""The command ``waterfill export-faiss``: write an index as a file of stock FAISS."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import waterfill as wf
from waterfill.cli.folders import read_index
from waterfill.cli.inputs import check_output
from waterfill.cli.options import IndexFile, out_file
from waterfill.cli.output import Output, size


def export_faiss(
    out: Output,
    index: IndexFile,
    output: Annotated[Path, out_file("The index, in FAISS's format")],
    offsets: Annotated[
        bool, typer.Option(help="Add a byte to each code where that raises recall.")
    ] = True,
    rows: Annotated[bool, typer.Option(help="Also write the rows for refinement.")] = True,
) -> None:
    """Write an index as a file of stock FAISS.

    The codes stay the same; docs/faiss-export.md tells how FAISS's scores
    differ.

    Example:
      waterfill export-faiss base.wf -o base.faiss
    """
    check_output(output, (index,))
    exported = read_index(index)
    with out.progress("exporting"):
        wf.export_faiss(exported, output, offsets=offsets, rows=rows)
    file_bytes = output.stat().st_size
    document = {"output": str(output), "n": exported.ntotal, "file_bytes": file_bytes}
    out.show(document, f"{output}: {exported.ntotal:,} vectors for FAISS, {size(file_bytes)}")
