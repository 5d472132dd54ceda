"""Managed indexes for tests: few dimensions and a given number of bytes, to train fast."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import waterfill as wf
from waterfill.managed.growth import FIRST_TRAINING
from waterfill.managed.index import ManagedIndex

D = 16
ENOUGH = FIRST_TRAINING


def some_vectors(n: int, seed: int = 0, topics: int = 40) -> NDArray[np.float32]:
    """Return vectors around some centers, which are the same for any seed."""
    rng = np.random.default_rng(seed)
    centers = np.random.default_rng(99).standard_normal((topics, D)) * 1.5
    x = centers[rng.integers(topics, size=n)] + rng.standard_normal((n, D))
    return np.ascontiguousarray(x, np.float32)


def open_managed(path: Path, mode: Any = "a", **options: Any) -> ManagedIndex:
    """Open a managed folder, without maintenance in the background unless it is asked for."""
    options = {"background": "off"} | options
    if mode != "r":
        options.setdefault("d", D)
        if "target_recall" not in options:
            options.setdefault("code_bytes", 8)
    index = wf.open_index(path, mode, **options)
    assert isinstance(index, ManagedIndex)
    return index


def true_ids(
    x: NDArray[np.float32], queries: NDArray[np.float32], metric: str, k: int = 10
) -> NDArray[np.int64]:
    """Return the positions of the nearest rows, after these were rounded to float16."""
    base, q = x.astype(np.float16).astype(np.float64), queries.astype(np.float64)
    if metric == "cosine":
        unit = x / np.linalg.norm(x, axis=1, keepdims=True)
        base = unit.astype(np.float16).astype(np.float64)
    scores = q @ base.T
    if metric == "l2":
        scores = 2 * scores - np.square(base).sum(axis=1)
    return np.argsort(-scores, axis=1, kind="stable")[:, :k]


def recall(found: NDArray[np.int64], true: NDArray[np.int64]) -> float:
    """Return the share of the true neighbours that were found."""
    pairs = zip(found.tolist(), true.tolist(), strict=True)
    return float(np.mean([len(set(a) & set(b)) / len(b) for a, b in pairs]))
