"""`IndexProxy`: forwards the methods of an index to the current one."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from waterfill._util.validation import Metric
from waterfill.codec import Codec
from waterfill.data.row_policy import Policy, Quarantine
from waterfill.data.rows import FloatRows
from waterfill.index.vector_index import Labels
from waterfill.training.manifest import Manifest


class IndexProxy(ABC):
    """Base of `SwapIndex`: forwards searches, updates and properties to `index`."""

    _writing: threading.RLock

    @property
    @abstractmethod
    def index(self) -> Any:
        """The current index."""

    # Searching and decoding.

    def search(self, x: Any, k: int, **options: Any) -> tuple[FloatRows, Labels]:
        """Find the k nearest vectors of each query in the current generation.

        Parameters
        ----------
        x : array_like, shape (n, d)
            Queries.
        k : int
            At least 1; may exceed `ntotal`.
        **options : object
            As for `IndexFlat.search`.

        Returns
        -------
        D : float32 (n, k)
            Best first, as of `IndexFlat.search`.
        I : int64 (n, k)
            Ids; -1 where there are fewer than k vectors.

        Raises
        ------
        ValueError, TypeError
            As `IndexFlat.search`.
        """
        result: tuple[FloatRows, Labels] = self.index.search(x, k, **options)
        return result

    def search_and_reconstruct(
        self, x: Any, k: int, **options: Any
    ) -> tuple[FloatRows, Labels, NDArray[np.float32]]:
        """Search, and decode the results, in the same generation.

        Parameters
        ----------
        x : array_like, shape (n, d)
            Queries.
        k : int
            At least 1; may exceed `ntotal`.
        **options : object
            As for `IndexFlat.search_and_reconstruct`.

        Returns
        -------
        D, I : float32 (n, k) and int64 (n, k)
            As of `search`.
        R : float32 (n, k, d)
            Vectors; NaN where there are fewer than k.

        Raises
        ------
        ValueError, TypeError
            As `IndexFlat.search_and_reconstruct`.
        """
        result: tuple[FloatRows, Labels, NDArray[np.float32]] = self.index.search_and_reconstruct(
            x, k, **options
        )
        return result

    def range_search(
        self, x: Any, thresh: float, **options: Any
    ) -> tuple[NDArray[np.uint64], NDArray[np.float32], Labels]:
        """Find all vectors within a radius in the current generation.

        Parameters
        ----------
        x : array_like, shape (n, d)
            Queries.
        thresh : float
            The radius: results have inner products above it, or squared distances below it.
        **options : object
            As for `IndexFlat.range_search`.

        Returns
        -------
        lims : uint64 (n + 1,)
            The results of query i are those from ``lims[i]`` up to ``lims[i + 1]``.
        D : float32 (lims[n],)
            Inner products or squared distances.
        I : int64 (lims[n],)
            Ids.

        Raises
        ------
        ValueError, TypeError
            As `IndexFlat.range_search`.
        """
        result: tuple[NDArray[np.uint64], NDArray[np.float32], Labels] = self.index.range_search(
            x, thresh, **options
        )
        return result

    def assign(self, x: Any, k: int = 1, labels: Labels | None = None) -> Labels:
        """Return the ids that `search` finds.

        Parameters
        ----------
        x : array_like, shape (n, d)
            Queries.
        k : int
            At least 1; may exceed `ntotal`.
        labels : int64 (n, k), optional
            Array for the ids.

        Returns
        -------
        int64 (n, k)
            The ids; `labels`, if given.

        Raises
        ------
        ValueError, TypeError
            As `search`.
        """
        result: Labels = self.index.assign(x, k, labels)
        return result

    def reconstruct(self, key: int, x: Any = None) -> NDArray[np.float32]:
        """Decode the vector with an id.

        Parameters
        ----------
        key : int
            The id.
        x : float32 (d,), optional
            Array for the vector.

        Returns
        -------
        float32 (d,)
            The vector; `x`, if given.

        Raises
        ------
        MissingIdError
            If there is no vector with this id.
        TypeError
            If `key` is not an int.
        """
        result: NDArray[np.float32] = self.index.reconstruct(key, x)
        return result

    def reconstruct_batch(self, key: Any, x: Any = None) -> NDArray[np.float32]:
        """Decode the vectors with given ids.

        Parameters
        ----------
        key : array_like of int, shape (n,)
            The ids.
        x : float32 (n, d), optional
            Array for the vectors.

        Returns
        -------
        float32 (n, d)
            The vectors; `x`, if given.

        Raises
        ------
        MissingIdError
            If there is no vector with one of these ids.
        TypeError
            If `key` does not hold integers.
        """
        result: NDArray[np.float32] = self.index.reconstruct_batch(key, x)
        return result

    def reconstruct_n(self, n0: int = 0, ni: int = -1, x: Any = None) -> FloatRows:
        """Decode vectors in order of insertion.

        Parameters
        ----------
        n0 : int
            Position of the first vector.
        ni : int
            Number of vectors; -1 for all remaining ones.
        x : float32 (ni, d), optional
            Array for the vectors.

        Returns
        -------
        float32 (ni, d)
            The vectors; `x`, if given.

        Raises
        ------
        MissingIdError
            If the range exceeds the index.
        TypeError
            If `n0` or `ni` is not an int.
        """
        result: FloatRows = self.index.reconstruct_n(n0, ni, x)
        return result

    def ids(self, n0: int = 0, ni: int = -1) -> Labels:
        """Return the ids of vectors in order of insertion.

        Parameters
        ----------
        n0 : int
            Position of the first vector.
        ni : int
            Number of vectors; -1 for all remaining ones.

        Returns
        -------
        int64 (ni,)
            The ids.

        Raises
        ------
        MissingIdError
            If the range exceeds the index.
        TypeError
            If `n0` or `ni` is not an int.
        """
        result: Labels = self.index.ids(n0, ni)
        return result

    # Adding and removing.

    def add(self, x: Any, numeric_type: int = 0, *, policy: Policy = "raise") -> None:
        """Add vectors to the current generation; waits while a swap runs.

        Parameters
        ----------
        x : array_like, shape (n, d)
            Vectors.
        numeric_type : int
            Ignored, because `x` has a dtype; for compatibility with FAISS.
        policy : {'raise', 'drop', 'quarantine'}
            As for `IndexFlat.add`.

        Raises
        ------
        ValueError, TypeError, MissingIdError
            As `IndexFlat.add`.
        """
        with self._writing:
            self.index.add(x, numeric_type, policy=policy)

    def add_with_ids(
        self, x: Any, ids: Any, numeric_type: int = 0, *, policy: Policy = "raise"
    ) -> None:
        """Add vectors with explicit ids to the current generation; waits while a swap runs.

        Parameters
        ----------
        x : array_like, shape (n, d)
            Vectors.
        ids : array_like of int, shape (n,)
            Any but -1, which means "no result".
        numeric_type : int
            As for `add`.
        policy : {'raise', 'drop', 'quarantine'}
            As for `IndexFlat.add_with_ids`.

        Raises
        ------
        ValueError, TypeError
            As `IndexFlat.add_with_ids`.
        """
        with self._writing:
            self.index.add_with_ids(x, ids, numeric_type, policy=policy)

    def upsert(self, ids: Any, x: Any, *, policy: Policy = "raise") -> None:
        """Replace vectors of an index in a folder by id; waits while a swap runs.

        Parameters
        ----------
        ids : array_like of int, shape (n,)
            Each once, and not -1.
        x : array_like, shape (n, d)
            Vectors.
        policy : {'raise', 'drop', 'quarantine'}
            As for `waterfill.folder.FolderIndex.upsert`.

        Raises
        ------
        ValueError, TypeError, OSError
            As `waterfill.folder.FolderIndex.upsert`.
        AttributeError
            If the current index is not in a folder.
        """
        with self._writing:
            self.index.upsert(ids, x, policy=policy)

    def remove_ids(self, x: Any) -> int:
        """Remove vectors by id; waits while a swap runs.

        Parameters
        ----------
        x : array_like of int, shape (m,), or IDSelector
            Ids that are not in the index are ignored, and duplicates count once.

        Returns
        -------
        int
            Number of removed vectors.

        Raises
        ------
        TypeError
            If `x` is neither an array of integers nor a selector.
        """
        with self._writing:
            return int(self.index.remove_ids(x))

    # Properties.

    @property
    def d(self) -> int:
        """Dimensions of the vectors."""
        return int(self.index.d)

    @property
    def ntotal(self) -> int:
        """Number of vectors."""
        return int(self.index.ntotal)

    @property
    def metric(self) -> Metric:
        """One of ``ip``, ``l2``, ``cosine``."""
        result: Metric = self.index.metric
        return result

    @property
    def metric_type(self) -> int:
        """FAISS's number for the metric."""
        return int(self.index.metric_type)

    @property
    def is_trained(self) -> bool:
        """Always true."""
        return True

    @property
    def codec(self) -> Codec:
        """Codec of the current generation."""
        result: Codec = self.index.codec
        return result

    @property
    def manifest(self) -> Manifest | None:
        """Training manifest of the current codec: see `Codec.manifest`."""
        return self.codec.manifest

    @property
    def quarantine(self) -> Quarantine:
        """Rows that the current generation rejected and kept: see `IndexFlat.add`."""
        result: Quarantine = self.index.quarantine
        return result

    @property
    def nbytes(self) -> int:
        """Memory of the current generation in bytes, without generations kept for `rollback`."""
        return int(self.index.nbytes)

    def __len__(self) -> int:
        return self.ntotal

    def __bool__(self) -> bool:
        return True
