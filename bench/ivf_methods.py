"""IVF indexes of waterfill and FAISS, with and without rows to refine with."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any

import faiss
import numpy as np
from methods import set_threads
from recall_curves import Setting
from swept_methods import FAISS_METRICS, Array, Scope

import waterfill as wf

_BLOCK = 32  # vectors per block of FAISS's fast scan
_ID_BYTES = 8
# FAISS's fast-scan implementations: 0 selects one that scans each list once for all queries that
# probe it; 10 scans query by query, and so does 11, which FAISS prefers for more than 20 results.
_BY_LIST, _BY_QUERY, _BY_QUERY_MANY, _MANY = 0, 10, 11, 20
_K = 10
_FAISS_FACTORS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)
_ROW_FACTORS = (2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)  # refine_factor = k_factor: no full scores
_FULL_FACTORS = ((40, 2), (80, 2), (80, 4), (160, 8))  # full scores: more than 16 times k_factor
_REFINE_FACTORS = (2, 3, 5, 7, 10, 14, 20, 28, 40, 56, 80)
_SIGMAS = (3.0, 2.5, 4.0)  # prune_sigma with nprobe


class FaissShelf:
    """FAISS's centroids, filled IVF indexes and refine rows, shared by the indexes of one set."""

    def __init__(self, scope: Scope) -> None:
        self._scope = scope
        self._metric = FAISS_METRICS[scope.metric]
        self._centroids: dict[int, Array] = {}
        self._filled: dict[str, Any] = {}
        self._rows: Any = None

    def filled(self, factory: str, nlist: int, x: Array) -> Any:
        """Return a filled index of FAISS's factory: stored, or trained with shared centroids."""
        if factory not in self._filled:
            self._filled[factory] = self._read(factory) or self._fill(factory, nlist, x)
        return self._filled[factory]

    def refined(self, index: Any, x: Array) -> Any:
        """Return a filled index with float16 rows; all indexes share the rows."""
        if self._rows is None:
            kind = faiss.ScalarQuantizer.QT_fp16
            self._rows = faiss.IndexScalarQuantizer(x.shape[1], kind, self._metric)
            self._rows.train(x[:1])
            self._rows.add(x)
        return faiss.IndexRefine(index, self._rows)

    def _read(self, factory: str) -> Any:
        path = self._scope.path(factory, "faiss")
        return faiss.read_index(str(path)) if path and path.is_file() else None

    def _fill(self, factory: str, nlist: int, x: Array) -> Any:
        index = faiss.index_factory(x.shape[1], factory, self._metric)
        faiss.omp_set_num_threads(self._scope.threads)
        self._set_centroids(index, nlist, x)
        index.train(x)
        index.add(x)
        set_threads(1)
        path = self._scope.path(factory, "faiss")
        if path:
            faiss.write_index(index, str(path))
        return index

    def _set_centroids(self, index: Any, nlist: int, x: Array) -> None:
        """Set the shared centroids, after the rotation of the index if it has one."""
        if nlist not in self._centroids:
            cells = faiss.index_factory(x.shape[1], f"IVF{nlist},Flat", self._metric)
            cells.train(x)
            self._centroids[nlist] = cells.quantizer.reconstruct_n(0, nlist)
        centroids = self._centroids[nlist]
        if isinstance(index, faiss.IndexPreTransform):
            rotation = faiss.downcast_VectorTransform(index.chain.at(0))
            rotation.train(x[:1])  # the random rotation ignores the rows
            centroids = rotation.apply(centroids)
        faiss.downcast_index(faiss.extract_index_ivf(index)).quantizer.add(centroids)


class FaissLists:
    """An IVF index of FAISS's factory, with a fast scan.

    Parameters
    ----------
    pattern
        The factory's string, with ``{}`` for the number of lists.
    refine
        Whether to refine with float16 rows.
    """

    def __init__(
        self, scope: Scope, shelf: FaissShelf, pattern: str, nlist: int, refine: bool
    ) -> None:
        self._scope, self._shelf, self._nlist, self._refine = scope, shelf, nlist, refine
        self._factory = pattern.format(nlist)
        self.name = f"FAISS {self._factory}" + (",Refine(SQfp16)" if refine else "")

    @property
    def size(self) -> float:
        """Bytes of the codes, in whole blocks, of the id and of the row."""
        sizes = np.array([self._ivf.invlists.list_size(one) for one in range(self._nlist)])
        codes = float((-(-sizes // _BLOCK) * _BLOCK).sum()) * self._ivf.code_size / sizes.sum()
        return codes + _ID_BYTES + (2 * self._scope.d if self._refine else 0)

    def fill(self, x: Array) -> None:
        """Train on the vectors and add them."""
        inner = self._shelf.filled(self._factory, self._nlist, x)
        self._ivf = faiss.downcast_index(faiss.extract_index_ivf(inner))
        self.index = self._shelf.refined(inner, x) if self._refine else inner

    def settings(self) -> Iterator[list[Setting]]:
        """Yield numbers of probes for each implementation and refinement factor."""
        for factor in self._scope.values(_FAISS_FACTORS) if self._refine else (1,):
            by_query = _BY_QUERY_MANY if factor * _K > _MANY else _BY_QUERY
            depth = {"k_factor": factor} if self._refine else {}
            for implementation in (_BY_LIST, by_query):
                yield [
                    {"nprobe": probes, **depth, "implem": implementation}
                    for probes in self._scope.probes(self._nlist)
                ]

    def use(self, setting: Setting) -> None:
        """Set the search attributes of the index."""
        self._ivf.nprobe, self._ivf.implem = int(setting["nprobe"]), int(setting["implem"])
        if self._refine:
            self.index.k_factor = setting["k_factor"]

    def search(self, q: Array, k: int) -> Array:
        """Return the labels of the k nearest vectors of each query."""
        return np.asarray(self.index.search(q, k)[1])


class WaterfillShelf:
    """Codecs by budget and number of lists, shared by indexes with and without rows."""

    def __init__(self, scope: Scope) -> None:
        self._scope = scope
        self._codecs: dict[tuple[int, int], wf.Codec] = {}
        self._analysis: Any = None

    def codec(self, budget: int, nlist: int, x: Array) -> wf.Codec:
        """Return the codec; its side information counts towards the budget."""
        if (budget, nlist) not in self._codecs:
            self._analysis = self._analysis or wf.analyze(x)
            metric = self._scope.metric
            side = 2 if metric == "l2" else 1
            plan = wf.Plan.waterfill(self._analysis, code_bytes=budget - side)
            codec = wf.Codec.train(x, plan, cells=nlist, metric=metric)
            self._codecs[budget, nlist] = codec
        return self._codecs[budget, nlist]


class WaterfillLists:
    """``IndexIVF`` at a budget of bytes per vector; `refine` is the type of rows, if any."""

    def __init__(
        self, scope: Scope, shelf: WaterfillShelf, budget: int, nlist: int, refine: str = ""
    ) -> None:
        self._scope, self._shelf, self._refine = scope, shelf, refine
        self._budget, self._nlist = budget, nlist
        self.name = f"waterfill IVF{nlist}, {budget} bytes" + (f", {refine}" if refine else "")

    @property
    def size(self) -> float:
        """Bytes of the codes, in whole blocks, of ids and of rows."""
        return float(self.index.nbytes / self.index.ntotal)

    def fill(self, x: Array) -> None:
        """Train on the vectors and add them."""
        wf.set_num_threads(self._scope.threads)
        codec = self._shelf.codec(self._budget, self._nlist, x)
        options = {"refine": self._refine} if self._refine else {}
        self.index = wf.IndexIVF(codec, self._nlist, metric=self._scope.metric, **options)
        self.index.add(x)
        set_threads(1)

    def settings(self) -> Iterator[list[Setting]]:
        """Yield numbers of probes for each depth of the later stages."""
        sigmas = _SIGMAS[:1] if self._scope.quick else _SIGMAS
        for depth, sigma in product(self._depths(), sigmas):
            yield [
                {"nprobe": probes, **depth, "prune_sigma": sigma}
                for probes in self._scope.probes(self._nlist)
            ]

    def _depths(self) -> Iterator[Setting]:
        if not self._refine:
            for factor in self._scope.values(_REFINE_FACTORS):
                yield {"refine_factor": factor}
            return
        for factor in self._scope.values(_ROW_FACTORS):
            yield {"refine_factor": factor, "k_factor": factor}
        for refined, kept in self._scope.values(_FULL_FACTORS):
            yield {"refine_factor": refined, "k_factor": kept}

    def use(self, setting: Setting) -> None:
        """Set the search attributes of the index."""
        for name, value in setting.items():
            setattr(self.index, name, value)

    def search(self, q: Array, k: int) -> Array:
        """Return the labels of the k nearest vectors of each query."""
        return np.asarray(self.index.search(q, k)[1])
