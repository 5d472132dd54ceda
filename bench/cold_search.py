"""Searches in indexes whose rows lie on the disk, with a cold cache, beside others of their kind.

``python bench/cold_search.py --data minilm --rows 200000`` prints for each method and setting, of
queries one after the other right after the page cache has been emptied of its files: recall@10,
milliseconds a query, megabytes read a query, and milliseconds with a warm cache.

Methods: waterfill with codes in memory and float16 rows in a mapped file; waterfill with all of
it mapped; FAISS's lists of float16 vectors on the disk (OnDiskInvertedLists); usearch's graph in a
mapped file; DiskANN. What is not installed is skipped with a note. One thread, wall-clock time.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from corpora import add_arguments, from_arguments

import waterfill as wf

K = 10
Array = np.ndarray
Search = Callable[[Array], Array]
Open = Callable[[], Search]
"""Opens an index anew: what it has mapped is not in the page cache then."""
Settings = Iterator[tuple[str, Open]]


def drop_cache(folder: Path) -> None:
    """Drop the pages of all files of a folder from the page cache."""
    for path in folder.iterdir():
        handle = os.open(path, os.O_RDONLY)
        os.fsync(handle)
        os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(handle)


def bytes_read() -> int:
    """Return the bytes that the disk has read for this process."""
    for line in Path("/proc/self/io").read_text().splitlines():
        if line.startswith("read_bytes"):
            return int(line.split()[1])
    raise OSError("no read_bytes in /proc/self/io")


def waterfill_file(folder: Path, x: Array, args: argparse.Namespace) -> Path:
    """Write a waterfill index with float16 rows, unless it is there."""
    path = folder / "index.wf"
    if not path.exists():
        sample = x[np.random.default_rng(0).permutation(len(x))[:50_000]]
        plan = wf.Plan.waterfill(wf.analyze(sample), code_bytes=args.code_bytes)
        index = wf.IndexIVF(plan, args.lists, refine="float16")
        index.train(sample)
        for first in range(0, len(x), 50_000):
            index.add(x[first : first + 50_000])
        wf.write_index(index, path)
    return path


def waterfill_methods(options: dict[str, Any]) -> Callable[..., Settings]:
    """Return the settings of an index that is read with these options of `read_index`."""

    def settings(folder: Path, x: Array, args: argparse.Namespace) -> Settings:
        path = waterfill_file(folder, x, args)
        for nprobe, factor in ((16, 4), (32, 8), (128, 30)):
            params = wf.SearchParametersIVF(nprobe=nprobe, k_factor=factor)

            def opened(params: wf.SearchParametersIVF = params) -> Search:
                index = wf.read_index(path, **options)
                return lambda q: index.search(q, K, params=params)[1]

            yield f"nprobe {nprobe}, k_factor {factor}", opened

    return settings


def faiss_on_disk(folder: Path, x: Array, args: argparse.Namespace) -> Settings:
    """Make FAISS's lists of float16 vectors in a file."""
    import faiss

    faiss.omp_set_num_threads(2)
    d, kind = x.shape[1], faiss.ScalarQuantizer.QT_fp16
    index = faiss.IndexIVFScalarQuantizer(
        faiss.IndexFlatIP(d), d, args.lists, kind, faiss.METRIC_INNER_PRODUCT
    )
    index.by_residual = False
    index.train(x[np.random.default_rng(0).permutation(len(x))[: 40 * args.lists]])
    lists = faiss.OnDiskInvertedLists(args.lists, index.code_size, str(folder / "lists.ivfdata"))
    index.replace_invlists(lists)
    for first in range(0, len(x), 100_000):
        index.add(x[first : first + 100_000])
    faiss.write_index(index, str(folder / "index.faiss"))
    del index, lists
    faiss.omp_set_num_threads(1)
    for nprobe in (4, 16, 32):

        def opened(nprobe: int = nprobe) -> Search:
            index = faiss.read_index(str(folder / "index.faiss"))
            index.nprobe = nprobe
            return lambda q: index.search(q, K)[1]

        yield f"nprobe {nprobe}", opened


def usearch_view(folder: Path, x: Array, args: argparse.Namespace) -> Settings:
    """Make the graph of usearch, with float16 vectors, in a file that is mapped."""
    from usearch.index import Index

    path = str(folder / "graph.usearch")
    made = Index(ndim=x.shape[1], metric="ip", dtype="f16", connectivity=16, expansion_add=100)
    made.add(np.arange(len(x)), x, threads=2)
    made.save(path)
    del made
    for expansion in (64, 128, 256):

        def opened(expansion: int = expansion) -> Search:
            index = Index.restore(path, view=True)
            index.expansion_search = expansion
            return lambda q: np.asarray(index.search(q, K, threads=1).keys).reshape(len(q), -1)

        yield f"expansion {expansion}", opened


def disk_ann(folder: Path, x: Array, args: argparse.Namespace) -> Settings:
    """Make DiskANN's files: a graph with float32 vectors, and codes that it loads."""
    import diskannpy

    diskannpy.build_disk_index(
        data=np.ascontiguousarray(x, dtype=np.float32),
        distance_metric="l2",
        index_directory=str(folder),
        complexity=64,
        graph_degree=32,
        search_memory_maximum=args.code_bytes * len(x) / 2**30,
        build_memory_maximum=8.0,
        num_threads=2,
        pq_disk_bytes=0,
        vector_dtype=np.float32,
    )
    for complexity in (20, 50, 100):

        def opened(complexity: int = complexity) -> Search:
            index = diskannpy.StaticDiskIndex(
                index_directory=str(folder),
                num_threads=2,  # of which one searches; with 1 it waits for itself
                num_nodes_to_cache=0,
                distance_metric="l2",
                vector_dtype=np.float32,
                dimensions=x.shape[1],
            )
            # Its `search` of one query returns the first id ten times in 0.7.0.
            return lambda q: (
                index.batch_search(q, K, complexity, beam_width=4, num_threads=1).identifiers
            )

        yield f"complexity {complexity}", opened


METHODS: dict[str, tuple[str, Callable[..., Settings]]] = {
    "waterfill, rows mapped": ("waterfill", waterfill_methods({"rows": "mmap"})),
    "waterfill, all mapped": ("waterfill", waterfill_methods({"mmap": True})),
    "FAISS lists on disk": ("faiss", faiss_on_disk),
    "usearch view": ("usearch", usearch_view),
    "DiskANN": ("diskannpy", disk_ann),
}


def measure(opened: Open, queries: Array, truth: Array, folder: Path) -> str:
    """Return the cells of a table for one setting."""
    drop_cache(folder)
    search = opened()
    drop_cache(folder)
    before, times, found = bytes_read(), [], []
    for i in range(len(queries)):
        start = time.perf_counter()
        found.append(search(queries[i : i + 1])[0])
        times.append(time.perf_counter() - start)
    read = (bytes_read() - before) / len(queries) / 2**20
    shared = [len(set(ids) & set(true[:K])) for ids, true in zip(found, truth, strict=True)]
    recall = np.mean(shared) / K
    warm = []
    for _ in range(3):
        start = time.perf_counter()
        for i in range(len(queries)):
            search(queries[i : i + 1])
        warm.append((time.perf_counter() - start) / len(queries))
    cold, tail = 1e3 * np.mean(times), 1e3 * np.percentile(times, 99)
    return f"{recall:.3f} | {cold:.2f} | {tail:.1f} | {read:.2f} | {1e3 * np.median(warm):.3f}"


def main() -> None:
    """Measure all methods."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_arguments(parser)
    parser.add_argument("--code-bytes", type=int, default=48, help="bytes of a code in memory")
    parser.add_argument("--lists", type=int, default=1024, help="number of inverted lists")
    parser.add_argument("--queries", type=int, default=300, help="number of queries")
    parser.add_argument("--methods", nargs="*", default=list(METHODS), help="which to measure")
    parser.add_argument("--folder", help="where indexes are written; default: a temporary folder")
    args = parser.parse_args()
    wf.set_num_threads(1)
    corpus = from_arguments(args)
    x, queries = corpus.base, corpus.query[: args.queries]
    truth = corpus.truth("ip")[: args.queries]
    print(f"{corpus.name}: {len(x):,} x {x.shape[1]}")
    print(
        "| method | setting | recall | ms cold | ms p99 | MB read | ms warm |\n" + "|---" * 7 + "|"
    )
    for name in args.methods:
        package, settings = METHODS[name]
        if importlib.util.find_spec(package) is None:
            print(f"{name}: {package} is not installed")
            continue
        folder = Path(tempfile.mkdtemp(dir=args.folder))
        try:
            for setting, opened in settings(folder, x, args):
                cells = measure(opened, queries, truth, folder)
                print(f"\n| {name} | {setting} | {cells} |", flush=True)
        finally:
            shutil.rmtree(folder)


if __name__ == "__main__":
    main()
