"""What an index in a folder costs: durable additions, small flushes, segments, mapped files.

``python bench/folder.py --data minilm --rows 200000`` prints, beside the same in memory and beside
SQLite:

- rows added per second, 1,000 a call, for each `sync`;
- bytes written when 1 % is added and flushed;
- the time of a search over 20 segments, and of one in a mapped file;
- the time to open.

Threads: `--threads`. Rates of additions are wall-clock time, since a sync waits for the disk;
searches are process CPU time, interleaved. Figures are medians.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
from corpora import add_arguments, from_arguments
from interleaved_timing import interleave

import waterfill as wf

BATCH = 1000
K = 10
SYNCS = ("commit", "interval", "none")


def batches(x: np.ndarray) -> list[np.ndarray]:
    """Return the rows in batches of a call."""
    return [x[first : first + BATCH] for first in range(0, len(x), BATCH)]


def seconds_of(work: Callable[[], object]) -> float:
    """Return the wall-clock time of a call."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def add_to_sqlite(path: Path, x: np.ndarray) -> None:
    """Insert float16 rows into a table, 1,000 a transaction, each on the disk when it ends."""
    with sqlite3.connect(path) as base:
        base.execute("PRAGMA journal_mode=WAL")
        base.execute("PRAGMA synchronous=FULL")
        base.execute("CREATE TABLE vectors (id INTEGER PRIMARY KEY, row BLOB)")
        first = 0
        for batch in batches(x):
            rows = [(first + i, row.tobytes()) for i, row in enumerate(batch.astype(np.float16))]
            base.executemany("INSERT INTO vectors VALUES (?, ?)", rows)
            base.commit()
            first += len(batch)


def additions(folder: Path, x: np.ndarray, codec: wf.Codec, rounds: int) -> None:
    """Print rows per second in memory, in a folder by `sync`, and of SQLite."""

    def in_memory() -> None:
        index = wf.IndexFlat(codec, refine="float16")
        for batch in batches(x):
            index.add(batch)

    def durable(sync: str) -> None:
        with wf.open_index(
            folder / "add.wfx", "w", codec=codec, refine="float16", sync=sync
        ) as index:
            for batch in batches(x):
                index.add(batch)

    def sqlite() -> None:
        for file in folder.glob("add.sqlite*"):
            file.unlink()
        add_to_sqlite(folder / "add.sqlite", x)

    works: dict[str, Callable[[], None]] = {"in memory": in_memory}
    works |= {f"sync={sync}": (lambda sync=sync: durable(sync)) for sync in SYNCS}
    works["SQLite, FULL"] = sqlite
    times: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(rounds):
        for name, work in works.items():
            times[name].append(seconds_of(work))
    base = median(times["in memory"])
    print("\n| additions | rows a second | of in memory |\n|---|---|---|")
    for name, each in times.items():
        print(f"| {name} | {len(x) / median(each):,.0f} | {base / median(each):.2f} |")


def written_bytes() -> int:
    """Return the bytes that this process has passed to write calls."""
    for line in Path("/proc/self/io").read_text().splitlines():
        if line.startswith("wchar"):
            return int(line.split()[1])
    raise OSError("no wchar in /proc/self/io")


def growth(folder: Path, x: np.ndarray, made: dict[str, wf.Codec]) -> None:
    """Print the bytes written for 1 % more vectors, as a share of those of the index."""
    print("\n| 1 % more, flushed | index | written | share |\n|---|---|---|---|")
    for name, codec in made.items():
        path = folder / "growth.wfx"
        few = len(x) // 100
        with wf.open_index(path, "w", codec=codec, sync="none", flush_bytes=1 << 40) as index:
            index.add(x)
            index.flush()
            size = sum(file.stat().st_size for file in path.iterdir())
            before = written_bytes()
            for batch in batches(x[:few]):
                index.add(batch)
            index.flush()
            written = written_bytes() - before
        print(f"| {name} | {size:,} | {written:,} | {written / size:.2%} |")


def searching(index: wf.IndexFlat, queries: np.ndarray, few: int) -> Callable[[], object]:
    """Return a function that searches all queries, some at a time."""
    parts = [queries[first : first + few] for first in range(0, len(queries), few)]
    return lambda: [index.search(part, K) for part in parts]


def searches(
    folder: Path, x: np.ndarray, queries: np.ndarray, made: dict[str, wf.Codec], rounds: int
) -> None:
    """Print the time of searches over 20 segments and in a mapped file, relative to memory."""
    print("\n| searches | open | mapped | 20 segments |\n|---|---|---|---|")
    for name, codec in made.items():
        nprobe = max(1, codec.cells // 32) if codec.cells else None
        path = folder / "segments.wfx"
        with wf.open_index(
            path, "w", codec=codec, nprobe=nprobe, sync="none", compaction="off"
        ) as index:
            for part in np.array_split(x, 20):
                index.add(part)
                index.flush()
            wf.write_index(index, folder / "one.wf")
        indexes = {
            "memory": wf.read_index(folder / "one.wf"),
            "mapped": wf.read_index(folder / "one.wf", mmap=True),
            "segments": wf.open_index(path),
        }
        answers = [index.search(queries, K) for index in indexes.values()]
        for found in answers[1:]:
            np.testing.assert_array_equal(found[0], answers[0][0])
            np.testing.assert_array_equal(found[1], answers[0][1])
        opened = median(
            seconds_of(lambda: wf.read_index(folder / "one.wf", mmap=True)) for _ in range(9)
        )
        for kind, few in (("batch", len(queries)), ("single", 1)):
            works = {key: searching(index, queries, few) for key, index in indexes.items()}
            times = interleave(works, rounds, time.process_time)
            ratios = [
                median(b / a for a, b in zip(times["memory"], times[key], strict=True))
                for key in ("mapped", "segments")
            ]
            print(
                f"| {name}, {kind} | {opened * 1000:.1f} ms | {ratios[0]:.2f} | {ratios[1]:.2f} |"
            )


def main() -> None:
    """Run all parts."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_arguments(parser)
    parser.add_argument("--code-bytes", type=int, default=48, help="bytes of a code")
    parser.add_argument("--lists", type=int, nargs="*", default=[256], help="of other indexes")
    parser.add_argument("--queries", type=int, default=500, help="number of queries")
    parser.add_argument("--rounds", type=int, default=7, help="rounds of each measurement")
    parser.add_argument("--threads", type=int, default=1, help="threads of waterfill")
    parser.add_argument("--tile", type=int, help="repeat the vectors with noise up to this number")
    parser.add_argument("--folder", help="where files are written; default: a temporary folder")
    args = parser.parse_args()
    wf.set_num_threads(args.threads)
    corpus = from_arguments(args)
    if args.tile:
        corpus = corpus.tiled(args.tile)
    x, queries = corpus.base, corpus.query[: args.queries]
    sample = x[np.random.default_rng(0).permutation(len(x))[:100_000]]
    plan = wf.Plan.waterfill(wf.analyze(sample), code_bytes=args.code_bytes)
    made = {
        f"{lists} lists" if lists else "flat": wf.Codec.train(sample, plan, cells=lists)
        for lists in (0, *args.lists)
    }
    folder = Path(tempfile.mkdtemp(dir=args.folder))
    print(
        f"{corpus.name}: {len(x):,} x {x.shape[1]}, {args.code_bytes} bytes, {os.uname().machine}"
    )
    try:
        additions(folder, x[:100_000], made["flat"], 3)
        growth(folder, x, made)
        searches(folder, x, queries, made, args.rounds)
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
