"""autofaiss beside `wf.build`: the same vectors, in files, within the same memory.

``python bench/autofaiss_build.py DIR --autofaiss VENV/bin/python`` reads the vectors that
``bench/build.py --make DIR`` wrote, writes them as .npy files, once, since autofaiss does not read
.fbin, and prints time, CPU time, peak resident memory, size of the files and recall@10 of both.
autofaiss needs NumPy 1, so it has an interpreter of its own: ``pip install -r
bench/requirements-autofaiss.txt``.

autofaiss chooses the index itself, of at most the size of waterfill's files; and is told one, lists
and product quantization with as many bytes as waterfill's codes. Both use all cores, train on a
sample, and search on one thread. Peaks are those of the process, with interpreter and libraries.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

K = 10
QUERIES = 1000

BUILD_WATERFILL = """
import json, sys, time
import waterfill as wf
source, out, memory, settings = sys.argv[1:]
settings = json.loads(settings)
code_bytes, d = settings.pop("code_bytes"), settings.pop("d")
wall, cpu = time.perf_counter(), time.process_time()
wf.build(source, out, wf.Recipe(d, code_bytes), metric="l2", memory=memory, **settings)
"""
SEARCH_WATERFILL = """
import numpy as np, sys, time
import waterfill as wf
out, queries, found = sys.argv[1:]
wf.set_num_threads(1)
index = wf.open_index(out)
x = np.load(queries)
index.search(x[:50], 10)
start = time.process_time()
labels = index.search(x, 10)[1]
print((time.process_time() - start) / len(x))
np.save(found, labels)
"""
BUILD_AUTOFAISS = """
import json, sys, time
from autofaiss import build_index
source, out, memory, settings = sys.argv[1:]
settings = json.loads(settings)
wall, cpu = time.perf_counter(), time.process_time()
build_index(
    source, index_path=out, index_infos_path=out + ".json", metric_type="l2",
    current_memory_available=memory, **settings,
)
"""
SEARCH_AUTOFAISS = """
import faiss, numpy as np, sys, time
out, queries, found = sys.argv[1:]
faiss.omp_set_num_threads(1)
index = faiss.read_index(out)
x = np.load(queries)
index.search(x[:50], 10)
start = time.process_time()
labels = index.search(x, 10)[1]
print((time.process_time() - start) / len(x))
np.save(found, labels)
"""
REPORT = """
peak = open("/proc/self/status").read().partition("VmHWM:")[2].split()[0]
print("TOOK", json.dumps(
    {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu, "peak": 1024 * int(peak)}
))
"""


def split(folder: Path, shards: int) -> Path:
    """Write the vectors as .npy files, and queries with their true neighbours."""
    import waterfill as wf

    out = folder / "npy"
    if (folder / "truth.npy").exists():
        return out
    out.mkdir(exist_ok=True)
    x = wf.open_vectors(folder / "all.fbin")
    for number, rows in enumerate(np.array_split(np.arange(len(x)), shards)):
        np.save(out / f"part-{number:03}.npy", x[rows[0] : rows[-1] + 1])
    rng = np.random.default_rng(1)
    drawn = x[np.sort(rng.choice(len(x), QUERIES, replace=False))]
    queries = (drawn + 0.1 * drawn.std() * rng.standard_normal(drawn.shape)).astype(np.float32)
    np.save(folder / "queries.npy", queries)
    np.save(folder / "truth.npy", nearest(x, queries))
    return out


def nearest(x: np.ndarray, queries: np.ndarray) -> np.ndarray:
    """Return the ten nearest vectors of each query, by exact squared distances in blocks."""
    best = np.full((len(queries), K), np.inf, np.float32)
    labels = np.full((len(queries), K), -1)
    for first in range(0, len(x), 50_000):
        block = np.asarray(x[first : first + 50_000])
        distances = np.square(block).sum(axis=1) - 2 * queries @ block.T
        near = np.argpartition(distances, K, axis=1)[:, :K]
        both = np.concatenate([best, np.take_along_axis(distances, near, axis=1)], axis=1)
        named = np.concatenate([labels, near + first], axis=1)
        order = np.argsort(both, axis=1)[:, :K]
        best, labels = (np.take_along_axis(each, order, axis=1) for each in (both, named))
    return labels


def run(python: str, program: str, *arguments: object) -> str:
    """Run a program in a process of its own, and return what it prints."""
    done = subprocess.run(
        [python, "-c", program, *map(str, arguments)], capture_output=True, check=False, text=True
    )
    if done.returncode:
        sys.exit(done.stderr[-3000:])
    return done.stdout


def measure(
    name: str, python: str, programs: tuple[str, str], folder: Path, memory: str, settings: dict
) -> None:
    """Build and search with one library, and print a line of the table."""
    out = folder / f"{name.replace(' ', '-')}.out"
    shutil.rmtree(out, ignore_errors=True)
    printed = run(python, programs[0] + REPORT, folder / "npy", out, memory, json.dumps(settings))
    took = json.loads(printed.partition("TOOK")[2])
    found = folder / "found.npy"
    seconds = float(run(python, programs[1], out, folder / "queries.npy", found).split()[-1])
    truth, labels = np.load(folder / "truth.npy"), np.load(found)
    recall = np.mean([np.isin(a, b).mean() for a, b in zip(truth, labels, strict=True)])
    files = list(out.iterdir()) if out.is_dir() else [out]
    size = sum(each.stat().st_size for each in files)
    kind = ""
    if (info := Path(f"{out}.json")).exists():
        described = json.loads(info.read_text())
        kind = f"{described.get('index_key', '')} {described.get('index_param', '')}"
    print(
        f"| {name} {kind} | {took['wall']:.0f} | {took['cpu']:.0f} | {took['peak'] / 1e6:,.0f} "
        f"| {size / 1e6:,.0f} | {recall:.3f} | {1e3 * seconds:.2f} |",
        flush=True,
    )
    return size


def main() -> None:
    """Read the arguments and measure."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path, metavar="DIR")
    parser.add_argument("--autofaiss", required=True, help="an interpreter that has autofaiss")
    parser.add_argument("--memory", type=int, default=10**9, help="bytes")
    parser.add_argument("--code-bytes", type=int, default=48)
    parser.add_argument("--shards", type=int, default=8)
    parser.add_argument("--nlist", type=int, default=2048)
    chosen = parser.parse_args()
    folder = chosen.folder
    start = time.perf_counter()
    split(folder, chosen.shards)
    print(f"files and true neighbours: {time.perf_counter() - start:.0f} s", file=sys.stderr)
    d = np.load(folder / "queries.npy").shape[1]
    ours: dict[str, Any] = {"code_bytes": chosen.code_bytes, "d": d}
    theirs: dict[str, Any] = {}
    m, nlist, limit = chosen.code_bytes, chosen.nlist, f"{chosen.memory}B"
    print("| build | s | CPU s | peak MB | file MB | recall@10 | ms a query |")
    print("|---|---|---|---|---|---|---|")
    for name, more in {"waterfill": {}, "waterfill, lists": {"nlist": nlist}}.items():
        programs = (BUILD_WATERFILL, SEARCH_WATERFILL)
        size = measure(name, sys.executable, programs, folder, limit, ours | more)
        theirs.setdefault("max_index_memory_usage", f"{size}B")
    told = {"index_key": f"OPQ{m}_{-(-d // m) * m},IVF{nlist}_HNSW32,PQ{m}x8"}
    for name, more in {"autofaiss": {}, "autofaiss, told": told}.items():
        programs = (BUILD_AUTOFAISS, SEARCH_AUTOFAISS)
        measure(name, chosen.autofaiss, programs, folder, limit, theirs | more)


if __name__ == "__main__":
    main()
