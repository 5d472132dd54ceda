"""Throughput and latency of concurrent single searches, with a `Batcher` and without.

``python bench/batcher.py --base base.npy --queries query.npy`` prints searches per second, median
and 99th-percentile latency, and CPU time per search. Callers are threads, or tasks of one event
loop; without a batcher, tasks search in a thread pool so that they do not block the loop. Variants
are interleaved.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

import waterfill as wf

K = 10

Times = tuple[float, list[float]]
"""Searches per second, and the latency of each in seconds."""


def threads(
    search: Callable[..., object], queries: np.ndarray, clients: int, duration: float
) -> Times:
    """Search from `clients` threads for `duration` seconds."""
    latencies: list[list[float]] = [[] for _ in range(clients)]
    ready, ends = threading.Barrier(clients + 1), [0.0]

    def client(number: int) -> None:
        at = number * 37
        ready.wait()
        end = ends[0]
        now = time.perf_counter()
        while now < end:
            at += 1
            search(queries[at % len(queries)][None], K)
            before, now = now, time.perf_counter()
            latencies[number].append(now - before)

    started = [threading.Thread(target=client, args=(each,)) for each in range(clients)]
    for each in started:
        each.start()
    begin = time.perf_counter()
    ends[0] = begin + duration
    ready.wait()
    for each in started:
        each.join()
    seconds = [each for part in latencies for each in part]
    return len(seconds) / (time.perf_counter() - begin), seconds


def tasks(
    asearch: Callable[..., object], queries: np.ndarray, clients: int, duration: float
) -> Times:
    """Search from `clients` tasks of one event loop for `duration` seconds."""
    latencies: list[float] = []

    async def client(number: int, end: float) -> None:
        at, now = number * 37, time.perf_counter()
        while now < end:
            at += 1
            await asearch(queries[at % len(queries)][None], K)
            before, now = now, time.perf_counter()
            latencies.append(now - before)

    async def all_clients() -> float:
        begin = time.perf_counter()
        await asyncio.gather(*(client(each, begin + duration) for each in range(clients)))
        return time.perf_counter() - begin

    seconds = asyncio.run(all_clients())
    return len(latencies) / seconds, latencies


def pooled(index: wf.IndexFlat, pool: ThreadPoolExecutor) -> Callable[..., object]:
    """Return an asynchronous search that runs the index in a thread pool, without a batcher."""

    async def asearch(x: np.ndarray, k: int) -> object:
        return await asyncio.get_running_loop().run_in_executor(pool, index.search, x, k)

    return asearch


def variants(
    index: wf.IndexFlat, pool: ThreadPoolExecutor, windows: list[float]
) -> dict[str, tuple[Callable[..., Times], Callable[..., object]]]:
    """Return the driver and the search function of each variant, by name."""
    found: dict[str, tuple[Callable[..., Times], Callable[..., object]]] = {
        "threads, index": (threads, index.search)
    }
    batchers = {window: wf.Batcher(index, window=window / 1000) for window in windows}
    for window, batcher in batchers.items():
        found[f"threads, window {window:g} ms"] = threads, batcher.search
    found["tasks, index in a pool"] = tasks, pooled(index, pool)
    for window, batcher in batchers.items():
        found[f"tasks, window {window:g} ms"] = tasks, batcher.asearch
    return found


def build_index(base: np.ndarray, kind: str) -> wf.IndexFlat | wf.IndexIVF:
    """Train and fill an index."""
    if kind == "ivf":
        plan = wf.Plan.waterfill(wf.analyze(base[:40_000]), code_bytes=48)
        index: wf.IndexFlat | wf.IndexIVF = wf.IndexIVF(plan, 1024)
        index.train(base[:40_000])
    else:
        index = wf.IndexFlat(wf.Recipe(base.shape[1], 48).train(base[:20_000], "ip"))
    index.add(base)
    return index


def main() -> None:
    """Run the benchmark and print its results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base", default="tests/samples/base.npy")
    parser.add_argument("--queries", default="tests/samples/query.npy")
    parser.add_argument("--index", help="index file to read instead of building one from --base")
    parser.add_argument("--kind", choices=["flat", "ivf"], default="flat")
    parser.add_argument(
        "--rows",
        type=int,
        default=100_000,
        help="vectors in the index; the base is repeated if needed",
    )
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 32])
    parser.add_argument("--core-threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument(
        "--windows", type=float, nargs="+", default=[0, 1], help="batching windows in milliseconds"
    )
    parser.add_argument("--seconds", type=float, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    queries = np.load(args.queries).astype(np.float32)
    if args.index:
        index = wf.read_index(args.index)
    else:
        base = np.load(args.base).astype(np.float32)
        index = build_index(np.resize(base, (args.rows, base.shape[1])), args.kind)
    print(index, sys.version.split()[0])
    with ThreadPoolExecutor(max(args.clients)) as pool:
        for cores in args.core_threads:
            wf.set_num_threads(cores)
            for clients in args.clients:
                report(variants(index, pool, args.windows), queries, clients, cores, args)


def report(
    variants_by_name: dict[str, tuple[Callable[..., Times], Callable[..., object]]],
    queries: np.ndarray,
    clients: int,
    cores: int,
    args: argparse.Namespace,
) -> None:
    """Measure all variants interleaved; print the medians over rounds."""
    runs: dict[str, list[tuple[float, ...]]] = {name: [] for name in variants_by_name}
    for _ in range(args.rounds):
        for name, (drive, search) in variants_by_name.items():
            begin = time.process_time()
            rate, seconds = drive(search, queries, clients, args.seconds)
            cpu = (time.process_time() - begin) / len(seconds)
            runs[name].append((rate, *np.percentile(seconds, [50, 99]), cpu))
    print(f"\n{clients} clients, {cores} core threads")
    for name, figures in runs.items():
        rate, p50, p99, cpu = np.median(figures, axis=0)
        print(
            f"  {name:28} {rate:8,.0f}/s   median {1e3 * p50:7.3f} ms   "
            f"p99 {1e3 * p99:7.3f} ms   CPU {1e6 * cpu:4.0f} µs",
            flush=True,
        )


if __name__ == "__main__":
    main()
