"""Commands that try settings: optimize, report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

import waterfill as wf
from waterfill.cli.errors import INTERRUPTED, UsageError
from waterfill.cli.inputs import check_output, provided, read_queries, read_stored
from waterfill.cli.options import (
    Key,
    Metric,
    MetricName,
    Neighbours,
    Queries,
    QueriesKey,
    Seed,
    VectorFile,
    out_file,
)
from waterfill.cli.output import Output, grid, pairs

TargetRecall = Annotated[
    float | None,
    typer.Option(
        "--target-recall",
        metavar="R",
        help="The fewest bytes that reach this recall@k.",
        show_default=False,
    ),
]
MaxBytes = Annotated[
    float | None,
    typer.Option(
        "--max-bytes", metavar="N", help="The best recall in so many bytes.", show_default=False
    ),
]
Objective = Annotated[
    str | None,
    typer.Option(
        "--objective", metavar="NAME", help="An objective by its name.", show_default=False
    ),
]
Ntotal = Annotated[
    int | None,
    typer.Option(
        "--ntotal",
        metavar="N",
        help="Vectors that there will be; recall falls as they grow.",
        show_default=False,
    ),
]
TimeBudget = Annotated[
    float | None,
    typer.Option(
        "--time-budget", metavar="SECONDS", help="Stop after so long.", show_default=False
    ),
]


def optimize(
    out: Output,
    file: VectorFile,
    target_recall: TargetRecall = None,
    max_bytes: MaxBytes = None,
    objective: Objective = None,
    output: Annotated[Path | None, out_file("The codec that was chosen", "CODEC")] = None,
    queries: Queries = None,
    k: Neighbours = 10,
    metric: Metric = MetricName.ip,
    ntotal: Ntotal = None,
    time_budget: TimeBudget = None,
    seed: Seed = 0,
    key: Key = None,
    queries_key: QueriesKey = None,
) -> int | None:
    """Find the best settings for vectors.

    They are judged by real searches. Ctrl-C ends the search; what was found so far is shown and
    written.

    Example:
      waterfill optimize base.npy --target-recall 0.95 -o codec.wf
      waterfill optimize base.npy --max-bytes 48 --queries query.npy
    """
    if output is not None:
        check_output(output, (file, queries))
    result = _optimized(
        out,
        file,
        key,
        queries,
        queries_key,
        target_recall=target_recall,
        max_bytes=max_bytes,
        objective=objective,
        k=k,
        metric=metric.value,
        ntotal=ntotal,
        seed=seed,
        time_budget=time_budget,
    )
    if output is not None:
        wf.write_codec(result.codec, output)
    document = {
        "file": str(file),
        "output": None if output is None else str(output),
        **{
            name: getattr(result, name)
            for name in ("objective", "reason", "complete", "metric", "k", "seed", "seconds")
        },
        "best": result.best.row(),
        "frontier": result.frontier.rows(),
        "trials": [trial.row() for trial in result.trials],
    }
    best = result.best
    values = {
        "objective": result.objective,
        "chosen": best.settings,
        "because": result.reason,
        f"recall@{result.k}": f"{best.recall:.4f}",
        "bytes a vector": f"{best.bytes_per_vector:.1f} ({best.memory_ratio:.1f} times smaller)",
        "search": f"{len(result.trials)} trials in {result.seconds:.1f} s"
        + ("" if result.complete else ", stopped early"),
        **({} if output is None else {"codec": output}),
    }
    rows = [
        [
            f"{trial.bytes_per_vector:.1f}",
            f"{trial.recall:.4f}",
            f"{trial.queries_per_second:,.0f}",
            f"{trial.encode_rate:,.0f}",
            str(trial.settings),
        ]
        for trial in result.frontier
    ]
    header = ("bytes", f"recall@{result.k}", "queries/s", "encoded/s", "settings")
    out.show(document, pairs(str(file), values), grid("\nNo other beats these:", header, rows))
    stopped = not result.complete and time_budget is None
    return INTERRUPTED if stopped else None


def report(
    out: Output,
    file: VectorFile,
    output: Annotated[Path, out_file("The page", "HTML")],
    target_recall: TargetRecall = None,
    max_bytes: MaxBytes = None,
    objective: Objective = None,
    queries: Queries = None,
    k: Neighbours = 10,
    metric: Metric = MetricName.ip,
    ntotal: Ntotal = None,
    time_budget: TimeBudget = None,
    seed: Seed = 0,
    key: Key = None,
    queries_key: QueriesKey = None,
) -> None:
    """Optimize, and write a page of what was found.

    Example:
      waterfill report base.npy --target-recall 0.95 -o report.html
    """
    write = provided("report")
    check_output(output, (file, queries))
    result = _optimized(
        out,
        file,
        key,
        queries,
        queries_key,
        target_recall=target_recall,
        max_bytes=max_bytes,
        objective=objective,
        k=k,
        metric=metric.value,
        ntotal=ntotal,
        seed=seed,
        time_budget=time_budget,
    )
    with out.progress("writing the page"):
        write(result, output)
    document = {"file": str(file), "output": str(output), "best": result.best.row()}
    out.show(document, f"{output}: {result.objective}; {result.best.settings}")


def _optimized(
    out: Output,
    file: Path,
    key: str | None,
    queries: Path | None,
    queries_key: str | None,
    **options: Any,
) -> Any:
    if all(options[name] is None for name in ("target_recall", "max_bytes", "objective")):
        raise UsageError("say what is wanted: --target-recall R, --max-bytes N or --objective NAME")
    run = provided("optimize")
    sample = read_stored(file, key)
    asked = read_queries(queries, queries_key, sample.d)
    with out.progress("optimizing"):
        return run(sample, asked, **options)
