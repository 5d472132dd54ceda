"""`compress`: make a compressed index from a FAISS index with full vectors."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from waterfill._util.optional import loaded_faiss
from waterfill._util.validation import Metric
from waterfill.codec import Codec
from waterfill.data.row_policy import Policy, admit, as_policy
from waterfill.data.rows import FloatRows, Rows
from waterfill.index.flat import IndexFlat
from waterfill.index.ivf import IndexIVF, as_nlist
from waterfill.index.selector_graph import Ids
from waterfill.plan import Plan
from waterfill.recipe import Recipe
from waterfill.training.cells import Cells
from waterfill.training.train import Effort

_SAMPLE_ROWS = 65_536 + 256  # rows that training draws and holds out
_BLOCK_BYTES = 16 << 20
_ACCEPTED = "IndexFlat, IndexIVFFlat, IndexHNSWFlat, or IndexIDMap or IndexIDMap2 over one of them"


def compress(
    index: Any,
    code_bytes: int = 48,
    *,
    plan: Plan | None = None,
    nlist: int | None = None,
    refine: Any = None,
    queries: Any = None,
    seed: int = 0,
    effort: Effort = "balanced",
    policy: Policy = "raise",
) -> IndexFlat | IndexIVF:
    """Compress a FAISS index that stores full vectors; ids and metric stay the same.

    The vectors are read block by block, without a copy of all of them: beyond the new index,
    memory is needed for a training sample and one block. `index` is not changed and may be deleted
    afterwards.

    Parameters
    ----------
    index : faiss.IndexFlat, IndexIVFFlat, IndexHNSWFlat, IndexIDMap or IndexIDMap2
        An IndexIDMap or IndexIDMap2 wraps one of the others. Of another composite, pass the part
        that stores full vectors, such as ``faiss.downcast_index(index.refine_index)``.
    code_bytes : int
        Bytes per code, 1 to d, without the byte for the scale.
    plan : Plan, optional
        Used instead of `code_bytes`.
    nlist : int, optional
        Make an IndexIVF with this number of lists. An IndexIVFFlat always becomes an IndexIVF with
        the same lists, centroids and `nprobe`.
    refine : {'float16', 'int8', 'float32'} or array, shape (m, d), optional
        As for `IndexFlat` and `IndexIVF`.
    queries : array_like, shape (m, d), optional
        See `Codec.train`.
    seed : int
        See `Codec.train`.
    effort : {'fast', 'balanced', 'best'}
        See `Codec.train`.
    policy : {'raise', 'drop', 'quarantine'}
        What to do with vectors that hold a NaN or an infinity: see `IndexFlat.add`. With ``drop``
        and ``quarantine`` ids that are positions become explicit, so that the others keep theirs.

    Returns
    -------
    IndexFlat or IndexIVF
        With explicit ids for IndexIDMap and IndexIDMap2, and for an IndexIVFFlat whose ids are not
        0 to n - 1.

    Raises
    ------
    TypeError
        If `index` is of another kind.
    ValueError
        If the metric is neither inner product nor L2, the index has no vectors or one with a NaN
        or an infinity, or there are more bytes than dimensions or more lists than vectors.

    Warns
    -----
    RuntimeWarning
        If vectors are left out.
    """
    policy = as_policy(policy)
    source = _source(index)
    metric = _metric(index)
    faiss = loaded_faiss()  # loaded, as `index` is one of its objects
    if source.n == 0:
        raise ValueError("index has no vectors; add vectors to it before it is compressed")
    if plan is not None and not isinstance(plan, Plan):
        raise TypeError(f"plan must be a waterfill.Plan, got {type(plan).__name__}")
    if plan is not None and plan.d != source.d:
        raise ValueError(f"plan has {plan.d} dimensions, expected {source.d} as in the index")
    lists = source.lists
    if lists is not None and nlist is not None:
        raise ValueError(
            f"nlist={nlist}: an IndexIVFFlat keeps its {lists.nlist} lists; leave nlist out"
        )
    if nlist is not None and as_nlist(nlist) > source.n:
        raise ValueError(f"nlist={nlist} must be at most the {source.n} vectors of the index")
    cells: Cells = "auto" if nlist is None else nlist
    quantizer: Any = None
    if lists is not None:
        nlist, quantizer = int(lists.nlist), faiss.clone_index(lists.quantizer)
        cells = np.asarray(quantizer.reconstruct_n(0, nlist))
    sample = _usable(source.sample(seed), policy)
    codec = _train(sample, code_bytes, plan, seed, cells, queries, metric, effort)
    made: IndexFlat | IndexIVF
    if nlist is None:
        made = IndexFlat(codec, metric, refine=refine)
    else:
        made = IndexIVF(codec, nlist, quantizer, metric=metric, refine=refine)
        if lists is not None:
            made.nprobe = int(lists.nprobe)
    for ids, block in source.blocks(with_ids=policy != "raise"):
        if ids is None:
            made.add(block)
        else:
            made.add_with_ids(block, ids, policy=policy)
    if isinstance(faiss.downcast_index(index), faiss.IndexIDMap):
        made._keep_ids()
    return made


def _usable(sample: FloatRows, policy: Policy) -> Any:
    """Return the rows of a sample that can be used; those of the index are reported later."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return admit(Rows(sample, "index"), policy).rows.source


def _train(
    sample: Any,
    code_bytes: int,
    plan: Plan | None,
    seed: int,
    cells: Cells,
    queries: Any,
    metric: Metric,
    effort: Effort,
) -> Codec:
    if plan is None:
        recipe = Recipe(int(sample.shape[1]), code_bytes, seed=seed, effort=effort)
        return recipe.train(sample, metric, cells=cells, queries=queries)
    return Codec.train(
        sample, plan, seed, cells=cells, queries=queries, metric=metric, effort=effort
    )


def _metric(index: Any) -> Metric:
    faiss = loaded_faiss()
    if index.metric_type == faiss.METRIC_INNER_PRODUCT:
        return "ip"
    if index.metric_type == faiss.METRIC_L2:
        return "l2"
    raise ValueError(
        f"index must have METRIC_INNER_PRODUCT (0) or METRIC_L2 (1), got "
        f"metric_type={index.metric_type}"
    )


@dataclass(frozen=True)
class _Source:
    """Vectors of a FAISS index, and their ids unless they are positions."""

    n: int
    d: int
    rows: FloatRows | _Lists
    ids: Ids | None = None

    @property
    def lists(self) -> Any:
        return self.rows.index if isinstance(self.rows, _Lists) else None

    def sample(self, seed: int) -> FloatRows:
        """Return all rows if they are contiguous, otherwise a sample for training."""
        return self.rows if isinstance(self.rows, np.ndarray) else self.rows.sample(seed)

    def blocks(self, *, with_ids: bool = False) -> Iterator[tuple[Ids | None, FloatRows]]:
        """Yield the vectors and their ids; None for positions unless `with_ids`."""
        count = max(1, _BLOCK_BYTES // (4 * self.d))
        all_ids = np.arange(self.n) if with_ids and self.ids is None else self.ids
        for first in range(0, self.n, count):
            ids = None if all_ids is None else all_ids[first : first + count]
            yield ids, self.rows[first : first + count]


class _Lists:
    """Vectors of an IndexIVFFlat, in order of id if ids are 0 to n - 1, else list by list."""

    def __init__(self, index: Any) -> None:
        self.index = index
        invlists = index.invlists
        self._invlists = invlists
        sizes = [int(invlists.list_size(number)) for number in range(index.nlist)]
        self.n = sum(sizes)
        ids = [self._read_ids(number, size) for number, size in enumerate(sizes) if size]
        stored = np.concatenate([np.empty(0, dtype=np.int64), *ids])
        # The location of each label's vector: its list, and its position there.
        self._list = np.repeat(np.arange(len(sizes), dtype=np.int32), sizes)
        starts = np.repeat(np.cumsum([0, *sizes])[:-1], sizes)
        self._position = np.arange(self.n, dtype=np.int64) - starts
        self.ids: Ids | None = stored
        order = _inverse(stored)
        if order is not None:
            self.ids = None
            self._list, self._position = self._list[order], self._position[order]

    def __getitem__(self, part: slice) -> FloatRows:
        return self._gather(np.arange(self.n)[part])

    def sample(self, seed: int) -> FloatRows:
        count = min(self.n, _SAMPLE_ROWS, max(1024, (256 << 20) // (4 * self.index.d)))
        rng = np.random.default_rng(seed)
        return self._gather(np.sort(rng.choice(self.n, count, replace=False)))

    def _gather(self, labels: Ids) -> FloatRows:
        out = np.empty((len(labels), self.index.d), dtype=np.float32)
        lists = self._list[labels]
        order = np.argsort(lists, kind="stable")
        ends = np.flatnonzero(np.diff(lists[order], append=-1)) + 1
        for start, end in zip([0, *ends], ends, strict=False):
            chosen = order[start:end]
            with _Codes(self._invlists, int(lists[chosen[0]]), self.index.d) as rows:
                out[chosen] = rows[self._position[labels[chosen]]]
        return out

    def _read_ids(self, number: int, size: int) -> Ids:
        faiss = loaded_faiss()
        pointer = self._invlists.get_ids(number)
        try:
            return np.array(faiss.rev_swig_ptr(pointer, size), dtype=np.int64)
        finally:
            self._invlists.release_ids(number, pointer)


class _Codes:
    """Context manager for the rows of one inverted list."""

    def __init__(self, invlists: Any, number: int, d: int) -> None:
        self._invlists, self._number, self._d = invlists, number, d

    def __enter__(self) -> FloatRows:
        faiss = loaded_faiss()
        self._pointer = self._invlists.get_codes(self._number)
        size = int(self._invlists.list_size(self._number)) * self._d * 4
        codes: NDArray[np.uint8] = faiss.rev_swig_ptr(self._pointer, size)
        return codes.view(np.float32).reshape(-1, self._d)

    def __exit__(self, *_: object) -> None:
        self._invlists.release_codes(self._number, self._pointer)


def _inverse(ids: Ids) -> Ids | None:
    """Return the position of each of 0 to n - 1 in `ids`, or None if they hold other numbers."""
    n = len(ids)
    if n and (ids.min() != 0 or ids.max() != n - 1):
        return None
    positions = np.full(n, -1, dtype=np.int64)
    positions[ids] = np.arange(n)
    return positions if (positions >= 0).all() else None


def _source(index: Any) -> _Source:
    faiss = loaded_faiss()
    if faiss is None or not issubclass(
        type(index), faiss.Index
    ):  # isinstance is also true of our own indexes with ids
        raise TypeError(f"index must be a faiss {_ACCEPTED}, got {type(index).__name__}")
    index = faiss.downcast_index(index)
    # Exact classes only: a subclass may have another memory layout (Panorama).
    kind = type(index)
    if kind in (faiss.IndexIDMap, faiss.IndexIDMap2):
        inner = _source(index.index)
        ids = np.asarray(faiss.vector_to_array(index.id_map), dtype=np.int64)
        return _Source(inner.n, inner.d, inner.rows, ids if inner.ids is None else ids[inner.ids])
    if kind in (faiss.IndexFlat, faiss.IndexFlatIP, faiss.IndexFlatL2, faiss.IndexFlat1D):
        return _Source(int(index.ntotal), index.d, _flat_rows(index))
    if kind is faiss.IndexHNSWFlat:
        return _source(index.storage)
    if kind is faiss.IndexIVFFlat:
        lists = _Lists(index)
        return _Source(lists.n, index.d, lists, lists.ids)
    raise TypeError(f"index must be a faiss {_ACCEPTED}, got {kind.__name__}")


def _flat_rows(index: Any) -> FloatRows:
    """Return the vectors of a flat index, without a copy."""
    faiss = loaded_faiss()
    n, d = int(index.ntotal), int(index.d)
    if n == 0:
        return np.empty((0, d), dtype=np.float32)
    rows: FloatRows = faiss.rev_swig_ptr(index.get_xb(), n * d).reshape(n, d)
    return rows
