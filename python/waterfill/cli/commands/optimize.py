"""The command ``waterfill optimize``: search for the best settings, and write the codec."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

from rich.table import Table

import waterfill as wf
from waterfill._util.validation import as_number
from waterfill.cli.errors import INTERRUPTED, NOT_MET, UsageError
from waterfill.cli.inputs import check_output, open_queries, open_stored
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
    PricePerGb,
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
from waterfill.cli.output import Output, grid, pairs, size
from waterfill.optimizer.resource_estimate import Estimate

_SIZES = (1, 10, 100)  # times ntotal


def optimize(
    out: Output,
    file: VectorFile,
    target_recall: TargetRecall = None,
    max_bytes: MaxBytes = None,
    objective: Objective = None,
    output: Annotated[Path | None, out_file("The chosen codec", "CODEC")] = None,
    queries: Queries = None,
    accuracy: Accuracy = AccuracyName.recall,
    k: Neighbours = 10,
    metric: Metric = MetricName.ip,
    ntotal: Ntotal = None,
    price_per_gb: PricePerGb = None,
    time_budget: TimeBudget = None,
    cells: Cells = None,
    seed: Seed = 0,
    key: Key = None,
    format: Format = None,
    queries_key: QueriesKey = None,
    queries_format: QueriesFormat = None,
) -> int | None:
    """Find the best settings for vectors, by real searches.

    Ctrl-C ends the search for settings early; the best result so far is shown
    and written.

    Example:
      waterfill optimize base.npy --target-recall 0.95 -o codec.wf
      waterfill optimize base.npy --max-bytes 48 --queries query.npy
    """
    if output is not None:
        check_output(output, (file, queries))
    if price_per_gb is not None:
        as_number("price_per_gb", price_per_gb, 0)
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
    if output is not None:
        wf.write_codec(result.codec, output)
    estimates = [result.estimate(n * result.ntotal, price_per_gb=price_per_gb) for n in _SIZES]
    written = {} if output is None else {"codec": str(output)}
    out.show(
        _document(file, output, result, estimates),
        pairs(str(file), _lines(result) | written),
        _estimate_table(result.k, estimates),
        _frontier_table(result),
    )
    if not result.complete and time_budget is None:
        return INTERRUPTED
    return None if result.reached else NOT_MET


@dataclass(frozen=True)
class Sample:
    """The files of vectors and of queries, and the arrays to read from them."""

    vectors: Path
    key: str | None
    queries: Path | None
    queries_key: str | None
    format: str | None = None
    queries_format: str | None = None


def run_optimizer(out: Output, sample: Sample, **options: Any) -> wf.optimizer.Result:
    """Run `wf.optimize` on files, with a line for each trial on a terminal."""
    if all(options[name] is None for name in ("target_recall", "max_bytes", "objective")):
        raise UsageError(
            "an objective is missing; give --target-recall R, --max-bytes N or --objective NAME"
        )
    vectors = open_stored(sample.vectors, sample.key, sample.format)
    queries = open_queries(sample.queries, sample.queries_key, vectors.d, sample.queries_format)
    return wf.optimize(vectors, queries, progress=out.shown, **options)


def _document(
    file: Path, output: Path | None, result: wf.optimizer.Result, estimates: Sequence[Estimate]
) -> dict[str, Any]:
    return {
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


def _lines(result: wf.optimizer.Result) -> dict[str, Any]:
    """Return what was chosen, a line for each figure."""
    best = result.best
    trials = "1 trial" if len(result.trials) == 1 else f"{len(result.trials)} trials"
    ended = "" if result.complete else ", stopped early"
    lines = {
        "objective": result.objective,
        "chosen": best.settings,
        "reason": result.reason,
        f"recall@{result.k}": f"{best.recall:.4f} on {len(result.split.base):,} sample vectors",
    }
    if result.accuracy != "recall":
        lines[result.accuracy.replace("_", " ")] = (
            f"{best.forgiving_accuracy:.4f} on the sample, {best.expected_accuracy:.4f} expected "
            f"with {result.ntotal:,} vectors"
        )
    return lines | {
        "bytes per vector": f"{best.bytes_per_vector:.1f} ({best.memory_ratio:.1f} times smaller)",
        "search": f"{trials} in {result.seconds:.1f} s{ended}",
    }


def _estimate_table(k: int, estimates: Sequence[Estimate]) -> Table:
    """Show the memory, time and recall of larger collections."""
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
    price = () if estimates[0].cost_per_month is None else ("per month",)
    header = ("vectors", f"expected recall@{k}", "memory", "file", "per query", *price)
    return grid("\nEstimates:", header, rows)


def _frontier_table(result: wf.optimizer.Result) -> Table:
    """Show the Pareto frontier of bytes and recall."""
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
    accuracy = result.accuracy.replace("_", " ")
    title = f"\nPareto frontier (expected: {accuracy} with {result.ntotal:,} vectors):"
    return grid(title, header, rows)
