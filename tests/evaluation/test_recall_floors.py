"""Floors on real embeddings, about 0.015 below what was measured."""

from __future__ import annotations

import faiss
import numpy as np
import pytest
from support import trained

import waterfill as wf


def exact(base: np.ndarray, queries: np.ndarray, metric: str) -> np.ndarray:
    kind = faiss.METRIC_L2 if metric == "l2" else faiss.METRIC_INNER_PRODUCT
    return faiss.knn(queries, base, 10, metric=kind)[1]


def recall(labels: np.ndarray, truth: np.ndarray) -> float:
    return float(np.mean([len(set(a) & set(b)) / 10 for a, b in zip(labels, truth, strict=True)]))


def waterfill_recall(
    base: np.ndarray, queries: np.ndarray, code_bytes: int, metric: str = "ip"
) -> float:
    index = wf.IndexFlat(trained.trained(base, code_bytes), metric)
    index.add(base)
    return recall(index.search(queries, 10)[1], exact(base, queries, metric))


@pytest.mark.parametrize(("code_bytes", "floor"), [(24, 0.705), (48, 0.83), (96, 0.91)])
def test_recall_on_sentence_embeddings(base, queries, code_bytes, floor):
    assert waterfill_recall(base, queries, code_bytes) >= floor


def test_recall_with_spread_norms(base, queries):
    """The same directions at lengths from 0.5 to 2, where L2 and inner product differ."""
    lengths = np.random.default_rng(0).uniform(0.5, 2, (len(base) + len(queries), 1))
    x = base * lengths[: len(base)].astype("f4")
    q = queries * lengths[len(base) :].astype("f4")
    assert waterfill_recall(x, q, 48, "l2") >= 0.79
    assert waterfill_recall(x, q, 48, "ip") >= 0.80


@pytest.mark.parametrize(("d", "size"), [(64, 16), pytest.param(384, 48, marks=pytest.mark.slow)])
def test_recall_beats_product_quantization_at_equal_bytes(
    base, queries, base_64, queries_64, d, size
):
    base, queries = (base, queries) if d == 384 else (base_64, queries_64)
    pq = faiss.IndexPQ(d, size, 8, faiss.METRIC_INNER_PRODUCT)
    pq.do_polysemous_training = False
    pq.pq.cp.min_points_per_centroid = 1
    pq.train(base)
    pq.add(base)
    theirs = recall(pq.search(queries, 10)[1], exact(base, queries, "ip"))
    assert waterfill_recall(base, queries, size - 1) >= theirs + 0.05  # a byte for the scale
