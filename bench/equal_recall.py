"""Speed at equal recall: waterfill compared with peers of at least the same recall.

Run ``python bench/equal_recall.py`` for the repository's sample, ``--data minilm`` for a data set
of ``datasets.py``, or ``--data DIR`` for your vectors.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import median

# Set before importing NumPy: its BLAS reads the variable when it is loaded.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import corpora
from ground_truth import recall
from interleaved_timing import interleave
from methods import (
    Array,
    Faiss,
    Method,
    Turbovec,
    Waterfill,
    fast_scan,
    rabitq,
    set_threads,
)

K = 10
BATCH, SINGLES = 100, 100  # queries per call; queries searched one by one
_BITS = (2, 4)


@dataclass(frozen=True)
class Result:
    """The measurements of one method; `qps` by load (batch or single)."""

    name: str
    library: str
    size: int
    recall: float
    qps: dict[str, float]


def all_methods(budgets: Sequence[int], d: int) -> Iterator[Method]:
    """Yield waterfill, then peers of 1 to 4 bits per dimension."""
    for budget in budgets:
        yield Waterfill(budget, "ip")
    makers: list[tuple[str, Callable[[], Method]]] = []
    for share in (8, 4, 2):
        factory = fast_scan(d // share, d)
        makers.append((f"FAISS {factory}", partial(Faiss, factory, d, "ip")))
    for bits in _BITS:
        factory = rabitq(bits, d)
        makers.append((f"FAISS {factory}", partial(Faiss, factory, d, "ip")))
    for bits in _BITS:
        makers.append((f"turbovec {bits} bits", partial(Turbovec, bits, d)))
    for name, make in makers:
        try:
            yield make()
        except (ImportError, RuntimeError) as error:
            print(f"skipped {name}: {str(error).splitlines()[-1]}", file=sys.stderr)


def measure(methods: Sequence[Method], corpus: corpora.Corpus, rounds: int) -> list[Result]:
    """Train and fill all methods, then time their searches interleaved."""
    truth = corpus.truth("ip")
    recalls = []
    for one in methods:
        print(f"training and filling {one.name}", file=sys.stderr)
        one.train(corpus.base)
        one.add(corpus.base)
        recalls.append(recall(one.search(corpus.query, K), truth))
    batches = _calls(corpus.query, BATCH)
    singles = _calls(corpus.query[:SINGLES], 1)
    loads = {"batch": batches, "single": singles}
    works = {
        (one.name, load): partial(_search, one, calls)
        for one in methods
        for load, calls in loads.items()
    }
    seconds = interleave(works, rounds)
    return [
        Result(
            name=one.name,
            library=one.library,
            size=one.bytes_per_vector,
            recall=found,
            qps={
                load: sum(map(len, calls)) / median(seconds[one.name, load])
                for load, calls in loads.items()
            },
        )
        for one, found in zip(methods, recalls, strict=True)
    ]


def _calls(queries: Array, size: int) -> list[Array]:
    return [queries[first : first + size] for first in range(0, len(queries), size)]


def _search(one: Method, calls: Sequence[Array]) -> None:
    for queries in calls:
        one.search(queries, K)


def table(results: Sequence[Result]) -> Iterator[str]:
    """Yield the lines of a Markdown table of all results."""
    yield f"| index | bytes | recall@{K} | QPS, {BATCH} queries per call | QPS, 1 query per call |"
    yield "|---|--:|--:|--:|--:|"
    for one in results:
        rates = f"{one.qps['batch']:,.0f} | {one.qps['single']:,.0f}"
        yield f"| {one.name} | {one.size} | {one.recall:.3f} | {rates} |"


def ratios(results: Sequence[Result], tolerance: float) -> Iterator[str]:
    """Yield a Markdown table of waterfill against the fastest peer of at least its recall."""
    yield "| index | recall | queries per call | fastest peer | its recall | ratio of QPS |"
    yield "|---|--:|---|---|--:|--:|"
    for ours in (one for one in results if one.library == "waterfill"):
        minimum = ours.recall - tolerance
        peers = [one for one in results if one.library != "waterfill" and one.recall >= minimum]
        for load, label in (("batch", str(BATCH)), ("single", "1")):
            if peers:
                peer = max(peers, key=lambda one: one.qps[load])
                ratio = ours.qps[load] / peer.qps[load]
                cells = f"{peer.name} | {peer.recall:.3f} | {ratio:.2f}"
            else:
                cells = "none | |"
            yield f"| {ours.name} | {ours.recall:.3f} | {label} | {cells} |"


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Speed compared with peers of equal recall.")
    corpora.add_arguments(parser)
    parser.add_argument(
        "--bytes",
        type=int,
        nargs="+",
        default=[48, 96, 192],
        metavar="B",
        help="waterfill's budgets: all stored bytes per vector",
    )
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=9, help="timings per median")
    parser.add_argument(
        "--tolerance", type=float, default=0.005, help="accept peers with this much less recall"
    )
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    args = _parse(arguments)
    corpus = corpora.from_arguments(args)
    set_threads(args.threads)
    n, d = corpus.base.shape
    threads = f"{args.threads} thread{'s' if args.threads > 1 else ''}"
    methods = list(all_methods(args.bytes, d))
    results = measure(methods, corpus, args.rounds)
    print(f"{corpus.name}: {n:,} x {d}, {len(corpus.query)} queries, ip, {threads}\n")
    print(*table(results), "", *ratios(results, args.tolerance), sep="\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
