"""Speed at equal recall: waterfill against the peers that find as many of the true neighbours.

Run ``python bench/equal_recall.py`` for the repository's sample, ``--data minilm`` for a set of
``bench/datasets.py``, ``--data DIR`` for other vectors.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import median

# Before NumPy is imported: its BLAS reads the variable when it is loaded.
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
BATCH, SINGLES = 100, 100  # queries in a call; queries searched one by one
_BITS = (2, 4)


@dataclass(frozen=True)
class Result:
    """What was measured of one method: queries a second by queries in a call."""

    name: str
    library: str
    size: int
    recall: float
    qps: dict[str, float]


def all_methods(budgets: Sequence[int], d: int) -> Iterator[Method]:
    """Yield waterfill, then peers from an eighth of a byte per dimension to half of one."""
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
            print(f"left out, {name}: {str(error).splitlines()[-1]}", file=sys.stderr)


def measure(methods: Sequence[Method], corpus: corpora.Corpus, rounds: int) -> list[Result]:
    """Train and fill all, then search with each in turn."""
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
    """Yield the lines of a Markdown table of all that was measured."""
    yield f"| index | bytes | recall@{K} | QPS, {BATCH} queries a call | QPS, one a call |"
    yield "|---|--:|--:|--:|--:|"
    for one in results:
        rates = f"{one.qps['batch']:,.0f} | {one.qps['single']:,.0f}"
        yield f"| {one.name} | {one.size} | {one.recall:.3f} | {rates} |"


def ratios(results: Sequence[Result], tolerance: float) -> Iterator[str]:
    """Yield the lines of another: waterfill against the fastest peer with no less recall."""
    yield "| index | recall | queries a call | fastest peer as good | its recall | ratio of QPS |"
    yield "|---|--:|---|---|--:|--:|"
    for ours in (one for one in results if one.library == "waterfill"):
        least = ours.recall - tolerance
        peers = [one for one in results if one.library != "waterfill" and one.recall >= least]
        for load, label in (("batch", str(BATCH)), ("single", "1")):
            if peers:
                peer = max(peers, key=lambda one: one.qps[load])
                ratio = ours.qps[load] / peer.qps[load]
                cells = f"{peer.name} | {peer.recall:.3f} | {ratio:.2f}"
            else:
                cells = "none | |"
            yield f"| {ours.name} | {ours.recall:.3f} | {label} | {cells} |"


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Speed beside peers of equal recall.")
    corpora.add_arguments(parser)
    parser.add_argument(
        "--bytes",
        type=int,
        nargs="+",
        default=[48, 96, 192],
        metavar="B",
        help="waterfill's budgets per vector, everything stored included",
    )
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=9, help="searches the median is taken of")
    parser.add_argument(
        "--tolerance", type=float, default=0.005, help="recall a peer may lack and still count"
    )
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    given = _parse(arguments)
    corpus = corpora.named(given)
    set_threads(given.threads)
    n, d = corpus.base.shape
    threads = f"{given.threads} thread{'s' if given.threads > 1 else ''}"
    methods = list(all_methods(given.bytes, d))
    results = measure(methods, corpus, given.rounds)
    print(f"{corpus.name}: {n:,} x {d}, {len(corpus.query)} queries, ip, {threads}\n")
    print(*table(results), "", *ratios(results, given.tolerance), sep="\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
