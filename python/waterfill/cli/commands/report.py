"""The command ``waterfill report``: optimize, and write the result as an HTML page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import waterfill as wf
from waterfill.cli.commands.optimize import Sample, run_optimizer
from waterfill.cli.errors import NOT_MET, UsageError
from waterfill.cli.inputs import check_output
from waterfill.cli.options import (
    Accuracy,
    AccuracyName,
    Cells,
    Format,
    Key,
    MaxBytes,
    Metric,
    MetricName,
    Neighbours,
    Ntotal,
    Objective,
    Queries,
    QueriesFormat,
    QueriesKey,
    Seed,
    TargetRecall,
    TimeBudget,
    VectorFile,
    cells_of,
    out_file,
)
from waterfill.cli.output import Output
from waterfill.reporting.page import require_report


def report(
    out: Output,
    file: VectorFile,
    output: Annotated[Path, out_file("The page", "HTML")],
    target_recall: TargetRecall = None,
    max_bytes: MaxBytes = None,
    objective: Objective = None,
    queries: Queries = None,
    accuracy: Accuracy = AccuracyName.recall,
    k: Neighbours = 10,
    metric: Metric = MetricName.ip,
    ntotal: Ntotal = None,
    codec: Annotated[
        Path | None,
        typer.Option(
            "--codec", metavar="CODEC", help="Also write the chosen codec.", show_default=False
        ),
    ] = None,
    peers: Annotated[
        bool, typer.Option(help="Compare with FAISS index types, if FAISS is installed.")
    ] = True,
    time_budget: TimeBudget = None,
    cells: Cells = None,
    seed: Seed = 0,
    key: Key = None,
    format: Format = None,
    queries_key: QueriesKey = None,
    queries_format: QueriesFormat = None,
) -> int | None:
    """Optimize, and write the result as an HTML page.

    Example:
      waterfill report base.npy --target-recall 0.95 -o report.html
      waterfill report base.npy --max-bytes 48 --codec codec.wf -o report.html
    """
    require_report()
    for name in (output, *([] if codec is None else [codec])):
        check_output(name, (file, queries))
    if codec is not None and codec.absolute() == output.absolute():
        raise UsageError(f"--codec {codec} is also the name of the page; give another name")
    result = run_optimizer(
        out,
        Sample(file, key, queries, queries_key, format, queries_format),
        target_recall=target_recall,
        max_bytes=max_bytes,
        objective=objective,
        accuracy=accuracy.value,
        k=k,
        metric=metric.value,
        ntotal=ntotal,
        seed=seed,
        time_budget=time_budget,
        cells=cells_of(cells),
    )
    if codec is not None:
        wf.write_codec(result.codec, codec)
    wf.report(result, output, peers=peers, progress=out.shown)
    document = {
        "file": str(file),
        "output": str(output),
        "codec": None if codec is None else str(codec),
        "reached": result.reached,
        "best": result.best.row(),
    }
    out.show(document, f"{output}: {result.objective}; {result.best.settings}")
    return None if result.reached else NOT_MET
