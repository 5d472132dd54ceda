"""waterfill and its peers behind one interface: train, add, search, bytes per vector."""

from __future__ import annotations

import importlib
import os
from typing import Any, Literal, Protocol

import faiss
import numpy as np
from numpy.typing import NDArray

import waterfill as wf
from waterfill.evaluation.faiss_peers import train_faiss

Array = NDArray[Any]
Metric = Literal["ip", "l2"]

_FAISS_METRICS = {"ip": faiss.METRIC_INNER_PRODUCT, "l2": faiss.METRIC_L2}
_CALIBRATION_ROWS = 1024  # what turbovec's documentation advises


class Method(Protocol):
    """What is compared."""

    library: str
    name: str

    def __len__(self) -> int: ...

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

    def __init__(self, budget: int, metric: Metric, cells: Literal["auto", 0] = "auto") -> None:
        self.name = f"waterfill {budget}" + ("" if cells else ", no cells")
        self._budget = budget
        self._metric: Metric = metric
        self._cells: Literal["auto", 0] = cells

    def __len__(self) -> int:
        return self.index.ntotal

    @property
    def bytes_per_vector(self) -> int:
        """Bytes of the code, its scale and what the metric adds."""
        return self.index.bytes_per_vector

    def train(self, x: Array) -> None:
        """Analyze, plan and train codebooks."""
        codec = wf.Codec.train(x, self.plan(wf.analyze(x)), cells=self._cells)
        self.index = wf.IndexFlat(codec, self._metric)

    def plan(self, analysis: wf.analysis.Analysis) -> wf.Plan:
        """Plan for the budget: a byte goes to the scale, one more to the length that L2 keeps."""
        side = 2 if self._metric == "l2" else 1
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
    """An index that FAISS's factory makes; `rotation_rows` limits what OPQ learns from."""

    library = "faiss"

    def __init__(
        self, factory: str, d: int, metric: Metric, rotation_rows: int | None = None
    ) -> None:
        self.name = f"FAISS {factory}"
        self.index = faiss.index_factory(d, factory, _FAISS_METRICS[metric])
        self._rotation_rows = rotation_rows

    def __len__(self) -> int:
        return int(self.index.ntotal)

    @property
    def bytes_per_vector(self) -> int:
        """Bytes of the code."""
        return int(self.index.sa_code_size())

    def train(self, x: Array) -> None:
        """Train what the factory string names."""
        train_faiss(self.index, x, rotation_rows=self._rotation_rows)

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


class Turbovec:
    """TurboQuant (inner products only) of the package ``turbovec``; ImportError without it."""

    library = "turbovec"

    def __init__(self, bits: int, d: int) -> None:
        self.name = f"turbovec {bits} bits"
        self._bits, self._d = bits, d
        self._make: Any = importlib.import_module("turbovec").TurboQuantIndex

    def __len__(self) -> int:
        return len(self.index)

    @property
    def bytes_per_vector(self) -> int:
        """Bytes of the code and its scale, a float, as they are in its files."""
        return self._bits * self._d // 8 + 4

    def train(self, x: Array) -> None:
        """Fit the calibration, which is optional, on rows drawn at random."""
        rng = np.random.default_rng(0)
        rows = rng.choice(len(x), min(len(x), _CALIBRATION_ROWS), replace=False)
        self.index = self._make(dim=self._d, bit_width=self._bits)
        self.index.calibrate(x[rows])

    def add(self, x: Array) -> None:
        """Encode vectors, store them, and make what the first search would otherwise make."""
        self.index.add(x)
        self.index.prepare()

    def search(self, q: Array, k: int) -> Array:
        """Return the labels of the k nearest vectors of each query."""
        return np.asarray(self.index.search(q, k)[1])

    def refill(self, x: Array) -> None:
        """Make these the only stored vectors."""
        self.train(x)
        self.add(x)


def set_threads(n: int) -> None:
    """Give the libraries the same number of threads; turbovec takes what it is told first."""
    os.environ["RAYON_NUM_THREADS"] = str(n)
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


def rotated_product(budget: int, d: int) -> str:
    """Name the same after a rotation that was learnt for it (OPQ)."""
    return f"OPQ{_divisor(d, budget)},{product(budget, d)}"


def rotated_fast_scan(budget: int, d: int) -> str:
    """Name the 4-bit product quantizer after a rotation that was learnt for it (OPQ)."""
    return f"OPQ{_divisor(d, 2 * budget)},{fast_scan(budget, d)}"


def rabitq(bits: int, d: int) -> str:
    """Name FAISS's RaBitQ with its fast scan; a random rotation is part of the method."""
    return f"RR{d},RaBitQfs{bits if bits > 1 else ''}"


def _divisor(d: int, most: int) -> int:
    return next(m for m in range(min(d, most), 0, -1) if d % m == 0)
