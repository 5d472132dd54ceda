"""Indexes of codes: training, the codec, and the rows for re-ranking."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from waterfill import _core
from waterfill._util.progress import Option, check_progress
from waterfill._util.validation import METRICS, Metric, refuse_masked
from waterfill.codec import Codec
from waterfill.data.row_policy import Policy, admit, as_policy
from waterfill.data.rows import Rows
from waterfill.errors import ArgumentError
from waterfill.index.recall_warnings import warn_of_training
from waterfill.index.vector_search import VectorSearch
from waterfill.layout import ID_BYTES, RefineName, VectorBytes, vector_bytes
from waterfill.plan import Plan
from waterfill.recipe import Recipe, train_codec
from waterfill.training.manifest import Manifest

ROW_KINDS: dict[str, _core.RowKind] = {
    "float32": _core.RowKind.float32,
    "float16": _core.RowKind.float16,
    "int8": _core.RowKind.int8,
}
_ROW_NAMES = {"fp16": "float16", "flat": "float32"}


class Trainable(VectorSearch[_core.Index]):
    """A codec, or the plan or recipe that `train` makes one from, and its properties."""

    def __init__(self, source: Codec | Plan | Recipe, metric: Metric | int, refine: Any) -> None:
        if not isinstance(source, Codec | Plan | Recipe):
            raise TypeError(
                "codec must be a waterfill.Codec, Plan or Recipe, got " + type(source).__name__
            )
        super().__init__(metric)
        self._refine = check_refine(refine)
        self._codec: Codec | None = None
        self._source: Plan | Recipe | None = None
        if isinstance(source, Codec):
            self._attach(_core.Index(source._core, METRICS[self._metric]), source)
        else:
            self._source = source

    def _attach(self, core: _core.Index, codec: Codec) -> None:
        if isinstance(self._refine, str):
            if core.refine_row_kind is None:
                core.keep_refine_rows(ROW_KINDS[self._refine])
        elif self._refine is not None:
            core.borrow_refine_rows(self._refine)
        if self._keeps_ids:
            core.keep_ids()
        self._core, self._codec = core, codec

    @property
    def codec(self) -> Codec | None:
        """The codec of its vectors; None before training."""
        return self._codec

    @property
    def manifest(self) -> Manifest | None:
        """The record of how its codec was trained: see `Codec.manifest`."""
        return self._codec.manifest if self._codec else None

    @property
    def _has_metric(self) -> bool:
        return self._codec is not None

    @property
    def d(self) -> int:
        """Dimensions of the vectors."""
        source = self._codec or self._source
        assert source is not None
        return source.d

    @property
    def bytes_per_vector(self) -> float:
        """Bytes that the file grows by with each vector, everything included.

        They are those of the code and its scale (an odd number of code bytes takes the room of the
        next even one), the second byte of L2, the place in the order of the lists where there are
        any, an explicit id, and the row of `refine` if the index keeps rows. Memory takes no more,
        but for room to grow. Beside them stands what does not grow: the codec, headers, and unused
        places in the last block of each list. `code_size` is the size of a code alone.
        """
        return self._vector_bytes().total

    def _vector_bytes(self) -> VectorBytes:
        """Return `bytes_per_vector` by what they hold."""
        core = self._trained()
        return vector_bytes(
            self.d,
            core.codec.groups,
            metric=self._metric,
            lists=core.codec.cells,
            refine=self._kept_rows,
            id_bytes=self._bytes_of_an_id(),
        )

    @property
    def _kept_rows(self) -> RefineName | None:
        """The kind of the rows that the index keeps; None if they are an array of the user's."""
        kept: RefineName | None = None if isinstance(self._refine, np.ndarray) else self._refine
        return kept

    def _bytes_of_an_id(self) -> float:
        core = self._trained()
        if core.size:
            return core.id_bytes / core.size
        return float(ID_BYTES if core.has_ids else 0)

    @property
    def refine(self) -> Any:
        """The rows for re-ranking: 'float16', 'int8', 'float32', an array, or None."""
        return self._refine

    def train(
        self,
        x: Any,
        *,
        numeric_type: int = 0,
        xq_train: Any = None,
        policy: Policy = "raise",
        progress: Option = False,
    ) -> None:
        """Train the codec, unless the index has one.

        Parameters
        ----------
        x : array_like, shape (n, d)
            At least 1 row; thousands are better. It is read in blocks.
        numeric_type : int
            Ignored, because `x` has a dtype; for compatibility with FAISS.
        xq_train : array_like, shape (m, d), optional
            Typical queries: the `queries` of `Codec.train`.
        policy : {'raise', 'drop', 'quarantine'}
            What to do with rows that hold a NaN or an infinity: see `add`. Any but ``raise`` reads
            all rows.
        progress : bool or callable, optional
            See `Codec.train`.

        Raises
        ------
        ValueError
            If `x` has no rows, another number of dimensions, or a NaN or an infinity.
        TypeError
            If `x` or `xq_train` is not an array of real numbers on the CPU.

        Warns
        -----
        RuntimeWarning
            If rows are left out, with their numbers and the reasons.
        """
        policy = as_policy(policy)
        check_progress(progress)
        rows = Rows(x, "x", self.d)
        if rows.n == 0:
            raise ValueError("x has no rows; at least 1 is needed to train")
        with self._writing:
            if self._source is not None:
                admitted = admit(rows, policy)
                queries = None if xq_train is None else admit(Rows(xq_train, "queries"), policy)
                query_rows = queries and queries.rows.source
                codec = self._learn(self._source, admitted.rows.source, query_rows, progress)
                self._attach(_core.Index(codec._core, METRICS[self._metric]), codec)
                self._source = None
                warn_of_training(codec, self._metric, admitted.rows.n, self._refine)
                for part in (admitted, queries) if queries else (admitted,):
                    self._quarantine._take("train", part)

    def _learn(self, source: Plan | Recipe, x: Any, queries: Any, progress: Option) -> Codec:
        return train_codec(source, x, self._metric, queries=queries, progress=progress)


def check_refine(refine: Any) -> Any:
    """Return `refine` with FAISS's names replaced by ours."""
    refine = _ROW_NAMES.get(refine, refine) if isinstance(refine, str) else refine
    if isinstance(refine, np.ndarray):
        return _check_refine_array(refine)
    if refine is None:
        return refine
    if hasattr(refine, "__array__") or isinstance(refine, list | tuple):
        raise TypeError(
            f"refine is a {type(refine).__name__}, expected a NumPy array, which is read where it "
            "lies; convert it first: np.asarray(refine, np.float32)"
        )
    if not isinstance(refine, str) or refine not in ROW_KINDS:
        raise ValueError(
            f"refine={refine!r} must be 'float16', 'int8', 'float32', an array of float32 or "
            "float16, or None"
        )
    return refine


def _check_refine_array(rows: NDArray[Any]) -> NDArray[Any]:
    """Return an array that the core can read where it lies; refuse others before training."""
    refuse_masked(rows, "refine")
    dtype = rows.dtype
    if dtype.kind != "f" or dtype.itemsize not in (2, 4) or not dtype.isnative:
        raise TypeError(
            "refine must be float32 or float16 in the machine's byte order, got dtype "
            f"{dtype.str if not dtype.isnative else dtype}; it is read where it lies, so convert "
            "it first: refine.astype(np.float32)"
        )
    if rows.ndim != 2:
        raise ArgumentError(f"refine must have shape (n, d), got shape {rows.shape}")
    if rows.strides[1] != dtype.itemsize or not rows.flags.aligned:
        raise ArgumentError(
            "refine must be a matrix with contiguous rows, got an array of shape "
            f"{rows.shape} with strides {rows.strides}; it is read where it lies, so pass a copy: "
            "np.ascontiguousarray(refine)"
        )
    return rows
