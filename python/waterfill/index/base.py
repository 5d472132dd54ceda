"""Base of flat and inverted indexes: search, range search, and copies of an index."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from waterfill import _core
from waterfill._util.optional import loaded_faiss
from waterfill._util.tensors import positional_outputs, returned
from waterfill._util.validation import Metric, as_number, as_positive_int, metric_of, output
from waterfill.codec import Codec
from waterfill.data.row_policy import Policy, Quarantine, admit, as_policy
from waterfill.data.rows import FloatRows, Rows, plain_rows
from waterfill.index.collection import Labels
from waterfill.index.search_depth import SearchDepth
from waterfill.index.search_parameters import SearchParameters, read_parameters
from waterfill.index.selector_graph import Step
from waterfill.index.selectors import program
from waterfill.index.self_score import self_score
from waterfill.index.trainable import check_refine, write_lock
from waterfill.index.views import DistanceComputer
from waterfill.plan import Plan
from waterfill.recipe import Recipe

if TYPE_CHECKING:
    from typing_extensions import Self

Stored = tuple[_core.Index, bool, int, float | None, float, bytes]
"""The core, whether it is an IVF, nprobe, target_recall, k_factor, and a quantizer's own bytes."""

_LARGEST = np.finfo(np.float32).max


class Index(SearchDepth):
    """Base of `IndexFlat` and `IndexIVF`; see there.

    Methods take and return what those of a ``faiss.Index`` do, under the same names. Safe to search
    from several threads; adding and removing wait for running searches.
    """

    def __init__(
        self, source: Codec | Plan | Recipe, metric: Metric | int, refine: Any, k_factor: float
    ) -> None:
        super().__init__(source, metric, refine, k_factor)
        _register()

    # Search.

    @positional_outputs("D", "I")
    def search(
        self,
        x: Any,
        k: int,
        *,
        params: Any = None,
        D: Any = None,  # noqa: N803
        I: Any = None,  # noqa: N803, E741
        numeric_type: int = 0,
        policy: Policy = "raise",
    ) -> tuple[FloatRows, Labels]:
        """Find the k nearest vectors of each query.

        Parameters
        ----------
        x : array_like, shape (n, d)
            Queries. They are read as a whole, so that all are answered by one state of the index;
            those that are not float32 in memory are copied.
        k : int
            At least 1; may exceed `ntotal`.
        params : SearchParameters, optional
            Waterfill's or FAISS's. ``sel`` restricts the search to ids; ``nprobe`` and ``k_factor``
            replace those of the index in this search.
        D : float32 (n, k), optional
        I : int64 (n, k), optional
            Arrays for the results.
        numeric_type : int
            Ignored, because `x` has a dtype; for compatibility with FAISS.
        policy : {'raise', 'drop', 'quarantine'}
            What to do with queries that hold a NaN or an infinity. With ``drop`` their results are
            -1 with the worst distance. ``quarantine`` also keeps them in `quarantine`.

        Returns
        -------
        D : float32 (n, k)
            Best first: falling for ``ip`` and ``cosine``, rising for ``l2``.
        I : int64 (n, k)
            Ids; vectors at equal distances come in order of insertion. If there are fewer than k
            vectors, the rest is -1 with the worst distance.

        Raises
        ------
        ValueError
            If `x` has another number of dimensions, a NaN or an infinity, or k is below 1.
        TypeError
            If `x` is not an array of real numbers on the CPU, or `k` is not an int.
        NotTrainedError
            If the index is not trained.

        Warns
        -----
        RuntimeWarning
            If queries are left out: how many, the first numbers, and why.
        """
        return self._search(x, k, params, D, I, policy=policy)[:2]

    def _search(
        self,
        x: Any,
        k: int,
        params: Any,
        D: Any,  # noqa: N803
        I: Any,  # noqa: N803, E741
        *,
        policy: Policy = "raise",
        lists: Labels | None = None,
        contents: str = "",
    ) -> tuple[FloatRows, Labels, NDArray[Any] | None]:
        """Search, in the lists of each query if they are given.

        The third result depends on `contents`: 'vectors' or 'codes' of what was found, or None for
        ''. With contents the policy must be ``raise``.
        """
        plain = plain_rows(x, self.d) if D is None and I is None and policy == "raise" else None
        if plain is not None:
            distances, labels, stored = self._found(plain, k, params, lists, contents)
            return returned(distances, None, x), returned(labels, None, x), stored
        given = Rows(x, "x", self._trained().codec.d)
        k = as_positive_int("k", k)
        distances = output("D", D, (given.n, k), np.float32)
        labels = output("I", I, (given.n, k), np.int64)
        admitted = admit(given, as_policy(policy))
        queries = admitted.rows.joined(lambda block: block)  # one call, so that all see one state
        numbers = admitted.numbers(0, len(queries))
        distances[numbers], labels[numbers], stored = self._found(
            queries, k, params, lists if lists is None else lists[numbers], contents
        )
        distances[admitted.refused] = _LARGEST if self._metric == "l2" else -_LARGEST
        labels[admitted.refused] = -1
        self._quarantine._take("search", admitted)
        return returned(distances, D, x), returned(labels, I, x), stored

    def _found(
        self, queries: FloatRows, k: int, params: Any, lists: Labels | None, contents: str
    ) -> tuple[FloatRows, Labels, NDArray[Any] | None]:
        """Search with queries that the core can read; arguments as for `_search`."""
        core = self._trained()
        k = as_positive_int("k", k)
        chosen = read_parameters(params)
        candidates, exact = self._candidates(k, chosen.k_factor)
        selector = self._program(chosen)
        if self._metric == "cosine":
            _core.require_finite(queries, "x", 0)
            queries = self._prepare(queries)
        distances, ids, stored = core.search(
            queries,
            k,
            candidates,
            self.coarse_groups,
            self.prune_sigma,
            self._probes(queries, chosen) if lists is None else lists,
            selector,
            exact,
            self._contents if contents == "vectors" else contents,
        )
        if contents == "vectors" and stored is not None:
            stored = self._vectors_of(stored[(ids != -1).reshape(-1)])
        return distances, ids, stored

    @positional_outputs("D", "I", "R")
    def search_and_reconstruct(
        self,
        x: Any,
        k: int,
        *,
        params: Any = None,
        D: Any = None,  # noqa: N803
        I: Any = None,  # noqa: N803, E741
        R: Any = None,  # noqa: N803
    ) -> tuple[FloatRows, Labels, NDArray[np.float32]]:
        """Search, and decode the results.

        Returns
        -------
        D : float32 (n, k)
        I : int64 (n, k)
            As `search`.
        R : float32 (n, k, d)
            NaN where there are fewer than k vectors.

        Raises
        ------
        ValueError, TypeError, NotTrainedError
            As `search`.
        """
        distances, ids, stored = self._search(x, k, params, D, I, contents="vectors")
        found = np.asarray(ids) != -1
        vectors = output("R", R, (*found.shape, self.d), np.float32)
        vectors[~found] = np.nan
        vectors[found] = stored
        return distances, ids, returned(vectors, R, x)

    def get_distance_computer(self) -> DistanceComputer:
        """Return an object that computes distances between a query and single vectors."""
        self._trained()
        return DistanceComputer(self)

    def expected_self_score(self) -> float:
        """Estimate the score of a vector with itself, from the stored codes.

        Codes hold less than the vectors, so scores of very near vectors are off: inner products
        are too low, squared distances too high. Of the nearest neighbours of other queries they
        are right on average, because a search also selects by the error. ``docs/scores.md`` has
        the figures, and how to choose thresholds.

        Returns
        -------
        float
            For ``ip`` and ``cosine`` the mean score of a vector with itself, divided by its mean
            squared norm: 1 if the codes lose nothing. For ``l2`` its mean squared distance from
            itself: 0 if they lose nothing. Exactly that with `refine`.

        Raises
        ------
        ValueError
            If the index has no vectors.
        NotTrainedError
            If the index is not trained.
        """
        return self_score(self)

    def assign(self, x: Any, k: int = 1, labels: Any = None) -> Labels:
        """Return the ids that `search` finds, int64 (n, k), in `labels` if given; errors too."""
        return self.search(x, k, I=labels)[1]

    def range_search(
        self, x: Any, thresh: float, *, params: Any = None, policy: Policy = "raise"
    ) -> tuple[NDArray[np.uint64], NDArray[np.float32], Labels]:
        """Find all vectors within a radius: by their rows with `refine`, else by the full score.

        With rows the answer is exact: all rows are read, once per query (of an `IndexIVF` those in
        `nprobe` lists), which takes as long as in a flat index of these rows. Without rows, the
        scores of very near vectors are off: see `expected_self_score`.

        Parameters
        ----------
        x : array_like, shape (n, d)
        thresh : float
            The radius: results have inner products above it, or squared distances below it.
        params : SearchParameters, optional
        policy : {'raise', 'drop', 'quarantine'}
            As for `search`; queries that are left out have no results.

        Returns
        -------
        lims : uint64 (n + 1,)
            The results of query i are those from ``lims[i]`` up to ``lims[i + 1]``.
        D : float32 (lims[n],)
        I : int64 (lims[n],)
            The results of a query are in order of insertion.

        Raises
        ------
        ValueError, TypeError, NotTrainedError
            As `search`.
        """
        return self._range_search(x, thresh, params, policy=policy)

    def _range_search(
        self,
        x: Any,
        thresh: float,
        params: Any,
        *,
        policy: Policy = "raise",
        lists: Labels | None = None,
    ) -> tuple[NDArray[np.uint64], NDArray[np.float32], Labels]:
        """Search within a radius, in the lists of each query if they are given."""
        self._trained()
        given = Rows(x, "x", self.d)
        radius = as_number("thresh", thresh, -np.inf)
        chosen = read_parameters(params)
        admitted = admit(given, as_policy(policy))
        queries = admitted.rows.joined(self._prepare)
        numbers = admitted.numbers(0, len(queries))
        ends, distances, ids = self._found_within(
            queries, radius, chosen, None if lists is None else lists[numbers]
        )
        limits = np.zeros(given.n + 1, np.uint64)
        limits[1:][numbers] = np.diff(ends)
        self._quarantine._take("range_search", admitted)
        return (
            returned(np.cumsum(limits, dtype=np.uint64), None, x),
            returned(distances, None, x),
            returned(ids, None, x),
        )

    def _found_within(
        self, queries: FloatRows, radius: float, chosen: SearchParameters, lists: Labels | None
    ) -> tuple[NDArray[np.uint64], NDArray[np.float32], Labels]:
        """Search within a radius with queries that the core can read."""
        core, selector = self._trained(), self._program(chosen)
        probes = self._probes(queries, chosen) if lists is None else lists
        return core.range_search(queries, radius, probes, selector)

    def _program(self, chosen: SearchParameters) -> list[Step] | None:
        if chosen.sel is None:
            return None
        with self._writing:
            return program(chosen.sel, self._universe())

    def _probes(self, queries: FloatRows, chosen: SearchParameters) -> Any:
        """Return the lists to search per query, the number of nearest lists, or None for all."""
        return None

    # Copies and files.

    def _settings(self) -> dict[str, Any]:
        """Return the settings that are stored with the vectors, as arguments of the core."""
        return {
            "inverted": False,
            "nprobe": 0,
            "target_recall": None,
            "k_factor": self._k_factor,
            "quantizer": b"",
        }

    @classmethod
    def _from_stored(cls, stored: Stored, refine: Any = None) -> Self:
        """Make an index from the content of a file or a byte string."""
        core, _, _, _, k_factor, _ = stored
        index = cls.__new__(cls)
        kept = core.refine_row_kind
        if kept is not None:
            refine = kept.name
        source = Codec(core.codec)
        Index.__init__(index, source, metric_of(core.metric), None, k_factor)
        index._refine = check_refine(refine)
        index._attach(core, source)
        return index

    def __reduce_ex__(self, protocol: Any) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        held = Quarantine(self._quarantine)  # the copy's own
        if self._core is None:
            state = self.__dict__ | {"_writing": None, "_quarantine": held}
            return _remake, (type(self), state)
        borrowed = None if isinstance(self._refine, str) else self._refine
        own = {
            "_given": dict(self._given),  # the copy's own, too
            "_k_factor": self._k_factor,  # the bytes have it only with refine rows of their own
            "_keeps_ids": self._keeps_ids,
            "_quarantine": held,
            "verbose": self.verbose,
            "metric_arg": self.metric_arg,
        }
        stored: Any = self._core.to_bytes(**self._settings())
        # From protocol 5 on without a copy of what may be most of the memory.
        stored = pickle.PickleBuffer(stored) if protocol >= 5 else stored.tobytes()
        return _restore, (type(self), stored, borrowed, own)

    @property
    def this(self) -> Any:
        """Raise an error: FAISS's C++ looks for its own object here, and there is none.

        It is reached by functions of FAISS that `waterfill.register_faiss` does not know. SWIG
        drops the error and raises a TypeError without a reason, so a warning gives it.

        Raises
        ------
        TypeError
            Always.
        """
        from waterfill.faiss.registration import refuse_this

        raise refuse_this()

    # LlamaIndex's FaissMapVectorStore requires isinstance(index, faiss.IndexIDMap2), and an index
    # with explicit ids behaves like one. isinstance compares the type first and then __class__, so
    # that this property suffices. A subclass would import FAISS with waterfill, and methods that an
    # index lacks would work on the copy behind `this`.
    @property  # type: ignore[misc]
    def __class__(self) -> Any:
        passes = self._keeps_ids or self.has_ids
        faiss = loaded_faiss() if passes else None
        return getattr(faiss, "IndexIDMap2", type(self))

    def __dir__(self) -> list[str]:  # object's would list the methods of __class__
        return sorted({*dir(type(self)), *self.__dict__})


def _register() -> None:
    """Let FAISS's functions take indexes, if FAISS is loaded."""
    if loaded_faiss() is not None:
        from waterfill.faiss.registration import register_if_loaded

        register_if_loaded()


def _remake(kind: type[Index], state: dict[str, Any]) -> Index:
    index = kind.__new__(kind)
    index.__dict__.update(state, _writing=write_lock(index))
    return index


def _restore(kind: type[Index], data: Any, refine: Any, state: dict[str, Any]) -> Index:
    index = kind._from_stored(_core.index_from_bytes(data), refine)
    index.__dict__.update(state)
    if index._keeps_ids:
        index._keep_ids()  # not stored for an empty index
    return index
