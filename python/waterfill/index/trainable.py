"""What an index is before and after training, under the names of a ``faiss.Index``."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np

from waterfill import _core
from waterfill._util.validation import METRIC_TYPES, METRICS, Metric, metric_name
from waterfill.codec import Codec
from waterfill.data.row_policy import Policy, Quarantine, admit, as_policy
from waterfill.data.rows import Rows
from waterfill.errors import NotTrainedError
from waterfill.plan import Plan
from waterfill.recipe import Recipe, learn
from waterfill.training.manifest import Manifest

_ROW_KINDS: dict[str, _core.RowKind] = {
    "float32": _core.RowKind.float32,
    "float16": _core.RowKind.float16,
    "int8": _core.RowKind.int8,
}
_ROW_NAMES = {"fp16": "float16", "flat": "float32"}


class Trainable:
    """A codec, or a plan or recipe until `train` makes one; and what can be said of either."""

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
        self._keeps_ids = False
        self._quarantine = Quarantine()
        self.verbose = False
        self.metric_arg = 0.0
        if isinstance(source, Codec):
            self._attach(_core.Index(source._core, METRICS[self._metric]), source)
        else:
            self._source = source

    def _keep_ids(self) -> None:
        """Let vectors keep their ids from the first on, as FAISS's IndexIDMap2 does."""
        self._keeps_ids = True
        if self._core:
            self._core.keep_ids()

    def _attach(self, core: _core.Index, codec: Codec) -> None:
        if isinstance(self._refine, str):
            if core.refine_row_kind is None:
                core.keep_refine_rows(_ROW_KINDS[self._refine])
        elif self._refine is not None:
            core.borrow_refine_rows(self._refine)
        if self._keeps_ids:
            core.keep_ids()
        self._core, self._codec = core, codec

    @property
    def codec(self) -> Codec | None:
        """What encodes its vectors; None before training."""
        return self._codec

    @property
    def manifest(self) -> Manifest | None:
        """What its codec was made of and how: see `Codec.manifest`."""
        return self._codec.manifest if self._codec else None

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
    def quarantine(self) -> Quarantine:
        """Rows that were left out and kept under ``policy="quarantine"``, call by call."""
        return self._quarantine

    @property
    def refine(self) -> Any:
        """What the third stage reads: 'float16', 'int8', 'float32', an array, or None."""
        return self._refine

    def __len__(self) -> int:
        return self.ntotal

    def __bool__(self) -> bool:
        return True  # as any FAISS index, full or empty

    def train(
        self,
        x: Any,
        *,
        numeric_type: int = 0,
        xq_train: Any = None,
        policy: Policy = "raise",
    ) -> None:
        """Learn the codec from vectors, unless the index has one.

        Parameters
        ----------
        x : array_like, shape (n, d)
            At least 1 row; thousands are better. Blocks of it are read, never all at once.
        numeric_type : int
            Changes nothing here: FAISS has it, and `x` has a dtype.
        xq_train : array_like, shape (m, d), optional
            Queries like those to come: the `queries` of `Codec.train`.
        policy : {'raise', 'drop', 'quarantine'}
            What is done about rows with a NaN or an infinity, as in `add`. Rows are left out as if
            they had not been there; all are read for that.

        Raises
        ------
        ValueError
            For another number of dimensions, no rows, or a NaN or an infinity.
        TypeError
            If `x` or `xq_train` is not an array of real numbers on the CPU.

        Warns
        -----
        RuntimeWarning
            If rows are left out, with their numbers and why.
        """
        policy = as_policy(policy)
        rows = Rows(x, "x", self.d)
        if rows.n == 0:
            raise ValueError("x has no rows; at least 1 is needed to train")
        with self._writing:
            if self._source is not None:
                came = admit(rows, policy)
                asked = None if xq_train is None else admit(Rows(xq_train, "queries"), policy)
                queries = asked and asked.rows.source
                codec = self._learn(self._source, came.rows.source, queries)
                self._attach(_core.Index(codec._core, METRICS[self._metric]), codec)
                self._source = None
                for part in (came, asked) if asked else (came,):
                    self._quarantine._take("train", part)

    def _learn(self, source: Plan | Recipe, x: Any, queries: Any) -> Codec:
        return learn(source, x, self._metric, queries=queries)

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
