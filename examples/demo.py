"""Compress real embeddings and compare size, recall and speed with FAISS: ``make demo``.

Compresses the sample in ``tests/samples`` (4,800 MiniLM sentence embeddings, 200 queries) at 24, 48
and 96 bytes and prints one table with FAISS's flat, product-quantized and 8-bit indexes. Then
writes an index to a file, reads it and searches again. Everything runs on one thread.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import faiss
import numpy as np
from numpy.typing import NDArray

import waterfill as wf

DATA = Path(__file__).resolve().parents[1] / "tests" / "samples"
K = 10
REPEATS = 7

Search = Callable[[NDArray[np.float32], int], tuple[NDArray[np.float32], NDArray[np.int64]]]


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    name: str
    bytes_per_vector: float
    recall: float
    queries_per_second: float


def recall(labels: NDArray[np.int64], truth: NDArray[np.int64]) -> float:
    """Return recall@K: the share of the true nearest neighbours that were found."""
    return float(np.mean([len(set(a) & set(b)) / K for a, b in zip(labels, truth, strict=True)]))


def measure(
    name: str, size: float, search: Search, queries: NDArray[np.float32], truth: NDArray[np.int64]
) -> Row:
    """Search all queries several times and take the median time."""
    seconds = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        _, labels = search(queries, K)
        seconds.append(time.perf_counter() - start)
    return Row(name, size, recall(labels, truth), len(queries) / float(np.median(seconds)))


def faiss_rows(x: NDArray[np.float32], queries: NDArray[np.float32]) -> list[Row]:
    """Measure FAISS's indexes, exact search first."""
    d = x.shape[1]
    exact = faiss.IndexFlatIP(d)
    exact.add(x)
    truth = exact.search(queries, K)[1]
    rows = [measure("FAISS Flat (exact)", 4 * d, exact.search, queries, truth)]
    for spec, size in (("PQ24", 24), ("PQ48", 48), ("PQ96", 96), ("SQ8", d)):
        index = faiss.index_factory(d, spec, faiss.METRIC_INNER_PRODUCT)
        if isinstance(index, faiss.IndexPQ):
            index.do_polysemous_training = False  # takes minutes and does not affect this search
            index.pq.cp.min_points_per_centroid = 1  # the sample is small: avoid warnings
        index.train(x)
        index.add(x)
        rows.append(measure(f"FAISS {spec}", size, index.search, queries, truth))
    return rows


def waterfill_index(x: NDArray[np.float32], code_bytes: int) -> wf.IndexFlat:
    """Compress x: these lines are all that a user writes."""
    plan = wf.Plan.waterfill(wf.analyze(x), code_bytes=code_bytes)
    index = wf.IndexFlat(wf.Codec.train(x, plan))
    index.add(x)
    return index


def print_table(rows: list[Row], exact_bytes: int) -> None:
    """Print bytes, size against float32, recall and speed of every index."""
    print(f"\n{'index':<22}{'bytes/vector':>13}{'smaller':>9}{'recall@10':>11}{'queries/s':>11}")
    print("-" * 66)
    for row in rows:
        smaller = f"{exact_bytes / row.bytes_per_vector:.1f} x"
        print(
            f"{row.name:<22}{row.bytes_per_vector:>13.0f}{smaller:>9}"
            f"{row.recall:>11.3f}{row.queries_per_second:>11,.0f}"
        )


def main() -> None:
    """Run the demo."""
    wf.set_num_threads(1)
    faiss.omp_set_num_threads(1)
    x = np.load(DATA / "base.npy").astype(np.float32)
    queries = np.load(DATA / "query.npy").astype(np.float32)
    print("Data: sentence embeddings of WordNet 3.0 texts (all-MiniLM-L6-v2)\n")
    analysis = wf.analyze(x)
    print(analysis)
    print("\nPlan with 48 code bytes\n")
    print(wf.Plan.waterfill(analysis, code_bytes=48))

    print(
        "\nTraining and searching on one thread, FAISS first (about half a minute) ...", flush=True
    )
    rows = faiss_rows(x, queries)
    truth = faiss.knn(queries, x, K, metric=faiss.METRIC_INNER_PRODUCT)[1]
    for code_bytes in (24, 48, 96):
        index = waterfill_index(x, code_bytes)
        name = f"waterfill {code_bytes}"
        rows.append(measure(name, index.bytes_per_vector, index.search, queries, truth))
    print_table(rows, 4 * x.shape[1])

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "demo.wf")
        wf.write_index(index, path)
        again = wf.read_index(path)
        same = np.array_equal(index.search(queries, K)[1], again.search(queries, K)[1])
        size = path.stat().st_size
        print(f"\nWrote the last index ({size:,} bytes with its codec) and read it: {again}")
        print("The neighbours are the same." if same else "ERROR: the neighbours differ.")
        if not same:
            raise SystemExit(1)


if __name__ == "__main__":
    main()
