"""How near the coarse scan comes to the rate at which one core reads memory.

Run ``python bench/roofline.py``. The rate comes from ``bytearray.find`` for a byte that is not
there: the C library's ``memchr`` reads every byte once and writes none. A scan of n vectors is set
against a buffer of as many bytes as a query reads. Search is for one neighbour with the fewest
candidates, so that little but the scan is left.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from statistics import median
from typing import NamedTuple

# Before NumPy is imported: its BLAS reads the variable when it is loaded.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import corpora
import numpy as np
from interleaved_timing import interleave
from methods import Array, Waterfill

import waterfill as wf
from waterfill import _core

BUFFERS = (256 << 10, 4 << 20, 64 << 20, 512 << 20)
SIZES = (50_000, 100_000, 200_000, 500_000, 1_000_000)
TRAIN_ROWS = 40_000
BATCH = 100
_SINGLES = 10  # single queries a measurement: one alone is soon over
_PASS = 4  # queries that one pass over a block of codes serves
_TURNS = 2  # parts of a batch, for each thread: each reads the codes from memory once


class Scan(NamedTuple):
    """What is timed: a search with some kernels, of so many queries a call, of n vectors."""

    isa: str
    batch: int
    n: int


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    given = _parse(arguments)
    corpus = corpora.from_arguments(given)
    sizes = sorted(given.sizes)
    indices = make_indices(corpus, given.bytes, sizes)
    index = indices[sizes[0]]
    read = bytes_read(index)
    print(
        f"{corpus.name}: {index.d} dimensions, {index.bytes_per_vector} bytes a vector, of which "
        f"the coarse stage reads {read}\n"
    )
    with one_core():
        wf.set_num_threads(1)
        buffers = sorted({*BUFFERS, *(n * read for n in sizes)})
        rates = read_rates(buffers, given.rounds)
        print(*rate_table(rates), "", sep="\n")
        seconds = scan_seconds(indices, corpus.query, given.rounds)
        print(*scan_table(seconds, read, rates), "", sep="\n")
        print(*growth_table(seconds, read), "", sep="\n")
    print(*thread_table(indices[sizes[-1]], corpus.query, given.rounds), sep="\n")
    return 0


def make_indices(
    corpus: corpora.Corpus, budget: int, sizes: Sequence[int]
) -> dict[int, wf.IndexFlat]:
    """Make an index of each size, all of one codec."""
    method = Waterfill(budget, "ip")
    method.train(corpus.base[:TRAIN_ROWS])
    codec = method.index.codec
    real = codec.encode(corpus.base[:TRAIN_ROWS])
    rng = np.random.default_rng(0)
    indices = {}
    for n in sizes:
        print(f"filling {n:,}", file=sys.stderr)
        index = wf.IndexFlat(codec)
        index.refine_factor = 1
        # Every byte from some real code: as many different codes as it takes, none encoded.
        index._core.append(np.column_stack([rng.choice(column, n) for column in real.T]))
        indices[n] = index
    return indices


def bytes_read(index: wf.IndexFlat) -> int:
    """Return the bytes of a vector that its coarse score reads: nibbles, and the scale."""
    return (index.coarse_groups + 1) // 2 + 1


@contextmanager
def one_core() -> Iterator[None]:
    """Keep to one core, where the system lets a process choose."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(before)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def read_rates(sizes: Sequence[int], rounds: int) -> dict[int, list[float]]:
    """Return bytes a second for buffers of these sizes, a number a round."""
    # Ones: pages of zeros that nobody wrote may all be the same memory.
    largest = bytearray(b"\1") * max(sizes)
    works = {size: partial(largest.find, 0, 0, size) for size in sizes}
    return {size: [size / s for s in each] for size, each in interleave(works, rounds).items()}


def scan_seconds(
    indices: Mapping[int, wf.IndexFlat], queries: Array, rounds: int
) -> dict[Scan, float]:
    """Return the seconds a query takes: the median of the rounds."""
    best = _core.isa()
    works: dict[Scan, Callable[[], object]] = {}
    for n, index in indices.items():
        for isa in _core.available_isas():
            for batch in (1, BATCH):
                works[Scan(isa, batch, n)] = partial(_search, index, queries, batch, isa)
    try:
        seconds = interleave(works, rounds)
    finally:
        _core.select_isa(best)
    return {scan: median(each) / _count(scan.batch) for scan, each in seconds.items()}


def _count(batch: int) -> int:
    return _SINGLES if batch == 1 else batch


def _search(index: wf.IndexFlat, queries: Array, batch: int, isa: str) -> None:
    _core.select_isa(isa)
    for first in range(0, _count(batch), batch):
        index.search(queries[first : first + batch], 1)


def rate_table(rates: Mapping[int, Sequence[float]]) -> Iterator[str]:
    """Yield the lines of a Markdown table of what one core reads."""
    yield "| buffer | GB/s, median | GB/s, best |"
    yield "|--:|--:|--:|"
    for size, each in rates.items():
        yield f"| {size / 2**20:,.2f} MiB | {median(each) / 1e9:.1f} | {max(each) / 1e9:.1f} |"


def scan_table(
    seconds: Mapping[Scan, float], read: int, rates: Mapping[int, Sequence[float]]
) -> Iterator[str]:
    """Yield the lines of one of what the scans read.

    Scored bytes count for every query. Loaded ones count once for the queries that share a pass,
    and come from memory only once for a part of the batch: the rest is read in a first-level cache.
    """
    yield (
        "| kernels | queries a call | vectors | us a query | scored GB/s | loaded GB/s "
        "| from memory GB/s | of the read rate |"
    )
    yield "|---|--:|--:|--:|--:|--:|--:|--:|"
    for scan, spent in sorted(seconds.items(), key=lambda item: (item[0].isa, *item[0][1:])):
        scored = scan.n * read / spent
        passes = -(-scan.batch // _PASS) / scan.batch
        turns = min(scan.batch, _TURNS) / scan.batch
        roof = median(rates[scan.n * read])
        cells = (
            scan.isa,
            str(scan.batch),
            f"{scan.n:,}",
            f"{spent * 1e6:,.1f}",
            f"{scored / 1e9:.1f}",
            f"{scored * passes / 1e9:.1f}",
            f"{scored * turns / 1e9:.2f}",
            f"{scored * turns / roof:.1%}",
        )
        yield f"| {' | '.join(cells)} |"


def growth_table(seconds: Mapping[Scan, float], read: int) -> Iterator[str]:
    """Yield the lines of one of the time a vector takes in the smallest and the largest index.

    What the second has more is free of the cost that a query has whatever the size.
    """
    least, most = min(s.n for s in seconds), max(s.n for s in seconds)
    if least == most:
        return
    yield (
        f"| kernels | queries a call | ns a vector of {least:,} | of {most:,} | growth "
        "| scored GB/s of the difference |"
    )
    yield "|---|--:|--:|--:|--:|--:|"
    for isa, batch in sorted({(s.isa, s.batch) for s in seconds}):
        small, large = (seconds[Scan(isa, batch, n)] / n * 1e9 for n in (least, most))
        rate = (most - least) * read / (large * most - small * least)
        yield (
            f"| {isa} | {batch} | {small:.3f} | {large:.3f} | {large / small:.2f} | {rate:.1f} |"
        )


def thread_table(index: wf.IndexFlat, queries: Array, rounds: int) -> Iterator[str]:
    """Yield the lines of one of batches on one thread and on two."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    if cores == 1:
        yield "One core to run on: two threads were not measured."
        return

    def search(threads: int) -> None:
        wf.set_num_threads(threads)
        index.search(queries[:BATCH], 1)

    seconds = interleave({n: partial(search, n) for n in (1, 2)}, rounds)
    wf.set_num_threads(1)
    yield f"| threads | QPS, {BATCH} queries a call, {len(index):,} vectors | to one thread |"
    yield "|--:|--:|--:|"
    one = median(seconds[1])
    for threads, each in seconds.items():
        spent = median(each)
        yield f"| {threads} | {BATCH / spent:,.0f} | {one / spent:.2f} |"


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="The coarse scan beside one core's read rate.")
    corpora.add_arguments(parser)
    parser.add_argument(
        "--bytes", type=int, default=48, metavar="B", help="budget per vector, scale included"
    )
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, metavar="N")
    parser.add_argument("--rounds", type=int, default=7)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    raise SystemExit(main())
