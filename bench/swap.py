"""Search latency with an index swap every few milliseconds, and without swaps.

``python bench/swap.py --base base.npy --queries query.npy`` prints errors, results that mix two
generations, and latencies with swaps and without. Phases with and without swaps alternate.
"""

from __future__ import annotations

import argparse
import threading
import time
from dataclasses import dataclass, field

import numpy as np

import waterfill as wf

SHIFT = 1_000_000  # offset of the second index's ids, which reveals results from both
K = 10


@dataclass
class Run:
    """Measurements of the search threads by phase: even phases have no swaps, odd ones have."""

    seconds: list[tuple[int, float]] = field(default_factory=list)
    swap_seconds: list[float] = field(default_factory=list)
    phase: int = 0
    errors: int = 0
    mixed: int = 0
    done: bool = False

    def times(self, kind: int) -> np.ndarray:
        """Return search latencies in seconds without swaps (0) or with swaps (1)."""
        return np.array([each for phase, each in self.seconds if phase % 2 == kind])


def search_loop(live: wf.SwapIndex, queries: np.ndarray, run: Run) -> None:
    """Search one query after the other until the run is done."""
    seconds, i = [], 0
    while not run.done:
        query, phase = queries[i % len(queries)][None], run.phase
        i += 1
        start = time.perf_counter()
        try:
            ids = live.search(query, K)[1]
        except Exception:
            run.errors += 1
            continue
        seconds.append((phase, time.perf_counter() - start))
        shifted = ids >= SHIFT
        run.mixed += int(shifted.any() and not shifted.all())
    run.seconds += seconds


def measure(
    live: wf.SwapIndex, pair: list[wf.IndexFlat], queries: np.ndarray, args: argparse.Namespace
) -> Run:
    """Search continuously; swap in every other phase."""
    run = Run()
    parts = np.array_split(queries, args.threads)
    threads = [threading.Thread(target=search_loop, args=(live, part, run)) for part in parts]
    for thread in threads:
        thread.start()
    for phase in range(round(2 * args.seconds / args.phase)):
        run.phase = phase
        due = time.perf_counter()
        end = due + args.phase
        while due < end:
            due += args.every / 1000
            time.sleep(max(0.0, due - time.perf_counter()))
            if phase % 2:
                start = time.perf_counter()
                live.swap(pair[live.generation % 2], same_ids=False)
                run.swap_seconds.append(time.perf_counter() - start)
    run.done = True
    for thread in threads:
        thread.join()
    return run


def main() -> None:
    """Run the benchmark and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base", default="tests/samples/base.npy")
    parser.add_argument("--queries", default="tests/samples/query.npy")
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--threads", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=20, help="seconds per kind of phase")
    parser.add_argument("--phase", type=float, default=0.5, help="seconds per phase")
    parser.add_argument("--every", type=float, default=10, help="milliseconds between swaps")
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    wf.set_num_threads(1)
    base = np.load(args.base)[: args.rows].astype(np.float32)
    queries = np.load(args.queries).astype(np.float32)
    codec = wf.Recipe(base.shape[1], 48).train(base, "ip")
    pair = [wf.IndexFlat(codec), wf.IndexFlat(codec)]
    for i, index in enumerate(pair):
        index.add_with_ids(base, np.arange(len(base)) + i * SHIFT)
    live = wf.SwapIndex(pair[0])
    live.swap(pair[1], same_ids=False)
    print(
        f"{len(base):,} x {base.shape[1]}, {args.threads} threads, a swap every {args.every:g} ms"
    )
    print("| | searches | p50 µs | p99 µs | swaps | p50 swap µs | errors | mixed |")
    print("|---|---|---|---|---|---|---|---|")
    ratios = []
    for _ in range(args.rounds):
        run = measure(live, pair, queries, args)
        quantiles = [np.quantile(run.times(kind), [0.5, 0.99]) for kind in (0, 1)]
        ratios.append(quantiles[1] / quantiles[0])
        for kind, name in enumerate(("no swap", "swap")):
            p50, p99 = 1e6 * quantiles[kind]
            rest = (
                f"{len(run.swap_seconds):,} | {1e6 * np.median(run.swap_seconds):.0f} | "
                f"{run.errors} | {run.mixed}"
                if kind
                else " | | | "
            )
            print(f"| {name} | {len(run.times(kind)):,} | {p50:.0f} | {p99:.0f} | {rest} |")
    for name, each in zip(("p50", "p99"), np.transpose(ratios), strict=True):
        print(
            f"{name}: {np.median(each):.3f} times the latency with swaps (median of {len(each)} "
            f"rounds, {min(each):.3f} to {max(each):.3f})"
        )


if __name__ == "__main__":
    main()
