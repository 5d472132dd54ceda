"""The vectors of an index: adding, getting them back by id and position, and removing them."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from waterfill._util.tensors import returned
from waterfill._util.validation import as_int, as_int64, output
from waterfill.data.row_policy import Policy
from waterfill.data.rows import FloatRows
from waterfill.errors import ArgumentError, MissingIdError
from waterfill.index.selector_graph import Step
from waterfill.index.selector_members import sorted_unique
from waterfill.index.selectors import as_ids, is_selector, program
from waterfill.index.vector_index import Core, Labels, VectorIndex


class StoredVectors(VectorIndex[Core]):
    """An index as a collection of vectors with ids."""

    # Filling it.

    def add(self, x: Any, numeric_type: int = 0, *, policy: Policy = "raise") -> None:
        """Encode vectors and append them. After an error no vector is added.

        Their ids are the positions from `ntotal` on. If vectors have explicit ids, new ones are
        numbered from the largest id on, so that no id is given twice.

        Parameters
        ----------
        x : array_like, shape (n, d)
            Vectors.
        numeric_type : int
            Ignored, because `x` has a dtype; for compatibility with FAISS.
        policy : {'raise', 'drop', 'quarantine'}
            What to do with rows that hold a NaN or an infinity, or a value beyond the float16 rows
            of `refine`. ``drop`` leaves them out; where ids are positions, later rows then have
            lower ids. ``quarantine`` also keeps them in `quarantine`. Both read all rows twice.
            `waterfill.check` finds more kinds of suspicious rows.

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

        Warns
        -----
        RuntimeWarning
            If rows are left out: their number, the first of them, and the reasons.
        """
        if self._keeps_ids:
            raise MissingIdError(
                "add: expected ids, because the index was created with IDMap; call "
                "add_with_ids(x, ids)"
            )
        self._append(x, None, "add", policy)

    def add_with_ids(
        self, x: Any, ids: Any, numeric_type: int = 0, *, policy: Policy = "raise"
    ) -> None:
        """Append vectors with explicit ids; otherwise like `add`.

        From then on every vector keeps its id when others are removed. The ids of vectors that were
        added before without ids are their positions.

        Parameters
        ----------
        x : array_like, shape (n, d)
            Vectors.
        ids : array_like of int, shape (n,)
            Any but -1, which means "no result". Duplicates are allowed.
        numeric_type : int
            As for `add`.
        policy : {'raise', 'drop', 'quarantine'}
            As for `add`; the ids of rows that are left out are left out as well.

        Raises
        ------
        ValueError
            As `add`; or if the numbers of ids and vectors differ, or an id is -1.
        TypeError
            As `add`; or if ids are not integers.
        NotTrainedError
            If the index is not trained.
        """
        self._append(x, as_new_ids(ids), "add_with_ids", policy)

    @abstractmethod
    def _append(self, x: Any, ids: Labels | None, call: str, policy: Policy) -> None:
        """Append vectors, with explicit ids if they are given; `call` is for messages."""

    # Getting vectors back.

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
        NotTrainedError
            If the index is not trained.
        """
        with self._writing:
            return self._trained().ids(*self._span(n0, ni))

    def _span(self, n0: int, ni: int) -> tuple[int, int]:
        n0, ni = as_int("n0", n0), as_int("ni", ni)
        ni = self.ntotal - n0 if ni == -1 else ni
        if n0 < 0 or ni < 0 or n0 + ni > self.ntotal:
            raise MissingIdError(f"n0={n0}, ni={ni} reach beyond an index of {self.ntotal} vectors")
        return n0, ni

    def reconstruct(self, key: int, x: Any = None) -> NDArray[np.float32]:
        """Decode the vector with an id.

        With `refine`, and in an `IndexHNSW`, this is the kept row. Otherwise it is decoded: its
        inner product with a query is the query's score (``ip``, ``cosine``); see `Codec.decode` for
        the vector of least squared error.

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
            If there is no vector with this id (an IndexError, and a RuntimeError as in FAISS).
        ValueError, TypeError
            If `key` is not an int of 64 bits, or `x` has another shape or dtype.
        """
        vector = output("x", x, (self.d,), np.float32)
        vector[:] = self._by_id(np.array([as_int64("key", key)]))[0]
        return returned(vector, x)

    def reconstruct_batch(self, key: Any, x: Any = None) -> FloatRows:
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
        ValueError, TypeError
            If `key` does not hold integers, or `x` has another shape or dtype.
        """
        keys = as_ids(key, "key")
        vectors = output("x", x, (len(keys), self.d), np.float32)
        vectors[:] = self._by_id(keys)
        return returned(vectors, x, key)

    @abstractmethod
    def _by_id(self, keys: Labels) -> FloatRows:
        """Return the vectors with given ids; MissingIdError if there is none with one of them."""

    def _require_found(self, keys: Labels, labels: Labels) -> None:
        """Raise an error if an id has no label."""
        if (labels < 0).any():
            missing = int(keys[np.argmax(labels < 0)])
            raise MissingIdError(f"key={missing} is not in an index of {self.ntotal} vectors")

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
        ValueError, TypeError
            If `n0` or `ni` is not an int, or `x` has another shape or dtype.
        """
        self._trained()
        with self._writing:
            n0, ni = self._span(n0, ni)
            vectors = output("x", x, (ni, self.d), np.float32)
            vectors[:] = self._vectors(n0, ni)
        return returned(vectors, x)

    @abstractmethod
    def _vectors(self, first: int, n: int) -> FloatRows:
        """Return vectors in order of insertion."""

    # Taking vectors out.

    def remove_ids(self, x: Any) -> int:
        """Remove vectors by id; the others keep their order.

        Explicit ids stay. Otherwise ids are positions, and the remaining vectors are renumbered.

        Parameters
        ----------
        x : array_like of int, shape (m,), or IDSelector
            Ids that are not in the index are ignored, and duplicates count once.

        Returns
        -------
        int
            The number of vectors removed.

        Raises
        ------
        TypeError
            If `x` is neither an array of integers nor a selector.
        """
        self._trained()
        selects = is_selector(x)
        ids = None if selects else sorted_unique(as_ids(x, "x"))
        with self._changes:
            steps = program(x, self._universe()) if selects else [("set", ids)]
            return self._remove(steps)

    def _remove(self, steps: list[Step]) -> int:
        with self._writing:
            self._require_changeable()
            return self._trained().remove(steps)

    def reset(self) -> None:
        """Remove all vectors."""
        if self._core:
            self._require_changeable()
            with self._writing:
                self._core.reset()
                if self._keeps_ids:
                    self._core.keep_ids()


def as_new_ids(ids: Any) -> Labels:
    """Return ids that are valid for new vectors."""
    numbers = as_ids(ids)
    if (numbers == -1).any():
        raise ValueError(
            f"ids: id {int(np.argmax(numbers == -1))} is -1, which stands for a missing result"
        )
    return numbers


def require_as_many(ids: Labels | None, n: int) -> None:
    """Raise an error unless there is an id for each vector."""
    if ids is not None and len(ids) != n:
        raise ArgumentError(f"ids: expected {n} ids, one per vector, got {len(ids)}")
