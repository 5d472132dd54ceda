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
_CALIBRATION_ROWS = 1024  # recommended by turbovec's documentation


class Method(Protocol):
    """The interface of compared methods."""

    library: str
    name: str

    def __len__(self) -> int: ...

    @property
    def bytes_per_vector(self) -> int:
        """Stored bytes per vector, including side information; available after training."""

    def train(self, x: Array) -> None:
        """Train on a sample and create an empty index."""

    def add(self, x: Array) -> None:
        """Encode vectors and store them."""

    def search(self, q: Array, k: int) -> Array:
        """Return the labels of the k nearest vectors of each query."""

    def refill(self, x: Array) -> None:
        """Replace the stored vectors."""


class Waterfill:
    """``IndexFlat`` at a budget of bytes per vector, including side information."""

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
        """Bytes of the code, its scale and the side information of the metric."""
        return self.index.code_size

    def train(self, x: Array) -> None:
        """Analyze, plan and train codebooks."""
        codec = wf.Codec.train(x, self.plan(wf.analyze(x)), cells=self._cells)
        self.index = wf.IndexFlat(codec, self._metric)

    def plan(self, analysis: wf.analysis.Analysis) -> wf.Plan:
        """Plan for the budget less one byte for the scale and, with L2, one for the norm."""
        side = 2 if self._metric == "l2" else 1
        return wf.Plan.waterfill(analysis, code_bytes=self._budget - side)

    def add(self, x: Array) -> None:
        """Encode vectors and store them."""
        self.index.add(x)

    def search(self, q: Array, k: int) -> Array:
        """Return the labels of the k nearest vectors of each query."""
        return self.index.search(q, k)[1]

    def refill(self, x: Array) -> None:
        """Replace the stored vectors."""
        self.index.reset()
        self.index.add(x)


class Faiss:
    """An index of FAISS's factory; `rotation_rows` limits the training rows of OPQ."""

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
        """Train the index."""
        train_faiss(self.index, x, rotation_rows=self._rotation_rows)

    def add(self, x: Array) -> None:
        """Encode vectors and store them."""
        self.index.add(x)

    def search(self, q: Array, k: int) -> Array:
        """Return the labels of the k nearest vectors of each query."""
        return np.asarray(self.index.search(q, k)[1])

    def refill(self, x: Array) -> None:
        """Replace the stored vectors."""
        self.index.reset()
        self.index.add(x)


class Turbovec:
    """TurboQuant of the package ``turbovec`` (inner product only); ImportError without it."""

    library = "turbovec"

    def __init__(self, bits: int, d: int) -> None:
        self.name = f"turbovec {bits} bits"
        self._bits, self._d = bits, d
        self._make: Any = importlib.import_module("turbovec").TurboQuantIndex

    def __len__(self) -> int:
        return len(self.index)

    @property
    def bytes_per_vector(self) -> int:
        """Bytes of the code and its float32 scale, as in turbovec's files."""
        return self._bits * self._d // 8 + 4

    def train(self, x: Array) -> None:
        """Fit the optional calibration on random rows."""
        rng = np.random.default_rng(0)
        rows = rng.choice(len(x), min(len(x), _CALIBRATION_ROWS), replace=False)
        self.index = self._make(dim=self._d, bit_width=self._bits)
        self.index.calibrate(x[rows])

    def add(self, x: Array) -> None:
        """Encode and store vectors, and do the preparation that the first search would do."""
        self.index.add(x)
        self.index.prepare()

    def search(self, q: Array, k: int) -> Array:
        """Return the labels of the k nearest vectors of each query."""
        return np.asarray(self.index.search(q, k)[1])

    def refill(self, x: Array) -> None:
        """Replace the stored vectors."""
        self.train(x)
        self.add(x)


def set_threads(n: int) -> None:
    """Set the number of threads of all libraries; turbovec keeps the first value it reads."""
    os.environ["RAYON_NUM_THREADS"] = str(n)
    wf.set_num_threads(n)
    faiss.omp_set_num_threads(n)


def fast_scan(budget: int, d: int) -> str:
    """Return FAISS's factory string of the largest 4-bit product quantizer within a budget."""
    return f"PQ{_divisor(d, 2 * budget)}x4fs"


def product(budget: int, d: int) -> str:
    """Return FAISS's factory string of the largest 8-bit product quantizer within a budget."""
    # np: without the reordering for polysemous codes, which takes ten times as long as training
    # and does not affect an exhaustive search.
    return f"PQ{_divisor(d, budget)}x8np"


def rotated_product(budget: int, d: int) -> str:
    """Return the same quantizer after a learned rotation (OPQ)."""
    return f"OPQ{_divisor(d, budget)},{product(budget, d)}"


def rotated_fast_scan(budget: int, d: int) -> str:
    """Return the 4-bit product quantizer after a learned rotation (OPQ)."""
    return f"OPQ{_divisor(d, 2 * budget)},{fast_scan(budget, d)}"


def rabitq(bits: int, d: int) -> str:
    """Return FAISS's RaBitQ with fast scan, after the random rotation the method requires."""
    return f"RR{d},RaBitQfs{bits if bits > 1 else ''}"


def _divisor(d: int, most: int) -> int:
    return next(m for m in range(min(d, most), 0, -1) if d % m == 0)
