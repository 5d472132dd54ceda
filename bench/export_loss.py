"""What an export to stock FAISS loses: recall, distances, ranges, and vectors that FAISS adds.

Run ``python bench/export_loss.py FOLDER...``; each folder has a ``base.npy`` and a ``query.npy``.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from ground_truth import exact_neighbours, recall
from numpy.typing import NDArray

import waterfill as wf

_K = 10
_ADDED = 0.05  # share of the vectors that FAISS adds to an export
_HEADER = (
    "| set | metric | bytes | cells | recall: index, export, without offsets | "
    "D / true - 1, median | within the radius, precision and recall: index | export | "
    "share of added vectors: true | export |\n|" + "---|" * 10
)


def main() -> None:
    """Print a table with a row per set, metric, size and number of cells."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--bytes", nargs="+", type=int, default=[24, 48, 96])
    parser.add_argument("--cells", nargs="+", default=["auto", "0"])
    options = parser.parse_args()
    faiss.omp_set_num_threads(1)
    wf.set_num_threads(1)
    print(_HEADER)
    for folder in options.folders:
        base = np.load(folder / "base.npy", mmap_mode="r")[: options.rows].astype(np.float32)
        queries = np.load(folder / "query.npy")[:500].astype(np.float32)
        spread = np.linalg.norm(base, axis=1).std() > 0.01
        for metric in ("ip", "l2", "cosine") if spread else ("ip", "l2"):
            for size in options.bytes:
                for cells in options.cells:
                    chosen = cells if cells == "auto" else int(cells)
                    cells_of_row = row(folder.name, base, queries, metric, size, chosen)
                    print(" | ".join(cells_of_row), "|", flush=True)


def row(
    name: str, base: NDArray[Any], queries: NDArray[Any], metric: Any, size: int, cells: Any
) -> Iterator[str]:
    """Yield the cells of one row of the table."""
    if metric == "cosine":
        base, queries = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (base, queries))
    stored = len(base) - int(_ADDED * len(base))
    codec = wf.Recipe(base.shape[1], size).train(base, metric, cells=cells)
    index = wf.IndexFlat(codec, metric)
    index.add(base[:stored])
    kind = "l2" if metric == "l2" else "ip"
    truth = exact_neighbours(base[:stored], queries, kind)
    made = wf.to_faiss(index)
    plain = wf.to_faiss(index, offsets=False)
    found = [each.search(queries, _K) for each in (index, made, plain)]
    yield f"| {name} | {metric} | {size} | {codec.cells}"
    yield ", ".join(f"{recall(labels, truth):.3f}" for _, labels in found)
    yield f"{deviation(found[1], base, queries, kind):+.3f}"
    yield from ranges(index, made, base[:stored], queries, kind)
    made.add(base[stored:])
    for labels in (exact_neighbours(base, queries, kind), made.search(queries, _K)[1]):
        yield f"{np.mean(labels >= stored):.3f}"


def deviation(found: Any, base: NDArray[Any], queries: NDArray[Any], kind: str) -> float:
    """Return the median of the distances, divided by the true ones, less 1."""
    near = base[found[1]]
    if kind == "l2":
        true = np.square(queries[:, None] - near).sum(axis=2)
    else:
        true = np.einsum("ijk,ik->ij", near, queries)
    return float(np.median((found[0] / true)[true != 0])) - 1


def ranges(
    index: Any, made: Any, base: NDArray[Any], queries: NDArray[Any], kind: str
) -> Iterator[str]:
    """Yield precision and recall within the median distance of the tenth neighbour."""
    exact = faiss.IndexFlat(base.shape[1], 1 if kind == "l2" else 0)
    exact.add(base)
    radius = float(np.median(exact.search(queries, _K)[0][:, -1]))
    truth = pairs(exact, queries, radius)
    for each in (index, made):
        found = pairs(each, queries, radius)
        both = len(np.intersect1d(truth, found))
        yield f"{both / max(1, len(found)):.2f}, {both / len(truth):.2f}"


def pairs(index: Any, queries: NDArray[Any], radius: float) -> NDArray[np.int64]:
    """Return the pairs of a query and a vector within a radius, as one number each."""
    limits, _, labels = index.range_search(queries, radius)
    rows = np.repeat(np.arange(len(queries)), np.diff(limits.astype(np.int64)))
    numbers: NDArray[np.int64] = rows * index.ntotal + labels
    return numbers


if __name__ == "__main__":
    main()
