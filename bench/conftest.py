"""Options and fixtures of the speed suite."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

# Before NumPy is imported: its BLAS reads the variable when it is loaded.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import pytest
from corpora import Corpus, find
from methods import (
    Faiss,
    Method,
    Waterfill,
    fast_scan,
    product,
    rotated_product,
    set_threads,
)
from pytest_benchmark.fixture import BenchmarkFixture

from waterfill import _core

Describe = Callable[[str, str, int, int], None]

# FAISS 1.15 trains several times slower where rows times dimensions of a sub-quantizer are fewer
# than some 150,000; so many rows keep it clear of that, at 96 bytes of 384 dimensions too.
TRAIN_ROWS = 40_000
SLOW = "OPQx8"
_FACTORIES: dict[str, Callable[[int, int], str]] = {
    "PQx8": product,
    SLOW: rotated_product,
    "PQx4fs": fast_scan,
    # As many bytes as waterfill's coarse stage reads of a code.
    "PQx4fs-half": lambda budget, d: fast_scan(budget // 2, d),
}


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let the command line choose the vectors and the peers."""
    group = parser.getgroup("waterfill speed")
    group.addoption("--data", metavar="DIR|NAME", help="default: the sample, tiled with noise")
    group.addoption("--cache", metavar="DIR", help="cache folder of bench/datasets.py")
    group.addoption("--rows", type=int, default=50_000, help="vectors in the searched index")
    group.addoption("--slow", action="store_true", help="train OPQ too: minutes a budget")


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
    if request.param == SLOW and not request.config.getoption("slow"):
        pytest.skip("takes minutes: --slow")
    if request.param in _core.available_isas():
        if threads > 1 and request.param != before:
            pytest.skip("more threads for the best instruction set only")
        _core.select_isa(request.param)
    yield request.param
    _core.select_isa(before)


@pytest.fixture
def describe(benchmark: BenchmarkFixture, side: str, threads: int) -> Describe:
    """Return a function that says what is measured, of whom, on how many vectors or queries."""

    def say(step: str, name: str, vectors: int, items: int) -> None:
        ours = side in _core.available_isas()
        benchmark.group = (
            f"{step}, {vectors:,} vectors, {threads} thread{'s' if threads > 1 else ''}"
        )
        benchmark.extra_info.update(
            library="waterfill" if ours else "faiss",
            name=f"{name} {side}" if ours else name,
            items=items,
        )

    return say


@pytest.fixture
def untrained(corpus: Corpus, side: str, budget: int) -> Method:
    """Return the method of a side at a budget of bytes."""
    if side not in _FACTORIES:
        return Waterfill(budget, "ip")
    d = corpus.base.shape[1]
    return Faiss(_FACTORIES[side](budget, d), d, "ip")


@pytest.fixture(scope="session")
def kept() -> dict[str, Method]:
    """Return what was trained so far, by name."""
    return {}


@pytest.fixture
def trained(corpus: Corpus, untrained: Method, kept: dict[str, Method]) -> Method:
    """Return the method trained, once: all instruction sets make the same codes and share it."""
    if untrained.name not in kept:
        untrained.train(corpus.base[:TRAIN_ROWS])
        kept[untrained.name] = untrained
    return kept[untrained.name]
