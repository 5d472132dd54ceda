"""The methods of a ``faiss.IndexIVF`` that concern its inverted lists."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from waterfill import _core
from waterfill._util.tensors import returned
from waterfill._util.validation import as_int, as_int64, output
from waterfill.data.arrays import read_numbers
from waterfill.data.rows import FloatRows, Rows
from waterfill.encoding import Codes, encode_rows
from waterfill.errors import ArgumentError, MissingIdError
from waterfill.index.base import Index
from waterfill.index.selector_members import sorted_unique
from waterfill.index.selectors import as_ids
from waterfill.index.vector_index import Labels
from waterfill.index.views import from_pointer

if TYPE_CHECKING:
    from waterfill.index.ivf import IndexIVF

_BLOCK = 65536  # codes read at once
_MAP_TYPES = (0, 1, 2)  # FAISS's DirectMap.NoMap, Array, Hashtable


class ClusteringParameters:
    """``faiss.IndexIVF.cp``: of its parameters, those that change only what training prints.

    Attributes
    ----------
    min_points_per_centroid : int
        Ignored; 39 at first, as in FAISS.
    verbose : bool
        Ignored.
    """

    min_points_per_centroid = 39
    verbose = False

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in ("min_points_per_centroid", "verbose"):
            raise AttributeError(
                f"cp.{name} has no effect on waterfill's training; "
                "Recipe(d, code_bytes, effort=..., seed=...) holds its parameters"
            )
        object.__setattr__(self, name, value)


class InvertedLists(Index):
    """An index whose vectors are in lists, and stay there under their ids."""

    @property
    def by_residual(self) -> bool:
        """Whether codes are relative to the centroid of their list: always."""
        return True

    @by_residual.setter
    def by_residual(self, value: bool) -> None:
        if value is not True:
            raise ValueError(
                f"by_residual={value} must be True: codes are relative to the centroid of their "
                "list"
            )

    @property
    def cp(self) -> ClusteringParameters:
        """Parameters of FAISS's training; see `ClusteringParameters`."""
        return ClusteringParameters()

    def get_list_size(self, list_no: int) -> int:
        """Return the number of vectors in a list.

        Parameters
        ----------
        list_no : int
            Number of the list, from 0 to below `nlist`.

        Returns
        -------
        int
            Number of vectors.

        Raises
        ------
        IndexError
            If there is no such list.
        TypeError
            If `list_no` is not an int.
        NotTrainedError
            If the index is not trained.
        """
        sizes, number = self.list_sizes(), as_int("list_no", list_no)
        if not 0 <= number < len(sizes):
            raise IndexError(f"list_no={number} must be from 0 to {len(sizes) - 1}")
        return int(sizes[number])

    def list_sizes(self) -> NDArray[np.int64]:
        """Return the number of vectors in each list.

        Returns
        -------
        int64 (nlist,)
            Numbers of vectors, in the order of the lists.

        Raises
        ------
        NotTrainedError
            If the index is not trained.
        """
        return np.asarray(self._trained().list_sizes, dtype=np.int64)

    def make_direct_map(self, new_maintain_direct_map: bool = True) -> None:
        """Do nothing: `reconstruct` needs no map. For compatibility with FAISS.

        Parameters
        ----------
        new_maintain_direct_map : bool
            Ignored.
        """

    def set_direct_map_type(self, type: int) -> None:
        """Do nothing: ids are found without a map. For compatibility with FAISS.

        Parameters
        ----------
        type : int
            Of FAISS's DirectMap.

        Raises
        ------
        ValueError, TypeError
            If `type` is not one of FAISS's DirectMap.NoMap, Array and Hashtable.
        """
        if as_int("type", type) not in _MAP_TYPES:
            raise ValueError(f"type={type} must be a type of faiss.DirectMap: 0, 1 or 2")

    def check_ids_sorted(self) -> bool:
        """Return whether the ids ascend in every list."""
        with self._writing:
            ids, lists = self.ids(), self._list_numbers()
        order = np.argsort(lists, kind="stable")
        ids, lists = ids[order], lists[order]
        same_list = lists[1:] == lists[:-1]
        return bool((ids[1:] > ids[:-1])[same_list].all())

    def _list_numbers(self) -> Labels:
        """Return the list of each vector in order of insertion, int64 (ntotal,)."""
        parts = [np.empty(0, dtype=np.int64)]
        for first in range(0, self.ntotal, _BLOCK):
            parts.append(self._cells_of(self.codes(first, min(_BLOCK, self.ntotal - first))))
        return np.concatenate(parts)

    # Search in given lists.

    def search_preassigned(
        self,
        x: Any,
        k: int,
        Iq: Any,
        Dq: Any = None,
        *,
        params: Any = None,
        D: Any = None,
        I: Any = None,  # noqa: E741
    ) -> tuple[FloatRows, Labels]:
        """Search in given lists, otherwise like `search`.

        Parameters
        ----------
        x : array_like, shape (n, d)
            Queries.
        k : int
            At least 1; may exceed `ntotal`.
        Iq : array_like of int, shape (n, nprobe)
            Numbers of lists per query; -1 for none. Any number of columns.
        Dq : array_like, shape (n, nprobe), optional
            Ignored, because distances to centroids follow from `Iq`; for compatibility with FAISS.
        params : SearchParameters, optional
            As for `search`. ``nprobe`` is the number of columns of `Iq`.
        D, I : float32 (n, k) and int64 (n, k), optional
            Arrays for the results.

        Returns
        -------
        D, I : float32 (n, k) and int64 (n, k)
            As of `search`; -1 where the lists have fewer than k vectors.

        Raises
        ------
        ValueError, TypeError, NotTrainedError
            As `search`; or if `Iq` has another shape, or a number beyond the lists.
        """
        return self._search(x, k, params, D, I, lists=self._as_lists(Iq, x))[:2]

    def range_search_preassigned(
        self,
        x: Any,
        thresh: float,
        Iq: Any,
        Dq: Any = None,
        *,
        params: Any = None,
    ) -> tuple[NDArray[np.uint64], NDArray[np.float32], Labels]:
        """Find the vectors of given lists within a radius.

        Parameters
        ----------
        x : array_like, shape (n, d)
            Queries.
        thresh : float
            The radius, as for `range_search`.
        Iq : array_like of int, shape (n, nprobe)
            As for `search_preassigned`.
        Dq : array_like, shape (n, nprobe), optional
            Ignored; for compatibility with FAISS.
        params : SearchParameters, optional
            As for `search_preassigned`.

        Returns
        -------
        lims, D, I : uint64 (n + 1,), float32 (lims[n],) and int64 (lims[n],)
            As of `range_search`.

        Raises
        ------
        ValueError, TypeError, NotTrainedError
            As `search_preassigned`.
        """
        return self._range_search(x, thresh, params, lists=self._as_lists(Iq, x))

    def _as_lists(self, lists: Any, x: Any) -> Labels:
        rows = Rows(x, "x", self.d)
        array = read_numbers(lists, "Iq")
        if array.ndim != 2 or array.shape[0] != rows.n or array.shape[1] == 0:
            raise ArgumentError(f"Iq must have shape ({rows.n}, nprobe), got {array.shape}")
        numbers = as_ids(array.reshape(-1), "Iq").reshape(array.shape)
        nlist = len(self._trained().list_sizes)
        if numbers.size and (numbers.min() < -1 or numbers.max() >= nlist):
            raise ArgumentError(
                f"Iq must hold numbers of lists from 0 to {nlist - 1}, or -1 for none, got "
                f"{numbers.min()} to {numbers.max()}"
            )
        return np.ascontiguousarray(numbers)

    def search_and_return_codes(
        self,
        x: Any,
        k: int,
        *,
        include_listnos: bool = False,
        params: Any = None,
        D: Any = None,
        I: Any = None,  # noqa: E741
        codes: Any = None,
    ) -> tuple[FloatRows, Labels, Codes]:
        """Search, and return the codes of the results.

        Parameters
        ----------
        x : array_like, shape (n, d)
            Queries.
        k : int
            At least 1; may exceed `ntotal`.
        include_listnos : bool
            Whether codes are those of `sa_encode`, with the number of the list in the last bytes.
            FAISS's are in the first ones.
        params : SearchParameters, optional
            As for `search`.
        D, I : float32 (n, k) and int64 (n, k), optional
            Arrays for the results.
        codes : uint8 (n, k, size), optional
            Array for the codes.

        Returns
        -------
        D, I : float32 (n, k) and int64 (n, k)
            As of `search`.
        codes : uint8 (n, k, size)
            Zeros where there is no result.

        Raises
        ------
        ValueError, TypeError, NotTrainedError
            As `search`; or if `codes` has another shape or dtype.
        """
        size = self.sa_code_size() if include_listnos else self._cell_start
        distances, ids, stored = self._search(x, k, params, D, I, contents="codes")
        shape = (*np.asarray(ids).shape, size)
        out = output("codes", codes, shape, np.uint8)
        assert stored is not None
        out[:] = stored[:, :size].reshape(shape)
        return distances, ids, returned(out, codes, x)

    # Changes.

    def add_core(self, n: int, x: Any, xids: Any, precomputed_idx: Any, *_: Any) -> None:
        """Add vectors to given lists, as FAISS's method for C++ and ``contrib.ivf_tools``.

        Parameters
        ----------
        n : int
            Number of vectors.
        x : array_like, shape (n, d), or SWIG pointer
            Vectors.
        xids : array_like of int, shape (n,), SWIG pointer, or None
            Ids; None numbers them as `add` does.
        precomputed_idx : array_like of int, shape (n,), or SWIG pointer
            The list of each vector.
        *_ : object
            Ignored: further arguments of FAISS's method.

        Raises
        ------
        ValueError, TypeError
            As `add_with_ids`; or if a list does not exist.
        """
        n = as_int("n", n)
        rows = Rows(from_pointer(x, n * self.d, np.float32).reshape(n, self.d), "x", self.d)
        ids = None if xids is None else from_pointer(xids, n, np.int64)
        lists = from_pointer(precomputed_idx, n, np.int64)
        nlist = len(self._trained().list_sizes)
        if lists.size and (lists.min() < 0 or lists.max() >= nlist):
            raise ArgumentError(f"precomputed_idx must be lists from 0 to {nlist - 1}")
        self._append_in_lists(rows, ids, lists.astype(np.uint16))

    def _append_in_lists(self, rows: Rows, ids: Labels | None, lists: NDArray[np.uint16]) -> None:
        blocks = iter(np.array_split(lists, range(rows.block_rows, rows.n, rows.block_rows)))
        assert self._codec is not None
        codes = encode_rows(self._codec._core, rows, self._prepare, lambda _: next(blocks))
        kept = self._refine_rows(rows)
        self._store(codes, ids, kept)

    def update_vectors(self, keys: Any, x: Any) -> None:
        """Replace the vectors with given ids, all in one step for searches beside it.

        Parameters
        ----------
        keys : array_like of int, shape (n,)
            Ids, each once.
        x : array_like, shape (n, d)
            The new vectors.

        Raises
        ------
        MissingIdError
            If an id is not in the index; nothing is changed.
        ValueError
            As `add_with_ids`; if an id is given twice; or if `refine` is an array of yours, which
            would keep the old rows. Nothing is changed.
        """
        if isinstance(self.refine, np.ndarray):
            raise ValueError(
                "update_vectors: the index re-ranks with an array of yours, whose rows would stay; "
                "keep rows in the index with refine='float16'"
            )
        ids, rows = as_ids(keys, "keys"), Rows(x, "x", self.d)
        if len(sorted_unique(ids)) != len(ids):
            raise ArgumentError("keys: an id is given twice")
        if len(ids) != rows.n:
            raise ArgumentError(f"keys: expected {rows.n} ids, one per vector, got {len(ids)}")
        self._trained()
        codes, kept = self._encode(rows), self._refine_rows(rows)
        with self._changes:
            core = self._trained()
            missing = core.find(ids)[0] < 0
            if missing.any():
                raise MissingIdError(f"keys: id {ids[missing][0]} is not in the index")
            self._require_changeable()
            core.keep_ids()
            self._store(codes, ids, kept, replaces=True)

    def copy_subset_to(self, other: IndexIVF, subset_type: int, a1: int, a2: int) -> None:
        """Copy vectors to another index with the same codec.

        Parameters
        ----------
        other : IndexIVF
            Of the same metric and codec, and with the same `refine`.
        subset_type : int
            FAISS's, for ids or for places in the lists, of which there are n in all or in a list:

            - 0: ids from `a1` to below `a2`
            - 1: ids with ``id % a1 == a2``
            - 2: places ``a1`` to below ``a2``, an equal share of each list
            - 3: of each list the places from ``n * a2 / a1`` to below ``n * (a2 + 1) / a1``
            - 4: the lists from `a1` to below `a2`
        a1, a2 : int
            Bounds of the subset; see `subset_type`.

        Raises
        ------
        ValueError, TypeError, NotTrainedError
            As `merge_from`; or for another `subset_type`, or if `refine` differs.
        """
        self.check_compatible_for_merge(other)
        same = self.refine is other.refine or isinstance(self.refine, str)
        if not same or (isinstance(self.refine, str) and self.refine != other.refine):
            raise ValueError(f"other: expected refine={self.refine!r}, got {other.refine!r}")
        kind = as_int("subset_type", subset_type)
        with self._writing:
            labels = self._subset(kind, as_int64("a1", a1), as_int64("a2", a2))
            ids = self.ids()[labels]
            codes, rows = self._contents_of(labels)
        other._store(codes, ids, rows)

    def _contents_of(self, labels: Labels) -> tuple[Codes, _core.RefineRows | None]:
        """Return the codes of ascending labels, and the rows of `refine` that the index keeps."""
        core = self._trained()
        codes = np.empty((len(labels), self.sa_code_size()), dtype=np.uint8)
        kind = core.refine_row_kind if isinstance(self.refine, str) else None
        rows = None if kind is None else _core.RefineRows(kind, self.d)
        for start in range(0, len(labels), _BLOCK):
            part = labels[start : start + _BLOCK]
            low, n = int(part[0]), int(part[-1] - part[0]) + 1
            codes[start : start + len(part)] = core.codes(low, n)[part - low]
            if rows is not None:
                rows.append(core.refine_rows(low, n)[part - low], start)
        return codes, rows

    def _subset(self, kind: int, a1: int, a2: int) -> Labels:
        """Return the labels of a subset: see `copy_subset_to`."""
        if (kind in (1, 3) and a1 < 1) or (kind == 2 and not 0 <= a1 <= a2 <= self.ntotal):
            raise ArgumentError(f"a1={a1}, a2={a2} are not a subset of subset_type={kind}")
        if kind == 0:
            ids = self.ids()
            return np.flatnonzero((ids >= a1) & (ids < a2))
        if kind == 1:
            return np.flatnonzero(self.ids() % a1 == a2)
        lists, sizes = self._list_numbers(), self.list_sizes()
        if kind == 4:
            return np.flatnonzero((lists >= a1) & (lists < a2))
        if kind == 2:
            ends = np.cumsum(sizes)
            bounds = [np.diff(ends * a // max(self.ntotal, 1), prepend=0) for a in (a1, a2)]
        elif kind == 3:
            bounds = [sizes * a // a1 for a in (a2, a2 + 1)]
        else:
            raise ArgumentError(f"subset_type={kind} must be from 0 to 4")
        order = np.argsort(lists, kind="stable")
        places = np.empty(len(lists), dtype=np.int64)
        places[order] = np.arange(len(lists)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        return np.flatnonzero((places >= bounds[0][lists]) & (places < bounds[1][lists]))
