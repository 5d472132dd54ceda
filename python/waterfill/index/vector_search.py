"""The search of an index: arguments and results as of a ``faiss.Index``."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from waterfill._util.tensors import positional_outputs, returned
from waterfill._util.validation import as_number, as_positive_int, output
from waterfill.data.row_policy import Policy, admit, as_policy
from waterfill.data.rows import FloatRows, Rows, plain_rows
from waterfill.index.selector_graph import Step
from waterfill.index.selectors import program
from waterfill.index.stored_vectors import StoredVectors
from waterfill.index.vector_index import Core, Labels

_LARGEST = np.finfo(np.float32).max


class VectorSearch(StoredVectors[Core]):
    """An index that is searched for the nearest vectors, and for those within a radius."""

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
            Array for the distances.
        I : int64 (n, k), optional
            Array for the ids.
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
        D: Any,
        I: Any,  # noqa: E741
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
        self._trained()
        given = Rows(x, "x", self.d)
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

    @abstractmethod
    def _found(
        self, queries: FloatRows, k: int, params: Any, lists: Labels | None, contents: str
    ) -> tuple[FloatRows, Labels, NDArray[Any] | None]:
        """Search with queries that the core can read; arguments as for `_search`."""

    @positional_outputs("D", "I", "R")
    def search_and_reconstruct(
        self,
        x: Any,
        k: int,
        *,
        params: Any = None,
        D: Any = None,
        I: Any = None,  # noqa: E741
        R: Any = None,
    ) -> tuple[FloatRows, Labels, NDArray[np.float32]]:
        """Search, and decode the results.

        Parameters
        ----------
        x : array_like, shape (n, d)
            Queries.
        k : int
            At least 1; may exceed `ntotal`.
        params : SearchParameters, optional
            As for `search`.
        D, I : float32 (n, k) and int64 (n, k), optional
            Arrays for the results.
        R : float32 (n, k, d), optional
            Array for the vectors.

        Returns
        -------
        D, I : float32 (n, k) and int64 (n, k)
            As of `search`.
        R : float32 (n, k, d)
            Vectors, as of `reconstruct`; NaN where there are fewer than k.

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

    def assign(self, x: Any, k: int = 1, labels: Any = None) -> Labels:
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
        ValueError, TypeError, NotTrainedError
            As `search`.
        """
        return self.search(x, k, I=labels)[1]

    def range_search(
        self, x: Any, thresh: float, *, params: Any = None, policy: Policy = "raise"
    ) -> tuple[NDArray[np.uint64], NDArray[np.float32], Labels]:
        """Find all vectors within a radius: by their rows with `refine`, else by the full score.

        With rows the answer is exact: all rows are read, once per query (of an `IndexIVF` those in
        `nprobe` lists), which takes as long as in a flat index of these rows. Without rows, the
        scores of very near vectors are off: see `expected_self_score`. An `IndexHNSW` scores
        the rows of all vectors.

        Parameters
        ----------
        x : array_like, shape (n, d)
            Queries.
        thresh : float
            The radius: results have inner products above it, or squared distances below it.
        params : SearchParameters, optional
            As for `search`.
        policy : {'raise', 'drop', 'quarantine'}
            As for `search`; queries that are left out have no results.

        Returns
        -------
        lims : uint64 (n + 1,)
            The results of query i are those from ``lims[i]`` up to ``lims[i + 1]``.
        D : float32 (lims[n],)
            Inner products or squared distances.
        I : int64 (lims[n],)
            Ids; those of a query are in order of insertion.

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
        chosen = self._read_parameters(params)
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

    @abstractmethod
    def _read_parameters(self, params: Any) -> Any:
        """Convert the parameters of a search, ours or FAISS's, to what `_found_within` takes."""

    @abstractmethod
    def _found_within(
        self, queries: FloatRows, radius: float, chosen: Any, lists: Labels | None
    ) -> tuple[NDArray[np.uint64], NDArray[np.float32], Labels]:
        """Search within a radius with queries that the core can read."""

    def _program(self, sel: Any) -> list[Step] | None:
        if sel is None:
            return None
        with self._writing:
            return program(sel, self._universe())
