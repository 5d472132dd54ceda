"""Recall of codes that need no data: `Codec.universal` beside EDEN, RaBitQ and TurboQuant.

``python bench/universal.py minilm:ip sift:l2`` reads folders with ``base.npy`` and ``query.npy``
and prints recall@10 of codes alone with 1, 2 and 4 bits a dimension, beside a trained codec of as
many bytes as the universal one. That is told the smallest and the largest norm, and in a second
column the mean, which RaBitQ takes from the data as well.

EDEN's package on PyPI (cmprs-eden 0.1a3) lacks modules that it imports, so that EDEN is written
here, from the paper: S. Vargaftik et al., "EDEN: Communication-efficient and robust distributed
mean estimation for federated learning", ICML 2022. Its uniform rotation is exact, where its authors
take a randomized Hadamard transform, which pads 384 dimensions to 512.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from ground_truth import exact_neighbours, recall
from methods import Array, Faiss, Metric, Turbovec, Waterfill, rabitq

import waterfill as wf

K = 10
BITS = (1, 2, 4)
_BLOCK = 4096


def lloyd_max(levels: int) -> Array:
    """Return the centroids of the optimal scalar quantizer of a normal variable (Max, 1960)."""

    def density(x: float) -> float:
        return math.exp(-x * x / 2) / math.sqrt(2 * math.pi)

    def below(x: float) -> float:
        return (1 + math.erf(x / math.sqrt(2))) / 2

    centroids = np.linspace(-2, 2, levels)
    for _ in range(2000):
        edges = [-40.0, *((centroids[1:] + centroids[:-1]) / 2), 40.0]
        centroids = np.array(
            [
                (density(low) - density(high)) / (below(high) - below(low))
                for low, high in pairwise(edges)
            ]
        )
    return centroids


class Eden:
    """EDEN: one random rotation, `bits` a coordinate, and a float32 scale without bias."""

    library = "eden"

    def __init__(self, bits: int, d: int, metric: Metric) -> None:
        self.name = f"EDEN {bits} bits"
        self.bytes_per_vector = bits * d // 8 + 4
        self._centroids = lloyd_max(2**bits).astype(np.float32)
        normal = np.random.default_rng(0).standard_normal((d, d))
        self._rotation = np.linalg.qr(normal)[0].astype(np.float32)
        kind = faiss.METRIC_L2 if metric == "l2" else faiss.METRIC_INNER_PRODUCT
        self._decoded = faiss.IndexFlat(d, kind)

    def train(self, x: Array) -> None:
        """Do nothing: the code depends on no data."""

    def add(self, x: Array) -> None:
        """Encode vectors, and keep what their codes stand for."""
        for first in range(0, len(x), _BLOCK):
            rotated = x[first : first + _BLOCK] @ self._rotation
            squares = np.square(rotated).sum(axis=1, keepdims=True)
            unit = rotated * np.sqrt(x.shape[1] / np.maximum(squares, 1e-30))
            edges = (self._centroids[1:] + self._centroids[:-1]) / 2
            levels = self._centroids[np.searchsorted(edges, unit)]
            scale = squares / (levels * rotated).sum(axis=1, keepdims=True)
            self._decoded.add(np.ascontiguousarray(levels * scale, np.float32))

    def search(self, q: Array, k: int) -> Array:
        """Return the labels of the k nearest vectors of each query."""
        return np.asarray(self._decoded.search(np.ascontiguousarray(q @ self._rotation), k)[1])


class Universal(Waterfill):
    """``IndexFlat`` over `Codec.universal`."""

    def __init__(self, bits: int, metric: Metric, centered: bool) -> None:
        super().__init__(0, metric)
        self.name, self._bits, self._centered = f"universal {bits} bits", bits, centered

    def train(self, x: Array) -> None:
        """Make the codec."""
        center = x.mean(axis=0) if self._centered else np.zeros(x.shape[1], np.float32)
        lengths = np.linalg.norm(x - center, axis=1)
        norms = (float(lengths.min()), float(lengths.max()))
        codec = wf.Codec.universal(
            x.shape[1], self._bits, metric=self._metric, norms=norms, center=center
        )
        self.index = wf.IndexFlat(codec, self._metric)


def methods(bits: int, d: int, metric: Metric) -> Iterator[Callable[[], Any]]:
    """Yield what makes the methods of a row; each may raise ImportError or ValueError."""
    yield lambda: Universal(bits, metric, centered=False)
    yield lambda: Universal(bits, metric, centered=True)
    yield lambda: Eden(bits, d, metric)
    yield lambda: Faiss(rabitq(bits, d), d, metric)
    yield lambda: _turbovec(bits, d, metric)
    budget = bits * d // 8 + (2 if metric == "l2" else 1)
    yield lambda: Waterfill(budget, metric)


def _turbovec(bits: int, d: int, metric: Metric) -> Turbovec:
    if metric != "ip" or bits == 1 or d % 8:
        raise ValueError("inner products with 2 to 4 bits of a multiple of 8 dimensions only")
    return Turbovec(bits, d)


def cell(make: Callable[[], Any], x: Array, q: Array, truth: Array) -> str:
    """Return a cell of the table: the recall of a method, and its bytes."""
    try:
        method = make()
    except (ImportError, ValueError):
        return ""
    method.train(x)
    method.add(x)
    return f"{recall(method.search(q, K), truth):.3f} ({method.bytes_per_vector})"


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description="Recall of codes that need no data.")
    parser.add_argument(
        "sets", nargs="+", metavar="FOLDER:METRIC", help="folders with base.npy and query.npy"
    )
    parser.add_argument("--rows", type=int, default=None, help="at most so many vectors")
    args = parser.parse_args()
    print(
        "| set | bits | universal | with the mean | EDEN | FAISS RaBitQ | turbovec "
        "| trained, as many bytes |\n|---|--:|---|---|---|---|---|---|"
    )
    for one in args.sets:
        folder, _, metric = one.rpartition(":")
        x = np.load(Path(folder) / "base.npy", mmap_mode="r")[: args.rows].astype(np.float32)
        q = np.load(Path(folder) / "query.npy").astype(np.float32)
        truth = exact_neighbours(x, q, metric)
        for bits in BITS:
            made = methods(bits, x.shape[1], "l2" if metric == "l2" else "ip")
            cells = " | ".join(cell(make, x, q, truth) for make in made)
            name = f"{Path(folder).name}, {len(x):,} x {x.shape[1]}"
            print(f"| {name} | {bits} | {cells} |", flush=True)


if __name__ == "__main__":
    main()
