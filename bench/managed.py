"""A managed index that is filled vector by vector: recall at any time, bytes, and a frozen codec.

``python bench/managed.py minilm:ip sift:l2`` streams each set, a folder with ``base.npy`` and
``query.npy``, in batches of 1 to 1,000 vectors into an empty index. Every 1,000 vectors it asks 100
queries and then does the maintenance that is due. Orders:

- ``mixed``: a random order;
- ``topics``: sorted by cluster, so that topics arrive one after the other; queries are drawn from
  the vectors that came so far;
- ``domain``: the first half of the clusters, then suddenly the other half.

Printed are the lowest recall@10 and when it was, the mean, the trainings, CPU time of maintenance,
bytes at the end beside those of `waterfill.optimize` with all vectors, and the lowest recall of the
codes of the first codec, kept for all vectors, without rows.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

import waterfill as wf
from waterfill.managed.growth import FIRST_TRAINING

K = 10
QUERIES = 100
EVERY = 1000
CLUSTERS = 64
ORDERS = ("mixed", "topics", "domain")


@dataclass
class Lows:
    """Recalls over time."""

    at: list[int] = field(default_factory=list)
    recalls: list[float] = field(default_factory=list)

    def note(self, n: int, recall: float) -> None:
        """Add a measurement."""
        self.at.append(n)
        self.recalls.append(recall)

    def __str__(self) -> str:
        worst = int(np.argmin(self.recalls))
        return f"{self.recalls[worst]:.3f} at {self.at[worst]:,}, mean {np.mean(self.recalls):.3f}"


def ordered(x: NDArray[np.float32], order: str) -> NDArray[np.float32]:
    """Return the vectors in the order in which they arrive."""
    random = np.random.default_rng(0)
    x = x[random.permutation(len(x))]
    if order == "mixed":
        return x
    means = faiss.Kmeans(x.shape[1], CLUSTERS, niter=10, seed=1)
    means.train(x[:20_000])
    topics = means.index.search(x, 1)[1][:, 0]
    # Topics that are near each other come one after the other.
    along = np.argsort(means.centroids @ (means.centroids[0] - means.centroids.mean(axis=0)))
    place = np.argsort(along)[topics]
    if order == "domain":
        place = place >= CLUSTERS // 2
    return x[np.argsort(place, kind="stable")]


def batches(n: int) -> Iterator[int]:
    """Yield sizes of 1 to 1,000 that add up to n, and end at each multiple of 1,000."""
    random, done = np.random.default_rng(2), 0
    while done < n:
        left = EVERY - done % EVERY
        size = min(left, int(10 ** random.uniform(0, 3)), n - done)
        yield size
        done += size


def recall(found: NDArray[np.int64], true: NDArray[np.int64]) -> float:
    """Return the share of the true neighbours that were found."""
    return float(
        np.mean(
            [len(set(a) & set(b)) / K for a, b in zip(found.tolist(), true.tolist(), strict=True)]
        )
    )


def exact(x: NDArray[np.float32], queries: NDArray[np.float32], metric: str) -> NDArray[np.int64]:
    """Return the true neighbours."""
    kind = faiss.METRIC_L2 if metric == "l2" else faiss.METRIC_INNER_PRODUCT
    return faiss.knn(queries, x, K, metric=kind)[1]


def asked_for(
    x: NDArray[np.float32], n: int, queries: NDArray[np.float32], order: str, seed: int
) -> NDArray[np.float32]:
    """Return queries for the first n vectors: about what came last, unless the order is random."""
    random = np.random.default_rng(seed)
    if order == "mixed":
        return queries[random.permutation(len(queries))[:QUERIES]]
    recent = x[max(0, n - 2 * EVERY) : n]
    near = recent[random.permutation(len(recent))[:QUERIES]]
    noise = random.normal(0, 0.2 * x[:n].std(), near.shape)
    return np.ascontiguousarray(near + noise, np.float32)


@dataclass
class Stream:
    """A set that is streamed into a folder."""

    name: str
    x: NDArray[np.float32]
    queries: NDArray[np.float32]
    metric: str
    order: str
    target: float

    def row(self) -> str:
        """Fill a folder; return a row of the table."""
        x = self.x = ordered(self.x, self.order)
        with (
            tempfile.TemporaryDirectory() as folder,
            wf.open_index(
                Path(folder) / "a.wfx",
                "a",
                d=x.shape[1],
                metric=self.metric,
                target_recall=self.target,
                background="off",
                sync="none",
            ) as index,
        ):
            live, frozen, cpu = self._fill(index)
            used, events = index.health().bytes_per_vector, index.history
        found = wf.optimize(x, target_recall=self.target, metric=self.metric, progress=False)
        trained = sum(event.what == "trained" for event in events)
        told = {"drift", "kept", "failed"}
        words = " ".join(
            f"{event.what} {event.vectors:,}" for event in events if event.what in told
        )
        shape = f"{len(x):,} x {x.shape[1]}"
        return (
            f"| {self.name}, {shape} | {self.order} | {live} | {frozen} | {trained} | {cpu:.0f} "
            f"| {used:.0f} | {found.best.bytes_per_vector:.0f} | {words} |"
        )

    def _fill(self, index: Any) -> tuple[Lows, Lows, float]:
        """Return the recalls of the index and of its first codec, and the time of maintenance."""
        live, frozen, cpu, n = Lows(), Lows(), 0.0, 0
        old: wf.IndexFlat | None = None
        for size in batches(len(self.x)):
            new = self.x[n : n + size]
            index.upsert(np.arange(n, n + size), new, new_model=True)
            if old is not None:
                old.add(new)
            n += size
            if n % EVERY:
                continue
            asked = asked_for(self.x, n, self.queries, self.order, n)
            true = exact(self.x[:n], asked, self.metric)
            live.note(n, recall(index.search(asked, K)[1], true))
            if old is not None:
                frozen.note(n, recall(old.search(asked, K)[1], true))
            start = time.process_time()
            index.maintain()
            cpu += time.process_time() - start
            if old is None and n >= FIRST_TRAINING:
                old = wf.IndexFlat(index.codec, self.metric)
                old.add(self.x[:n])
        return live, frozen, cpu


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description="Recall of an index that is filled bit by bit.")
    parser.add_argument(
        "sets", nargs="+", metavar="FOLDER:METRIC", help="folders with base.npy and query.npy"
    )
    parser.add_argument("--orders", nargs="+", choices=ORDERS, default=list(ORDERS))
    parser.add_argument("--rows", type=int, default=None, help="at most so many vectors")
    parser.add_argument("--target", type=float, default=0.9)
    args = parser.parse_args()
    print(
        "| set | order | lowest recall@10 | codes of the first codec | trainings | CPU s | bytes "
        "| bytes of optimize | events |\n|---|---|---|---|--:|--:|--:|--:|---|"
    )
    for one in args.sets:
        folder, _, metric = one.rpartition(":")
        x = np.load(Path(folder) / "base.npy", mmap_mode="r")[: args.rows].astype(np.float32)
        queries = np.load(Path(folder) / "query.npy").astype(np.float32)
        for order in args.orders:
            print(
                Stream(Path(folder).name, x, queries, metric, order, args.target).row(), flush=True
            )


if __name__ == "__main__":
    main()
