"""A collection of codes with ids: encoding, merging and decoding vectors."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from waterfill import _core
from waterfill._util.validation import as_int64
from waterfill.data.row_policy import Policy, admit, as_policy
from waterfill.data.rows import FloatRows, Rows
from waterfill.encoding import Codes
from waterfill.errors import ArgumentError
from waterfill.index.selector_members import sorted_unique
from waterfill.index.standalone_codec import StandaloneCodec
from waterfill.index.stored_vectors import as_new_ids, require_as_many
from waterfill.index.vector_index import Labels
from waterfill.index.views import IdMap

_BLOCK_ROWS = 4096  # rows of borrowed arrays that are compared at once


class Collection(StandaloneCodec):
    """Vectors in compressed form; `IndexFlat` and `IndexIVF` search them."""

    # Filling it.

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
        require_as_many(ids, given.n)
        came = admit(given, as_policy(policy), float16=self._holds_halves)
        rows, own = came.rows, None if ids is None else came.left(ids)
        stored = False
        while not stored:
            codec, codes, kept = self._codec, self._encode(rows), self._refine_rows(rows)
            with self._changes:
                stored = codec is self._codec  # it may have been changed meanwhile
                if stored:
                    self._store(codes, own, kept, replaces=replaces)
                    self._note_stored(rows)
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

    def _note_stored(self, rows: Rows) -> None:
        """Do something with the rows whose codes have just been appended, before other changes."""

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

    def merge_from(self, otherIndex: Any, add_id: int = 0) -> None:
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

    def check_compatible_for_merge(self, otherIndex: Any) -> None:
        """Raise the error of `merge_from` if the indexes are incompatible.

        Parameters
        ----------
        otherIndex : IndexFlat or IndexIVF
            As for `merge_from`.

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

    # Getting vectors back.

    @property
    def id_map(self) -> IdMap:
        """The ids as ``faiss.IndexIDMap.id_map``, read-only; there is none if ids are positions."""
        if not (self._keeps_ids or self.has_ids):
            raise AttributeError  # Python then calls __getattr__, which has the message
        return IdMap.of(self.ids())

    def codes(self, n0: int = 0, ni: int = -1) -> Codes:
        """Return the codes of the same vectors as `ids`.

        Parameters
        ----------
        n0 : int
            Position of the first vector in order of insertion.
        ni : int
            Number of vectors; -1 for all remaining ones.

        Returns
        -------
        uint8 (ni, codec.code_size)
            The codes, as `Codec.encode` returns them.

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
            return self._trained().codes(*self._span(n0, ni))

    def _by_id(self, keys: Labels) -> FloatRows:
        labels, stored = self._trained().find(keys, self._contents)
        self._require_found(keys, labels)
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

    def _vectors(self, first: int, n: int) -> FloatRows:
        core = self._trained()
        read = core.codes if self._contents == "codes" else core.refine_rows
        return self._vectors_of(read(first, n))

    def add_sa_codes(self, codes: Any, ids: Any = None) -> None:
        """Append codes of `sa_encode`, or a column of `waterfill.columns`, with ids if given.

        Parameters
        ----------
        codes : uint8 (n, sa_code_size())
            Codes of `sa_encode`, or a column of `waterfill.columns`.
        ids : array_like of int, shape (n,), optional
            Ids, any but -1; by default they are numbered as by `add`.

        Raises
        ------
        ValueError
            If codes have another size or are a column of another codec, ids are invalid for
            `add_with_ids`, or `refine` keeps rows, which need the vectors.
        TypeError
            If codes are not uint8, or ids not integers.
        """
        self._trained()
        given = self._as_codes(codes)
        if isinstance(self._refine, str):
            raise ValueError(
                f"codes: an index with refine={self._refine!r} needs the vectors; call add(x)"
            )
        numbers = None if ids is None else as_new_ids(ids)
        require_as_many(numbers, len(given))
        self._store(given, numbers)
