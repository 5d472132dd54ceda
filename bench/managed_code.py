"""The same job with a managed folder, FAISS and turbovec: lines of a user's code, recall, bytes.

``python bench/managed_code.py FOLDER`` reads ``base.npy`` and ``query.npy`` of unit vectors. The
job: batches of ids and vectors arrive, ids that are known get a new vector, searches answer from
the first batch on, each batch is on the disk before the next comes, and at the end a program opens
what is there and searches. The functions below do no more than that. Their statements are counted;
recall@10 is the lowest and the last after a batch.
"""

from __future__ import annotations

import argparse
import ast
import inspect
import os
import tempfile
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import turbovec
from ground_truth import exact_neighbours
from methods import Array

import waterfill as wf

BATCH, REPLACED = 1000, 50  # vectors of a batch; of them with ids that are known

Batches = Iterator[tuple[Array, Array]]
Watch = Callable[[Callable[[Array], Array]], None]


def with_waterfill(path: str, batches: Batches, watch: Watch) -> Callable[[Array], Array]:
    """Use a managed folder."""
    with wf.open_index(path, "a", d=384, metric="cosine", target_recall=0.9) as index:
        for ids, x in batches:
            index.upsert(ids, x)
            watch(lambda q: index.search(q, 10)[1])
    index = wf.open_index(path)
    return lambda q: index.search(q, 10)[1]


def with_turbovec(path: str, batches: Batches, watch: Watch) -> Callable[[Array], Array]:
    """Use codes of four bits, which reach 0.9."""
    index = turbovec.IdMapIndex(dim=384, bit_width=4)
    for ids, x in batches:
        for one in ids:
            index.remove(int(one))
        index.add_with_ids(x / np.linalg.norm(x, axis=1, keepdims=True), ids.astype(np.uint64))
        index.sync(path)
        watch(lambda q: index.search(q, 10)[1])
    index = turbovec.IdMapIndex.load(path)
    return lambda q: index.search(q, 10)[1]


def with_faiss(path: str, batches: Batches, watch: Watch) -> Callable[[Array], Array]:
    """Search exactly until there are 10,000 vectors, then by codes."""
    index = faiss.IndexIDMap2(faiss.IndexFlatIP(384))
    trained = False
    for ids, x in batches:
        faiss.normalize_L2(x)
        index.remove_ids(ids)
        index.add_with_ids(x, ids)
        if not trained and index.ntotal >= 10_000:
            rows = index.index.reconstruct_n(0, index.ntotal)
            known = faiss.vector_to_array(index.id_map)
            index = faiss.index_factory(384, "OPQ96,IVF256,PQ96", faiss.METRIC_INNER_PRODUCT)
            index.train(rows)
            index.add_with_ids(rows, known)
            faiss.extract_index_ivf(index).nprobe = 32
            trained = True
        faiss.write_index(index, path + ".new")
        os.replace(path + ".new", path)
        watch(lambda q, index=index: index.search(q, 10)[1])
    index = faiss.read_index(path)
    return lambda q: index.search(q, 10)[1]


def statements(job: Callable[..., Any]) -> int:
    """Return the number of statements of a function, without its first and last line."""
    function = ast.parse(textwrap.dedent(inspect.getsource(job))).body[0]
    inside = [node for node in ast.walk(function) if isinstance(node, ast.stmt)]
    return len(inside) - len(("def", "docstring", "return"))


class Stream:
    """The batches, and the recall that a search has after each."""

    def __init__(self, x: Array, q: Array) -> None:
        self._x, self._q = x, q
        self._now = np.empty((0, x.shape[1]), np.float32)  # by id
        self.recalls: list[float] = []

    def batches(self) -> Batches:
        """Yield ids and vectors; a few ids are known and get other vectors."""
        random = np.random.default_rng(0)
        for first in range(0, len(self._x), BATCH):
            x, n = self._x[first : first + BATCH].copy(), len(self._now)
            ids = np.arange(n, n + len(x))
            if n:
                ids[:REPLACED] = random.choice(n, REPLACED, replace=False)
                ids[REPLACED:] = np.arange(n, n + len(x) - REPLACED)
            more = np.empty((ids.max() + 1 - n, x.shape[1]), np.float32)
            self._now = np.concatenate([self._now, more])
            self._now[ids] = x
            yield ids, x

    def watch(self, search: Callable[[Array], Array]) -> None:
        """Measure the recall."""
        truth = exact_neighbours(self._now, self._q, "ip")[:, :10]
        pairs = zip(np.asarray(search(self._q)).astype(np.int64), truth, strict=True)
        self.recalls.append(float(np.mean([len(np.intersect1d(f, t)) / 10 for f, t in pairs])))


def size(path: str) -> int:
    """Return the bytes of a file, or of the files of a folder."""
    files = [one for one in Path(path).rglob("*") if one.is_file()] or [Path(path)]
    return sum(one.stat().st_size for one in files)


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description="The same job with three libraries.")
    parser.add_argument("folder", type=Path, help="base.npy and query.npy, 384 dimensions, norm 1")
    parser.add_argument("--rows", type=int, default=20_000)
    args = parser.parse_args()
    x = np.load(args.folder / "base.npy", mmap_mode="r")[: args.rows].astype(np.float32)
    q = np.load(args.folder / "query.npy")[:200].astype(np.float32)
    print("| library | statements | lowest recall@10 | last | opened again | MB on disk | CPU s |")
    print("|---|--:|--:|--:|--:|--:|--:|")
    for job in (with_waterfill, with_turbovec, with_faiss):
        stream = Stream(x, q)
        with tempfile.TemporaryDirectory() as folder:
            path, start = os.path.join(folder, "index"), time.process_time()
            search = job(path, stream.batches(), stream.watch)
            seconds, last = time.process_time() - start, stream.recalls[-1]
            stream.watch(search)
            print(
                f"| {job.__name__} | {statements(job)} | {min(stream.recalls):.3f} | {last:.3f} "
                f"| {stream.recalls[-1]:.3f} | {size(path) / 1e6:.1f} | {seconds:.0f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
