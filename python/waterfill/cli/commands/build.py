"""The command ``waterfill build``: train or read a codec, add vectors, write the index."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

import waterfill as wf
from waterfill.cli.description import Index, describe_index, file_line, index_lines
from waterfill.cli.errors import UsageError
from waterfill.cli.folders import (
    SUFFIX,
    check_new_folder,
    folder_bytes,
    new_folder,
    read_codec,
    read_index,
)
from waterfill.cli.inputs import (
    add_parts,
    check_output,
    concatenated,
    open_parts,
    open_queries,
)
from waterfill.cli.options import (
    EffortName,
    Format,
    Key,
    MetricName,
    OptionalMetric,
    Queries,
    QueriesFormat,
    QueriesKey,
    RefineName,
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
            help="Files of vectors, which are added in this order.",
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
    seed: Annotated[
        int | None,
        typer.Option("--seed", help="Random seed of training (default: 0).", show_default=False),
    ] = None,
    key: Key = None,
    format: Format = None,
    queries_key: QueriesKey = None,
    queries_format: QueriesFormat = None,
) -> None:
    """Build an index from files of vectors.

    Vectors are added one block at a time; files may be larger than memory.
    -o NAME.wfx makes a folder, to which add and remove apply.

    Example:
      waterfill build base.npy --code-bytes 48 -o base.wf
      waterfill build base.npy --code-bytes 48 -o corpus.wfx
      waterfill build shard-*.parquet --nlist 1024 --refine float16 -o all.wf
    """
    in_folder = output.suffix == SUFFIX
    if in_folder:
        check_new_folder(output)
    else:
        check_output(output, (*files, codec, queries))
    parts = open_parts(files, key, format)
    vectors = concatenated(parts)
    query_rows = open_queries(queries, queries_key, vectors.d, queries_format)
    if codec is not None:
        training = {"code-bytes": code_bytes, "queries": queries, "effort": effort, "seed": seed}
        index = _index_with_codec(codec, nlist, refine, metric, training)
    else:
        recipe = wf.Recipe(
            vectors.d,
            _CODE_BYTES if code_bytes is None else code_bytes,
            seed=seed or 0,
            effort=(effort or EffortName.balanced).value,
        )
        index = _empty_index(recipe, nlist, refine, metric or MetricName.ip)
        with out.progress("analyzing", vectors.n, then="training") as vectors.advance:
            index.train(vectors, xq_train=query_rows)
    if in_folder:
        with new_folder(output, index) as folder:
            add_parts(out, folder.add, parts)
        index, file_bytes = read_index(output), folder_bytes(output)
    else:
        add_parts(out, index.add, parts)
        with out.progress("writing"):
            wf.write_index(index, output)
        file_bytes = output.stat().st_size
    document = {"output": str(output), "file_bytes": file_bytes, **describe_index(index)}
    out.show(
        document, pairs(str(output), {"file": file_line(file_bytes, index), **index_lines(index)})
    )


def _index_with_codec(
    path: Path,
    nlist: int | None,
    refine: RefineName | None,
    metric: MetricName | None,
    training: Mapping[str, object],
) -> Index:
    """Make an empty index with a trained codec; refuse the options of training."""
    for name, value in training.items():
        if value is not None:
            raise UsageError(
                f"--{name} applies to training, and --codec {path} is already trained; "
                "give one of them"
            )
    codec = read_codec(path)
    if nlist is not None and codec.cells != nlist:
        raise UsageError(
            f"--nlist {nlist}: expected a codec of {nlist} cells, got {codec.cells} in {path}; "
            "give --code-bytes instead of --codec"
        )
    default = MetricName.cosine if codec.plan.normalize else MetricName.ip
    return _empty_index(codec, nlist, refine, metric or default)


def _empty_index(
    source: wf.Codec | wf.Recipe, nlist: int | None, refine: RefineName | None, metric: MetricName
) -> Index:
    rows = None if refine is None else refine.value
    if nlist is None:
        return wf.IndexFlat(source, metric.value, refine=rows)
    return wf.IndexIVF(source, nlist, metric=metric.value, refine=rows)
