"""Single searches of many callers at once, by the index and by a `Batcher`, in turns.

``python bench/batcher.py --base base.npy --queries query.npy``: prints searches a second, the
median and the 99th percentile of their times, and the processor's time for one. Callers are
threads, and tasks of one event loop, whose single searches go to a thread of a pool, as they would
block the loop.
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
"""Searches a second, and the seconds of each."""


def threads(search: Callable[..., object], queries: np.ndarray, clients: int, last: float) -> Times:
    """Search from so many threads for some seconds."""
    took: list[list[float]] = [[] for _ in range(clients)]
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
            took[number].append(now - before)

    started = [threading.Thread(target=client, args=(each,)) for each in range(clients)]
    for each in started:
        each.start()
    begin = time.perf_counter()
    ends[0] = begin + last
    ready.wait()
    for each in started:
        each.join()
    seconds = [each for part in took for each in part]
    return len(seconds) / (time.perf_counter() - begin), seconds


def tasks(asearch: Callable[..., object], queries: np.ndarray, clients: int, last: float) -> Times:
    """Search from so many tasks of one loop for some seconds."""
    took: list[float] = []

    async def client(number: int, end: float) -> None:
        at, now = number * 37, time.perf_counter()
        while now < end:
            at += 1
            await asearch(queries[at % len(queries)][None], K)
            before, now = now, time.perf_counter()
            took.append(now - before)

    async def all_clients() -> float:
        begin = time.perf_counter()
        await asyncio.gather(*(client(each, begin + last) for each in range(clients)))
        return time.perf_counter() - begin

    seconds = asyncio.run(all_clients())
    return len(took) / seconds, took


def pooled(index: wf.IndexFlat, pool: ThreadPoolExecutor) -> Callable[..., object]:
    """Return what a server does without a batcher."""

    async def asearch(x: np.ndarray, k: int) -> object:
        return await asyncio.get_running_loop().run_in_executor(pool, index.search, x, k)

    return asearch


def ways(
    index: wf.IndexFlat, pool: ThreadPoolExecutor, windows: list[float]
) -> dict[str, tuple[Callable[..., Times], Callable[..., object]]]:
    """Return the ways to search, by name."""
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


def built(base: np.ndarray, kind: str) -> wf.IndexFlat | wf.IndexIVF:
    """Return a filled index."""
    if kind == "ivf":
        plan = wf.Plan.waterfill(wf.analyze(base[:40_000]), code_bytes=48)
        index: wf.IndexFlat | wf.IndexIVF = wf.IndexIVF(plan, 1024)
        index.train(base[:40_000])
    else:
        index = wf.IndexFlat(wf.Recipe(base.shape[1], 48).train(base[:20_000], "ip"))
    index.add(base)
    return index


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base", default="tests/samples/base.npy")
    parser.add_argument("--queries", default="tests/samples/query.npy")
    parser.add_argument("--index", help="a file to read, instead of --base")
    parser.add_argument("--kind", choices=["flat", "ivf"], default="flat")
    parser.add_argument("--rows", type=int, default=100_000, help="the base is repeated for more")
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 32])
    parser.add_argument("--core-threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--windows", type=float, nargs="+", default=[0, 1], help="milliseconds")
    parser.add_argument("--seconds", type=float, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    queries = np.load(args.queries).astype(np.float32)
    if args.index:
        index = wf.read_index(args.index)
    else:
        base = np.load(args.base).astype(np.float32)
        index = built(np.resize(base, (args.rows, base.shape[1])), args.kind)
    print(index, sys.version.split()[0])
    with ThreadPoolExecutor(max(args.clients)) as pool:
        for cores in args.core_threads:
            wf.set_num_threads(cores)
            for clients in args.clients:
                report(ways(index, pool, args.windows), queries, clients, cores, args)


def report(
    chosen: dict[str, tuple[Callable[..., Times], Callable[..., object]]],
    queries: np.ndarray,
    clients: int,
    cores: int,
    args: argparse.Namespace,
) -> None:
    """Measure all ways in turns, and print the median of each."""
    runs: dict[str, list[tuple[float, ...]]] = {name: [] for name in chosen}
    for _ in range(args.rounds):
        for name, (drive, search) in chosen.items():
            begin = time.process_time()
            rate, seconds = drive(search, queries, clients, args.seconds)
            cpu = (time.process_time() - begin) / len(seconds)
            runs[name].append((rate, *np.percentile(seconds, [50, 99]), cpu))
    print(f"\n{clients} clients, core on {cores} threads")
    for name, figures in runs.items():
        rate, middle, tail, cpu = np.median(figures, axis=0)
        print(
            f"  {name:28} {rate:8,.0f}/s   median {1e3 * middle:7.3f} ms   "
            f"p99 {1e3 * tail:7.3f} ms   processor {1e6 * cpu:4.0f} µs",
            flush=True,
        )


if __name__ == "__main__":
    main()
