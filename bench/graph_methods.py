"""Graphs: waterfill's, those of its peers (FAISS's HNSW, hnswlib, usearch), and ScaNN's tree."""

from __future__ import annotations

import importlib
import math
from collections.abc import Iterator
from typing import Any

import faiss
import numpy as np
from methods import set_threads
from recall_curves import Setting
from swept_methods import FAISS_METRICS, Array, Scope

import waterfill as wf

_EFFORTS = (10, 14, 20, 28, 40, 56, 80, 112, 160, 224, 320, 448, 640)  # ef
_BUILD_EFFORT = 200
_FAISS_LINKS, _HNSWLIB_LINKS = 32, 16
_ID_BYTES = 8
_SCANN_LEAVES = (2, 4, 8, 16, 32, 64, 128)
_SCANN_REORDER = (20, 50, 100, 200, 400)
_SCANN_TRAINING_ROWS = 100_000


class WaterfillGraph:
    """``IndexHNSW`` with 32 links per vector."""

    name = "waterfill WFHNSW32"

    def __init__(self, scope: Scope) -> None:
        self._scope = scope

    @property
    def size(self) -> float:
        """Bytes of the row and of its links."""
        return float(self._index.bytes_per_vector)

    def fill(self, x: Array) -> None:
        """Train on the vectors and add them, or read the graph from the store."""
        path = self._scope.path(self.name, "wf")
        if path and path.is_file():
            index = wf.read_index(path)
            assert isinstance(index, wf.IndexHNSW)
            self._index = index
            return
        self._index = wf.IndexHNSW(x.shape[1], 32, self._scope.metric)
        self._index.hnsw.efConstruction = _BUILD_EFFORT
        wf.set_num_threads(self._scope.threads)
        self._index.train(x)
        self._index.add(x)
        set_threads(1)
        if path:
            wf.write_index(self._index, path)

    def settings(self) -> Iterator[list[Setting]]:
        """Yield values of efSearch."""
        yield [{"ef": value} for value in self._scope.values(_EFFORTS)]

    def use(self, setting: Setting) -> None:
        """Set efSearch."""
        self._index.hnsw.efSearch = int(setting["ef"])

    def search(self, q: Array, k: int) -> Array:
        """Return the labels of the k nearest vectors of each query."""
        return self._index.search(q, k)[1]


class FaissGraph:
    """``HNSW32`` of FAISS's factory, on float vectors or with a quantizer such as ``SQ8``."""

    def __init__(self, scope: Scope, storage: str = "") -> None:
        self._scope = scope
        self._factory = f"HNSW{_FAISS_LINKS}" + (f"_{storage}" if storage else "")
        self.name = f"FAISS {self._factory}"

    @property
    def size(self) -> float:
        """Bytes of the vector and of the graph: links, level and offset."""
        graph, n = self._index.hnsw, self._index.ntotal
        links = 4 * graph.neighbors.size() + 8 * graph.offsets.size() + 4 * graph.levels.size()
        return float(faiss.downcast_index(self._index.storage).sa_code_size() + links / n)

    def fill(self, x: Array) -> None:
        """Build the graph, or read it from the store."""
        path = self._scope.path(self._factory, "faiss")
        if path and path.is_file():
            self._index = faiss.read_index(str(path))
            return
        metric = FAISS_METRICS[self._scope.metric]
        self._index = faiss.index_factory(x.shape[1], self._factory, metric)
        self._index.hnsw.efConstruction = _BUILD_EFFORT
        faiss.omp_set_num_threads(self._scope.threads)
        self._index.train(x)
        self._index.add(x)
        set_threads(1)
        if path:
            faiss.write_index(self._index, str(path))

    def settings(self) -> Iterator[list[Setting]]:
        """Yield values of efSearch."""
        yield [{"ef": value} for value in self._scope.values(_EFFORTS)]

    def use(self, setting: Setting) -> None:
        """Set efSearch."""
        self._index.hnsw.efSearch = int(setting["ef"])

    def search(self, q: Array, k: int) -> Array:
        """Return the labels of the k nearest vectors of each query."""
        return np.asarray(self._index.search(q, k)[1])


class Hnswlib:
    """HNSW of the package ``hnswlib``; ImportError without it."""

    def __init__(self, scope: Scope) -> None:
        self._scope = scope
        self.name = f"hnswlib M{_HNSWLIB_LINKS}"
        self._make: Any = importlib.import_module("hnswlib").Index

    @property
    def size(self) -> float:
        """Bytes of vector, links and label, from the size of hnswlib's file."""
        return float(self._index.index_file_size() / self._scope.n)

    def fill(self, x: Array) -> None:
        """Build the graph, or read it from the store."""
        self._index = self._make(space=self._scope.metric, dim=x.shape[1])
        path = self._scope.path(self.name, "hnswlib")
        if path and path.is_file():
            self._index.load_index(str(path))
        else:
            self._index.init_index(len(x), M=_HNSWLIB_LINKS, ef_construction=_BUILD_EFFORT)
            self._index.add_items(x, num_threads=self._scope.threads)
            if path:
                self._index.save_index(str(path))
        self._index.set_num_threads(1)

    def settings(self) -> Iterator[list[Setting]]:
        """Yield values of ef."""
        yield [{"ef": value} for value in self._scope.values(_EFFORTS)]

    def use(self, setting: Setting) -> None:
        """Set ef."""
        self._index.set_ef(int(setting["ef"]))

    def search(self, q: Array, k: int) -> Array:
        """Return the labels of the k nearest vectors of each query."""
        return np.asarray(self._index.knn_query(q, k)[0]).astype(np.int64)


class Usearch:
    """HNSW of the package ``usearch``; `dtype` is that of the stored vectors."""

    def __init__(self, scope: Scope, dtype: str) -> None:
        self._scope, self._dtype = scope, dtype
        self.name = f"usearch {dtype}"
        self._module: Any = importlib.import_module("usearch.index")

    @property
    def size(self) -> float:
        """Bytes of vector, links and key, from the size of usearch's file."""
        return float(self._index.serialized_length / len(self._index))

    def fill(self, x: Array) -> None:
        """Build the graph, or read it from the store."""
        metric = {"ip": "ip", "l2": "l2sq"}[self._scope.metric]
        options = {"metric": metric, "dtype": self._dtype, "expansion_add": _BUILD_EFFORT}
        self._index = self._module.Index(ndim=x.shape[1], **options)
        self._scale = np.float32(1 / np.abs(x).max())  # int8 stands for values of -1 to 1
        path = self._scope.path(self.name, "usearch")
        if path and path.is_file():
            self._index.load(str(path))
            return
        self._index.add(np.arange(len(x)), x * self._scale, threads=self._scope.threads)
        if path:
            self._index.save(str(path))

    def settings(self) -> Iterator[list[Setting]]:
        """Yield values of expansion_search."""
        yield [{"ef": value} for value in self._scope.values(_EFFORTS)]

    def use(self, setting: Setting) -> None:
        """Set expansion_search."""
        self._index.expansion_search = int(setting["ef"])

    def search(self, q: Array, k: int) -> Array:
        """Return the labels of the k nearest vectors of each query."""
        found = self._index.search(q * self._scale, k, threads=1)
        return np.asarray(found.keys).reshape(len(q), k).astype(np.int64)


class Scann:
    """ScaNN's tree with 4-bit codes of two dimensions and float rows; ImportError without it."""

    def __init__(self, scope: Scope) -> None:
        self._scope = scope
        self._leaves = max(1, round(math.sqrt(scope.n) / math.sqrt(2)))
        self.name = f"ScaNN tree {self._leaves}"
        self._module: Any = importlib.import_module("scann")

    @property
    def size(self) -> float:
        """Bytes of codes, of float rows and of the number of the row."""
        return self._scope.d / 4 + 4 * self._scope.d + _ID_BYTES / 2

    def fill(self, x: Array) -> None:
        """Train on the vectors and add them."""
        metric = {"ip": "dot_product", "l2": "squared_l2"}[self._scope.metric]
        rows = min(len(x), _SCANN_TRAINING_ROWS)
        builder = self._module.scann_ops_pybind.builder(x, 10, metric)
        builder.set_n_training_threads(self._scope.threads)
        builder = builder.tree(self._leaves, _SCANN_LEAVES[0], training_sample_size=rows)
        threshold = {"ip": 0.2, "l2": float("nan")}[self._scope.metric]  # as its documentation
        builder = builder.score_ah(2, anisotropic_quantization_threshold=threshold)
        self._index = builder.reorder(_SCANN_REORDER[0]).build()
        self._index.set_num_threads(1)

    def settings(self) -> Iterator[list[Setting]]:
        """Yield numbers of leaves for each number of reordered candidates."""
        for reorder in self._scope.values(_SCANN_REORDER):
            yield [{"reorder": reorder, "leaves": leaves} for leaves in self._leaf_counts()]

    def _leaf_counts(self) -> list[int]:
        return [one for one in self._scope.values(_SCANN_LEAVES) if one <= self._leaves]

    def use(self, setting: Setting) -> None:
        """Choose leaves and candidates of the following searches."""
        self._options = {
            "leaves_to_search": int(setting["leaves"]),
            "pre_reorder_num_neighbors": int(setting["reorder"]),
        }

    def search(self, q: Array, k: int) -> Array:
        """Return the labels of the k nearest vectors of each query."""
        if len(q) == 1:
            found = self._index.search(q[0], final_num_neighbors=k, **self._options)[0]
            return np.asarray(found, dtype=np.int64)[None]
        found = self._index.search_batched(q, final_num_neighbors=k, **self._options)[0]
        return np.asarray(found).astype(np.int64)
