"""Read-only views of an index that FAISS's own offer: the id map, a distance computer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from waterfill._util.optional import loaded_faiss
from waterfill._util.validation import as_int
from waterfill.errors import ArgumentError
from waterfill.index.selector_graph import Ids

if TYPE_CHECKING:
    from waterfill.index.base import Index


class IdMap(np.ndarray[Any, np.dtype[np.int64]]):
    """The ids of an index in order of insertion, int64 (ntotal,), as ``IndexIDMap.id_map``.

    A read-only copy, made by `id_map` of an index: ``faiss.vector_to_array`` takes it, and writing
    to it raises an error.
    """

    @classmethod
    def of(cls, ids: Ids) -> IdMap:
        """Return a view of ids.

        Parameters
        ----------
        ids : int64 (n,)
            The ids, which must not be used elsewhere.

        Returns
        -------
        IdMap
            The view.
        """
        ids.setflags(write=False)
        return ids.view(cls)

    def at(self, i: int) -> int:
        """Return the i-th id.

        Parameters
        ----------
        i : int
            Position in order of insertion.

        Returns
        -------
        int
            The id.

        Raises
        ------
        IndexError
            If there is no such position.
        """
        return int(self[i])


class DistanceComputer:
    """Distances between a query and the vectors of an index, as ``faiss.DistanceComputer``.

    Vectors are numbered in order of insertion. It is for few vectors: `Index.search` is faster.

    Parameters
    ----------
    index : IndexFlat or IndexIVF
        The index of the vectors.
    """

    def __init__(self, index: Index) -> None:
        self._index = index
        self._query: NDArray[np.float32] | None = None

    def set_query(self, x: Any) -> None:
        """Set the query.

        Parameters
        ----------
        x : array_like, shape (d,), or SWIG pointer
            The query, float32.

        Raises
        ------
        ValueError
            If an array has another shape.
        """
        query = from_pointer(x, self._index.d, np.float32)
        if query.shape != (self._index.d,):
            raise ArgumentError(f"x must have shape ({self._index.d},), got {query.shape}")
        self._query = self._index._prepare(np.array(query[None], dtype=np.float32))[0]

    def __call__(self, i: int) -> float:
        """Return the inner product of the query with vector i, or the squared distance for L2.

        Raises
        ------
        RuntimeError
            Before `set_query`.
        MissingIdError
            If there is no vector i.
        """
        if self._query is None:
            raise RuntimeError("the distance computer has no query: call set_query(x) first")
        return self._distance(self._query, self._vector(i))

    def symmetric_dis(self, i: int, j: int) -> float:
        """Return the distance between two vectors of the index.

        Parameters
        ----------
        i, j : int
            Positions in order of insertion.

        Returns
        -------
        float
            Inner product or squared distance.
        """
        return self._distance(self._vector(i), self._vector(j))

    def _vector(self, i: int) -> NDArray[np.float32]:
        vector: NDArray[np.float32] = self._index.reconstruct_n(as_int("i", i), 1)[0]
        return vector

    def _distance(self, a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
        if self._index.metric == "l2":
            return float(np.square(a - b).sum())
        return float(a @ b)


def from_pointer(x: Any, n: int, dtype: Any) -> NDArray[Any]:
    """Return n numbers behind a SWIG pointer as an array; other values by ``numpy.asarray``."""
    if type(x).__name__ == "SwigPyObject":
        array: NDArray[Any] = loaded_faiss().rev_swig_ptr(x, n)
        return array
    return np.asarray(x, dtype=dtype)
