"""Indices in lists, of waterfill and of FAISS, each with the settings that are swept."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path
from typing import Any, Protocol

import faiss
import numpy as np
from curves import Setting
from numpy.typing import NDArray

import waterfill as wf

Array = NDArray[Any]

PROBES = (
    *(1, 2, 3, 4, 6, 8, 10, 12, 14, 16, 20, 24, 28, 32, 40, 48, 56, 64, 72, 80, 96, 112, 128),
    *(160, 192, 224, 256, 320, 384),
)
# In FAISS: 0 lets it choose, which makes a pass over a list serve all queries that look there;
# 10 takes one query after another, and 11 as well, with a reservoir, for more than 20 results.
_IMPLEMENTATIONS = (0, 10)
_BLAS_QUERIES = 4
_FAISS_FACTORS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32)
_REFINE_FACTORS = (5, 6, 8, 10, 14, 20, 30, 40)
_DEPTHS = (2.5, 3.0, 4.0)  # prune_sigma for the lists that nprobe allows
_REACHES = (0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 5.0, 6.0)


def tune_faiss(d: int) -> None:
    """Let FAISS's flat quantizer multiply with BLAS from so few queries on that it is fastest.

    By itself it does so where queries times dimensions are 128,000 or more, which takes 333 queries
    of 384 dimensions; 100 of them then cost it two and a half times as much as with BLAS.
    """
    faiss.cvar.distance_compute_blas_threshold = _BLAS_QUERIES * d


class Swept(Protocol):
    """What is swept."""

    library: str
    name: str
    family: str
    refined: bool
    index: Any

    @property
    def size(self) -> int:
        """Bytes stored of a vector, ids and list numbers excepted; known once trained."""

    def fill(self, x: Array) -> None:
        """Train and add the same vectors."""

    def settings(self) -> Iterator[list[Setting]]:
        """Yield what may be asked for, in lists of rising effort and recall."""

    def use(self, setting: Setting) -> None:
        """Search with this setting from now on."""

    def search(self, q: Array, k: int) -> Array:
        """Return the labels of the k nearest vectors of each query."""


class FaissLists:
    """An index that FAISS's factory makes.

    Parameters
    ----------
    pattern
        The factory's string, with ``{}`` for the number of lists.
    centroids
        By number of lists: those of the index that is trained first serve all that follow, as the
        cells are the same for everybody.
    store
        A folder that keeps filled indices from one run to the next.
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
        """Bytes of the code, and of the row that Refine keeps."""
        kept = faiss.downcast_index(self.index.refine_index).sa_code_size() if self.refined else 0
        return int(self.ivf.code_size + kept)

    def fill(self, x: Array) -> None:
        """Train and add the same vectors, or read the index where it is kept."""
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
        """Give the index the cells that all share, in the space that its rotation leads to."""
        if self._nlist not in self._centroids:
            cells = faiss.index_factory(
                x.shape[1], f"IVF{self._nlist},Flat", faiss.METRIC_INNER_PRODUCT
            )
            cells.train(x)
            self._centroids[self._nlist] = cells.quantizer.reconstruct_n(0, self._nlist)
        centroids = self._centroids[self._nlist]
        if isinstance(self._inner, faiss.IndexPreTransform):
            rotation = faiss.downcast_VectorTransform(self._inner.chain.at(0))
            rotation.train(x[:1])  # at random: a row is one too many
            centroids = rotation.apply(centroids)
        self.ivf.quantizer.add(centroids)

    def settings(self) -> Iterator[list[Setting]]:
        """Yield lists to look at, for each way to do so and each number of rows to refine."""
        for way, factor in product(_IMPLEMENTATIONS, _FAISS_FACTORS if self.refined else (1,)):
            depth = {"implem": way, "k_factor": factor} if self.refined else {"implem": way}
            yield [{"nprobe": probes, **depth} for probes in _probes(self._nlist)]

    def use(self, setting: Setting) -> None:
        """Set the attributes of the index."""
        self.ivf.nprobe, self.ivf.implem = int(setting["nprobe"]), int(setting["implem"])
        if self.refined:
            self.index.k_factor = setting["k_factor"]

    def search(self, q: Array, k: int) -> Array:
        """Return the labels of the k nearest vectors of each query."""
        return np.asarray(self.index.search(q, k)[1])


class WaterfillLists:
    """``IndexIVF`` at a budget of bytes per vector, the scale paid from it."""

    library = "waterfill"

    def __init__(self, budget: int, nlist: int, refine: str | None = None) -> None:
        kept = f", refine {refine}" if refine else ""
        self.family = f"waterfill {budget}{kept}"
        self.name = f"{self.family}, {nlist} lists"
        self.refined = refine is not None
        self._budget, self._nlist, self._refine = budget, nlist, refine

    @property
    def size(self) -> int:
        """Bytes of the code, its scale, and the row that is kept for refining."""
        return self._budget + (2 * self.index.d if self.refined else 0)

    def fill(self, x: Array) -> None:
        """Train and add the same vectors."""
        plan = wf.Plan.waterfill(wf.analyze(x), code_bytes=self._budget - 1)
        more = {"refine": self._refine} if self._refine else {}
        self.index = wf.IndexIVF(plan, self._nlist, metric="ip", **more)
        self.index.train(x)
        self.index.add(x)

    def settings(self) -> Iterator[list[Setting]]:
        """Yield lists to look at, for each depth of the stages after."""
        for factor, sigma in product(_REFINE_FACTORS, _DEPTHS):
            depth: Setting = {"refine_factor": factor, "prune_sigma": sigma}
            if self.refined:  # as many rows as candidates: none needs a full score
                depth = {**depth, "k_factor": factor}
            yield [{"nprobe": probes, **depth} for probes in _probes(self._nlist)]

    def use(self, setting: Setting) -> None:
        """Set the attributes of the index."""
        for name, value in setting.items():
            setattr(self.index, name, value)

    def search(self, q: Array, k: int) -> Array:
        """Return the labels of the k nearest vectors of each query."""
        return np.asarray(self.index.search(q, k)[1])


class WaterfillReach(WaterfillLists):
    """``IndexFlat`` with as many cells, which scans those that prune_sigma leaves."""

    def __init__(self, budget: int, nlist: int) -> None:
        super().__init__(budget, nlist)
        self.family = f"waterfill {budget}, IndexFlat"
        self.name = f"{self.family}, {nlist} cells"

    def fill(self, x: Array) -> None:
        """Train and add the same vectors."""
        plan = wf.Plan.waterfill(wf.analyze(x), code_bytes=self._budget - 1)
        self.index = wf.IndexFlat(wf.Codec.train(x, plan, cells=self._nlist, metric="ip"))
        self.index.add(x)

    def settings(self) -> Iterator[list[Setting]]:
        """Yield reaches for each depth of the stage after."""
        for factor in _REFINE_FACTORS:
            yield [{"prune_sigma": sigma, "refine_factor": factor} for sigma in _REACHES]


def contenders(
    budgets: Sequence[int], lists: Sequence[int], d: int, store: Path | None
) -> Iterator[Swept]:
    """Yield waterfill, then its peers of a byte for eight dimensions and for four."""
    for budget, nlist in product(budgets, lists):
        yield WaterfillLists(budget, nlist)
        yield WaterfillLists(budget, nlist, refine="float16")
        yield WaterfillReach(budget, nlist)
    centroids: dict[int, Array] = {}
    for pattern, nlist in product(_patterns(d), lists):
        yield FaissLists(pattern, nlist, d, centroids, store)


def _patterns(d: int) -> Iterator[str]:
    """Yield the peers: 4-bit codes of rows and of residuals, RaBitQ of 1, 2 and 4 bits."""
    parts = [part for part in (d // 4, d // 2) if d % part == 0]
    scans = [f"IVF{{}},PQ{part}x4fs{kind}" for part in parts for kind in ("", "r")]
    bits = [f"RR{d},IVF{{}},RaBitQfs{number}" for number in ("", "2", "4")]
    yield from [*scans, *bits]
    coarse = [f"IVF{{}},PQ{d // 8}x4fs{kind}" for kind in ("", "r")] if d % 8 == 0 else []
    for base in [*coarse, *scans, *bits[:2]]:
        yield f"{base},Refine(SQfp16)"


def _probes(nlist: int) -> list[int]:
    return [probes for probes in PROBES if probes <= nlist]
