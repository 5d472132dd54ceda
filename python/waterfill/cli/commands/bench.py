"""The command ``waterfill bench``: bytes, recall and speed of waterfill and of FAISS."""

from __future__ import annotations

from typing import Annotated, Any

import typer

import waterfill as wf
from waterfill._util.optional import require_faiss
from waterfill._util.validation import as_positive_int
from waterfill.cli.inputs import open_queries, open_stored
from waterfill.cli.options import (
    Format,
    Key,
    Metric,
    MetricName,
    Neighbours,
    Queries,
    QueriesFormat,
    QueriesKey,
    Seed,
    VectorFile,
)
from waterfill.cli.output import Output, grid
from waterfill.evaluation.faiss_peers import measure_peers
from waterfill.evaluation.sample_split import Split, split_sample
from waterfill.optimizer.trial_measurement import measure

_DIMS_PER_BYTE = (16, 8, 4)  # the default sizes of codes
_FIGURES = (
    *("name", "bytes_per_vector", "recall"),
    *("queries_per_second", "encode_rate", "train_seconds"),
)


def bench(
    out: Output,
    file: VectorFile,
    code_bytes: Annotated[
        list[int] | None,
        typer.Option(
            "--code-bytes",
            metavar="N",
            help="Code bytes per vector; may be repeated (default: d/16, d/8, d/4).",
            show_default=False,
        ),
    ] = None,
    rows: Annotated[
        int, typer.Option("--rows", metavar="N", help="Maximum number of vectors, drawn at random.")
    ] = 100_000,
    queries: Queries = None,
    k: Neighbours = 10,
    metric: Metric = MetricName.ip,
    seed: Seed = 0,
    key: Key = None,
    format: Format = None,
    queries_key: QueriesKey = None,
    queries_format: QueriesFormat = None,
) -> None:
    """Compare waterfill with FAISS index types.

    The results hold for these vectors on this machine. Without --queries, 500
    of the vectors are held out as queries.

    Example:
      waterfill bench base.npy --code-bytes 48 --threads 1
    """
    require_faiss("waterfill bench")
    vectors = open_stored(file, key, format)
    query_rows = open_queries(queries, queries_key, vectors.d, queries_format)
    most = as_positive_int("rows", rows)
    sizes = code_bytes or [max(1, vectors.d // dims) for dims in _DIMS_PER_BYTE]
    for number in sizes:
        wf.Recipe(vectors.d, number)  # refuses other numbers before anything is measured
    split = split_sample(vectors, query_rows, metric.value, k, seed, most=most)
    with out.progress("measuring waterfill"):
        measured = _measure_waterfill(split, sizes)
    with out.progress("measuring FAISS"):
        peers = measure_peers(
            split.base, split.queries, split.truth, metric=metric.value, k=k, sizes=sizes
        )
    measured += [{name: getattr(peer, name) for name in _FIGURES} for peer in peers]
    measured.sort(key=lambda row: row["bytes_per_vector"])
    document = {
        "file": str(file),
        "n": len(split.base),
        "queries": len(split.queries),
        "metric": metric.value,
        "k": k,
        "threads": wf.get_num_threads(),
        "rows": measured,
    }
    title = (
        f"{len(split.base):,} vectors of {vectors.d} dimensions, {len(split.queries):,} queries, "
        f"metric {metric.value}, threads {wf.get_num_threads()}"
    )
    header = ("index", "bytes", f"recall@{k}", "queries/s", "encoded/s", "training, s")
    out.show(document, grid(title, header, [_cells(row) for row in measured]))


def _measure_waterfill(split: Split, sizes: list[int]) -> list[dict[str, Any]]:
    """Measure waterfill codecs of several sizes."""
    analysis = wf.analyze(split.base, normalize=split.metric == "cosine")
    rows = []
    for code_bytes in sizes:
        trial, _ = measure(wf.optimizer.TrialSettings(code_bytes), split, analysis)
        figures = {name: getattr(trial, name) for name in _FIGURES[1:]}
        rows.append({"name": f"waterfill {code_bytes}", **figures})
    return rows


def _cells(row: dict[str, Any]) -> list[str]:
    return [
        row["name"],
        f"{row['bytes_per_vector']:.1f}",
        f"{row['recall']:.4f}",
        f"{row['queries_per_second']:,.0f}",
        f"{row['encode_rate']:,.0f}",
        f"{row['train_seconds']:.2f}",
    ]
