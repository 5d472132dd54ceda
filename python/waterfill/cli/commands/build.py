"""Commands that make files: train, encode, build."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

import waterfill as wf
from waterfill._util.atomic_file import atomic_write
from waterfill.cli.description import (
    Index,
    codec_words,
    describe_codec,
    describe_index,
    index_words,
)
from waterfill.cli.errors import UsageError
from waterfill.cli.inputs import Vectors, check_output, joined, read_queries, read_stored
from waterfill.cli.options import (
    CodeBytes,
    Effort,
    EffortName,
    Key,
    Metric,
    MetricName,
    Queries,
    QueriesKey,
    RefineName,
    Seed,
    UsualMetric,
    VectorFile,
    out_file,
)
from waterfill.cli.output import Output, pairs, size
from waterfill.data.rows import Rows


def train(
    out: Output,
    file: VectorFile,
    output: Annotated[Path, out_file("The codec", "CODEC")],
    code_bytes: CodeBytes = 48,
    metric: Metric = MetricName.ip,
    queries: Queries = None,
    effort: Effort = EffortName.balanced,
    seed: Seed = 0,
    key: Key = None,
    queries_key: QueriesKey = None,
) -> None:
    """Train a codec on vectors.

    Example:
      waterfill train base.npy --code-bytes 48 -o codec.wf
    """
    check_output(output, (file, queries))
    vectors = read_stored(file, key)
    asked = read_queries(queries, queries_key, vectors.d)
    recipe = wf.Recipe(vectors.d, code_bytes, seed=seed, effort=effort.value)
    with out.progress("analyzing", vectors.n, then="training") as vectors.advance:
        codec = recipe.train(vectors, metric.value, queries=asked)
    wf.write_codec(codec, output)
    document = {"output": str(output), "seed": seed, **describe_codec(codec)}
    out.show(document, pairs(str(output), codec_words(codec)))


def encode(
    out: Output,
    codec: Annotated[
        Path, typer.Argument(metavar="CODEC", help="A codec, or an index that has one.")
    ],
    file: VectorFile,
    output: Annotated[Path, out_file("The codes, uint8 of shape (n, code size)", "NPY")],
    key: Key = None,
) -> None:
    """Encode vectors, block by block.

    Example:
      waterfill encode codec.wf base.npy -o codes.npy
    """
    check_output(output, (codec, file))
    coder = wf.read_codec(codec)
    vectors = read_stored(file, key)
    shape = (vectors.n, coder.code_size)
    rows = Rows(vectors, d=coder.d)
    with (
        out.progress("encoding", vectors.n) as vectors.advance,
        _one_warning(vectors),
        atomic_write(output) as target,
    ):
        np.lib.format.write_array_header_1_0(
            target, {"descr": "|u1", "fortran_order": False, "shape": shape}
        )
        for _, block in rows.blocks():
            target.write(coder.encode(block).data)
    document = {"output": str(output), "n": vectors.n, "code_size": coder.code_size}
    bytes_ = shape[0] * shape[1]
    out.show(document, f"{output}: {shape[0]:,} codes of {shape[1]} bytes, {size(bytes_)}")


def build(
    out: Output,
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILES",
            help="Vectors; those of each file come after those of the one before.",
            show_default=False,
        ),
    ],
    output: Annotated[Path, out_file("The index", "INDEX")],
    codec: Annotated[
        Path | None,
        typer.Option(
            "--codec",
            metavar="CODEC",
            help="A codec that is trained already, instead of --code-bytes.",
            show_default=False,
        ),
    ] = None,
    code_bytes: Annotated[
        int | None,
        typer.Option(
            "--code-bytes",
            metavar="N",
            help="Bytes of a code; one more is its scale (default: 48).",
            show_default=False,
        ),
    ] = None,
    nlist: Annotated[
        int | None,
        typer.Option(
            "--nlist",
            metavar="N",
            help="Make an index of so many inverted lists; some 4 * sqrt(n) are usual.",
            show_default=False,
        ),
    ] = None,
    refine: Annotated[
        RefineName | None,
        typer.Option("--refine", help="Keep rows for exact scores.", show_default=False),
    ] = None,
    metric: UsualMetric = None,
    queries: Queries = None,
    effort: Annotated[
        EffortName | None,
        typer.Option(
            "--effort", help="How long training may take (default: balanced).", show_default=False
        ),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option("--seed", help="Of all draws of training (default: 0).", show_default=False),
    ] = None,
    key: Key = None,
    queries_key: QueriesKey = None,
) -> None:
    """Make an index of files of vectors.

    Vectors are added block by block, so that files may be larger than memory.

    Example:
      waterfill build base.npy --code-bytes 48 -o base.wf
      waterfill build shard-*.parquet --nlist 1024 --refine float16 -o all.wf
    """
    check_output(output, (*files, codec, queries))
    parts = [read_stored(file, key) for file in files]
    whole = joined(parts)
    asked = read_queries(queries, queries_key, whole.d)
    if codec is not None:
        trains = {"code-bytes": code_bytes, "queries": queries, "effort": effort, "seed": seed}
        index = _with_codec(codec, nlist, refine, metric, trains)
    else:
        recipe = wf.Recipe(
            whole.d,
            48 if code_bytes is None else code_bytes,
            seed=seed or 0,
            effort=(effort or EffortName.balanced).value,
        )
        index = _index(recipe, nlist, refine, metric or MetricName.ip)
        with out.progress("analyzing", whole.n, then="training") as whole.advance:
            index.train(whole, xq_train=asked)
    _add(out, index, parts)
    with out.progress("writing"):
        wf.write_index(index, output)
    bytes_ = output.stat().st_size
    document = {"output": str(output), "file_bytes": bytes_, **describe_index(index)}
    out.show(document, pairs(str(output), {"file": size(bytes_), **index_words(index)}))


def _with_codec(
    path: Path,
    nlist: int | None,
    refine: RefineName | None,
    metric: MetricName | None,
    trains: Mapping[str, object],
) -> Index:
    """Make an empty index with a codec that is trained."""
    for name, value in trains.items():
        if value is not None:
            raise UsageError(f"--{name} is for training, and {path} is trained; give one of them")
    codec = wf.read_codec(path)
    if nlist is not None and codec.cells != nlist:
        raise UsageError(
            f"--nlist {nlist} needs a codec of as many cells, {path} has {codec.cells}; give "
            "--code-bytes instead of --codec"
        )
    usual = MetricName.cosine if codec.plan.normalize else MetricName.ip
    return _index(codec, nlist, refine, metric or usual)


def _index(
    source: wf.Codec | wf.Recipe, nlist: int | None, refine: RefineName | None, metric: MetricName
) -> Index:
    kept = None if refine is None else refine.value
    if nlist is None:
        return wf.IndexFlat(source, metric.value, refine=kept)
    return wf.IndexIVF(source, nlist, metric=metric.value, refine=kept)


def _add(out: Output, index: Index, parts: Sequence[Vectors]) -> None:
    with out.progress("adding", sum(part.n for part in parts)) as advance:
        for part in parts:
            part.advance = advance
            with _one_warning(part):
                for _, block in Rows(part, d=index.d).blocks():
                    index.add(block)


@contextmanager
def _one_warning(vectors: Vectors) -> Iterator[None]:
    """Add up what blocks warn of."""
    counts: dict[str, int] = {}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
    for warning in caught:
        found = re.fullmatch(r"\w+: (\d+) of \d+ (vectors .*)", str(warning.message))
        if found is None:
            warnings.warn(str(warning.message), warning.category, stacklevel=2)
        else:
            counts[found[2]] = counts.get(found[2], 0) + int(found[1])
    for words, count in counts.items():
        message = f"{vectors.name}: {count} of {vectors.n} {words}"
        warnings.warn(message, RuntimeWarning, stacklevel=2)
