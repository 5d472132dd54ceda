"""`IndexHNSW`: a graph over 8-bit rows, for single queries at high recall."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from waterfill import _core
from waterfill._util.tensors import positional_outputs
from waterfill._util.validation import (
    METRICS,
    Metric,
    as_positive_int,
    metric_of,
)
from waterfill.analysis import analyze
from waterfill.data.row_policy import Policy, Quarantine, admit, as_policy
from waterfill.data.rows import FloatRows, Rows
from waterfill.index.hnsw_parameters import HNSW, SearchParametersHNSW, read_hnsw_parameters
from waterfill.index.stored_vectors import require_as_many
from waterfill.index.vector_index import Labels, register
from waterfill.index.vector_search import VectorSearch
from waterfill.layout import ID_BYTES, VectorBytes, graph_bytes

_SEARCH_EFFORT, _CONSTRUCTION_EFFORT = 64, 200
_MOST_LINKS = 256
_TRAINING_ROWS = 200_000
# Steps of a byte in a dimension of deviation s: proportional to s to this power, and such that 255
# of them reach this many deviations to either side in the dimension of largest deviation.
_STEP_POWER, _REACH, _HALF_RANGE = 0.75, 3.5, 127.5
_LEAST_SHARE = 1e-6  # of a dimension's variance, in that of the largest


class IndexHNSW(VectorSearch[_core.GraphIndex]):
    """Rows of a byte per dimension, found through a graph of links.

    A search follows links from vector to vector towards the query, so it scores a small share of
    all vectors. The graph is that of HNSW [1]_ in one layer, as of DiskANN [2]_. Where single
    queries want a recall of 0.95 and more, this is faster than lists; an `IndexIVF` needs less
    memory, fills faster and answers batches faster.

    Rows are stored in the eigenbasis of the training vectors, a byte per dimension. The high
    nibbles of the first 104 dimensions lie in one cache line, which scores a vector first; the rest
    of the row is read if that score may suffice. Results are ordered by the scores of whole rows.

    Parameters
    ----------
    d : int
        Dimensions of the vectors.
    M : int
        Links per vector, at most, from 2 to 256. All are in one layer: 32 are as many as the bottom
        layer of FAISS's ``HNSW16`` has.
    metric : {'ip', 'l2', 'cosine'} or int
        As for `IndexFlat`.

    Attributes
    ----------
    hnsw : HNSW
        ``hnsw.efSearch``, 64 at first, sets the recall and speed of searches;
        ``hnsw.efConstruction``, 200 at first, those of the graph and of adding vectors.

    Raises
    ------
    ValueError, TypeError
        If an argument is out of range or has the wrong type.

    Notes
    -----
    Ids are positions, as in FAISS, unless vectors are added with ids. Searches wait while vectors
    are added or removed. The graph depends on the order of the vectors and on how they were divided
    into calls of `add`, but neither on threads nor on the instruction set.

    References
    ----------
    .. [1] Y. A. Malkov and D. A. Yashunin, "Efficient and robust approximate nearest neighbor
       search using hierarchical navigable small world graphs", IEEE Transactions on Pattern
       Analysis and Machine Intelligence 42(4), 2020, arXiv:1603.09320.
    .. [2] S. J. Subramanya et al., "DiskANN: fast accurate billion-point nearest neighbor search on
       a single node", NeurIPS, 2019.
    """

    _instead: ClassVar[dict[str, str]] = {
        **VectorSearch._instead,
        "codes": "ids() and reconstruct_n() return what it holds",
        "codec": (
            "it stores rows of 8 bits per dimension, not codes; waterfill.IndexIVF has a codec"
        ),
        "nlist": "waterfill.IndexIVF has lists",
        "nprobe": "waterfill.IndexIVF has lists; a graph has hnsw.efSearch",
        "quantizer": "waterfill.IndexIVF has lists",
        "merge_from": "two graphs have no links in common; add the vectors of one to the other",
        "sa_encode": "waterfill.IndexFlat and waterfill.Codec encode vectors to codes",
        "storage": "reconstruct_n() returns the vectors",
        "update": "remove_ids(ids), then add_with_ids(x, ids)",
    }

    def __init__(self, d: int, M: int = 32, metric: Metric | int = "ip") -> None:
        self._d = as_positive_int("d", d)
        self._links = as_positive_int("M", M)
        if not 2 <= self._links <= _MOST_LINKS:
            raise ValueError(f"M={self._links} must be 2 to {_MOST_LINKS}")
        super().__init__(metric)
        self._hnsw = HNSW(_SEARCH_EFFORT, _CONSTRUCTION_EFFORT)
        register()

    def __repr__(self) -> str:
        if self._core is None:
            return f"IndexHNSW: not trained, {self.d} dimensions, metric {self.metric!r}"
        return (
            f"IndexHNSW: {self.ntotal:,} vectors of {self.d} dimensions in "
            f"{self.bytes_per_vector:.4g} bytes each with {self.M} links, {self.nbytes:,} bytes of "
            f"memory in all, metric {self.metric!r}"
        )

    @property
    def hnsw(self) -> HNSW:
        """The settings of searches and of the graph."""
        return self._hnsw

    @property
    def M(self) -> int:
        """Links per vector, at most."""
        return self._links

    @property
    def d(self) -> int:
        """Dimensions of the vectors."""
        return self._d

    @property
    def bytes_per_vector(self) -> float:
        """Bytes that the file grows by with each vector: a row, its links, and an explicit id."""
        return self._vector_bytes().total

    def _vector_bytes(self) -> VectorBytes:
        core = self._trained()
        return graph_bytes(core.bytes_per_vector, core.links, ID_BYTES if core.has_ids else 0)

    # Filling it.

    def train(self, x: Any, *, numeric_type: int = 0, policy: Policy = "raise") -> None:
        """Find the eigenbasis of vectors, unless the index has one.

        Parameters
        ----------
        x : array_like, shape (n, d)
            At least 1 row; thousands are better. At most 200,000, evenly spaced, are read.
        numeric_type : int
            Ignored, because `x` has a dtype; for compatibility with FAISS.
        policy : {'raise', 'drop', 'quarantine'}
            What to do with rows that hold a NaN or an infinity: see `add`.

        Raises
        ------
        ValueError
            If `x` has no rows, another number of dimensions, or a NaN or an infinity.
        TypeError
            If `x` is not an array of real numbers on the CPU.
        """
        rows = Rows(x, "x", self.d)
        if rows.n == 0:
            raise ValueError("x has no rows; at least 1 is needed to train")
        with self._writing:
            if self._core is not None:
                return
            came = admit(rows, as_policy(policy))
            count = min(came.rows.n, _TRAINING_ROWS)
            sample = came.rows.take(np.arange(count) * came.rows.n // max(count, 1))
            found = analyze(sample, normalize=self._metric == "cosine")
            shares = np.maximum(found.eigenvalues, _LEAST_SHARE * (found.eigenvalues[0] or 1.0))
            deviations = np.sqrt(shares)
            unit = _REACH * deviations[0] ** (1 - _STEP_POWER) / _HALF_RANGE
            steps = (unit * deviations**_STEP_POWER).astype(np.float32)
            basis = np.ascontiguousarray(found.eigenvectors.T.astype(np.float32))
            mean = found.mean.astype(np.float32)
            core = _core.GraphIndex(mean, basis, steps, METRICS[self._metric], self._links)
            if self._keeps_ids:
                core.keep_ids()
            self._core = core
            self._quarantine._take("train", came)

    def add(self, x: Any, numeric_type: int = 0, *, policy: Policy = "raise") -> None:
        """Append vectors and link them. After an error no vector is added.

        Vectors are linked in parallel, in batches of up to a thirty-second of the graph, so few
        large calls are faster than many small ones.

        Parameters
        ----------
        x : array_like, shape (n, d)
            Vectors.
        numeric_type : int
            Ignored, because `x` has a dtype; for compatibility with FAISS.
        policy : {'raise', 'drop', 'quarantine'}
            What to do with rows that hold a NaN or an infinity: as for `IndexFlat.add`.

        Raises
        ------
        ValueError
            If `x` has another number of dimensions, or a NaN or an infinity (with its row number).
        TypeError
            If `x` is not an array of real numbers on the CPU.
        NotTrainedError
            If the index is not trained.
        MissingIdError
            If the index was created with IDMap or IDMap2, which needs ids; as in FAISS.
        """
        super().add(x, numeric_type, policy=policy)

    def _append(self, x: Any, ids: Labels | None, call: str, policy: Policy) -> None:
        core, given = self._trained(), Rows(x, "x", self.d)
        require_as_many(ids, given.n)
        came = admit(given, as_policy(policy))
        vectors = came.rows.joined(self._prepare)
        own = None if ids is None else np.ascontiguousarray(came.left(ids))
        with self._writing:
            core.append(vectors, own, self._hnsw.efConstruction)
            self._quarantine._take(call, came, ids)

    # Search.

    @positional_outputs("D", "I")
    def search(
        self,
        x: Any,
        k: int,
        *,
        params: Any = None,
        D: Any = None,
        I: Any = None,  # noqa: E741
        numeric_type: int = 0,
        policy: Policy = "raise",
    ) -> tuple[FloatRows, Labels]:
        """Find k near vectors of each query.

        Where a selector leaves few vectors, all of them are scored.

        Parameters
        ----------
        x : array_like, shape (n, d)
            Queries.
        k : int
            At least 1; may exceed `ntotal`.
        params : SearchParametersHNSW, optional
            Waterfill's or FAISS's; or SearchParameters with ``sel`` only.
        D : float32 (n, k), optional
            Array for the distances.
        I : int64 (n, k), optional
            Array for the ids.
        numeric_type : int
            Ignored, because `x` has a dtype; for compatibility with FAISS.
        policy : {'raise', 'drop', 'quarantine'}
            As for `IndexFlat.search`.

        Returns
        -------
        D : float32 (n, k)
            Best first, as of `IndexFlat.search`.
        I : int64 (n, k)
            Ids; -1 with the worst distance where fewer than k vectors were found.

        Raises
        ------
        ValueError, TypeError, NotTrainedError
            As `IndexFlat.search`.
        """
        return self._search(x, k, params, D, I, policy=policy)[:2]

    def _found(
        self, queries: FloatRows, k: int, params: Any, lists: Labels | None, contents: str
    ) -> tuple[FloatRows, Labels, FloatRows | None]:
        core = self._trained()
        k, chosen = as_positive_int("k", k), read_hnsw_parameters(params)
        effort = self._hnsw.efSearch if chosen.efSearch is None else chosen.efSearch
        if self._metric == "cosine":
            _core.require_finite(queries, "x", 0)
        queries, selector = self._prepare(queries), self._program(chosen.sel)
        if not contents:
            return *core.search(queries, k, effort, selector), None
        with self._writing:  # no vector is removed between the search and the reconstruction
            distances, ids = core.search(queries, k, effort, selector)
            return distances, ids, self._by_id(ids[ids != -1])

    def _read_parameters(self, params: Any) -> SearchParametersHNSW:
        return read_hnsw_parameters(params)

    def _found_within(
        self, queries: FloatRows, radius: float, chosen: Any, lists: Labels | None
    ) -> tuple[NDArray[np.uint64], NDArray[np.float32], Labels]:
        return self._trained().range_search(queries, radius, self._program(chosen.sel))

    # Vectors.

    def neighbors(self, position: int) -> Labels:
        """Return the positions that the vector at a position links to.

        Parameters
        ----------
        position : int
            From 0 to below `ntotal`, in order of insertion.

        Returns
        -------
        int64 (m,)
            Positions; m is at most `M`.

        Raises
        ------
        MissingIdError
            If there is no such position.
        NotTrainedError
            If the index is not trained.
        """
        with self._writing:
            return self._trained().links_of(self._span(position, 1)[0])

    def _by_id(self, keys: Labels) -> FloatRows:
        labels, vectors = self._trained().find(keys)
        self._require_found(keys, labels)
        return vectors

    def _vectors(self, first: int, n: int) -> FloatRows:
        return self._trained().vectors(first, n)

    def remove_ids(self, x: Any) -> int:
        """Remove vectors by id; the others keep their order.

        Vectors with links to removed ones get links to what these were linked to. The whole graph
        is gone through, so remove many ids at once. Explicit ids stay; otherwise ids are
        positions, and the remaining vectors are renumbered.

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
        return super().remove_ids(x)

    # Copies and files.

    def _settings(self) -> dict[str, int]:
        """Return the settings that are stored with the graph, as arguments of the core."""
        return {
            "search_effort": self._hnsw.efSearch,
            "construction_effort": self._hnsw.efConstruction,
        }

    @classmethod
    def _from_stored(cls, stored: tuple[_core.GraphIndex, int, int]) -> IndexHNSW:
        core, search, construction = stored
        index = cls(core.d, core.links, metric_of(core.metric))
        index._core, index._hnsw = core, HNSW(search, construction)
        return index

    def __reduce_ex__(self, protocol: Any) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        own = {
            "_hnsw": HNSW(self._hnsw.efSearch, self._hnsw.efConstruction),
            "_keeps_ids": self._keeps_ids,
            "_quarantine": Quarantine(self._quarantine),  # the copy's own
            "verbose": self.verbose,
            "metric_arg": self.metric_arg,
        }
        if self._core is None:
            return _remake, (type(self), (self._d, self._links, self._metric), own)
        return _restore, (type(self), self._pickled(protocol), own)


def _remake(kind: type[IndexHNSW], given: tuple[Any, ...], state: dict[str, Any]) -> IndexHNSW:
    index = kind(*given)
    index.__dict__.update(state)
    return index


def _restore(kind: type[IndexHNSW], data: Any, state: dict[str, Any]) -> IndexHNSW:
    index = kind._from_stored(_core.graph_from_bytes(data))
    index.__dict__.update(state)
    return index
