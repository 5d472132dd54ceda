"""The rate of the coarse scan compared with the read bandwidth of one core.

Run ``python bench/roofline.py``. The bandwidth comes from ``bytearray.find`` for an absent byte:
the C library's ``memchr`` reads every byte once and writes none. A scan of n vectors is compared
with a buffer of the bytes that a query reads. Searches ask for one neighbour with the fewest
candidates, so that the scan dominates.
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

# Set before importing NumPy: its BLAS reads the variable when it is loaded.
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
_SINGLES = 10  # single queries per measurement: one is too short to time
_PASS = 4  # queries per pass over a block of codes
_TURNS = 2  # parts of a batch per thread; each reads the codes from memory once


class Scan(NamedTuple):
    """The key of a timing: instruction set, queries per call, vectors."""

    isa: str
    batch: int
    n: int


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    args = _parse(arguments)
    corpus = corpora.from_arguments(args)
    sizes = sorted(args.sizes)
    indices = make_indices(corpus, args.bytes, sizes)
    index = indices[sizes[0]]
    read = bytes_read(index)
    print(
        f"{corpus.name}: {index.d} dimensions, {index.bytes_per_vector} bytes per vector, of which "
        f"the coarse stage reads {read}\n"
    )
    with one_core():
        wf.set_num_threads(1)
        buffers = sorted({*BUFFERS, *(n * read for n in sizes)})
        rates = read_rates(buffers, args.rounds)
        print(*rate_table(rates), "", sep="\n")
        seconds = scan_seconds(indices, corpus.query, args.rounds)
        print(*scan_table(seconds, read, rates), "", sep="\n")
        print(*growth_table(seconds, read), "", sep="\n")
    print(*thread_table(indices[sizes[-1]], corpus.query, args.rounds), sep="\n")
    return 0


def make_indices(
    corpus: corpora.Corpus, budget: int, sizes: Sequence[int]
) -> dict[int, wf.IndexFlat]:
    """Build an index of each size, all with one codec."""
    method = Waterfill(budget, "ip")
    method.train(corpus.base[:TRAIN_ROWS])
    codec = method.index.codec
    sample = codec.encode(corpus.base[:TRAIN_ROWS])
    rng = np.random.default_rng(0)
    indices = {}
    for n in sizes:
        print(f"filling {n:,}", file=sys.stderr)
        index = wf.IndexFlat(codec)
        index.refine_factor = 1
        # Draw every byte from the encoded sample: many distinct codes without encoding vectors.
        index._core.append(np.column_stack([rng.choice(column, n) for column in sample.T]))
        indices[n] = index
    return indices


def bytes_read(index: wf.IndexFlat) -> int:
    """Return the bytes per vector that the coarse stage reads: 4-bit codes and the scale."""
    return (index.coarse_groups + 1) // 2 + 1


@contextmanager
def one_core() -> Iterator[None]:
    """Pin the process to one core where the system supports it."""
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
    """Return bytes per second for buffers of these sizes, one number per round."""
    # Ones: untouched zero pages may share one physical page.
    largest = bytearray(b"\1") * max(sizes)
    works = {size: partial(largest.find, 0, 0, size) for size in sizes}
    return {size: [size / s for s in each] for size, each in interleave(works, rounds).items()}


def scan_seconds(
    indices: Mapping[int, wf.IndexFlat], queries: Array, rounds: int
) -> dict[Scan, float]:
    """Return the median seconds per query of each scan."""
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
    """Yield the lines of a Markdown table of the read bandwidth of one core."""
    yield "| buffer | GB/s, median | GB/s, best |"
    yield "|--:|--:|--:|"
    for size, each in rates.items():
        yield f"| {size / 2**20:,.2f} MiB | {median(each) / 1e9:.1f} | {max(each) / 1e9:.1f} |"


def scan_table(
    seconds: Mapping[Scan, float], read: int, rates: Mapping[int, Sequence[float]]
) -> Iterator[str]:
    """Yield the lines of a Markdown table of the read rates of the scans.

    Scored bytes count for every query. Loaded bytes count once for the queries that share a pass.
    Bytes from memory count once per part of a batch; other loads hit the first-level cache.
    """
    yield (
        "| kernels | queries per call | vectors | us per query | scored GB/s | loaded GB/s "
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
    """Yield a Markdown table of the time per vector in the smallest and the largest index.

    The difference of the two excludes the fixed cost of a query.
    """
    least, most = min(s.n for s in seconds), max(s.n for s in seconds)
    if least == most:
        return
    yield (
        f"| kernels | queries per call | ns per vector of {least:,} | of {most:,} | growth "
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
    """Yield a Markdown table of the speed of batches on one thread and on two."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    if cores == 1:
        yield "Only one core is available: two threads were not measured."
        return

    def search(threads: int) -> None:
        wf.set_num_threads(threads)
        index.search(queries[:BATCH], 1)

    seconds = interleave({n: partial(search, n) for n in (1, 2)}, rounds)
    wf.set_num_threads(1)
    yield f"| threads | QPS, {BATCH} queries per call, {len(index):,} vectors | speed-up |"
    yield "|--:|--:|--:|"
    baseline = median(seconds[1])
    for threads, each in seconds.items():
        spent = median(each)
        yield f"| {threads} | {BATCH / spent:,.0f} | {baseline / spent:.2f} |"


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="The coarse scan compared with read bandwidth.")
    corpora.add_arguments(parser)
    parser.add_argument(
        "--bytes", type=int, default=48, metavar="B", help="budget per vector, scale included"
    )
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, metavar="N", help="vectors")
    parser.add_argument("--rounds", type=int, default=7)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    raise SystemExit(main())
