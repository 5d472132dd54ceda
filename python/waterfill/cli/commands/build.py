"""The command ``waterfill build``: train or read a codec, add vectors, write the index."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

import waterfill as wf
from waterfill.cli.description import describe_index, file_line, index_lines
from waterfill.cli.errors import UsageError
from waterfill.cli.folder_build import FolderOptions, build_folder
from waterfill.cli.folders import SUFFIX, bytes_on_disk, check_target, read_codec
from waterfill.cli.inputs import (
    add_parts,
    check_output,
    concatenated,
    open_parts,
    open_queries,
)
from waterfill.cli.options import (
    Cells,
    EffortName,
    Format,
    Ids,
    Key,
    MetricName,
    OptionalMetric,
    Queries,
    QueriesFormat,
    QueriesKey,
    RefineName,
    cells_of,
    out_file,
)
from waterfill.cli.output import Output, pairs

_CODE_BYTES = 48


def build(
    out: Output,
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILES",
            help="Files of vectors, which are added in this order; for a folder also folders of "
            "files, and patterns in quotes.",
            show_default=False,
        ),
    ],
    output: Annotated[Path, out_file("The index, a folder if it ends in .wfx", "INDEX")],
    codec: Annotated[
        Path | None,
        typer.Option(
            "--codec",
            metavar="CODEC",
            help="A trained codec, instead of --code-bytes.",
            show_default=False,
        ),
    ] = None,
    code_bytes: Annotated[
        int | None,
        typer.Option(
            "--code-bytes",
            metavar="N",
            help=f"Code bytes per vector; the scale takes one more (default: {_CODE_BYTES}).",
            show_default=False,
        ),
    ] = None,
    nlist: Annotated[
        int | None,
        typer.Option(
            "--nlist",
            metavar="N",
            help="Build an index of N inverted lists; 4 * sqrt(n) is a common choice.",
            show_default=False,
        ),
    ] = None,
    refine: Annotated[
        RefineName | None,
        typer.Option(
            "--refine", help="Also store rows, to rescore candidates.", show_default=False
        ),
    ] = None,
    metric: OptionalMetric = None,
    queries: Queries = None,
    effort: Annotated[
        EffortName | None,
        typer.Option(
            "--effort",
            help="How much time training may take (default: balanced).",
            show_default=False,
        ),
    ] = None,
    cells: Cells = None,
    seed: Annotated[
        int | None,
        typer.Option("--seed", help="Random seed of training (default: 0).", show_default=False),
    ] = None,
    ids: Ids = None,
    id_column: Annotated[
        str | None,
        typer.Option(
            "--id-column",
            metavar="NAME",
            help="Column of the ids, beside that of the vectors.",
            show_default=False,
        ),
    ] = None,
    drop: Annotated[
        bool,
        typer.Option("--drop", help="Leave out rows with a NaN or an infinity, with a warning."),
    ] = False,
    workers: Annotated[
        int | None,
        typer.Option(
            "--workers",
            metavar="N",
            help="Threads that encode (default: all cores).",
            show_default=False,
        ),
    ] = None,
    memory: Annotated[
        str | None,
        typer.Option(
            "--memory",
            metavar="SIZE",
            help="Most memory to use, such as 500MB (default: 1GB).",
            show_default=False,
        ),
    ] = None,
    key: Key = None,
    format: Format = None,
    queries_key: QueriesKey = None,
    queries_format: QueriesFormat = None,
) -> None:
    """Build an index from files of vectors.

    Vectors are added one block at a time; files may be larger than memory.
    -o NAME.wfx makes a folder, to which add and remove apply. Its build goes on
    where it stopped if the command is repeated; --id-column, --ids, --drop,
    --workers and --memory are for a folder.

    Example:
      waterfill build base.npy --code-bytes 48 -o base.wf
      waterfill build vectors/ --id-column id --memory 2GB -o corpus.wfx
      waterfill build shard-*.parquet --nlist 1024 --refine float16 -o all.wf
    """
    training = {
        "code-bytes": code_bytes,
        "queries": queries,
        "effort": effort,
        "cells": cells,
        "seed": seed,
    }
    if codec is not None:
        _refuse_training(codec, training)
    recipe: dict[str, Any] = {
        "code_bytes": _CODE_BYTES if code_bytes is None else code_bytes,
        "seed": seed or 0,
        "effort": (effort or EffortName.balanced).value,
        "cells": cells_of(cells),
    }
    if nlist is not None and cells is not None:
        raise UsageError(f"--cells {cells} and --nlist {nlist}: lists are cells; give one of them")
    rows = None if refine is None else refine.value
    if output.suffix == SUFFIX:
        options = FolderOptions(ids, id_column, drop, workers, memory, key, format)
        check_target(output)
        index, more = build_folder(
            out,
            files,
            output,
            recipe if codec is None else _codec_of(codec, nlist),
            options,
            (queries, queries_key, queries_format),
            metric=None if metric is None else metric.value,
            nlist=nlist,
            refine=rows,
            seed=seed or 0,
        )
    else:
        FolderOptions(ids, id_column, drop, workers, memory).refuse(output)
        check_output(output, (*files, codec, queries))
        parts = open_parts(files, key, format)
        vectors = concatenated(parts)
        query_rows = open_queries(queries, queries_key, vectors.d, queries_format)
        if codec is not None:
            known = _codec_of(codec, nlist)
            default = MetricName.cosine if known.plan.normalize else MetricName.ip
            index = _empty_index(known, nlist, rows, metric or default)
        else:
            index = _empty_index(
                wf.Recipe(vectors.d, **recipe), nlist, rows, metric or MetricName.ip
            )
            index.train(vectors, xq_train=query_rows, progress=out.shown)
        add_parts(out, index.add, parts)
        with out.progress("writing"):
            wf.write_index(index, output)
        more = {}
    file_bytes = bytes_on_disk(output)
    document = {
        "output": str(output),
        "file_bytes": file_bytes,
        **describe_index(index, file_bytes),
        **more,
    }
    out.show(
        document, pairs(str(output), {"file": file_line(file_bytes, index), **index_lines(index)})
    )


def _refuse_training(path: Path, training: Mapping[str, object]) -> None:
    """Refuse the options of training beside a codec."""
    for name, value in training.items():
        if value is not None:
            raise UsageError(
                f"--{name} applies to training, and --codec {path} is already trained; "
                "give one of them"
            )


def _codec_of(path: Path, nlist: int | None) -> wf.Codec:
    """Read a codec that has as many cells as there are to be lists."""
    codec = read_codec(path)
    if nlist is not None and codec.cells != nlist:
        raise UsageError(
            f"--nlist {nlist}: expected a codec of {nlist} cells, got {codec.cells} in {path}; "
            "give --code-bytes instead of --codec"
        )
    return codec


def _empty_index(
    source: wf.Codec | wf.Recipe, nlist: int | None, rows: str | None, metric: MetricName
) -> wf.IndexFlat | wf.IndexIVF:
    if nlist is None:
        return wf.IndexFlat(source, metric.value, refine=rows)
    return wf.IndexIVF(source, nlist, metric=metric.value, refine=rows)
