"""Codes with ids, under the methods of a ``faiss.Index``: all but search."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from waterfill import _core
from waterfill.arguments import METRIC_TYPES, METRICS, Metric, as_int, metric_name, output
from waterfill.codec import Codec
from waterfill.errors import ArgumentError, MissingIdError, NotTrainedError
from waterfill.plan import Plan
from waterfill.recipe import Recipe, learn
from waterfill.rows import FloatRows, Rows
from waterfill.selectors import Step, Universe, as_ids, is_selector, program

Labels = NDArray[np.int64]
Codes = NDArray[np.uint8]

_QUARTERS = 4
_ROW_KINDS: dict[str, _core.RowKind] = {
    "float32": _core.RowKind.float32,
    "float16": _core.RowKind.float16,
    "int8": _core.RowKind.int8,
}
_ROW_NAMES = {"fp16": "float16", "flat": "float32"}


class Collection:
    """Vectors in compressed form; `IndexFlat` and `IndexIVF` search them."""

    def __init__(self, source: Codec | Plan | Recipe, metric: Metric | int, refine: Any) -> None:
        if not isinstance(source, Codec | Plan | Recipe):
            raise TypeError(
                "codec must be a waterfill.Codec, Plan or Recipe, got " + type(source).__name__
            )
        self._metric = metric_name(metric)
        self._refine = check_refine(refine)
        self._core: _core.Index | None = None
        self._codec: Codec | None = None
        self._source: Plan | Recipe | None = None
        self._writing = threading.RLock()  # an export holds it while it reads codes, in one too
        self._keeps_ids = False  # even when it is empty, as FAISS's IndexIDMap2 does
        self.verbose = False
        self.metric_arg = 0.0
        if isinstance(source, Codec):
            self._attach(_core.Index(source._core, METRICS[self._metric]), source)
        else:
            self._source = source

    def _attach(self, core: _core.Index, codec: Codec) -> None:
        if isinstance(self._refine, str):
            if core.exact_kind is None:
                core.keep_exact(_ROW_KINDS[self._refine])
        elif self._refine is not None:
            core.borrow_exact(self._refine)
        if self._keeps_ids:
            core.keep_ids()
        self._core, self._codec = core, codec

    # What an index is.

    @property
    def codec(self) -> Codec | None:
        """What encodes its vectors; None before training."""
        return self._codec

    @property
    def metric(self) -> Metric:
        """One of ``ip``, ``l2``, ``cosine``."""
        return self._metric

    @property
    def metric_type(self) -> int:
        """FAISS's number of the metric: 0 for inner products (``cosine`` too), 1 for L2."""
        return METRIC_TYPES[self._metric]

    @property
    def is_trained(self) -> bool:
        """Whether there is a codec, so that vectors can be added."""
        return self._core is not None

    @property
    def d(self) -> int:
        """Dimensions of the vectors."""
        source = self._codec or self._source
        assert source is not None
        return source.d

    @property
    def ntotal(self) -> int:
        """Number of vectors."""
        return self._core.size if self._core else 0

    @property
    def has_ids(self) -> bool:
        """Whether vectors have ids of their own; otherwise their ids are their positions."""
        return self._core.has_ids if self._core else False

    @property
    def bytes_per_vector(self) -> int:
        """What is stored of one vector's code: a byte a group, the scale, and a byte more for L2.

        Not counted: the order in which vectors came, where there are cells (1.3 to 2.7 bytes), ids
        of their own (8), and what `refine` keeps. `nbytes` counts all.
        """
        core = self._trained()
        return core.codec.groups + 1 + int(core.keeps_extra)

    @property
    def nbytes(self) -> int:
        """Bytes of memory of the stored vectors, ids and rows to refine with; not the codec."""
        return self._core.nbytes if self._core else 0

    @property
    def refine(self) -> Any:
        """What the third stage reads: 'float16', 'int8', 'float32', an array, or None."""
        return self._refine

    def __len__(self) -> int:
        return self.ntotal

    def __bool__(self) -> bool:
        return True  # as any FAISS index, full or empty

    # Filling it.

    def train(self, x: Any) -> None:
        """Learn the codec from vectors, unless the index has one.

        Parameters
        ----------
        x : array_like, shape (n, d)
            At least 1 row; thousands are better. Blocks of it are read, never all at once.

        Raises
        ------
        ValueError
            For another number of dimensions, no rows, or a NaN or an infinity.
        TypeError
            If `x` is not an array of real numbers on the CPU.
        """
        rows = Rows(x, "x", self.d)
        if rows.n == 0:
            raise ValueError("x has no rows; at least 1 is needed to train")
        with self._writing:
            if self._source is not None:
                codec = self._learn(self._source, x)
                self._attach(_core.Index(codec._core, METRICS[self._metric]), codec)
                self._source = None

    def _learn(self, source: Plan | Recipe, x: Any) -> Codec:
        return learn(source, x, self._metric)

    def add(self, x: Any) -> None:
        """Encode vectors and append them. All of them are added, or none if there is an error.

        Their ids are the positions from `ntotal` on.

        Parameters
        ----------
        x : array_like, shape (n, d)

        Raises
        ------
        ValueError
            For another number of dimensions, or a NaN or an infinity (with the row's number).
        TypeError
            If `x` is not an array of real numbers on the CPU.
        NotTrainedError
            Before training.
        """
        self._append(x, None)

    def add_with_ids(self, x: Any, ids: Any) -> None:
        """Append vectors with ids of their own; otherwise as `add`.

        From then on every vector keeps its id when others are removed; vectors that had none keep
        their position as id.

        Parameters
        ----------
        x : array_like, shape (n, d)
        ids : array_like of int, shape (n,)
            Any but -1, which stands for "none" in results; repeated ones are allowed.

        Raises
        ------
        ValueError
            As `add`; or if there are not as many ids as vectors, or one is -1.
        TypeError
            As `add`; or if ids are not integers.
        NotTrainedError
            Before training.
        """
        numbers = as_ids(ids)
        if (numbers == -1).any():
            raise ValueError(
                f"ids: id {int(np.argmax(numbers == -1))} is -1, which stands for a missing result"
            )
        self._append(x, numbers)

    def _append(self, x: Any, ids: Labels | None) -> None:
        core = self._trained()
        rows = Rows(x, "x", self.d)
        if ids is not None and len(ids) != rows.n:
            raise ArgumentError(f"ids: {len(ids)} of them for {rows.n} vectors")
        with self._writing:
            codes = self._encode(rows)
            try:
                if isinstance(self._refine, str):
                    for first, block in rows.blocks():
                        core.append_exact(self._prepare(block), first)
                core.append(codes, ids)
            except BaseException:
                core.drop_exact()
                raise

    def _encode(self, rows: Rows) -> Codes:
        assert self._codec is not None
        return self._codec._encode(rows, self._prepare)

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
            If the other one is no index of this kind.
        """
        self.check_compatible_for_merge(otherIndex)
        with self._writing:
            self._trained().merge(otherIndex._trained(), as_int("add_id", add_id))

    def check_compatible_for_merge(self, otherIndex: Any) -> None:  # noqa: N803
        """Raise what `merge_from` would, if the indexes do not go together."""
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
        """Return the ids of `ni` vectors from the n0-th that was added on; -1: all the others."""
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
        """Decode the vector with an id, shape (d,); into `x`, if given.

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
        """Decode the vectors with some ids, shape (n, d); errors as `reconstruct`."""
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
        """Decode `ni` vectors from the n0-th that was added on, shape (ni, d); -1: all the others.

        Raises
        ------
        ValueError
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
        return self._codec.decode(codes, alpha=self._trained().alpha / _QUARTERS)

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
        """Encode vectors as `add` does, uint8 (n, sa_code_size()), without adding them."""
        self._trained()
        rows = Rows(x, "x", self.d)
        out = output("codes", codes, (rows.n, self.sa_code_size()), np.uint8)
        out[:] = self._encode(rows)
        return out

    def sa_decode(self, codes: Any, x: NDArray[np.float32] | None = None) -> FloatRows:
        """Decode codes as `reconstruct` does, float32 (n, d)."""
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
        numbers = None if ids is None else as_ids(ids)
        with self._writing:
            core.append(given, numbers)

    def _trained(self) -> _core.Index:
        if self._core is None:
            raise NotTrainedError(f"{type(self).__name__} is not trained: call train(x) first")
        return self._core


def check_refine(refine: Any) -> Any:
    """Return what a third stage is asked to keep, in our own words."""
    refine = _ROW_NAMES.get(refine, refine) if isinstance(refine, str) else refine
    if refine is None or isinstance(refine, np.ndarray):
        return refine
    if not isinstance(refine, str) or refine not in _ROW_KINDS:
        raise ValueError(
            f"refine={refine!r} must be 'float16', 'int8', 'float32', an array of float32 or "
            "float16, or None"
        )
    return refine


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
    ends = np.flatnonzero(np.diff(labels) > 64) + 1
    for start, stop in zip([0, *ends], [*ends, len(labels)], strict=True):
        yield slice(start, stop)
