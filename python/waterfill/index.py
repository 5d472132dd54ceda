"""Compressed vectors with ids and search: the drop-in for a flat FAISS index."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from waterfill import _core
from waterfill.codec import Codec
from waterfill.rows import FloatRows, Rows

Metric = Literal["ip", "l2", "cosine"]
Labels = NDArray[np.int64]

_METRICS: dict[str, _core.Metric] = {
    "ip": _core.Metric.inner_product,
    "l2": _core.Metric.l2,
    "cosine": _core.Metric.cosine,
}
_LEAST_CANDIDATES = 100
_QUARTERS = 4


class IndexFlat:
    """All vectors in one compressed list, searched exhaustively in two stages.

    The coarse stage reads half of every code, or less; the best ``refine_factor * k`` vectors (at
    least 100) get the full score. Ids are positions, as in FAISS: the first vector added is 0, and
    after `remove_ids` the survivors are numbered anew.

    Parameters
    ----------
    codec : Codec
    metric : {'ip', 'l2', 'cosine'}
        ``ip``: inner product, higher is nearer. ``l2``: squared Euclidean distance, lower is
        nearer. ``cosine``: vectors and queries are divided by their norm, then inner product; zero
        vectors stay zero.

    Attributes
    ----------
    refine_factor : int
        The codec's choice at first; may be set, at least 1. More is slower and nearer to an
        exhaustive full score.
    scan_groups : int
        Groups that the coarse stage reads, those that contribute most first: the codec's choice at
        first; may be set, from 1 to the number of groups (code bytes).
    reach : float
        With cells: a search opens with the cells nearest to the query and passes by those whose
        vectors would score less than what these gave even if their products with the query were so
        many standard deviations above zero. The codec's choice at first; may be set, at least 0;
        ``float("inf")`` scans every cell.

    Raises
    ------
    ValueError
        For an unknown metric, or one that does not go with the codec: ``cosine`` needs a codec
        trained on vectors of norm 1 (``wf.analyze(x, normalize=True)``), ``l2`` a plan without
        `pq_multiplier`.
    TypeError
        If `codec` is not a Codec.

    Notes
    -----
    With ``q`` a query, ``c`` the centroid of the vector's cell (the mean where the codec has no
    cells), ``u`` the decoded direction, ``rho`` the distance from c and ``s = rho / |u|**alpha``,
    the full score is ``<q, c> + s <q, u>`` for inner products and
    ``|q - c - s u|^2`` for L2. Safe to search from several threads; adding
    and removing wait for running searches.
    """

    def __init__(self, codec: Codec, metric: Metric = "ip") -> None:
        if not isinstance(codec, Codec):
            raise TypeError(f"codec must be a waterfill.Codec, got {type(codec).__name__}")
        if metric not in _METRICS:
            raise ValueError(f"metric={metric!r} must be 'ip', 'l2' or 'cosine'")
        self._attach(_core.IndexFlat(codec._core, _METRICS[metric]), codec, metric)

    def _attach(self, core: _core.IndexFlat, codec: Codec, metric: Metric) -> None:
        self._core = core
        self._codec = codec
        self._metric: Metric = metric
        depth = "l2" if metric == "l2" else "ip"
        self._refine_factor = codec.refine_factor[depth]
        self._scan_groups = codec.scan_groups[depth]
        self._reach = codec.reach[depth]

    @classmethod
    def _wrap(cls, core: _core.IndexFlat) -> IndexFlat:
        index = cls.__new__(cls)
        metric = next(name for name, value in _METRICS.items() if value == core.metric)
        index._attach(core, Codec(core.codec), metric)  # type: ignore[arg-type]
        return index

    @property
    def codec(self) -> Codec:
        """What encodes its vectors."""
        return self._codec

    @property
    def metric(self) -> Metric:
        """One of ``ip``, ``l2``, ``cosine``."""
        return self._metric

    @property
    def d(self) -> int:
        """Dimensions of the vectors."""
        return self._codec.d

    @property
    def ntotal(self) -> int:
        """Number of vectors."""
        return self._core.size

    @property
    def bytes_per_vector(self) -> int:
        """What is stored of one vector: a byte a group, the scale, and a byte more for L2.

        With cells the order in which vectors came takes 1.3 to 1.7 bytes on top: see `nbytes`.
        """
        return self._core.codec.groups + 1 + int(self._core.keeps_extra)

    @property
    def nbytes(self) -> int:
        """Bytes of memory that the stored vectors take, room for growth and all; not the codec."""
        return self._core.nbytes

    @property
    def reach(self) -> float:
        """Deviations of a product that decide whether a cell is passed by."""
        return self._reach

    @reach.setter
    def reach(self, value: float) -> None:
        if isinstance(value, bool) or not isinstance(value, int | float | np.number):
            raise TypeError(f"reach must be a number, got {value!r}")
        if not value >= 0:
            raise ValueError(f"reach={value} must be at least 0")
        self._reach = float(value)

    @property
    def scan_groups(self) -> int:
        """Groups whose high nibbles the coarse score reads."""
        return self._scan_groups

    @scan_groups.setter
    def scan_groups(self, value: int) -> None:
        number = _positive_int("scan_groups", value)
        groups = self._core.codec.groups
        if number > groups:
            raise ValueError(
                f"scan_groups={number} must be at most the {groups} groups of the codec"
            )
        self._scan_groups = number

    @property
    def refine_factor(self) -> int:
        """Candidates per requested neighbour that go from the coarse to the full score."""
        return self._refine_factor

    @refine_factor.setter
    def refine_factor(self, value: int) -> None:
        self._refine_factor = _positive_int("refine_factor", value)

    def __len__(self) -> int:
        return self.ntotal

    def __repr__(self) -> str:
        return (
            f"IndexFlat: {self.ntotal:,} vectors of {self.d} dimensions in "
            f"{self.bytes_per_vector} bytes each, metric {self.metric!r}"
        )

    def add(self, x: Any) -> None:
        """Encode vectors and append them. All of them are added, or none if there is an error.

        Parameters
        ----------
        x : array_like, shape (n, d)

        Raises
        ------
        ValueError
            For another number of dimensions, or a NaN or an infinity (with the row's number).
        TypeError
            If `x` is not an array of real numbers on the CPU.
        """
        codes = self._codec._encode(Rows(x, "x", self.d), self._prepare)
        self._core.append(codes)

    def search(self, x: Any, k: int) -> tuple[FloatRows, Labels]:
        """Find the k nearest vectors of each query.

        Parameters
        ----------
        x : array_like, shape (n, d)
            Queries.
        k : int
            At least 1; may exceed `ntotal`.

        Returns
        -------
        distances : float32 (n, k)
            Best first: falling for ``ip`` and ``cosine``, rising for ``l2``.
        labels : int64 (n, k)
            Equal distances by rising label; -1 where there are fewer than k vectors.

        Raises
        ------
        ValueError
            For another number of dimensions, k below 1, or a NaN or an infinity in a query.
        TypeError
            If `x` is not an array of real numbers on the CPU, or `k` no int.
        """
        rows = Rows(x, "x", self.d)
        k = _positive_int("k", k)
        candidates = max(self._refine_factor * k, _LEAST_CANDIDATES)
        distances = np.empty((rows.n, k), dtype=np.float32)
        labels = np.empty((rows.n, k), dtype=np.int64)
        for first, block in rows.blocks():
            found = self._core.search(
                self._prepare(block), k, candidates, self._scan_groups, self._reach
            )
            distances[first : first + len(block)], labels[first : first + len(block)] = found
        return distances, labels

    def reconstruct(self, key: int) -> NDArray[np.float32]:
        """Decode one vector, shape (d,).

        Its inner product with a query is the query's score (``ip``, ``cosine``); see `Codec.decode`
        for the vector of least squared error.

        Raises
        ------
        IndexError
            If there is no vector of this number.
        TypeError
            If `key` is no int.
        """
        number = _int("key", key)
        if not 0 <= number < self.ntotal:
            raise IndexError(f"key={number} is not in an index of {self.ntotal} vectors")
        vector: NDArray[np.float32] = self.reconstruct_n(number, 1)[0]
        return vector

    def reconstruct_n(self, n0: int, ni: int) -> FloatRows:
        """Decode the vectors n0 to n0 + ni - 1, shape (ni, d).

        Raises
        ------
        ValueError
            If some of them are not in the index.
        TypeError
            If `n0` or `ni` is no int.
        """
        n0, ni = _int("n0", n0), _int("ni", ni)
        if n0 < 0 or ni < 0 or n0 + ni > self.ntotal:
            raise ValueError(f"n0={n0}, ni={ni} reach beyond an index of {self.ntotal} vectors")
        codes = self._core.codes(n0, ni)
        return self._codec.decode(codes, alpha=self._core.alpha / _QUARTERS)

    def remove_ids(self, ids: Any) -> int:
        """Remove vectors by id; the survivors keep their order and are numbered anew.

        Parameters
        ----------
        ids : array_like of int, shape (m,)
            Ids that are not in the index are ignored, repeated ones count once.

        Returns
        -------
        int
            The number of vectors removed.

        Raises
        ------
        TypeError
            If `ids` are not integers.
        """
        array = np.asarray(ids)
        if array.size == 0:
            return 0
        if array.dtype.kind not in "iu" or array.ndim != 1:
            raise TypeError(
                f"ids must be integers of shape (m,), got dtype {array.dtype}, shape {array.shape}"
            )
        return self._core.remove(np.ascontiguousarray(array, dtype=np.int64))

    def reset(self) -> None:
        """Remove all vectors."""
        self._core.reset()

    def _prepare(self, block: FloatRows) -> FloatRows:
        return _core.normalize_rows(block) if self._metric == "cosine" else block


def _int(name: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise TypeError(f"{name} must be an int, got {value!r}")
    return int(value)


def _positive_int(name: str, value: Any) -> int:
    number = _int(name, value)
    if number < 1:
        raise ValueError(f"{name}={number} must be at least 1")
    return number
