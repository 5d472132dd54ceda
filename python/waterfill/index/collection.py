"""A collection of codes with ids: adding, merging, removing and decoding vectors."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from waterfill import _core
from waterfill._util.tensors import returned
from waterfill._util.validation import as_int, as_int64, output
from waterfill.codec import Codes
from waterfill.data.row_policy import Policy, admit, as_policy
from waterfill.data.rows import FloatRows, Rows
from waterfill.errors import ArgumentError, MissingIdError
from waterfill.index.selector_graph import Step
from waterfill.index.selector_members import Universe, sorted_unique
from waterfill.index.selectors import as_ids, is_selector, program
from waterfill.index.standalone_codec import StandaloneCodec, as_codes
from waterfill.index.views import IdMap

Labels = NDArray[np.int64]

_BLOCK_ROWS = 4096  # rows of borrowed arrays that are compared at once


class Collection(StandaloneCodec):
    """Vectors in compressed form; `IndexFlat` and `IndexIVF` search them."""

    # Filling it.

    def add(self, x: Any, numeric_type: int = 0, *, policy: Policy = "raise") -> None:
        """Encode vectors and append them. After an error no vector is added.

        Their ids are the positions from `ntotal` on. If vectors have explicit ids, new ones are
        numbered from the largest id on, so that no id is given twice.

        Parameters
        ----------
        x : array_like, shape (n, d)
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
        self._append(x, _as_new_ids(ids), "add_with_ids", policy)

    def _append(
        self,
        x: Any,
        ids: Labels | None,
        call: str,
        policy: Policy,
        *,
        replaces: bool = False,
    ) -> None:
        """Encode and append vectors; `replaces`: remove those of before with the same ids."""
        self._trained()
        self._require_changeable()
        given = Rows(x, "x", self.d)
        _require_as_many(ids, given.n)
        came = admit(given, as_policy(policy), float16=self._holds_halves)
        rows, own = came.rows, None if ids is None else came.left(ids)
        stored = False
        while not stored:
            codec, codes, kept = self._codec, self._encode(rows), self._refine_rows(rows)
            with self._changes:
                stored = codec is self._codec  # it may have been changed meanwhile
                if stored:
                    self._store(codes, own, kept, replaces=replaces)
                    self._quarantine._take(call, came, ids)

    def _store(
        self,
        codes: Codes,
        ids: Labels | None,
        rows: _core.RefineRows | None = None,
        *,
        replaces: bool = False,
    ) -> None:
        """Append codes; `replaces`: remove the vectors of before with these ids in the same step.

        Rows are moved into the index.
        """
        replaced = [("set", sorted_unique(ids))] if replaces and ids is not None else None
        with self._writing:
            self._require_changeable()
            self._trained().append(codes, ids, rows, replaced)

    def _require_changeable(self) -> None:
        if self._frozen:
            raise ValueError(f"the index cannot be changed: {self._frozen}")

    @property
    def _holds_halves(self) -> bool:
        halves = isinstance(self._refine, str) and self._refine == "float16"
        return halves and self._metric != "cosine"  # float16 holds all unit vectors

    def _refine_rows(self, rows: Rows) -> _core.RefineRows | None:
        kind = self._trained().refine_row_kind
        if kind is None or not isinstance(self._refine, str):
            return None
        kept = _core.RefineRows(kind, self.d)
        for first, block in rows.blocks():
            kept.append(self._prepare(block), first)
        return kept

    def merge_from(self, otherIndex: Any, add_id: int = 0) -> None:  # noqa: N803
        """Move all vectors of an index with the same codec into this one.

        Shards that were filled separately, as copies of one trained index, are merged without
        encoding again.

        Parameters
        ----------
        otherIndex : IndexFlat or IndexIVF
            Of the same kind, metric and codec, and with the same `refine`.
        add_id : int
            Added to explicit ids of the other index. Vectors without explicit ids are numbered as
            by `add`.

        Raises
        ------
        ValueError
            If the indexes are incompatible; if an id of the other index, plus `add_id`, is already
            in this one; or if both re-rank with arrays of yours, and the array of this index has
            another row for a vector of the other one.
        TypeError
            If `otherIndex` is not an index of the same class, or `add_id` is not an int.
        NotTrainedError
            If one of the indexes is not trained.
        """
        shift = as_int64("add_id", add_id)
        self.check_compatible_for_merge(otherIndex)
        self._require_changeable()
        otherIndex._require_changeable()
        first, second = sorted((self, otherIndex), key=id)  # a fixed order prevents deadlocks
        with first._writing, second._writing:
            self._require_same_rows(otherIndex, shift)
            self._trained().merge(otherIndex._trained(), shift)

    def _require_same_rows(self, other: Collection, shift: int) -> None:
        """Compare the rows of borrowed arrays: after a merge they are found by the new ids."""
        mine, theirs = self._refine, other._refine
        if not isinstance(mine, np.ndarray) or not isinstance(theirs, np.ndarray):
            return  # the core compares the kinds
        old = other._trained().ids(0, other.ntotal)
        new = self._trained().merged_ids(other._trained(), shift)
        if mine is theirs and np.array_equal(old, new):
            return
        for first in range(0, len(old), _BLOCK_ROWS):
            from_, to = old[first : first + _BLOCK_ROWS], new[first : first + _BLOCK_ROWS]
            beyond = np.flatnonzero((to < 0) | (to >= len(mine)))
            if len(beyond):
                raise ArgumentError(
                    f"otherIndex: id {to[beyond[0]]} has no row in refine, an array of {len(mine)}"
                )
            differ = np.flatnonzero((mine[to] != theirs[from_]).any(axis=1))
            if len(differ):
                raise ArgumentError(
                    f"otherIndex: row {to[differ[0]]} of this index's refine array is another "
                    f"vector than row {from_[differ[0]]} of otherIndex's; make both indexes with "
                    "one array in which row i is the vector with id i, or keep rows in the "
                    "indexes with refine='float16'"
                )

    def check_compatible_for_merge(self, otherIndex: Any) -> None:  # noqa: N803
        """Raise the error of `merge_from` if the indexes are incompatible.

        Raises
        ------
        ValueError, TypeError, NotTrainedError
            As `merge_from`.
        """
        if not isinstance(otherIndex, Collection) or type(otherIndex) is not type(self):
            raise TypeError(
                f"otherIndex must be a waterfill.{type(self).__name__}, "
                f"got {type(otherIndex).__name__}"
            )
        core, other = self._trained(), otherIndex._trained()
        if core is other:
            raise ValueError("otherIndex must be another index, got the index itself")
        if self._metric != otherIndex._metric:
            raise ValueError(
                f"otherIndex has metric {otherIndex.metric!r}, expected {self.metric!r}"
            )
        if core.codec is not other.codec and core.codec.to_bytes() != other.codec.to_bytes():
            raise ValueError("otherIndex has another codec: train one index and fill copies of it")

    def _universe(self) -> Universe:
        core = self._trained()
        return Universe(core.size, core.ids, self._version)

    # Getting vectors back.

    @property
    def id_map(self) -> IdMap:
        """The ids as ``faiss.IndexIDMap.id_map``, read-only; there is none if ids are positions."""
        if not (self._keeps_ids or self.has_ids):
            raise AttributeError  # Python then calls __getattr__, which has the message
        return IdMap.of(self.ids())

    def ids(self, n0: int = 0, ni: int = -1) -> Labels:
        """Return the ids of `ni` vectors in order of insertion, starting at the n0-th, int64 (ni,).

        ``ni=-1`` stands for all remaining ones. Raises MissingIdError if the range exceeds the
        index.
        """
        with self._writing:
            return self._trained().ids(*self._span(n0, ni))

    def codes(self, n0: int = 0, ni: int = -1) -> Codes:
        """Return the codes of the same vectors as `ids`, uint8 (ni, codec.code_size)."""
        with self._writing:
            return self._trained().codes(*self._span(n0, ni))

    def _span(self, n0: int, ni: int) -> tuple[int, int]:
        n0, ni = as_int("n0", n0), as_int("ni", ni)
        ni = self.ntotal - n0 if ni == -1 else ni
        if n0 < 0 or ni < 0 or n0 + ni > self.ntotal:
            raise MissingIdError(f"n0={n0}, ni={ni} reach beyond an index of {self.ntotal} vectors")
        return n0, ni

    def reconstruct(self, key: int, x: Any = None) -> NDArray[np.float32]:
        """Decode the vector with an id, float32 (d,), into `x` if given.

        With `refine` this is the kept row. Otherwise it is decoded: its inner product with a query
        is the query's score (``ip``, ``cosine``); see `Codec.decode` for the vector of least
        squared error.

        Raises
        ------
        MissingIdError
            If there is no vector with this id (an IndexError, and a RuntimeError as in FAISS).
        TypeError
            If `key` is not an int.
        """
        vector = output("x", x, (self.d,), np.float32)
        vector[:] = self._by_id(np.array([as_int64("key", key)]))[0]
        return returned(vector, x)

    def reconstruct_batch(self, key: Any, x: Any = None) -> FloatRows:
        """Decode the vectors with given ids, float32 (n, d), into `x` if given.

        Raises
        ------
        MissingIdError
            If there is no vector with one of these ids.
        TypeError
            If `key` does not hold integers.
        """
        keys = as_ids(key, "key")
        vectors = output("x", x, (len(keys), self.d), np.float32)
        vectors[:] = self._by_id(keys)
        return returned(vectors, x, key)

    def _by_id(self, keys: Labels) -> FloatRows:
        labels, stored = self._trained().find(keys, self._contents)
        if (labels < 0).any():
            missing = int(keys[np.argmax(labels < 0)])
            raise MissingIdError(f"key={missing} is not in an index of {self.ntotal} vectors")
        assert stored is not None
        return self._vectors_of(stored)

    @property
    def _contents(self) -> str:
        """What vectors are made from: 'codes', or 'rows' that the index keeps or borrows."""
        return "codes" if self._trained().refine_row_kind is None else "rows"

    def _vectors_of(self, stored: NDArray[Any]) -> FloatRows:
        """Return vectors, given their `_contents`."""
        if stored.dtype == np.uint8:
            return self._decode(stored)
        return self._prepare(stored) if isinstance(self._refine, np.ndarray) else stored

    def reconstruct_n(self, n0: int = 0, ni: int = -1, x: Any = None) -> FloatRows:
        """Decode `ni` vectors in order of insertion, starting at the n0-th; -1 for all remaining.

        Returns
        -------
        float32 (ni, d)
            `x`, if given.

        Raises
        ------
        MissingIdError
            If the range exceeds the index.
        TypeError
            If `n0` or `ni` is not an int.
        """
        core = self._trained()
        with self._writing:
            n0, ni = self._span(n0, ni)
            vectors = output("x", x, (ni, self.d), np.float32)
            read = core.codes if self._contents == "codes" else core.refine_rows
            vectors[:] = self._vectors_of(read(n0, ni))
        return returned(vectors, x)

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

    def add_sa_codes(self, codes: Any, ids: Any = None) -> None:
        """Append codes of `sa_encode`, with explicit ids if given.

        Raises
        ------
        ValueError
            If codes have another size, ids are invalid for `add_with_ids`, or `refine` keeps rows,
            which need the vectors.
        TypeError
            If codes are not uint8, or ids not integers.
        """
        self._trained()
        given = as_codes(codes, self.sa_code_size())
        if isinstance(self._refine, str):
            raise ValueError(
                f"codes: an index with refine={self._refine!r} needs the vectors; call add(x)"
            )
        numbers = None if ids is None else _as_new_ids(ids)
        _require_as_many(numbers, len(given))
        self._store(given, numbers)


def _as_new_ids(ids: Any) -> Labels:
    """Return ids that are valid for new vectors."""
    numbers = as_ids(ids)
    if (numbers == -1).any():
        raise ValueError(
            f"ids: id {int(np.argmax(numbers == -1))} is -1, which stands for a missing result"
        )
    return numbers


def _require_as_many(ids: Labels | None, n: int) -> None:
    if ids is not None and len(ids) != n:
        raise ArgumentError(f"ids: expected {n} ids, one per vector, got {len(ids)}")
