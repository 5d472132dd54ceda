"""The command ``waterfill train``: train a codec and write it to a file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import waterfill as wf
from waterfill.cli.description import codec_lines, describe_codec
from waterfill.cli.inputs import check_output, open_queries, open_stored
from waterfill.cli.options import (
    Cells,
    CodeBytes,
    Effort,
    EffortName,
    Format,
    Key,
    Metric,
    MetricName,
    Queries,
    QueriesFormat,
    QueriesKey,
    Seed,
    VectorFile,
    cells_of,
    out_file,
)
from waterfill.cli.output import Output, pairs
from waterfill.index.recall_warnings import warn_of_training


def train(
    out: Output,
    file: VectorFile,
    output: Annotated[Path, out_file("The codec", "CODEC")],
    code_bytes: CodeBytes = 48,
    metric: Metric = MetricName.ip,
    queries: Queries = None,
    effort: Effort = EffortName.balanced,
    cells: Cells = None,
    seed: Seed = 0,
    key: Key = None,
    format: Format = None,
    queries_key: QueriesKey = None,
    queries_format: QueriesFormat = None,
) -> None:
    """Train a codec on vectors.

    Example:
      waterfill train base.npy --code-bytes 48 -o codec.wf
    """
    check_output(output, (file, queries))
    vectors = open_stored(file, key, format)
    query_rows = open_queries(queries, queries_key, vectors.d, queries_format)
    recipe = wf.Recipe(vectors.d, code_bytes, seed=seed, effort=effort.value, cells=cells_of(cells))
    codec = recipe.train(vectors, metric.value, queries=query_rows, progress=out.shown)
    warn_of_training(codec, metric.value, vectors.n, None)
    wf.write_codec(codec, output)
    document = {"output": str(output), "seed": seed, **describe_codec(codec)}
    out.show(document, pairs(str(output), codec_lines(codec)))
