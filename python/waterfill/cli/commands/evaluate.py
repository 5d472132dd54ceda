"""The command ``waterfill evaluate``: whether compression changes answers to labelled queries."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from waterfill._util.input_file import read_input
from waterfill.cli.errors import UsageError, options_named
from waterfill.cli.faiss_files import open_any
from waterfill.cli.inputs import open_queries, open_stored, read_ids
from waterfill.cli.options import Format, Ids, Key, Metric, MetricName, Neighbours
from waterfill.cli.output import Output, grid
from waterfill.evaluation.answer_methods import (
    Method,
    default_methods,
    exact,
    of_index,
    peer_methods,
    waterfill,
)
from waterfill.evaluation.answers import Answers, QueryMean, evaluate_answers
from waterfill.evaluation.judgements import Judgements, read_qrels


def evaluate(
    out: Output,
    base: Annotated[Path, typer.Argument(metavar="BASE", help="Vectors of the documents.")],
    queries: Annotated[Path, typer.Argument(metavar="QUERIES", help="Vectors of the queries.")],
    qrels: Annotated[
        Path,
        typer.Argument(
            metavar="QRELS",
            help="Judgements: lines of 'query 0 document gain' (TREC) or 'query document gain'.",
        ),
    ],
    k: Neighbours = 10,
    metric: Metric = MetricName.ip,
    code_bytes: Annotated[
        list[int] | None,
        typer.Option(
            "--code-bytes",
            metavar="N",
            help="Bytes per code; may be repeated (default: 0.5, 1 and 2 bits per dimension).",
            show_default=False,
        ),
    ] = None,
    index: Annotated[
        list[Path] | None,
        typer.Option(
            "--index",
            metavar="INDEX",
            help="Also an index that exists, of waterfill or FAISS; may be repeated.",
            show_default=False,
        ),
    ] = None,
    peers: Annotated[
        bool, typer.Option("--peers", help="Also PQ, RaBitQ, int8 and binary codes of FAISS.")
    ] = False,
    base_names: Annotated[
        Path | None,
        typer.Option(
            "--base-names",
            metavar="FILE",
            help="The name of each document in QRELS, on a line each (default: row numbers).",
            show_default=False,
        ),
    ] = None,
    query_names: Annotated[
        Path | None,
        typer.Option(
            "--query-names", metavar="FILE", help="Likewise, of each query.", show_default=False
        ),
    ] = None,
    ids: Ids = None,
    key: Key = None,
    format: Format = None,
    queries_key: Annotated[
        str | None,
        typer.Option(
            "--queries-key", metavar="NAME", help="Like --key, for QUERIES.", show_default=False
        ),
    ] = None,
    queries_format: Annotated[
        str | None,
        typer.Option(
            "--queries-format",
            metavar="NAME",
            help="Like --format, for QUERIES.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Measure nDCG and MRR of labelled queries, exact and compressed.

    The difference in nDCG from exact search is of the same queries, with a 95 %
    bootstrap interval. --ids are those of the rows in the indexes of --index.

    Example:
      waterfill evaluate base.npy query.npy qrels.txt
      waterfill evaluate base.npy query.npy qrels.txt --code-bytes 48 --peers
    """
    stored = open_stored(base, key, format)
    asked = open_queries(queries, queries_key, stored.d, queries_format)
    assert asked is not None
    numbers = None if ids is None else read_ids(ids, stored.n)
    opened = [_opened(path, stored.d, numbers) for path in index or []]
    with options_named():
        judgements = Judgements.of(
            read_qrels(qrels), _names(query_names, asked.n), _names(base_names, stored.n)
        )
    methods = [*_methods(stored.d, code_bytes), *opened]
    methods += peer_methods(stored.d) if peers else ()
    answers = evaluate_answers(
        stored, asked, judgements, metric=metric.value, k=k, methods=methods, progress=out.shown
    )
    document = {
        "queries": len(judgements.queries),
        "vectors": stored.n,
        "k": k,
        "methods": [_described(each, answers[0]) for each in answers],
    }
    title = f"{len(judgements.queries):,} judged queries, {stored.n:,} documents"
    header = ("method", "bytes", f"nDCG@{k}", "less exact", f"MRR@{k}")
    out.show(document, grid(title, header, [_row(each, answers[0]) for each in answers]))


def _methods(d: int, sizes: list[int] | None) -> list[Method]:
    if sizes is None:
        return list(default_methods(d))
    for each in sizes:
        if not 1 <= each <= d:
            raise UsageError(f"--code-bytes {each} must be from 1 to the {d} dimensions")
    return [exact(), *(waterfill(each, refine=rows) for each in sizes for rows in (False, True))]


def _opened(path: Path, d: int, ids: Any) -> Method:
    found = open_any(path)
    if int(found.d) != d:
        raise UsageError(f"--index {path} has {found.d} dimensions, and the documents {d}")
    if getattr(found, "has_ids", False) and ids is None:
        raise UsageError(f"--index {path} has ids of its own; give --ids, those of the rows")
    searched = of_index(found, ids)
    return Method(path.name, lambda base, metric: searched)


def _names(path: Path | None, n: int) -> list[str]:
    if path is None:
        return [str(row) for row in range(n)]
    names = [line.strip() for line in read_input(path).decode("utf-8").splitlines()]
    if len(names) != n:
        raise ValueError(f"{path}: expected {n} names, one on a line, got {len(names)}")
    return names


def _described(answers: Answers, exact_answers: Answers) -> dict[str, Any]:
    return {
        "name": answers.name,
        "bytes_per_vector": answers.bytes_per_vector,
        "row_bytes": answers.row_bytes,
        "ndcg": vars(answers.mean_ndcg),
        "difference": vars(answers.difference(exact_answers)),
        "mrr": vars(answers.mrr),
    }


def _row(answers: Answers, exact_answers: Answers) -> list[str]:
    difference = answers.difference(exact_answers)
    rows = f", {answers.row_bytes:g} of them a row" if answers.row_bytes else ""
    return [
        answers.name,
        f"{answers.bytes_per_vector:.4g}{rows}",
        f"{np.mean(answers.ndcg):.3f}",
        "" if answers is exact_answers else _signed(difference),
        f"{np.mean(answers.reciprocal_rank):.3f}",
    ]


def _signed(difference: QueryMean) -> str:
    return f"{difference.mean:+.3f} ({difference.low:+.3f} to {difference.high:+.3f})"
