"""Codes with ids, under the methods of a ``faiss.Index``: all but search."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from waterfill import _core
from waterfill._util.validation import as_int, as_int64, output
from waterfill.codec import Codes
from waterfill.data.row_policy import Policy, admit, as_policy
from waterfill.data.rows import FloatRows, Rows
from waterfill.errors import ArgumentError, MissingIdError
from waterfill.index.selectors import Step, Universe, as_ids, is_selector, program
from waterfill.index.trainable import Trainable
from waterfill.training.train import QUARTERS

Labels = NDArray[np.int64]

_NEAR = 64  # labels so far apart are read together, with those between


class Collection(Trainable):
    """Vectors in compressed form; `IndexFlat` and `IndexIVF` search them."""

    # Filling it.

    def add(self, x: Any, numeric_type: int = 0, *, policy: Policy = "raise") -> None:
        """Encode vectors and append them. All of them are added, or none if there is an error.

        Their ids are the positions from `ntotal` on.

        Parameters
        ----------
        x : array_like, shape (n, d)
        numeric_type : int
            Changes nothing here: FAISS has it, and `x` has a dtype.
        policy : {'raise', 'drop', 'quarantine'}
            What is done about rows with a NaN or an infinity, or with a value that the float16 rows
            of `refine` do not hold. ``drop``: they are left out, and where ids are positions, those
            of the rows after them are lower. ``quarantine``: that, and `quarantine` keeps them. For
            both, all rows are read once more, and first. `waterfill.check` has stricter reasons.

        Raises
        ------
        ValueError
            For another number of dimensions, or a NaN or an infinity (with the row's number).
        TypeError
            If `x` is not an array of real numbers on the CPU.
        NotTrainedError
            Before training.

        Warns
        -----
        RuntimeWarning
            If rows are left out: how many, the first numbers, and why.
        """
        self._append(x, None, "add", policy)

    def add_with_ids(
        self, x: Any, ids: Any, numeric_type: int = 0, *, policy: Policy = "raise"
    ) -> None:
        """Append vectors with ids of their own; otherwise as `add`.

        From then on every vector keeps its id when others are removed; vectors that had none keep
        their position as id.

        Parameters
        ----------
        x : array_like, shape (n, d)
        ids : array_like of int, shape (n,)
            Any but -1, which stands for "none" in results; repeated ones are allowed.
        numeric_type : int
            As for `add`.
        policy : {'raise', 'drop', 'quarantine'}
            As for `add`; the ids of rows that are left out are left out, too.

        Raises
        ------
        ValueError
            As `add`; or if there are not as many ids as vectors, or one is -1.
        TypeError
            As `add`; or if ids are not integers.
        NotTrainedError
            Before training.
        """
        self._append(x, _as_new_ids(ids), "add_with_ids", policy)

    def _append(self, x: Any, ids: Labels | None, call: str, policy: Policy) -> None:
        core = self._trained()
        given = Rows(x, "x", self.d)
        _require_as_many(ids, given.n)
        came = admit(given, as_policy(policy), halves=self._holds_halves)
        rows, own = came.rows, None if ids is None else came.left(ids)
        with self._writing:
            core.append(self._encode(rows), own, self._refine_rows(rows))
            self._quarantine._take(call, came, ids)

    @property
    def _holds_halves(self) -> bool:
        halves = isinstance(self._refine, str) and self._refine == "float16"
        return halves and self._metric != "cosine"  # unit vectors fit

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
        """Take all vectors of an index with the same codec, which is left empty.

        Shards built apart, each with a copy of one trained index, become one without encoding
        anything again.

        Parameters
        ----------
        otherIndex : IndexFlat or IndexIVF
            Of the same kind, metric and codec, and with the same `refine`.
        add_id : int
            Added to the other's ids, where vectors have ids of their own. Where neither index has,
            the vectors' ids are their new positions.

        Raises
        ------
        ValueError
            If the indexes do not go together.
        TypeError
            If the other one is no index of this kind, or `add_id` no int.
        NotTrainedError
            If one of them is not trained.
        """
        shift = as_int64("add_id", add_id)
        self.check_compatible_for_merge(otherIndex)
        first, second = sorted((self, otherIndex), key=id)  # two merges must not wait in a circle
        with first._writing, second._writing:
            self._trained().merge(otherIndex._trained(), shift)

    def check_compatible_for_merge(self, otherIndex: Any) -> None:  # noqa: N803
        """Raise what `merge_from` would if the indexes do not go together.

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
            raise ValueError("otherIndex is the index itself")
        if self._metric != otherIndex._metric:
            raise ValueError(f"otherIndex has metric {otherIndex.metric!r}, this {self.metric!r}")
        if core.codec is not other.codec and core.codec.to_bytes() != other.codec.to_bytes():
            raise ValueError("otherIndex has another codec: train one index, and fill copies of it")

    def _universe(self) -> Universe:
        core = self._trained()
        return Universe(core.size, core.ids, core.version)

    # Getting vectors back.

    def ids(self, n0: int = 0, ni: int = -1) -> Labels:
        """Return the ids of `ni` vectors from the n0-th that was added on, int64 (ni,).

        -1 is all the others. Raises MissingIdError if some of them are not in the index.
        """
        return self._trained().ids(*self._span(n0, ni))

    def codes(self, n0: int = 0, ni: int = -1) -> Codes:
        """Return codes, uint8 (ni, codec.code_size), as `ids` does ids."""
        return self._trained().codes(*self._span(n0, ni))

    def _span(self, n0: int, ni: int) -> tuple[int, int]:
        n0, ni = as_int("n0", n0), as_int("ni", ni)
        ni = self.ntotal - n0 if ni == -1 else ni
        if n0 < 0 or ni < 0 or n0 + ni > self.ntotal:
            raise MissingIdError(f"n0={n0}, ni={ni} reach beyond an index of {self.ntotal} vectors")
        return n0, ni

    def reconstruct(self, key: int, x: NDArray[np.float32] | None = None) -> NDArray[np.float32]:
        """Decode the vector with an id, float32 (d,); into `x`, if given.

        Its inner product with a query is the query's score (``ip``, ``cosine``); see `Codec.decode`
        for the vector of least squared error.

        Raises
        ------
        MissingIdError
            If there is no vector with this id (an IndexError, and a RuntimeError as FAISS's).
        TypeError
            If `key` is no int.
        """
        vector = output("x", x, (self.d,), np.float32)
        vector[:] = self.reconstruct_batch([as_int("key", key)])[0]
        return vector

    def reconstruct_batch(
        self, key: Any, x: NDArray[np.float32] | None = None
    ) -> NDArray[np.float32]:
        """Decode the vectors with some ids, float32 (n, d), into `x`, if given.

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
            wanted = order[run]
            first, last = int(labels[wanted[0]]), int(labels[wanted[-1]])
            codes = core.codes(first, last - first + 1)
            vectors[wanted] = self._decode(codes[labels[wanted] - first])
        return vectors

    def reconstruct_n(
        self, n0: int = 0, ni: int = -1, x: NDArray[np.float32] | None = None
    ) -> FloatRows:
        """Decode `ni` vectors from the n0-th that was added on; -1: all the others.

        Returns
        -------
        float32 (ni, d)
            `x`, if given.

        Raises
        ------
        MissingIdError
            If some of them are not in the index.
        TypeError
            If `n0` or `ni` is no int.
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

        Vectors with ids of their own keep them; otherwise ids are positions, and the survivors are
        numbered anew.

        Parameters
        ----------
        x : array_like of int, shape (m,), or IDSelector
            Ids that are not in the index are ignored, repeated ones count once.

        Returns
        -------
        int
            The number of vectors removed.

        Raises
        ------
        TypeError
            If `x` holds no integers and is no selector.
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

    # Codes without an index: FAISS's standalone codec.

    def sa_code_size(self) -> int:
        """Bytes of a code that `sa_encode` gives."""
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
        """Append vectors by the codes that `sa_encode` gave, with ids of their own if given.

        Raises
        ------
        ValueError
            For codes of another size, or ids as `add_with_ids` refuses them; and where exact rows
            are kept, which codes do not bring.
        TypeError
            If codes are not uint8, or ids not integers.
        """
        core = self._trained()
        given = _as_codes(codes, self.sa_code_size())
        if isinstance(self._refine, str):
            raise ValueError(f"codes: an index with refine={self._refine!r} needs the vectors; add")
        numbers = None if ids is None else _as_new_ids(ids)
        _require_as_many(numbers, len(given))
        with self._writing:
            core.append(given, numbers)


def _as_new_ids(ids: Any) -> Labels:
    """Return ids that vectors may have."""
    numbers = as_ids(ids)
    if (numbers == -1).any():
        raise ValueError(
            f"ids: id {int(np.argmax(numbers == -1))} is -1, which stands for a missing result"
        )
    return numbers


def _require_as_many(ids: Labels | None, n: int) -> None:
    if ids is not None and len(ids) != n:
        raise ArgumentError(f"ids: {len(ids)} of them for {n} vectors")


def _as_codes(codes: Any, size: int) -> Codes:
    array = np.asarray(codes)
    if array.dtype != np.uint8:
        raise TypeError(f"codes must be uint8, got dtype {array.dtype}")
    if array.ndim != 2 or array.shape[1] != size:
        raise ArgumentError(f"codes must have shape (n, {size}), got {array.shape}")
    return np.ascontiguousarray(array)


def _runs(labels: Labels) -> Iterator[slice]:
    """Yield stretches of ascending labels that lie near enough to be read at once."""
    if len(labels) == 0:
        return
    ends = np.flatnonzero(np.diff(labels) > _NEAR) + 1
    for start, stop in zip([0, *ends], [*ends, len(labels)], strict=True):
        yield slice(start, stop)
