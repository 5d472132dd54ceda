"""The command ``waterfill build``: train or read a codec, add vectors, write the index."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer

import waterfill as wf
from waterfill.cli.description import Index, describe_index, file_line, index_lines
from waterfill.cli.errors import UsageError
from waterfill.cli.inputs import (
    Vectors,
    check_output,
    concatenated,
    open_parts,
    open_queries,
    sum_warnings,
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
from waterfill.data.rows import Rows

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
    output: Annotated[Path, out_file("The index", "INDEX")],
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

    Example:
      waterfill build base.npy --code-bytes 48 -o base.wf
      waterfill build shard-*.parquet --nlist 1024 --refine float16 -o all.wf
    """
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
    _add(out, index, parts)
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
    codec = wf.read_codec(path)
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


def _add(out: Output, index: Index, parts: Sequence[Vectors]) -> None:
    with out.progress("adding", sum(part.n for part in parts)) as advance:
        for part in parts:
            part.advance = advance
            with sum_warnings(part):
                for _, block in Rows(part, d=index.d).blocks():
                    index.add(block)
