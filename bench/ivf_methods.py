"""IVF indexes of waterfill and FAISS, with the search settings to sweep."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path
from typing import Any, Protocol

import faiss
import numpy as np
from numpy.typing import NDArray
from recall_curves import Setting

import waterfill as wf

Array = NDArray[Any]

PROBES = (
    *(1, 2, 3, 4, 6, 8, 10, 12, 14, 16, 20, 24, 28, 32, 40, 48, 56, 64, 72, 80, 96, 112, 128),
    *(160, 192, 224, 256, 320, 384),
)
# FAISS's fast-scan implementations: 0 selects one that scans each list once for all queries that
# probe it; 10 scans query by query; 11 too, with a reservoir, for more than 20 results.
_IMPLEMENTATIONS = (0, 10)
_BLAS_QUERIES = 4
_FAISS_FACTORS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32)
_REFINE_FACTORS = (5, 6, 8, 10, 14, 20, 30, 40)
_IVF_SIGMAS = (2.5, 3.0, 4.0)  # prune_sigma with nprobe
_SIGMAS = (0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 5.0, 6.0)


def tune_faiss(d: int) -> None:
    """Make FAISS's flat quantizer use BLAS from 4 queries on, where it becomes faster.

    By default it uses BLAS if queries times dimensions reach 128,000: 333 queries of 384
    dimensions. Without BLAS, 100 such queries take 2.5 times as long.
    """
    faiss.cvar.distance_compute_blas_threshold = _BLAS_QUERIES * d


class Swept(Protocol):
    """The interface of swept methods."""

    library: str
    name: str
    family: str
    refined: bool
    index: Any

    @property
    def size(self) -> int:
        """Stored bytes per vector, excluding ids and list numbers; available after training."""

    def fill(self, x: Array) -> None:
        """Train on the vectors and add them."""

    def settings(self) -> Iterator[list[Setting]]:
        """Yield lists of settings, each in order of increasing effort and recall."""

    def use(self, setting: Setting) -> None:
        """Apply a setting to the following searches."""

    def search(self, q: Array, k: int) -> Array:
        """Return the labels of the k nearest vectors of each query."""


class FaissLists:
    """An index of FAISS's factory.

    Parameters
    ----------
    pattern
        The factory's string, with ``{}`` for the number of lists.
    centroids
        Centroids by number of lists, trained for the first index and shared by all others.
    store
        A folder that keeps filled indexes between runs.
    """

    library = "faiss"

    def __init__(
        self,
        pattern: str,
        nlist: int,
        d: int,
        centroids: dict[int, Array],
        store: Path | None = None,
    ) -> None:
        self._factory = pattern.format(nlist)
        self.name = f"FAISS {self._factory}"
        self.family = f"FAISS {pattern.format('')}"
        self.refined = "Refine" in pattern
        self._nlist, self._centroids, self._store = nlist, centroids, store
        self._set_index(faiss.index_factory(d, self._factory, faiss.METRIC_INNER_PRODUCT))

    def _set_index(self, index: Any) -> None:
        self.index = index
        self._inner = faiss.downcast_index(index.base_index) if self.refined else index
        self.ivf = faiss.downcast_index(faiss.extract_index_ivf(self._inner))

    @property
    def size(self) -> int:
        """Bytes of the code and of the row stored by Refine."""
        row = faiss.downcast_index(self.index.refine_index).sa_code_size() if self.refined else 0
        return int(self.ivf.code_size + row)

    def fill(self, x: Array) -> None:
        """Train on the vectors and add them, or read the index from the store."""
        path = self._store and self._store / f"{re.sub('[^A-Za-z0-9]+', '-', self._factory)}.faiss"
        if path and path.is_file():
            self._set_index(faiss.read_index(str(path)))
            return
        self._train_cells(x)
        self.index.train(x)
        self.index.add(x)
        if path:
            faiss.write_index(self.index, str(path))

    def _train_cells(self, x: Array) -> None:
        """Set the shared centroids, after the rotation of the index if it has one."""
        if self._nlist not in self._centroids:
            cells = faiss.index_factory(
                x.shape[1], f"IVF{self._nlist},Flat", faiss.METRIC_INNER_PRODUCT
            )
            cells.train(x)
            self._centroids[self._nlist] = cells.quantizer.reconstruct_n(0, self._nlist)
        centroids = self._centroids[self._nlist]
        if isinstance(self._inner, faiss.IndexPreTransform):
            rotation = faiss.downcast_VectorTransform(self._inner.chain.at(0))
            rotation.train(x[:1])  # the random rotation ignores the rows
            centroids = rotation.apply(centroids)
        self.ivf.quantizer.add(centroids)

    def settings(self) -> Iterator[list[Setting]]:
        """Yield probe counts for each implementation and refinement factor."""
        for implementation, factor in product(
            _IMPLEMENTATIONS, _FAISS_FACTORS if self.refined else (1,)
        ):
            depth = (
                {"implem": implementation, "k_factor": factor}
                if self.refined
                else {"implem": implementation}
            )
            yield [{"nprobe": probes, **depth} for probes in _probes(self._nlist)]

    def use(self, setting: Setting) -> None:
        """Set the search attributes of the index."""
        self.ivf.nprobe, self.ivf.implem = int(setting["nprobe"]), int(setting["implem"])
        if self.refined:
            self.index.k_factor = setting["k_factor"]

    def search(self, q: Array, k: int) -> Array:
        """Return the labels of the k nearest vectors of each query."""
        return np.asarray(self.index.search(q, k)[1])


class WaterfillLists:
    """``IndexIVF`` at a budget of bytes per vector, including the scale."""

    library = "waterfill"

    def __init__(self, budget: int, nlist: int, refine: str | None = None) -> None:
        suffix = f", refine {refine}" if refine else ""
        self.family = f"waterfill {budget}{suffix}"
        self.name = f"{self.family}, {nlist} lists"
        self.refined = refine is not None
        self._budget, self._nlist, self._refine = budget, nlist, refine

    @property
    def size(self) -> int:
        """Bytes of the code, its scale and the row stored for refinement."""
        return self._budget + (2 * self.index.d if self.refined else 0)

    def fill(self, x: Array) -> None:
        """Train on the vectors and add them."""
        plan = wf.Plan.waterfill(wf.analyze(x), code_bytes=self._budget - 1)
        options = {"refine": self._refine} if self._refine else {}
        self.index = wf.IndexIVF(plan, self._nlist, metric="ip", **options)
        self.index.train(x)
        self.index.add(x)

    def settings(self) -> Iterator[list[Setting]]:
        """Yield probe counts for each depth of the later stages."""
        for factor, sigma in product(_REFINE_FACTORS, _IVF_SIGMAS):
            depth: Setting = {"refine_factor": factor, "prune_sigma": sigma}
            if self.refined:  # refine all candidates, so that none needs a full score
                depth = {**depth, "k_factor": factor}
            yield [{"nprobe": probes, **depth} for probes in _probes(self._nlist)]

    def use(self, setting: Setting) -> None:
        """Set the search attributes of the index."""
        for name, value in setting.items():
            setattr(self.index, name, value)

    def search(self, q: Array, k: int) -> Array:
        """Return the labels of the k nearest vectors of each query."""
        return np.asarray(self.index.search(q, k)[1])


class WaterfillCells(WaterfillLists):
    """``IndexFlat`` with `nlist` cells, which scans the cells that prune_sigma leaves."""

    def __init__(self, budget: int, nlist: int) -> None:
        super().__init__(budget, nlist)
        self.family = f"waterfill {budget}, IndexFlat"
        self.name = f"{self.family}, {nlist} cells"

    def fill(self, x: Array) -> None:
        """Train on the vectors and add them."""
        plan = wf.Plan.waterfill(wf.analyze(x), code_bytes=self._budget - 1)
        self.index = wf.IndexFlat(wf.Codec.train(x, plan, cells=self._nlist, metric="ip"))
        self.index.add(x)

    def settings(self) -> Iterator[list[Setting]]:
        """Yield values of prune_sigma for each depth of the later stage."""
        for factor in _REFINE_FACTORS:
            yield [{"prune_sigma": sigma, "refine_factor": factor} for sigma in _SIGMAS]


def all_methods(
    budgets: Sequence[int], lists: Sequence[int], d: int, store: Path | None
) -> Iterator[Swept]:
    """Yield waterfill, then its FAISS peers."""
    for budget, nlist in product(budgets, lists):
        yield WaterfillLists(budget, nlist)
        yield WaterfillLists(budget, nlist, refine="float16")
        yield WaterfillCells(budget, nlist)
    centroids: dict[int, Array] = {}
    for pattern, nlist in product(_patterns(d), lists):
        yield FaissLists(pattern, nlist, d, centroids, store)


def _patterns(d: int) -> Iterator[str]:
    """Yield the peers: 4-bit PQ of rows and of residuals, and RaBitQ of 1, 2 and 4 bits."""
    parts = [part for part in (d // 4, d // 2) if d % part == 0]
    scans = [f"IVF{{}},PQ{part}x4fs{kind}" for part in parts for kind in ("", "r")]
    bits = [f"RR{d},IVF{{}},RaBitQfs{number}" for number in ("", "2", "4")]
    yield from [*scans, *bits]
    coarse = [f"IVF{{}},PQ{d // 8}x4fs{kind}" for kind in ("", "r")] if d % 8 == 0 else []
    for base in [*coarse, *scans, *bits[:2]]:
        yield f"{base},Refine(SQfp16)"


def _probes(nlist: int) -> list[int]:
    return [probes for probes in PROBES if probes <= nlist]
