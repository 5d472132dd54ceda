"""Recall, size and speed side by side with FAISS, as a Markdown table.

Run ``python bench/accuracy.py`` for the repository's sample, ``--data minilm`` for a set of
``bench/datasets.py``, ``--data DIR`` for other vectors.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

# Before NumPy is imported: its BLAS reads the variable when it is loaded.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import corpora
from contenders import Array, Contender, Faiss, Metric, Waterfill, faiss_factories, set_threads
from neighbours import recall
from packages import DatasetError

T = TypeVar("T")

K = 10
_SEARCHES, _ENOUGH_SECONDS = 3, 2.0  # the best of a few searches counts, unless one takes long
_HEAD = ("index", "bytes", "recall@10", "train s", "add s", "search s", "QPS")


@dataclass(frozen=True)
class Result:
    """What was measured of one contender."""

    name: str
    size: int
    recall: float
    train: float
    add: float
    search: float
    qps: float

    def row(self) -> str:
        """Return it as a row of the table."""
        cells = (
            self.name,
            str(self.size),
            f"{self.recall:.3f}",
            f"{self.train:.1f}",
            f"{self.add:.2f}",
            f"{self.search:.3f}",
            f"{self.qps:,.0f}",
        )
        return f"| {' | '.join(cells)} |"


def measure(contender: Contender, corpus: corpora.Corpus, truth: Array, train_rows: int) -> Result:
    """Train, fill and search an index."""
    print(f"measuring {contender.name}", file=sys.stderr)
    _, train = _timed(lambda: contender.train(corpus.base[:train_rows]))
    _, add = _timed(lambda: contender.add(corpus.base))
    found, search = _best(lambda: contender.search(corpus.query, K))
    return Result(
        name=contender.name,
        size=contender.bytes_per_vector,
        recall=recall(found, truth),
        train=train,
        add=add,
        search=search,
        qps=len(corpus.query) / search,
    )


def _timed(work: Callable[[], T]) -> tuple[T, float]:
    start = time.perf_counter()
    done = work()
    return done, time.perf_counter() - start


def _best(work: Callable[[], T]) -> tuple[T, float]:
    done, best = _timed(work)
    spent, left = best, _SEARCHES - 1
    while left and spent < _ENOUGH_SECONDS:
        done, seconds = _timed(work)
        spent, best, left = spent + seconds, min(best, seconds), left - 1
    return done, best


def contenders(given: argparse.Namespace, d: int) -> Iterator[Contender]:
    """Yield one after the other, so that the index measured before can be freed."""
    metric: Metric = given.metric
    for budget in given.bytes:
        yield Waterfill(budget, metric)
    for factory in faiss_factories(given.bytes, d, given.slow):
        try:
            yield Faiss(factory, d, metric)
        except RuntimeError as error:
            reason = str(error).splitlines()[-1]
            print(f"left out, this FAISS has no {factory}: {reason}", file=sys.stderr)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Recall, size and speed beside FAISS.")
    parser.add_argument("--data", metavar="DIR|NAME", help="default: the repository's sample")
    parser.add_argument("--cache", metavar="DIR", help="cache folder of bench/datasets.py")
    parser.add_argument("--rows", type=int, metavar="N", help="use the first N base vectors")
    parser.add_argument("--metric", choices=corpora.METRICS, default="ip")
    parser.add_argument(
        "--bytes",
        type=int,
        nargs="+",
        default=[24, 48, 96],
        metavar="B",
        help="budgets per vector, everything stored included",
    )
    parser.add_argument("--train-rows", type=int, metavar="N", help="train on the first N only")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--slow", action="store_true", help="OPQ too: minutes a budget")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    given = _parse(arguments)
    try:
        corpus = corpora.find(given.data, given.cache)
    except (DatasetError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    corpus = corpus.cut(given.rows or len(corpus.base))
    set_threads(given.threads)
    (n, d), truth = corpus.base.shape, corpus.truth(given.metric)
    threads = f"{given.threads} thread{'s' if given.threads > 1 else ''}"
    print(f"{corpus.name}: {n:,} x {d}, {len(truth)} queries, {given.metric}, {threads}\n")
    print(f"| {' | '.join(_HEAD)} |")
    print("|---" + "|--:" * (len(_HEAD) - 1) + "|", flush=True)
    for contender in contenders(given, d):
        result = measure(contender, corpus, truth, given.train_rows or n)
        print(result.row(), flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
