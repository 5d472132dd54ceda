"""Commands that try settings: optimize, report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

import waterfill as wf
from waterfill.cli.errors import INTERRUPTED, UNREACHED, UsageError
from waterfill.cli.inputs import check_output, read_queries, read_stored
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
from waterfill.cli.output import Output, grid, pairs, size
from waterfill.optimizer.objective import NAMED
from waterfill.optimizer.resource_estimate import Estimate
from waterfill.reporting.page import require_report

_SIZES = (1, 10, 100)  # times the vectors that there will be


class AccuracyName(str, Enum):
    """What a target counts."""

    recall = "recall"
    forgiving_accuracy = "forgiving_accuracy"


Accuracy = Annotated[
    AccuracyName,
    typer.Option(
        "--accuracy", help="What the target counts; forgiving: half of the true ten are all."
    ),
]
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
        "--objective",
        metavar="NAME",
        help="The greatest " + " or ".join(NAMED) + ".",
        show_default=False,
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
PricePerGb = Annotated[
    float | None,
    typer.Option(
        "--price-per-gb",
        metavar="P",
        help="Price of a GB of memory for a month.",
        show_default=False,
    ),
]
TimeBudget = Annotated[
    float | None,
    typer.Option(
        "--time-budget",
        metavar="SECONDS",
        help="Begin no new trial after so long.",
        show_default=False,
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
    accuracy: Accuracy = AccuracyName.recall,
    k: Neighbours = 10,
    metric: Metric = MetricName.ip,
    ntotal: Ntotal = None,
    price_per_gb: PricePerGb = None,
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
        _Files(file, key, queries, queries_key),
        target_recall=target_recall,
        max_bytes=max_bytes,
        objective=objective,
        accuracy=accuracy.value,
        k=k,
        metric=metric.value,
        ntotal=ntotal,
        seed=seed,
        time_budget=time_budget,
    )
    if output is not None:
        wf.write_codec(result.codec, output)
    estimates = [result.estimate(n * result.ntotal, price_per_gb=price_per_gb) for n in _SIZES]
    document = {
        "file": str(file),
        "output": None if output is None else str(output),
        **{
            name: getattr(result, name)
            for name in (
                *("objective", "reason", "reached", "complete"),
                *("metric", "k", "accuracy", "ntotal", "seed", "seconds"),
            )
        },
        "best": result.best.row(),
        "expected": [asdict(each) for each in estimates],
        "frontier": result.frontier.rows(),
        "trials": [trial.row() for trial in result.trials],
    }
    best = result.best
    values = {
        "objective": result.objective,
        "chosen": best.settings,
        "because": result.reason,
        f"recall@{result.k}": f"{best.recall:.4f} among {len(result.split.base):,} of the sample",
        **_accuracy(result),
        "bytes a vector": f"{best.bytes_per_vector:.1f} ({best.memory_ratio:.1f} times smaller)",
        "search": f"{len(result.trials)} trials in {result.seconds:.1f} s"
        + ("" if result.complete else ", stopped early"),
        **({} if output is None else {"codec": output}),
    }
    out.show(
        document,
        pairs(str(file), values),
        _expected(result.k, estimates),
        _frontier(result),
    )
    if not result.complete and time_budget is None:
        return INTERRUPTED
    return None if result.reached else UNREACHED


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
            "--codec",
            metavar="CODEC",
            help="Write the codec that was chosen, too.",
            show_default=False,
        ),
    ] = None,
    peers: Annotated[
        bool, typer.Option(help="Measure FAISS's types beside, where FAISS is installed.")
    ] = True,
    time_budget: TimeBudget = None,
    seed: Seed = 0,
    key: Key = None,
    queries_key: QueriesKey = None,
) -> int | None:
    """Optimize, and write a page of what was found.

    Example:
      waterfill report base.npy --target-recall 0.95 -o report.html
      waterfill report base.npy --max-bytes 48 --codec codec.wf -o report.html
    """
    require_report()
    for name in (output, *([] if codec is None else [codec])):
        check_output(name, (file, queries))
    if codec is not None and codec.absolute() == output.absolute():
        raise UsageError(f"--codec {codec} is the page's name, too; give another one")
    result = _optimized(
        out,
        _Files(file, key, queries, queries_key),
        target_recall=target_recall,
        max_bytes=max_bytes,
        objective=objective,
        accuracy=accuracy.value,
        k=k,
        metric=metric.value,
        ntotal=ntotal,
        seed=seed,
        time_budget=time_budget,
    )
    if codec is not None:
        wf.write_codec(result.codec, codec)
    with out.narrated("writing the page") as say:
        wf.report(result, output, peers=peers, progress=lambda name: say(f"FAISS {name}"))
    document = {
        "file": str(file),
        "output": str(output),
        "codec": None if codec is None else str(codec),
        "reached": result.reached,
        "best": result.best.row(),
    }
    out.show(document, f"{output}: {result.objective}; {result.best.settings}")
    return None if result.reached else UNREACHED


@dataclass(frozen=True)
class _Files:
    """Where vectors and queries are."""

    vectors: Path
    key: str | None
    queries: Path | None
    queries_key: str | None


def _optimized(out: Output, files: _Files, **options: Any) -> wf.optimizer.Result:
    if all(options[name] is None for name in ("target_recall", "max_bytes", "objective")):
        raise UsageError("say what is wanted: --target-recall R, --max-bytes N or --objective NAME")
    sample = read_stored(files.vectors, files.key)
    asked = read_queries(files.queries, files.queries_key, sample.d)
    with out.narrated("optimizing") as say:

        def tell(trial: wf.optimizer.Trial, seconds: float) -> None:
            say(
                f"{trial.settings}: {trial.bytes_per_vector:.1f} bytes a vector, recall "
                f"{trial.recall:.3f} ({seconds:.1f} s)"
            )

        return wf.optimize(sample, asked, progress=tell, **options)


def _expected(k: int, estimates: Sequence[Estimate]) -> Table:
    """Show what larger collections would take."""
    rows = [
        [
            f"{each.n:,}",
            str(each.recall),
            size(each.memory_bytes),
            size(each.file_bytes),
            f"{each.query_seconds * 1e3:.2g} ms",
            *([] if each.cost_per_month is None else [f"{each.cost_per_month:,.2f}"]),
        ]
        for each in estimates
    ]
    price = () if estimates[0].cost_per_month is None else ("a month",)
    header = ("vectors", f"recall@{k} to expect", "memory", "file", "a query", *price)
    return grid("\nWhat to expect:", header, rows)


def _accuracy(result: wf.optimizer.Result) -> dict[str, str]:
    """Tell the accuracy that was asked for, if it is another than recall."""
    if result.accuracy == "recall":
        return {}
    best = result.best
    said = f"{best.forgiving_accuracy:.4f}, {best.expected_accuracy:.4f} among {result.ntotal:,}"
    return {result.accuracy.replace("_", " "): said}


def _frontier(result: wf.optimizer.Result) -> Table:
    """Show trials that no other beats."""
    rows = [
        [
            f"{trial.bytes_per_vector:.1f}",
            f"{trial.recall:.4f}",
            f"{trial.expected_accuracy:.4f}",
            f"{trial.queries_per_second:,.0f}",
            f"{trial.encode_rate:,.0f}",
            str(trial.settings),
        ]
        for trial in result.frontier
    ]
    header = ("bytes", f"recall@{result.k}", "expected", "queries/s", "encoded/s", "settings")
    counted = result.accuracy.replace("_", " ")
    title = f"\nNo other trial beats these; expected is {counted} among {result.ntotal:,}:"
    return grid(title, header, rows)
