"""Speed of every step beside FAISS: a pytest-benchmark group holds waterfill and its peers.

A side is an instruction set of waterfill's kernels or a kind of FAISS index. ``extra_info`` tells
``ratios.py`` whose the measurement is and how many vectors or queries a call handles.
"""

from __future__ import annotations

import faiss
import numpy as np
import pytest
from conftest import TRAIN_ROWS, Make
from corpora import Array, Corpus
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
    """Run a test for each of these sides."""
    return pytest.mark.parametrize("side", names, indirect=True)


def describe(
    benchmark: BenchmarkFixture, side: str, name: str, items: int, step: str, threads: int
) -> None:
    """Say what is measured, and with what it is compared."""
    ours = side in ISAS
    benchmark.group = f"{step}, {threads} thread{'s' if threads > 1 else ''}"
    benchmark.extra_info.update(
        library="waterfill" if ours else "faiss",
        name=f"{name} {side}" if ours else name,
        items=items,
    )


@sides(*ISAS, "PCA")
def test_analyze(benchmark: BenchmarkFixture, corpus: Corpus, threads: int, side: str) -> None:
    """Mean, second moments, eigenvectors; FAISS's nearest thing is the training of a PCA."""
    x = corpus.base[:TRAIN_ROWS]
    name = "waterfill" if side in ISAS else "FAISS PCAMatrix"
    describe(benchmark, side, name, len(x), "analyze", threads)

    def train_pca(x: Array) -> None:
        faiss.PCAMatrix(x.shape[1], x.shape[1]).train(x)

    benchmark(wf.analyze if side in ISAS else train_pca, x)


# The best instruction set only: training spends its time in the kernel that adding does.
@sides(BEST, "PQx8")
@budgets
def test_train(
    benchmark: BenchmarkFixture,
    corpus: Corpus,
    untrained: Make,
    budget: int,
    threads: int,
    side: str,
) -> None:
    """All that comes before the first vector is encoded, analysis and plan included."""
    x = corpus.base[:TRAIN_ROWS]
    contender = untrained(side, budget)
    describe(benchmark, side, contender.name, len(x), f"train, {budget} bytes", threads)
    # Once: it takes seconds.
    benchmark.pedantic(contender.train, (x,))  # type: ignore[no-untyped-call]


@sides(*ISAS, "PQx8")
@budgets
def test_add(
    benchmark: BenchmarkFixture,
    corpus: Corpus,
    trained: Make,
    budget: int,
    threads: int,
    side: str,
) -> None:
    """Encode and store."""
    x = corpus.base[:ADD_ROWS]
    contender = trained(side, budget)
    describe(benchmark, side, contender.name, len(x), f"add, {budget} bytes", threads)
    benchmark(contender.refill, x)


@sides(*ISAS, "PQx4fs", "PQx8")
@budgets
@pytest.mark.parametrize("count", [QUERIES, 1], ids=["batch", "single"])
def test_search(
    benchmark: BenchmarkFixture,
    corpus: Corpus,
    trained: Make,
    count: int,
    budget: int,
    threads: int,
    side: str,
) -> None:
    """Search queries in one call."""
    contender = trained(side, budget)
    if contender.index.ntotal != len(corpus.base):
        contender.refill(corpus.base)
    step = f"search {'one query' if count == 1 else f'{count} queries'}, {budget} bytes"
    describe(benchmark, side, contender.name, count, step, threads)
    labels = benchmark(contender.search, np.ascontiguousarray(corpus.query[:count]), K)
    assert labels.shape == (count, K)
