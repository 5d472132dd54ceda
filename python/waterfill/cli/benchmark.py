"""What `waterfill bench` measures of waterfill itself."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

import waterfill as wf
from waterfill import _core
from waterfill.arguments import METRIC_TYPES, Metric
from waterfill.cli.inputs import Vectors
from waterfill.extras import require_faiss
from waterfill.rows import FloatRows, Rows

_HELD_OUT = 500
_MOST_QUERIES = 1000
_REPEATS = 3


@dataclass(frozen=True)
class Case:
    """What is searched, for what, and the true neighbours."""

    base: FloatRows
    queries: FloatRows
    truth: NDArray[np.int64]
    metric: Metric
    k: int


@dataclass(frozen=True)
class Measured:
    """A line of the table; the attributes are those of `waterfill.tuning.peers.Peer`."""

    name: str
    bytes_per_vector: float
    recall: float
    queries_per_second: float
    encode_rate: float
    train_seconds: float


def draw(
    vectors: Vectors, queries: Vectors | None, metric: Metric, k: int, most: int, seed: int
) -> Case:
    """Draw vectors and queries, and find the true neighbours with FAISS."""
    faiss = require_faiss("waterfill bench")
    held = 0 if queries is not None else min(_HELD_OUT, vectors.n // 10)
    if vectors.n - held <= k:
        raise ValueError(f"{vectors.name}: {vectors.n} vectors are too few for {k} neighbours")
    if k < 1 or most <= k:
        raise ValueError(f"k={k} must be from 1 to one less than the number of vectors")
    chosen = np.random.default_rng(seed).permutation(vectors.n)
    base = Rows(vectors).take(np.sort(chosen[held : held + most]))
    if queries is None:
        asked = Rows(vectors).take(np.sort(chosen[:held]))
    else:
        asked = Rows(queries).take(np.arange(min(queries.n, _MOST_QUERIES)))
    if metric == "cosine":
        base, asked = _core.normalize_rows(base), _core.normalize_rows(asked)
    exact = faiss.IndexFlat(vectors.d, METRIC_TYPES[metric])
    exact.add(base)
    return Case(base, asked, exact.search(asked, k)[1], metric, k)


def measure(case: Case, code_bytes: int, seed: int) -> Measured:
    """Train, add and search with so many bytes."""
    index = wf.IndexFlat(wf.Recipe(case.base.shape[1], code_bytes, seed=seed), case.metric)
    training = _seconds(lambda: index.train(case.base))
    adding = _seconds(lambda: index.add(case.base))
    searching = min(_seconds(lambda: index.search(case.queries, case.k)) for _ in range(_REPEATS))
    labels = index.search(case.queries, case.k)[1]
    found = (labels[:, :, None] == case.truth[:, None, :]).any(axis=1)
    return Measured(
        name=f"waterfill {code_bytes}",
        bytes_per_vector=index.nbytes / index.ntotal,
        recall=float(found.mean()),
        queries_per_second=len(case.queries) / searching,
        encode_rate=len(case.base) / adding,
        train_seconds=training,
    )


def _seconds(work: Callable[[], Any]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start
