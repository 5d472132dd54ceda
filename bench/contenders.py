"""waterfill and its FAISS peers behind one surface: train, add, search, bytes per vector."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, Protocol

import faiss
import numpy as np
from numpy.typing import NDArray

import waterfill as wf

Array = NDArray[Any]
Metric = Literal["ip", "l2"]

_FAISS_METRICS = {"ip": faiss.METRIC_INNER_PRODUCT, "l2": faiss.METRIC_L2}
_RABITQ_BITS = (1, 2, 4)


class Contender(Protocol):
    """What is compared."""

    index: Any  # with ntotal

    library: str
    name: str

    @property
    def bytes_per_vector(self) -> int:
        """Bytes a stored vector takes, side information included; known once trained."""

    def train(self, x: Array) -> None:
        """Learn from a sample and start an empty index."""

    def add(self, x: Array) -> None:
        """Encode vectors and store them."""

    def search(self, q: Array, k: int) -> Array:
        """Return the labels of the k nearest vectors of each query."""

    def refill(self, x: Array) -> None:
        """Make these the only stored vectors."""


class Waterfill:
    """``IndexFlat`` at a budget of bytes per vector, the side information paid from it."""

    library = "waterfill"

    def __init__(self, budget: int, metric: Metric) -> None:
        self.name = f"waterfill {budget}"
        self._budget = budget
        self._metric: Metric = metric

    @property
    def bytes_per_vector(self) -> int:
        """Bytes of the code, its scale and what the metric adds."""
        return self.index.bytes_per_vector

    def train(self, x: Array) -> None:
        """Analyze, plan and train codebooks."""
        self.index = wf.IndexFlat(wf.Codec.train(x, self.plan(wf.analyze(x))), self._metric)

    def plan(self, analysis: wf.Analysis) -> wf.Plan:
        """Plan for the budget: a byte goes to the scale, one more to L2 where norms differ."""
        side = 1 + (self._metric == "l2" and not analysis.norms.constant)
        return wf.Plan.waterfill(analysis, code_bytes=self._budget - side)

    def add(self, x: Array) -> None:
        """Encode vectors and store them."""
        self.index.add(x)

    def search(self, q: Array, k: int) -> Array:
        """Return the labels of the k nearest vectors of each query."""
        return self.index.search(q, k)[1]

    def refill(self, x: Array) -> None:
        """Make these the only stored vectors."""
        self.index.reset()
        self.index.add(x)


class Faiss:
    """An index that FAISS's factory makes."""

    library = "faiss"

    def __init__(self, factory: str, d: int, metric: Metric) -> None:
        self.name = f"FAISS {factory}"
        self.index = faiss.index_factory(d, factory, _FAISS_METRICS[metric])

    @property
    def bytes_per_vector(self) -> int:
        """Bytes of the code."""
        return int(self.index.sa_code_size())

    def train(self, x: Array) -> None:
        """Train what the factory string names."""
        _allow_few_rows(self.index)
        self.index.train(x)

    def add(self, x: Array) -> None:
        """Encode vectors and store them."""
        self.index.add(x)

    def search(self, q: Array, k: int) -> Array:
        """Return the labels of the k nearest vectors of each query."""
        return np.asarray(self.index.search(q, k)[1])

    def refill(self, x: Array) -> None:
        """Make these the only stored vectors."""
        self.index.reset()
        self.index.add(x)


def set_threads(n: int) -> None:
    """Give both libraries the same number of threads."""
    wf.set_num_threads(n)
    faiss.omp_set_num_threads(n)


def fast_scan(budget: int, d: int) -> str:
    """Name FAISS's 4-bit product quantizer that comes nearest to a budget from below."""
    return f"PQ{_divisor(d, 2 * budget)}x4fs"


def product(budget: int, d: int) -> str:
    """Name FAISS's 8-bit product quantizer that comes nearest to a budget from below."""
    # np: without the reordering for polysemous codes, which takes ten times the training itself
    # and changes nothing in an exhaustive search.
    return f"PQ{_divisor(d, budget)}x8np"


def faiss_factories(budgets: list[int], d: int, slow: bool) -> Iterator[str]:
    """Yield the factory strings of the peers, those of one budget together."""
    for budget in budgets:
        yield product(budget, d)
        if slow:
            yield f"OPQ{_divisor(d, budget)},{product(budget, d)}"
        yield fast_scan(budget, d)
    for bits in _RABITQ_BITS:
        # A bit a dimension and two floats or more; a random rotation is part of the method.
        if bits * d / 8 <= max(budgets):
            yield f"RR{d},RaBitQfs{bits if bits > 1 else ''}"
    yield "SQ8"


def _allow_few_rows(index: Any) -> None:
    """Keep FAISS from a warning per sub-quantizer where the sample is small."""
    index = faiss.downcast_index(index)
    if isinstance(index, faiss.IndexPreTransform):
        index = faiss.downcast_index(index.index)
    if isinstance(index, faiss.IndexPQ | faiss.IndexPQFastScan):
        index.pq.cp.min_points_per_centroid = 1


def _divisor(d: int, most: int) -> int:
    return next(m for m in range(min(d, most), 0, -1) if d % m == 0)
