"""What flat and inverted indexes have in common: the methods of a ``faiss.Index``."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from waterfill import _core
from waterfill.arguments import (
    METRIC_TYPES,
    METRICS,
    Metric,
    as_int,
    as_number,
    as_positive_int,
    metric_name,
    output,
)
from waterfill.codec import Codec
from waterfill.errors import ArgumentError, MissingIdError, NotTrainedError
from waterfill.parameters import Parameters, read_parameters
from waterfill.plan import Plan
from waterfill.recipe import Recipe
from waterfill.rows import FloatRows, Rows
from waterfill.selectors import Step, Universe, as_ids, is_selector, program

Labels = NDArray[np.int64]
Codes = NDArray[np.uint8]

_LEAST_CANDIDATES = 100
_QUARTERS = 4
_ROW_KINDS: dict[str, _core.RowKind] = {
    "float32": _core.RowKind.float32,
    "float16": _core.RowKind.float16,
    "int8": _core.RowKind.int8,
}


class Index:
    """Base of `IndexFlat` and `IndexIVF`; see there.

    Methods take and return what those of a ``faiss.Index`` do, under the same names. Safe to search
    from several threads; adding and removing wait for running searches.
    """

    def __init__(
        self, source: Codec | Plan | Recipe, metric: Metric | int, refine: Any, k_factor: float
    ) -> None:
        self._metric = metric_name(metric)
        self._refine = _check_refine(refine)
        self._core: _core.Index | None = None
        self._codec: Codec | None = None
        self._recipe: Recipe | None = None
        self._writing = threading.Lock()
        self._given: dict[str, Any] = {}  # settings that were not left to the codec
        self.verbose = False
        self.metric_arg = 0.0
        self.k_factor = k_factor
        if isinstance(source, Codec):
            self._attach(_core.Index(source._core, METRICS[self._metric]), source)
        else:
            self._recipe = Recipe.of(source)

    def _attach(self, core: _core.Index, codec: Codec) -> None:
        self._core = core
        self._codec = codec
        if isinstance(self._refine, str):
            if core.exact_kind is None:
                core.keep_exact(_ROW_KINDS[self._refine])
        elif self._refine is not None:
            core.borrow_exact(self._refine)

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
        source = self._codec or self._recipe
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

    # How deep a search goes.

    def _setting(self, name: str) -> Any:
        if name in self._given:
            return self._given[name]
        self._trained()
        assert self._codec is not None
        return getattr(self._codec, name)["l2" if self._metric == "l2" else "ip"]

    @property
    def reach(self) -> float:
        """Deviations of a product that decide whether a cell is passed by."""
        return float(self._setting("reach"))

    @reach.setter
    def reach(self, value: float) -> None:
        self._given["reach"] = as_number("reach", value, 0)

    @property
    def scan_groups(self) -> int:
        """Groups whose high nibbles the coarse score reads."""
        return int(self._setting("scan_groups"))

    @scan_groups.setter
    def scan_groups(self, value: int) -> None:
        number = as_positive_int("scan_groups", value)
        groups = self._trained().codec.groups
        if number > groups:
            raise ValueError(
                f"scan_groups={number} must be at most the {groups} groups of the codec"
            )
        self._given["scan_groups"] = number

    @property
    def refine_factor(self) -> int:
        """Candidates per requested neighbour that go from the coarse to the full score."""
        return int(self._setting("refine_factor"))

    @refine_factor.setter
    def refine_factor(self, value: int) -> None:
        self._given["refine_factor"] = as_positive_int("refine_factor", value)

    @property
    def k_factor(self) -> float:
        """Candidates per requested neighbour that go from the full to the exact score."""
        return self._k_factor

    @k_factor.setter
    def k_factor(self, value: float) -> None:
        self._k_factor = as_number("k_factor", value, 1)

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
        if self._recipe is None:
            return
        with self._writing:
            codec = self._learn(x if rows.n else rows)
            self._attach(_core.Index(codec._core, METRICS[self._metric]), codec)
            self._recipe = None

    def _learn(self, x: Any) -> Codec:
        raise NotImplementedError

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
        otherIndex : Index
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
        if not isinstance(otherIndex, Index) or type(otherIndex) is not type(self):
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
            raise ValueError(
                "otherIndex has another codec: train one index, and fill copies of it"
            )

    # Looking things up.

    def search(
        self,
        x: Any,
        k: int,
        *,
        params: Any = None,
        D: NDArray[np.float32] | None = None,  # noqa: N803
        I: Labels | None = None,  # noqa: N803, E741
    ) -> tuple[FloatRows, Labels]:
        """Find the k nearest vectors of each query.

        Parameters
        ----------
        x : array_like, shape (n, d)
            Queries.
        k : int
            At least 1; may exceed `ntotal`.
        params : SearchParameters, optional
            Ours or FAISS's: ``sel`` restricts the search to ids; ``nprobe`` and ``k_factor`` stand
            for the index's in this search.
        D : float32 (n, k), optional
        I : int64 (n, k), optional
            Arrays for the results.

        Returns
        -------
        D : float32 (n, k)
            Best first: falling for ``ip`` and ``cosine``, rising for ``l2``.
        I : int64 (n, k)
            Ids; of equal distances that which came first. -1 where there are fewer than k vectors,
            with the worst distance there is.

        Raises
        ------
        ValueError
            For another number of dimensions, k below 1, or a NaN or an infinity in a query.
        TypeError
            If `x` is not an array of real numbers on the CPU, or `k` no int.
        NotTrainedError
            Before training.
        """
        core = self._trained()
        rows = Rows(x, "x", self.d)
        k = as_positive_int("k", k)
        chosen = read_parameters(params)
        distances = output("D", D, (rows.n, k), np.float32)
        labels = output("I", I, (rows.n, k), np.int64)
        exact = 0
        if core.exact_kind is not None:
            factor = self._k_factor if chosen.k_factor is None else chosen.k_factor
            exact = int(np.ceil(factor * k))
        candidates = max(self.refine_factor * k, _LEAST_CANDIDATES)
        selector = self._program(chosen)
        for first, block in rows.blocks():
            queries = self._prepare(block)
            found = core.search(
                queries,
                k,
                candidates,
                self.scan_groups,
                self.reach,
                self._probes(queries, chosen),
                selector,
                exact,
            )
            distances[first : first + len(block)], labels[first : first + len(block)] = found
        return distances, labels

    def search_and_reconstruct(
        self,
        x: Any,
        k: int,
        *,
        params: Any = None,
        D: NDArray[np.float32] | None = None,  # noqa: N803
        I: Labels | None = None,  # noqa: N803, E741
        R: NDArray[np.float32] | None = None,  # noqa: N803
    ) -> tuple[FloatRows, Labels, NDArray[np.float32]]:
        """Search, and decode what is found: R is float32 (n, k, d), NaN where there is nothing."""
        distances, ids = self.search(x, k, params=params, D=D, I=I)
        vectors = output("R", R, (*ids.shape, self.d), np.float32)
        found = ids >= 0 if not self.has_ids else ids != -1
        vectors[~found] = np.nan
        vectors[found] = self.reconstruct_batch(ids[found])
        return distances, ids, vectors

    def assign(self, x: Any, k: int = 1, labels: Labels | None = None) -> Labels:
        """Return the ids that `search` finds, int64 (n, k)."""
        return self.search(x, k, I=labels)[1]

    def range_search(
        self, x: Any, thresh: float, *, params: Any = None
    ) -> tuple[NDArray[np.uint64], NDArray[np.float32], Labels]:
        """Find all vectors nearer than a radius, by the full score.

        Parameters
        ----------
        x : array_like, shape (n, d)
        thresh : float
            Inner products above it are found, squared distances below it.
        params : SearchParameters, optional

        Returns
        -------
        lims : uint64 (n + 1,)
            The results of query i are those from ``lims[i]`` up to ``lims[i + 1]``.
        D : float32 (lims[n],)
        I : int64 (lims[n],)
            Those of a query in the order in which vectors were added.

        Raises
        ------
        ValueError, TypeError, NotTrainedError
            As `search`.
        """
        core = self._trained()
        rows = Rows(x, "x", self.d)
        radius = as_number("thresh", thresh, -np.inf)
        chosen = read_parameters(params)
        selector = self._program(chosen)
        limits, distances, ids = [np.zeros(1, np.uint64)], [], []
        for _, block in rows.blocks():
            queries = self._prepare(block)
            found = core.range_search(queries, radius, self._probes(queries, chosen), selector)
            limits.append(found[0][1:] + limits[-1][-1])
            distances.append(found[1])
            ids.append(found[2])
        empty: tuple[Any, Any] = (np.empty(0, np.float32), np.empty(0, np.int64))
        return (
            np.concatenate(limits),
            np.concatenate([empty[0], *distances]),
            np.concatenate([empty[1], *ids]),
        )

    def _program(self, chosen: Parameters) -> list[Step] | None:
        return None if chosen.selector is None else program(chosen.selector, self._universe())

    def _universe(self) -> Universe:
        core = self._trained()
        return Universe(core.size, core.ids, core.version)

    def _probes(self, queries: FloatRows, chosen: Parameters) -> Any:
        """Return the lists that queries look at, a number of them, or None for all."""
        return None

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
            raise ArgumentError(f"n0={n0}, ni={ni} reach beyond an index of {self.ntotal} vectors")
        return n0, ni

    def reconstruct(
        self, key: int, x: NDArray[np.float32] | None = None
    ) -> NDArray[np.float32]:
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

    # Copies and files.

    def _settings(self) -> dict[str, Any]:
        """Return what a file keeps beside the vectors, as the core takes it."""
        return {"inverted": False, "nprobe": 0, "k_factor": self._k_factor, "quantizer": b""}

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        from waterfill.io import _restore

        if self._core is None:
            return _rebuild, (type(self), self.__dict__ | {"_writing": None})
        extra = {"_given": self._given, "verbose": self.verbose}
        borrowed = None if isinstance(self._refine, str) else self._refine
        return _restore, (self._core.to_bytes(**self._settings()), borrowed, extra)

    @property
    def this(self) -> Any:
        """What FAISS's own functions take this index by: see `waterfill.to_faiss`."""
        from waterfill.faiss.convert import companion

        return companion(self).this


def _rebuild(kind: type[Index], state: dict[str, Any]) -> Index:
    index = kind.__new__(kind)
    index.__dict__.update(state, _writing=threading.Lock())
    return index


def _check_refine(refine: Any) -> Any:
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
