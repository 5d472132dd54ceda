"""Recall, size and speed of waterfill, FAISS and turbovec, as a Markdown table and a plot.

Run ``python bench/accuracy.py`` for the repository's sample, ``--data minilm`` for a data set of
``datasets.py``, ``--data DIR`` for your vectors, or ``--data minilm:ip:49,97 DIR:l2`` for several.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar, cast

# Set before importing NumPy: its BLAS reads the variable when it is loaded.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import corpora
import numpy as np
from ground_truth import recall
from method_sizes import Setting, SizedMethod, sized_methods
from methods import Array, Method, Metric, Waterfill, set_threads
from packages import DatasetError
from results import Result, Results

T = TypeVar("T")

K = 10
_SEARCHES, _ENOUGH_SECONDS = 3, 2.0  # report the best of a few searches; only one if it is slow
_SOURCE = re.compile(r"(?P<name>.+?)(?::(?P<metric>ip|l2))?(?::(?P<budgets>\d+(?:,\d+)*))?")
_UNIT = 1e-2  # tolerance for unit norms rounded to float16


@dataclass(frozen=True)
class Task:
    """The vectors, metric and budgets of one table."""

    corpus: corpora.Corpus
    setting: Setting
    train_rows: int
    title: str


def measure(sized: SizedMethod, task: Task, truth: Array) -> Result:
    """Train, fill and search an index; return its measurements."""
    print(f"measuring {sized.name}", file=sys.stderr, flush=True)
    method, corpus = sized.make(), task.corpus
    _, train = _timed(lambda: method.train(corpus.base[: task.train_rows]))
    _, add = _timed(lambda: method.add(corpus.base))
    found, search = _best(lambda: method.search(corpus.query, K))
    return Result(
        name=sized.name,
        library=sized.library,
        family=sized.family,
        size=method.bytes_per_vector,
        recall=recall(found, truth),
        train=train,
        add=add,
        search=search,
        qps=len(corpus.query) / search,
        memory=_memory(method),
        remark=_cells(method) or sized.remark,
    )


def _memory(method: Method) -> float | None:
    return method.index.nbytes / len(method) if isinstance(method, Waterfill) else None


def _cells(method: Method) -> str:
    number = method.index.codec.cells if isinstance(method, Waterfill) else 0
    return f"{number:,} cells" if number else ""


def _timed(work: Callable[[], T]) -> tuple[T, float]:
    start = time.perf_counter()
    result = work()
    return result, time.perf_counter() - start


def _best(work: Callable[[], T]) -> tuple[T, float]:
    result, best = _timed(work)
    spent, left = best, _SEARCHES - 1
    while left and spent < _ENOUGH_SECONDS:
        result, seconds = _timed(work)
        spent, best, left = spent + seconds, min(best, seconds), left - 1
    return result, best


def run(task: Task, results: Results, again: Sequence[str], only: Sequence[str]) -> None:
    """Measure the methods without a result, or listed in `again`; print the table of all."""
    methods = list(sized_methods(task.setting))
    known = results.section(task.title).results
    pending = [
        one
        for one in methods
        if (one.name not in known or one.library in again) and (not only or one.library in only)
    ]
    truth = task.corpus.truth(task.setting.metric) if pending else np.empty((0, 0))
    for sized in pending:
        try:
            results.keep(task.title, measure(sized, task, truth))
        except (ImportError, RuntimeError) as error:
            reason = str(error).splitlines()[-1]
            print(f"skipped {sized.name}: {reason}", file=sys.stderr)
    names = [one.name for one in methods]
    print(f"\n{task.title}\n", *results.section(task.title).table(names), sep="\n", flush=True)


def read_task(source: str | None, args: argparse.Namespace) -> Task:
    """Load a data set; metric and budgets default to those of the other arguments."""
    parts = _SOURCE.fullmatch(source or "")
    name, metric, budgets = parts.group("name", "metric", "budgets") if parts else (None,) * 3
    corpus = corpora.find(name, args.cache, args.rows)
    corpus = corpus.cut(args.rows or len(corpus.base))
    (n, d), metric = corpus.base.shape, cast(Metric, metric or args.metric)
    norms = np.linalg.norm(corpus.base, axis=1)
    train_rows = min(args.train_rows or n, n)
    fewer = args.rotation_rows is not None and args.rotation_rows < train_rows
    setting = Setting(
        d=d,
        metric=metric,
        budgets=[int(one) for one in budgets.split(",")] if budgets else args.bytes,
        unit=bool(np.abs(norms - 1).max() < _UNIT),
        slow=args.slow,
        rotation_rows=args.rotation_rows if fewer else None,
    )
    title = f"{corpus.name}: {n:,} x {d}, {len(corpus.query)} queries, {metric}"
    title += f", trained on {train_rows:,}" if train_rows < n else ""
    title += f", {args.threads} thread{'s' if args.threads > 1 else ''}"
    return Task(corpus, setting, train_rows, title)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Recall, size and speed compared with peers.")
    parser.add_argument(
        "--data",
        metavar="DIR|NAME[:METRIC][:B,B]",
        nargs="+",
        default=[None],
        help="data sets, each with optional metric and budgets; default: the repository's sample",
    )
    parser.add_argument("--cache", metavar="DIR", help="cache folder of bench/datasets.py")
    parser.add_argument("--rows", type=int, metavar="N", help="use the first N base vectors")
    parser.add_argument("--metric", choices=corpora.METRICS, default="ip")
    parser.add_argument(
        "--bytes",
        type=int,
        nargs="+",
        default=[24, 48, 96],
        metavar="B",
        help="budgets: all stored bytes per vector",
    )
    parser.add_argument("--train-rows", type=int, metavar="N", help="train on the first N vectors")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--slow", action="store_true", help="also measure OPQ: minutes per budget")
    parser.add_argument(
        "--rotation-rows", type=int, metavar="N", help="learn OPQ's rotation from at most N rows"
    )
    parser.add_argument(
        "--keep", type=Path, metavar="JSON", help="file of results to resume and update"
    )
    libraries = ("waterfill", "faiss", "turbovec")
    parser.add_argument(
        "--again",
        nargs="+",
        choices=libraries,
        default=[],
        help="measure these even if the file has results",
    )
    parser.add_argument(
        "--only", nargs="+", choices=libraries, default=[], help="measure only these"
    )
    parser.add_argument("--picture", type=Path, metavar="PNG", help="plot recall against bytes")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    args = _parse(arguments)
    set_threads(args.threads)
    results, titles = Results(args.keep), []
    for source in args.data:
        try:
            task = read_task(source, args)
        except (DatasetError, OSError) as error:
            print(f"error: {error}", file=sys.stderr)
            return 1
        run(task, results, args.again, args.only)
        titles.append(task.title)
    if args.picture:
        import accuracy_plot  # imported here: only the plot needs matplotlib

        accuracy_plot.draw([results.section(title) for title in titles], args.picture)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
