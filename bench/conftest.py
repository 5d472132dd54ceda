"""Options and fixtures of the speed suite."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from functools import cache

# Before NumPy is imported: its BLAS reads the variable when it is loaded.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import pytest
from contenders import Contender, Faiss, Waterfill, fast_scan, product, set_threads
from corpora import Corpus, find

from waterfill import _core

Make = Callable[[str, int], Contender]

# FAISS 1.15 trains several times slower where rows times dimensions of a sub-quantizer are fewer
# than some 150,000; so many rows keep it clear of that, at 96 bytes of 384 dimensions too.
TRAIN_ROWS = 40_000


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let the command line choose the vectors."""
    group = parser.getgroup("waterfill speed")
    group.addoption("--data", metavar="DIR|NAME", help="default: the sample, tiled with noise")
    group.addoption("--cache", metavar="DIR", help="cache folder of bench/datasets.py")
    group.addoption("--rows", type=int, default=50_000, help="vectors in the searched index")


@pytest.fixture(scope="session")
def corpus(request: pytest.FixtureRequest) -> Corpus:
    """Return the vectors: a real set cut to size, or the sample tiled to it."""
    source, rows = request.config.getoption("data"), request.config.getoption("rows")
    found = find(source, request.config.getoption("cache"))
    return found.cut(rows) if source else found.tiled(rows)


@pytest.fixture(params=[1, 2], ids=lambda n: f"threads{n}")
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    """Set the threads of both libraries."""
    set_threads(request.param)
    yield request.param
    set_threads(1)


@pytest.fixture
def side(request: pytest.FixtureRequest, threads: int) -> Iterator[str]:
    """Select waterfill's kernels if the side is an instruction set; FAISS takes its best."""
    before = _core.isa()
    if request.param in _core.available_isas():
        if threads > 1 and request.param != before:
            pytest.skip("more threads for the best instruction set only")
        _core.select_isa(request.param)
    yield request.param
    _core.select_isa(before)


@pytest.fixture(scope="session")
def untrained(corpus: Corpus) -> Make:
    """Return a function that makes the contender of a side at a budget of bytes."""
    d = corpus.base.shape[1]

    def make(side: str, budget: int) -> Contender:
        if side == "PQx8":
            return Faiss(product(budget, d), d, "ip")
        if side == "PQx4fs":
            return Faiss(fast_scan(budget, d), d, "ip")
        return Waterfill(budget, "ip")

    return make


@pytest.fixture(scope="session")
def trained(corpus: Corpus, untrained: Make) -> Make:
    """Return a function that makes it and trains it, once."""

    @cache
    def make(side: str, budget: int) -> Contender:
        contender = untrained(side, budget)
        contender.train(corpus.base[:TRAIN_ROWS])
        return contender

    # Every instruction set makes the same codes: they share an index.
    return lambda side, budget: make(side if side.startswith("PQ") else "waterfill", budget)
