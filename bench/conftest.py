"""Command-line options and fixtures of the speed suite."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

# Set before importing NumPy: its BLAS reads the variable when it is loaded.
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

# FAISS 1.15 trains several times slower if rows times dimensions per sub-quantizer are fewer than
# about 150,000. This many rows avoid that, even at 96 bytes for 384 dimensions.
TRAIN_ROWS = 40_000
SLOW = "OPQx8"
_FACTORIES: dict[str, Callable[[int, int], str]] = {
    "PQx8": product,
    SLOW: rotated_product,
    "PQx4fs": fast_scan,
    # The number of bytes that waterfill's coarse stage reads per code.
    "PQx4fs-half": lambda budget, d: fast_scan(budget // 2, d),
}


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add options that choose the vectors and the peers."""
    group = parser.getgroup("waterfill speed")
    group.addoption(
        "--data", metavar="DIR|NAME", help="vectors to use; default: the sample, tiled with noise"
    )
    group.addoption("--cache", metavar="DIR", help="cache folder of bench/datasets.py")
    group.addoption("--rows", type=int, default=50_000, help="vectors in the searched index")
    group.addoption("--slow", action="store_true", help="also train OPQ: minutes per budget")


@pytest.fixture(scope="session")
def corpus(request: pytest.FixtureRequest) -> Corpus:
    """Return the vectors: a data set cut to `--rows`, or the sample tiled to `--rows`."""
    source, rows = request.config.getoption("data"), request.config.getoption("rows")
    vectors = find(source, request.config.getoption("cache"))
    return vectors.cut(rows) if source else vectors.tiled(rows)


@pytest.fixture(params=[1, 2], ids=lambda n: f"threads{n}")
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    """Set the number of threads of both libraries."""
    set_threads(request.param)
    yield request.param
    set_threads(1)


@pytest.fixture
def side(request: pytest.FixtureRequest, threads: int) -> Iterator[str]:
    """Select waterfill's kernels if the side is an instruction set; FAISS selects its own."""
    before = _core.isa()
    if request.param == SLOW and not request.config.getoption("slow"):
        pytest.skip("takes minutes; run it with --slow")
    if request.param in _core.available_isas():
        if threads > 1 and request.param != before:
            pytest.skip("only the best instruction set runs with several threads")
        _core.select_isa(request.param)
    yield request.param
    _core.select_isa(before)


@pytest.fixture
def describe(benchmark: BenchmarkFixture, side: str, threads: int) -> Describe:
    """Return a function that labels a measurement with its step, method, vectors and items."""

    def label(step: str, name: str, vectors: int, items: int) -> None:
        ours = side in _core.available_isas()
        benchmark.group = (
            f"{step}, {vectors:,} vectors, {threads} thread{'s' if threads > 1 else ''}"
        )
        benchmark.extra_info.update(
            library="waterfill" if ours else "faiss",
            name=f"{name} {side}" if ours else name,
            items=items,
        )

    return label


@pytest.fixture
def untrained(corpus: Corpus, side: str, budget: int) -> Method:
    """Return the untrained method of a side at a budget in bytes."""
    if side not in _FACTORIES:
        return Waterfill(budget, "ip")
    d = corpus.base.shape[1]
    return Faiss(_FACTORIES[side](budget, d), d, "ip")


@pytest.fixture(scope="session")
def trained_methods() -> dict[str, Method]:
    """Return the methods trained so far, by name."""
    return {}


@pytest.fixture
def trained(corpus: Corpus, untrained: Method, trained_methods: dict[str, Method]) -> Method:
    """Return the trained method; instruction sets share it because their codes are identical."""
    if untrained.name not in trained_methods:
        untrained.train(corpus.base[:TRAIN_ROWS])
        trained_methods[untrained.name] = untrained
    return trained_methods[untrained.name]
