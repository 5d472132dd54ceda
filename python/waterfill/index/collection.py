"""A collection of codes with ids: adding, merging, removing and decoding vectors."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from waterfill import _core
from waterfill._util.validation import as_int, as_int64, output
from waterfill.codec import Codes
from waterfill.data.arrays import read_numbers
from waterfill.data.row_policy import Policy, admit, as_policy
from waterfill.data.rows import FloatRows, Rows
from waterfill.errors import ArgumentError, MissingIdError
from waterfill.index.selectors import Step, Universe, as_ids, is_selector, program
from waterfill.index.trainable import Trainable
from waterfill.training.train import QUARTERS

Labels = NDArray[np.int64]

_NEAR = 64  # labels at most this far apart are read in one run


class Collection(Trainable):
    """Vectors in compressed form; `IndexFlat` and `IndexIVF` search them."""

    # Filling it.

    def add(self, x: Any, numeric_type: int = 0, *, policy: Policy = "raise") -> None:
        """Encode vectors and append them. After an error no vector is added.

        Their ids are the positions from `ntotal` on.

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

        Warns
        -----
        RuntimeWarning
            If rows are left out: their number, the first of them, and the reasons.
        """
        self._append(x, None, "add", policy)

    def add_with_ids(
        self, x: Any, ids: Any, numeric_type: int = 0, *, policy: Policy = "raise"
    ) -> None:
        """Append vectors with explicit ids; otherwise like `add`.

        From then on every vector keeps its id when others are removed. The ids of vectors that were
        added without ids are their positions.

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

    def _append(self, x: Any, ids: Labels | None, call: str, policy: Policy) -> None:
        core = self._trained()
        given = Rows(x, "x", self.d)
        _require_as_many(ids, given.n)
        came = admit(given, as_policy(policy), float16=self._holds_halves)
        rows, own = came.rows, None if ids is None else came.left(ids)
        with self._writing:
            core.append(self._encode(rows), own, self._refine_rows(rows))
            self._quarantine._take(call, came, ids)

    @property
    def _holds_halves(self) -> bool:
        halves = isinstance(self._refine, str) and self._refine == "float16"
        return halves and self._metric != "cosine"  # float16 holds all unit vectors

    def _encode(self, rows: Rows) -> Codes:
        assert self._codec is not None
        return self._codec._encode(rows, self._prepare)

    def _refine_rows(self, rows: Rows) -> _core.RefineRows | None:
        kind = self._trained().refine_row_kind
        if kind is None or not isinstance(self._refine, str):
            return None
        kept = _core.RefineRows(kind, self.d)
        for first, block in rows.blocks():
            kept.append(self._prepare(block), first)
        return kept

    def _prepare(self, block: FloatRows) -> FloatRows:
        return _core.normalize_rows(block) if self._metric == "cosine" else block

    def merge_from(self, otherIndex: Any, add_id: int = 0) -> None:  # noqa: N803
        """Move all vectors of an index with the same codec into this one.

        Shards that were filled separately, as copies of one trained index, are merged without
        encoding again.

        Parameters
        ----------
        otherIndex : IndexFlat or IndexIVF
            Of the same kind, metric and codec, and with the same `refine`.
        add_id : int
            Added to explicit ids of the other index. If neither index has explicit ids, the ids of
            the vectors are their new positions.

        Raises
        ------
        ValueError
            If the indexes are incompatible.
        TypeError
            If `otherIndex` is not an index of the same class, or `add_id` is not an int.
        NotTrainedError
            If one of the indexes is not trained.
        """
        shift = as_int64("add_id", add_id)
        self.check_compatible_for_merge(otherIndex)
        first, second = sorted((self, otherIndex), key=id)  # a fixed order prevents deadlocks
        with first._writing, second._writing:
            self._trained().merge(otherIndex._trained(), shift)

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
        return Universe(core.size, core.ids, core.version)

    # Getting vectors back.

    def ids(self, n0: int = 0, ni: int = -1) -> Labels:
        """Return the ids of `ni` vectors in order of insertion, starting at the n0-th, int64 (ni,).

        ``ni=-1`` stands for all remaining ones. Raises MissingIdError if the range exceeds the
        index.
        """
        return self._trained().ids(*self._span(n0, ni))

    def codes(self, n0: int = 0, ni: int = -1) -> Codes:
        """Return the codes of the same vectors as `ids`, uint8 (ni, codec.code_size)."""
        return self._trained().codes(*self._span(n0, ni))

    def _span(self, n0: int, ni: int) -> tuple[int, int]:
        n0, ni = as_int("n0", n0), as_int("ni", ni)
        ni = self.ntotal - n0 if ni == -1 else ni
        if n0 < 0 or ni < 0 or n0 + ni > self.ntotal:
            raise MissingIdError(f"n0={n0}, ni={ni} reach beyond an index of {self.ntotal} vectors")
        return n0, ni

    def reconstruct(self, key: int, x: NDArray[np.float32] | None = None) -> NDArray[np.float32]:
        """Decode the vector with an id, float32 (d,), into `x` if given.

        Its inner product with a query is the query's score (``ip``, ``cosine``); see `Codec.decode`
        for the vector of least squared error.

        Raises
        ------
        MissingIdError
            If there is no vector with this id (an IndexError, and a RuntimeError as in FAISS).
        TypeError
            If `key` is not an int.
        """
        vector = output("x", x, (self.d,), np.float32)
        vector[:] = self.reconstruct_batch([as_int("key", key)])[0]
        return vector

    def reconstruct_batch(
        self, key: Any, x: NDArray[np.float32] | None = None
    ) -> NDArray[np.float32]:
        """Decode the vectors with given ids, float32 (n, d), into `x` if given.

        Raises
        ------
        MissingIdError
            If there is no vector with one of these ids.
        TypeError
            If `key` does not hold integers.
        """
        core = self._trained()
        keys = as_ids(key, "key")
        vectors = output("x", x, (len(keys), self.d), np.float32)
        labels = core.find(keys)
        if (labels < 0).any():
            missing = int(keys[np.argmax(labels < 0)])
            raise MissingIdError(f"key={missing} is not in an index of {self.ntotal} vectors")
        order = np.argsort(labels, kind="stable")
        for run in _runs(labels[order]):
            rows = order[run]
            first, last = int(labels[rows[0]]), int(labels[rows[-1]])
            codes = core.codes(first, last - first + 1)
            vectors[rows] = self._decode(codes[labels[rows] - first])
        return vectors

    def reconstruct_n(
        self, n0: int = 0, ni: int = -1, x: NDArray[np.float32] | None = None
    ) -> FloatRows:
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
        n0, ni = self._span(n0, ni)
        vectors = output("x", x, (ni, self.d), np.float32)
        vectors[:] = self._decode(self._trained().codes(n0, ni))
        return vectors

    def _decode(self, codes: Codes) -> FloatRows:
        assert self._codec is not None
        return self._codec.decode(codes, alpha=self._trained().alpha / QUARTERS)

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
        core = self._trained()
        steps = (
            program(x, self._universe()) if is_selector(x) else [("set", np.unique(as_ids(x, "x")))]
        )
        with self._writing:
            return self._remove(core, steps)

    def _remove(self, core: _core.Index, steps: list[Step]) -> int:
        return core.remove(steps)

    def reset(self) -> None:
        """Remove all vectors."""
        if self._core:
            with self._writing:
                self._core.reset()
                if self._keeps_ids:
                    self._core.keep_ids()

    # FAISS's standalone codec interface.

    def sa_code_size(self) -> int:
        """Size of a code of `sa_encode` in bytes."""
        self._trained()
        assert self._codec is not None
        return self._codec.code_size

    def sa_encode(self, x: Any, codes: Codes | None = None) -> Codes:
        """Encode vectors as `add` does, uint8 (n, sa_code_size()), without adding them.

        Raises
        ------
        ValueError, TypeError, NotTrainedError
            As `add`, or if `codes` has another shape or dtype.
        """
        self._trained()
        rows = Rows(x, "x", self.d)
        out = output("codes", codes, (rows.n, self.sa_code_size()), np.uint8)
        out[:] = self._encode(rows)
        return out

    def sa_decode(self, codes: Any, x: NDArray[np.float32] | None = None) -> FloatRows:
        """Decode codes as `reconstruct` does, float32 (n, d).

        Raises
        ------
        ValueError, TypeError
            For codes of another size or dtype, or such an `x`.
        NotTrainedError
            Before training.
        """
        decoded = self._decode(_as_codes(codes, self.sa_code_size()))
        out = output("x", x, decoded.shape, np.float32)
        out[:] = decoded
        return out

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
        core = self._trained()
        given = _as_codes(codes, self.sa_code_size())
        if isinstance(self._refine, str):
            raise ValueError(
                f"codes: an index with refine={self._refine!r} needs the vectors; call add(x)"
            )
        numbers = None if ids is None else _as_new_ids(ids)
        _require_as_many(numbers, len(given))
        with self._writing:
            core.append(given, numbers)


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


def _as_codes(codes: Any, size: int) -> Codes:
    array = read_numbers(codes, "codes")
    if array.dtype != np.uint8:
        raise TypeError(f"codes must be uint8, got dtype {array.dtype}")
    if array.ndim != 2 or array.shape[1] != size:
        raise ArgumentError(f"codes must have shape (n, {size}), got {array.shape}")
    return np.ascontiguousarray(array)


def _runs(labels: Labels) -> Iterator[slice]:
    """Yield runs of ascending labels that are close enough to be read at once."""
    if len(labels) == 0:
        return
    ends = np.flatnonzero(np.diff(labels) > _NEAR) + 1
    for start, stop in zip([0, *ends], [*ends, len(labels)], strict=True):
        yield slice(start, stop)
