"""Speed of every step compared with FAISS, one pytest-benchmark group per step.

A side is an instruction set of waterfill's kernels or a kind of FAISS index. ``extra_info`` tells
``ratios.py`` the library, the method and the number of vectors or queries per call.
"""

from __future__ import annotations

import faiss
import numpy as np
import pytest
from conftest import SLOW, TRAIN_ROWS, Describe
from corpora import Array, Corpus
from methods import Method
from pytest_benchmark.fixture import BenchmarkFixture

import waterfill as wf
from waterfill import _core

K = 10
ADD_ROWS = 5_000
QUERIES = 100

ISAS = _core.available_isas()
BEST = _core.isa()

budgets = pytest.mark.parametrize("budget", [24, 48, 96], ids=lambda n: f"bytes{n}")


def sides(*names: str) -> pytest.MarkDecorator:
    """Parametrize a test over these sides."""
    return pytest.mark.parametrize("side", names, indirect=True)


@sides(*ISAS, "PCA")
def test_analyze(
    benchmark: BenchmarkFixture, describe: Describe, corpus: Corpus, side: str
) -> None:
    """Mean, second moments and eigenvectors; the closest step of FAISS is training a PCA."""
    x = corpus.base[:TRAIN_ROWS]
    describe("analyze", "waterfill" if side in ISAS else "FAISS PCAMatrix", len(x), len(x))

    def train_pca(x: Array) -> None:
        faiss.PCAMatrix(x.shape[1], x.shape[1]).train(x)

    benchmark(wf.analyze if side in ISAS else train_pca, x)


# Only the best instruction set: training uses the same kernel as adding.
@sides(BEST, "PQx8", SLOW)
@budgets
def test_train(
    benchmark: BenchmarkFixture,
    describe: Describe,
    corpus: Corpus,
    untrained: Method,
    budget: int,
) -> None:
    """Everything before the first vector can be encoded, including analysis and plan."""
    x = corpus.base[:TRAIN_ROWS]
    describe(f"train, {budget} bytes", untrained.name, len(x), len(x))
    # One round: it takes seconds.
    benchmark.pedantic(untrained.train, (x,))  # type: ignore[no-untyped-call]


@sides(*ISAS, "PQx8")
@budgets
def test_add(
    benchmark: BenchmarkFixture, describe: Describe, corpus: Corpus, trained: Method, budget: int
) -> None:
    """Encode and store vectors."""
    x = corpus.base[:ADD_ROWS]
    describe(f"add, {budget} bytes", trained.name, len(x), len(x))
    benchmark(trained.refill, x)


@sides(*ISAS, "PQx4fs", "PQx4fs-half", "PQx8")
@budgets
@pytest.mark.parametrize("count", [QUERIES, 1], ids=["batch", "single"])
def test_search(
    benchmark: BenchmarkFixture,
    describe: Describe,
    corpus: Corpus,
    trained: Method,
    count: int,
    budget: int,
) -> None:
    """Search queries in one call."""
    if len(trained) != len(corpus.base):
        trained.refill(corpus.base)
    step = f"search {'one query' if count == 1 else f'{count} queries'}, {budget} bytes"
    describe(step, trained.name, len(corpus.base), count)
    labels = benchmark(trained.search, np.ascontiguousarray(corpus.query[:count]), K)
    assert labels.shape == (count, K)
