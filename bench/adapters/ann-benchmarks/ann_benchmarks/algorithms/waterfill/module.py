"""waterfill for ann-benchmarks: an inverted file of codes, and a graph over rows of bytes."""

from __future__ import annotations

import os
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

import waterfill as wf

from ..base.module import BaseANN

_METRICS: dict[str, Literal["cosine", "l2"]] = {"angular": "cosine", "euclidean": "l2"}
_LEAST_CODE_BYTES = 8


class _Index(BaseANN):
    """What both indexes have in common: searches, and what is said about them."""

    index: Any

    def __init__(self, metric: str) -> None:
        if metric not in _METRICS:
            raise NotImplementedError(f"waterfill has no metric {metric}")
        self._metric = _METRICS[metric]

    def _fill(self, x: NDArray[Any]) -> None:
        wf.set_num_threads(os.cpu_count() or 1)
        x = np.ascontiguousarray(x, np.float32)
        self.index.train(x)
        self.index.add(x)
        wf.set_num_threads(1)

    def query(self, q: NDArray[Any], n: int) -> NDArray[np.int64]:
        """Return the labels of the n nearest vectors."""
        found = self.index.search(q[None], n)[1][0]
        return found[found >= 0]

    def batch_query(self, x: NDArray[Any], n: int) -> None:
        """Search all queries with all cores."""
        wf.set_num_threads(os.cpu_count() or 1)
        self.res = [row[row >= 0] for row in self.index.search(x, n)[1]]
        wf.set_num_threads(1)

    def get_additional(self) -> dict[str, Any]:
        """Return the memory of the index per vector, with rows, links and codebooks."""
        return {"bytes_per_vector": self.index.nbytes / self.index.ntotal}


class WaterfillIVF(_Index):
    """Codes in inverted lists, by default without the vectors.

    Parameters
    ----------
    metric : {'angular', 'euclidean'}
    lists : int
        Lists of the inverted file.
    bits : float
        Bits of a code per dimension.
    rows : {'', 'int8', 'float16'}
        Rows that the best candidates are compared with; without them codes alone decide.
    """

    def __init__(self, metric: str, lists: int, bits: float, rows: str) -> None:
        super().__init__(metric)
        self._lists, self._bits, self._rows = lists, bits, rows

    def fit(self, x: NDArray[Any]) -> None:
        """Train the codec on the vectors and add them."""
        d = x.shape[1]
        size = min(d, max(_LEAST_CODE_BYTES, round(d * self._bits / 8)))
        self.index = wf.IndexIVF(
            wf.Recipe(d, size), self._lists, metric=self._metric, refine=self._rows or None
        )
        self._fill(x)

    def set_query_arguments(self, nprobe: int, k_factor: float) -> None:
        """Set the lists to search, and the candidates per neighbour to compare with rows."""
        self.index.nprobe = min(nprobe, self._lists)
        self.index.k_factor = k_factor
        self._query = f"nprobe={nprobe}" + (f",k_factor={k_factor}" if self._rows else "")

    def __str__(self) -> str:
        rows = f",{self._rows}" if self._rows else ""
        return f"waterfill-ivf({self._lists},{self._bits} bits{rows},{self._query})"


class WaterfillHNSW(_Index):
    """A graph over rows of a byte per dimension.

    Parameters
    ----------
    metric : {'angular', 'euclidean'}
    links : int
        Links per vector, at most (M).
    effort : int
        Candidates while the graph is built (efConstruction).
    """

    def __init__(self, metric: str, links: int, effort: int) -> None:
        super().__init__(metric)
        self._links, self._effort = links, effort

    def fit(self, x: NDArray[Any]) -> None:
        """Build the graph."""
        self.index = wf.IndexHNSW(x.shape[1], self._links, self._metric)
        self.index.hnsw.efConstruction = self._effort
        self._fill(x)

    def set_query_arguments(self, ef: int) -> None:
        """Set the candidates of a search (efSearch)."""
        self.index.hnsw.efSearch = ef
        self._query = f"ef={ef}"

    def __str__(self) -> str:
        return f"waterfill-hnsw(M={self._links},efConstruction={self._effort},{self._query})"
