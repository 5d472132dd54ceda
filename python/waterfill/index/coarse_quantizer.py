"""Coarse quantizers of an IndexIVF: its own, and a FAISS index that finds the lists."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from waterfill import _core
from waterfill._util.validation import METRIC_TYPES, Metric, as_positive_int, output
from waterfill.data.rows import FloatRows, Rows
from waterfill.errors import MissingIdError

Labels = NDArray[np.int64]


class CoarseQuantizer:
    """The centroids of an index and their search, as ``faiss.IndexIVF.quantizer``; read-only.

    Where the vectors of training had the same norm, lists are found by direction, in a search of
    the index as well: the centroids are then divided by their norms. Otherwise a search of the
    index for inner products ranks lists by the best score that their vectors can have, which also
    depends on how far the vectors of a list are from their centroid. This search ranks centroids,
    as FAISS's does.

    Parameters
    ----------
    centroids : float32 (nlist, d)
    metric : {'ip', 'l2', 'cosine'}
    """

    is_trained = True

    def __init__(self, centroids: FloatRows, metric: Metric) -> None:
        self._centroids = centroids
        self._metric = metric
        self.metric_type = METRIC_TYPES[metric]

    @property
    def d(self) -> int:
        """Dimensions of the centroids."""
        return int(self._centroids.shape[1])

    @property
    def ntotal(self) -> int:
        """Number of centroids."""
        return len(self._centroids)

    def search(self, x: Any, k: int, *, params: None = None) -> tuple[FloatRows, Labels]:
        """Find the k nearest centroids of each row.

        Parameters
        ----------
        x : array_like, shape (n, d)
        k : int
        params : None
            For compatibility with FAISS.

        Returns
        -------
        D : float32 (n, k)
            Inner products, or squared distances for L2, best first.
        I : int64 (n, k)
            Numbers of lists; -1 beyond `ntotal`, with the worst distance.

        Raises
        ------
        ValueError, TypeError
            As `IndexIVF.search`; or if `params` is not None.
        """
        if params is not None:
            raise ValueError("params: expected None, the coarse quantizer has no search parameters")
        rows, k = Rows(x, "x", self.d), as_positive_int("k", k)
        l2 = self._metric == "l2"
        worst = np.finfo(np.float32).max * (1 if l2 else -1)
        distances = np.full((rows.n, k), worst, dtype=np.float32)
        labels = np.full((rows.n, k), -1, dtype=np.int64)
        found = min(k, self.ntotal)
        for first, block in rows.blocks():
            scores = self._scores(block)
            order = np.argsort(scores if l2 else -scores, axis=1, kind="stable")[:, :found]
            part = slice(first, first + len(block))
            labels[part, :found] = order
            distances[part, :found] = np.take_along_axis(scores, order, axis=1)
        return distances, labels

    def _scores(self, block: FloatRows) -> FloatRows:
        if self._metric == "cosine":
            block = _core.normalize_rows(block)
        products: FloatRows = block @ self._centroids.T
        if self._metric != "l2":
            return products
        norms = np.square(self._centroids).sum(axis=1)
        squares: FloatRows = np.square(block).sum(axis=1)[:, None] + norms - 2 * products
        squares[squares < 0] = 0  # rounding
        return squares

    def assign(self, x: Any, k: int = 1, labels: Labels | None = None) -> Labels:
        """Return the k nearest centroids of each row, int64 (n, k), in `labels` if given."""
        found = self.search(x, k)[1]
        out = output("labels", labels, found.shape, np.int64)
        out[:] = found
        return out

    def reconstruct(self, key: int) -> NDArray[np.float32]:
        """Return a centroid, float32 (d,); MissingIdError if there is no such list."""
        centroid: NDArray[np.float32] = self.reconstruct_n(key, 1)[0]
        return centroid

    def reconstruct_n(self, n0: int = 0, ni: int = -1) -> FloatRows:
        """Return `ni` centroids from the n0-th on, float32 (ni, d); -1 for all remaining."""
        ni = self.ntotal - n0 if ni == -1 else ni
        if n0 < 0 or ni < 0 or n0 + ni > self.ntotal:
            raise MissingIdError(f"n0={n0}, ni={ni} reach beyond {self.ntotal} centroids")
        return self._centroids[n0 : n0 + ni].copy()

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(
            f"CoarseQuantizer has no attribute {name!r}: it is a read-only view of the centroids; "
            "IndexIVF(..., quantizer=) takes a FAISS index that finds the lists"
        )

    def __len__(self) -> int:
        return self.ntotal

    def __bool__(self) -> bool:
        return True

    def __repr__(self) -> str:
        return f"CoarseQuantizer: {self.ntotal:,} centroids of {self.d} dimensions"


def check_quantizer(quantizer: Any, d: int, nlist: int) -> None:
    """Raise an error unless a quantizer is a FAISS index of nlist centroids, or empty."""
    for name in ("d", "ntotal", "search", "add", "reconstruct_n"):
        if not hasattr(quantizer, name):
            raise TypeError(f"quantizer must be a faiss.Index, got {type(quantizer).__name__}")
    if quantizer.d != d:
        raise ValueError(f"quantizer has {quantizer.d} dimensions, expected {d}")
    if quantizer.ntotal not in (0, nlist):
        raise ValueError(f"quantizer has {quantizer.ntotal} vectors, expected nlist={nlist} or 0")


def add_centroids(quantizer: Any, codec: _core.Codec) -> None:
    """Add the centroids of a codec to an empty quantizer; compare those of another one.

    If cells are found by direction, an empty quantizer gets centroids of norm 1, which it ranks by
    direction under L2 and inner product alike.
    """
    if quantizer.ntotal == 0:
        centroids = codec.routing_vectors
        if not quantizer.is_trained:
            quantizer.train(centroids)
        quantizer.add(centroids)
        return
    found = quantizer.reconstruct_n(0, quantizer.ntotal)
    for known in (codec.routing_vectors, codec.arrays["centroids"]):
        if np.allclose(found, known, atol=1e-5 * np.abs(known).max()):
            return
    raise ValueError("quantizer has other centroids than the codec")
