"""How fast a folder is built from files, beside the encoder in memory and the disk.

``python bench/build.py --make DIR --real base.npy --rows 20000000 --files 40`` writes real vectors
with noise, once: as Parquet files with a column of ids, and all of them as one .fbin.

``python bench/build.py DIR`` then prints

- the rate of the encoder, and of `IndexFlat.add`, on vectors in memory;
- the rate at which the disk and pyarrow deliver the vectors;
- what `waterfill.sizing.estimate` expects of each build, measured just before it;
- rate, CPU time and peak resident memory of builds, each in a process of its own, by source and
  number of workers, from a cold cache;
- the time of a search over the shards, relative to that over one segment.

Rates are wall-clock time, since builds wait for the disk. On a machine that others use, compare
CPU times.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np
from interleaved_timing import interleave

import waterfill as wf

BATCH = 50_000
IN_MEMORY = 1_000_000
K = 10


def make(folder: Path, real: Path, rows: int, files: int) -> None:
    """Write real vectors with noise, a tenth of their standard deviation."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder.mkdir(parents=True, exist_ok=True)
    base = np.load(real).astype(np.float32)
    d, spread, per = base.shape[1], np.float32(0.1 * base.std()), rows // files
    schema = pa.schema([("id", pa.int64()), ("vector", pa.list_(pa.float32(), d))])
    with open(folder / "all.fbin", "wb") as out:
        np.array([per * files, d], "<u4").tofile(out)
        for number in range(files):
            rng = np.random.default_rng([2026, number])
            name = folder / f"part-{number:03}.parquet"
            with pq.ParquetWriter(
                name, schema, compression="none", use_dictionary=False, write_statistics=False
            ) as writer:
                for first in range(number * per, (number + 1) * per, BATCH):
                    n = min(BATCH, (number + 1) * per - first)
                    noise = spread * rng.standard_normal((n, d), np.float32)
                    x = base[(first + np.arange(n)) % len(base)] + noise
                    x.tofile(out)
                    vectors = pa.FixedSizeListArray.from_arrays(pa.array(x.reshape(-1)), d)
                    ids = pa.array(7 + 3 * np.arange(first, first + n))
                    writer.write_table(pa.table([ids, vectors], schema=schema))


def evict(files: list[Path]) -> None:
    """Let the system drop files from its cache."""
    for file in files:
        handle = os.open(file, os.O_RDONLY)
        os.fsync(handle)
        os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(handle)


def seconds_of(work: Callable[[], object]) -> tuple[float, float]:
    """Return the wall-clock and the CPU time of a call."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - cpu


def line(what: str, rows: int, wall: float, cpu: float, more: str = "") -> None:
    """Print a line of the table."""
    print(f"| {what} | {rows / wall:,.0f} | {cpu / rows * 1e6:.2f} | {more} |", flush=True)


def in_memory(x: np.ndarray, codec: wf.Codec, threads: int, rounds: int) -> None:
    """Print the rates of the encoder and of an index in memory."""
    wf.set_num_threads(threads)

    def add() -> None:
        wf.IndexFlat(codec, "l2").add(x)

    for what, work in {"encoder": lambda: codec.encode(x), "`IndexFlat.add`": add}.items():
        times = [seconds_of(work) for _ in range(rounds)]
        wall, cpu = (median(each) for each in zip(*times, strict=True))
        line(f"{what} in memory, {threads} threads", len(x), wall, cpu)


def read_whole(file: Path) -> None:
    """Read a file from its front."""
    buffer = bytearray(1 << 20)
    with open(file, "rb", buffering=0) as opened:
        while opened.readinto(buffer):
            pass


def decode(file: Path) -> None:
    """Read the vectors of a Parquet file with pyarrow alone."""
    import pyarrow.parquet as pq

    reader = pq.ParquetFile(file, pre_buffer=False, buffer_size=1 << 20)
    for _ in reader.iter_batches(2048, columns=["vector"], use_threads=False):
        pass


def readers(folder: Path, rows: int, workers: int) -> None:
    """Print the rates of the disk and of pyarrow."""
    whole, parts = folder / "all.fbin", sorted(folder.glob("part-*.parquet"))
    evict([whole])
    line("disk, one reader", rows, *seconds_of(lambda: read_whole(whole)))
    evict(parts)
    with ThreadPoolExecutor(workers) as pool:
        spent = seconds_of(lambda: list(pool.map(decode, parts)))
    line(f"pyarrow, {workers} threads", rows, *spent)


def peak_bytes() -> int:
    """Return the peak resident memory. `getrusage` includes that of the parent before a fork."""
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.partition("VmHWM:")[2].split()[0])


def build(source: str, out: str, codec: str, workers: int, memory: str) -> None:
    """Build in this process, and print what it took as JSON."""
    trained = wf.read_codec(codec) if codec else None
    make = wf.build  # imports, like those of pyarrow, take as long however many rows there are
    if source.endswith(".parquet"):
        importlib.import_module("pyarrow.parquet")
    wall, cpu = time.perf_counter(), time.process_time()
    phases: dict[str, float] = {}

    def seen(progress: wf.building.Progress) -> None:
        phases.setdefault(progress.phase, time.perf_counter() - wall)

    built = make(source, out, trained, metric="l2", workers=workers, memory=memory, progress=seen)
    took = {
        "rows": built.vectors,
        "segments": built.segments,
        "wall": time.perf_counter() - wall,
        "cpu": time.process_time() - cpu,
        "peak": peak_bytes(),
        "phases": phases,
    }
    print(json.dumps(took))


def expect(folder: Path, rows: int, codec: wf.Codec, case: str) -> None:
    """Print the estimate of a build."""
    kind, workers, *rest = case.split(":")
    setting = {"metric": "l2", "source": "npy" if kind == "fbin" else kind}
    sizes = codec.d, len(codec.plan.groups)
    rates = wf.sizing.measure_rates(*sizes, **setting, folder=str(folder))
    found = wf.sizing.estimate(rows, *sizes, **setting, cores=int(workers), rates=rates)
    seconds = 3600 * (found.build_hours if rest else found.build_hours - found.train_hours)
    more = f"{found.storage.file_bytes / 1e6:,.1f} MB in files"
    line(f"estimate of {kind}, {workers} workers", rows, seconds, int(workers) * seconds, more)


def builds(
    folder: Path,
    codec: Path,
    out: Path,
    memory: str,
    cases: list[str],
    before: Callable[[str], None],
) -> None:
    """Print rate and memory of builds: ``fbin:2`` is one from the .fbin, with two workers."""
    for case in cases:
        before(case)
        kind, workers, *rest = case.split(":")
        files = sorted(folder.glob("all.fbin" if kind == "fbin" else "part-*.parquet"))
        source = str(files[0]) if kind == "fbin" else str(folder / "part-*.parquet")
        evict(files)
        shutil.rmtree(out, ignore_errors=True)
        given = "" if rest else str(codec)
        done = subprocess.run(
            [sys.executable, __file__, "--child", source, str(out), given, workers, memory],
            stdout=subprocess.PIPE,
            check=True,
            text=True,
        )
        took = json.loads(done.stdout.splitlines()[-1])
        written = sum(each.stat().st_size for each in out.iterdir())
        more = f"{took['peak'] / 1e6:,.0f} MB, {took['segments']} segments"
        more += f", {written / 1e6:,.1f} MB in files"
        if rest:
            more += f", sample and training {took['phases']['encoding']:.0f} s"
        line(f"build of {kind}, {workers} workers", took["rows"], took["wall"], took["cpu"], more)


def searches(folder: Path, out: Path, rounds: int) -> None:
    """Print the time of a search over the shards, relative to that over one segment."""
    wf.set_num_threads(1)
    one = out.with_name("one.wfx")
    shutil.rmtree(one, ignore_errors=True)
    with wf.open_index(out, "a", compaction="off") as index:
        index.snapshot(one)
    with wf.open_index(one, "a", compaction="off") as index:
        index.compact()
    indexes = {len(each.segments): each for each in (wf.open_index(out), wf.open_index(one))}
    queries = np.ascontiguousarray(wf.open_vectors(folder / "all.fbin")[:200])
    for n, what in ((200, "batch"), (1, "single")):
        x = queries[:n]
        tasks = {
            f"{count} segments": lambda index=index, x=x: index.search(x, K)
            for count, index in indexes.items()
        }
        times = interleave(tasks, rounds, time.process_time)
        print(f"| search, {what} | | | {_ratios(times)} |", flush=True)
    shutil.rmtree(one)


def _ratios(times: dict[str, list[float]]) -> str:
    values = [median(each) for each in times.values()]
    named = ", ".join(
        f"{name}: {1e3 * value:.1f} ms" for name, value in zip(times, values, strict=True)
    )
    return f"{named}, {values[0] / values[1]:.2f} times as long"


def main() -> None:
    """Read the arguments and measure."""
    if sys.argv[1:2] == ["--child"]:
        source, out, codec, workers, memory = sys.argv[2:]
        build(source, out, codec, int(workers), memory)
        return
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path, metavar="DIR")
    parser.add_argument("--make", action="store_true", help="write the vectors, and stop")
    parser.add_argument("--real", type=Path, help="the real vectors, a .npy file")
    parser.add_argument("--rows", type=int, default=20_000_000)
    parser.add_argument("--files", type=int, default=40)
    parser.add_argument("--code-bytes", type=int, default=48)
    parser.add_argument("--memory", default="1GB")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--only", nargs="*", default=["memory", "readers", "estimates", "builds", "searches"]
    )
    parser.add_argument(
        "--builds",
        nargs="*",
        default=["fbin:1", "fbin:2", "parquet:1", "parquet:2", "parquet:2:train"],
    )
    chosen = parser.parse_args()
    if chosen.make:
        make(chosen.folder, chosen.real, chosen.rows, chosen.files)
        return
    x = np.array(wf.open_vectors(chosen.folder / "all.fbin")[:IN_MEMORY])
    codec_file, out = chosen.folder / f"codec-{chosen.code_bytes}.wf", chosen.folder / "out.wfx"
    if not codec_file.exists():
        recipe = wf.Recipe(x.shape[1], chosen.code_bytes)
        wf.write_codec(recipe.train(x[:100_000], "l2", cells=0), codec_file)
    codec = wf.read_codec(codec_file)
    rows = wf.open_vectors(chosen.folder / "all.fbin").shape[0]
    print("| what | rows a second | CPU us a row | |\n|---|---|---|---|")
    if "memory" in chosen.only:
        for threads in (1, 2):
            in_memory(x, codec, threads, chosen.rounds)
    del x
    if "readers" in chosen.only:
        readers(chosen.folder, rows, 2)
    if "builds" in chosen.only:
        expected = partial(expect, chosen.folder, rows, codec)
        before = expected if "estimates" in chosen.only else lambda case: None
        builds(chosen.folder, codec_file, out, chosen.memory, chosen.builds, before)
    if "searches" in chosen.only:
        searches(chosen.folder, out, chosen.rounds)
    shutil.rmtree(out, ignore_errors=True)


if __name__ == "__main__":
    main()
