"""What Ray costs and gains: builds with one and two workers, and searches while actors die.

``python bench/scale.py DIR`` takes the Parquet files that ``bench/build.py --make DIR`` writes,
such as ``--rows 2000000 --files 8``, and prints

- rate and CPU time of `wf.scale.build` with one and two workers, and of `wf.build`;
- the time of a search by `wf.scale.ShardedIndex` relative to that of one process, and whether the
  answers are the same;
- for 1,000 searches during which an actor is killed: how many answers were wrong or partial, the
  longest time without an answer, and the time until all actors are there again.

CPU times include Ray's own processes; on a machine that others use, compare them.
"""

from __future__ import annotations

import argparse
import logging
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import psutil
import ray

import waterfill as wf

K = 10
SEARCHES = 1000


def cpu_seconds() -> float:
    """Return the CPU time of this process and of all below it, those that have ended included."""
    total = 0.0
    for process in [psutil.Process(), *psutil.Process().children(recursive=True)]:
        times = process.cpu_times()
        total += times.user + times.system + times.children_user + times.children_system
    return total


def line(what: str, rows: int, work: Callable[[], object]) -> None:
    """Do something and print its rate."""
    cpu, start = cpu_seconds(), time.perf_counter()
    work()
    wall, cpu = time.perf_counter() - start, cpu_seconds() - cpu
    print(f"| {what} | {rows / wall:,.0f} | {wall:.1f} | {cpu / rows * 1e6:.2f} |", flush=True)


def builds(source: Path, out: Path, codec: wf.Codec, rounds: int) -> None:
    """Print a table of builds."""
    files = sorted(map(str, source.glob("*.parquet")))
    dataset = ray.data.read_parquet(files)
    rows = dataset.count()
    print("| build | rows/s | s | CPU us/row |\n|---|---|---|---|")

    def fresh() -> Path:
        shutil.rmtree(out, ignore_errors=True)
        return out

    def alone(workers: int) -> None:
        wf.build(files, fresh(), codec, key="vector", workers=workers, **options)

    def by_ray(workers: int) -> None:
        wf.scale.build(dataset, fresh(), codec, column="vector", workers=workers, **options)

    options = {"shard_rows": 250_000, "ids": "id"}
    for _ in range(rounds):
        for name, build in (("wf.build", alone), ("wf.scale.build", by_ray)):
            for workers in (1, 2):
                line(f"{name}, {workers} workers", rows, partial(build, workers))


def searches(folder: Path, queries: np.ndarray) -> None:
    """Compare answers and times of actors with those of one process."""
    one = wf.open_index(folder)
    expected = one.search(queries, K)
    with wf.scale.ShardedIndex.open(folder, shards=2, num_cpus=1) as index:
        found = index.search(queries, K)
        same = all(np.array_equal(*pair) for pair in zip(found[:2], expected, strict=True))
        print(f"answers of 2 actors and of one process are the same: {same}")
        for what, n in (("batch", len(queries)), ("single", 1)):
            times = []
            for search in (one.search, index.search):
                laps = []
                for i in range(1 if n > 1 else 100):
                    start = time.perf_counter()
                    search(queries[i : i + n], K)
                    laps.append(time.perf_counter() - start)
                times.append(1e3 * float(np.median(laps)))
            print(
                f"{what}: {times[0]:.2f} ms in one process (1 thread), {times[1]:.2f} ms by actors"
            )


def killed(folder: Path, queries: np.ndarray, replicas: int) -> None:
    """Kill an actor during searches, and print what became of them."""
    expected = wf.open_index(folder).search(queries, K)
    with wf.scale.ShardedIndex.open(folder, shards=2, replicas=replicas, num_cpus=0.5) as index:
        index.search(queries[:1], K)
        before = set(index.processes)
        back = []

        def kill() -> None:
            start = time.perf_counter()
            os.kill(min(before), signal.SIGKILL)
            while len(set(index.processes)) < len(before) or min(before) in index.processes:
                time.sleep(0.02)
            back.append(time.perf_counter() - start)

        killer = threading.Thread(target=kill)
        wrong = incomplete = 0
        longest = 0.0
        for i in range(SEARCHES):
            if i == SEARCHES // 4:
                killer.start()
            row = slice(i % len(queries), i % len(queries) + 1)
            start = time.perf_counter()
            found = index.search(queries[row], K, timeout=10)
            longest = max(longest, time.perf_counter() - start)
            right = all(
                np.array_equal(ours, theirs[row])
                for ours, theirs in zip(found[:2], expected, strict=True)
            )
            incomplete += found.partial
            wrong += not right and not found.partial
        killer.join()
    print(
        f"{SEARCHES} searches, {replicas} replicas, one actor killed: {wrong} wrong, {incomplete} "
        f"partial, longest {longest:.2f} s, all actors back after {back[0]:.2f} s"
    )


def main() -> None:
    """Run all."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path, help="with the Parquet files of bench/build.py")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--cpus", type=int, default=4, help="that Ray may count on")
    arguments = parser.parse_args()
    wf.set_num_threads(1)
    os.environ["RAY_worker_niceness"] = "0"  # noqa: SIM112 - Ray spells it so
    ray.init(
        num_cpus=arguments.cpus, include_dashboard=False, log_to_driver=False,
        logging_level="ERROR", object_store_memory=2 << 30,
    )  # fmt: skip
    ray.data.DataContext.get_current().enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    sample = wf.open_vectors(min(arguments.folder.glob("*.parquet")), key="vector")
    x = sample.read(0, min(sample.shape[0], 100_000))
    queries = np.ascontiguousarray(x[::500])
    codec = wf.Codec.train(x, wf.Plan.waterfill(wf.analyze(x), 48), metric="l2")
    out = arguments.folder / "out.wfx"
    builds(arguments.folder, out, codec, arguments.rounds)
    searches(out, queries)
    for replicas in (1, 2):
        killed(out, queries, replicas)
    ray.shutdown()
    shutil.rmtree(out)


if __name__ == "__main__":
    main()
