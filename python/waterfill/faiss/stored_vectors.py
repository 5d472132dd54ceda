"""The vectors that a FAISS index stores, as they are or decoded, with their ids and lists."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from waterfill._util.optional import loaded_faiss
from waterfill._util.validation import Metric
from waterfill.data.rows import FloatRows
from waterfill.faiss.joined_shards import joined
from waterfill.faiss.stored_index import ArrayVectors, Lists, Stored, Vectors
from waterfill.index.selector_graph import Ids


def stored_vectors(index: Any) -> Stored:
    """Find out what a FAISS index stores; nothing is decoded yet.

    Raises
    ------
    TypeError
        If `index` is no FAISS index of float vectors.
    ValueError
        If its metric is neither inner product nor L2.
    """
    faiss = loaded_faiss()
    # isinstance is also true of our own indexes with ids.
    if faiss is None or not issubclass(type(index), faiss.Index):
        raise TypeError(
            f"index must be a faiss.Index of float vectors, got {type(index).__name__}{_way(index)}"
        )
    return _stored(faiss, faiss.downcast_index(index))


def _way(index: Any) -> str:
    """Return what to do with something that is no FAISS index, as the end of a message."""
    if type(index).__module__.startswith("waterfill."):
        return " of waterfill, which is compressed already"
    if len(getattr(index, "shape", ())) == 2:
        return (
            "; for vectors in an array call Recipe(d, code_bytes=48).train(x, 'ip'), make an "
            "IndexFlat of what it returns, and add them to it"
        )
    return ""


def _stored(faiss: Any, index: Any) -> Stored:
    # Exact classes where memory is read: a subclass may have another layout (Panorama).
    kind = type(index)
    if kind in (faiss.IndexIDMap, faiss.IndexIDMap2):
        inner = stored_vectors(index.index)
        ids = np.array(faiss.vector_to_array(index.id_map), dtype=np.int64)
        own = ids if inner.ids is None else ids[inner.ids]
        return replace(inner, ids=own, in_order=inner.ids is None)
    if kind is faiss.IndexPreTransform:
        return _before_transforms(faiss, index)
    if isinstance(index, faiss.IndexRefine):
        base, kept = stored_vectors(index.base_index), stored_vectors(index.refine_index)
        return replace(kept, lists=base.lists, metric=_metric(faiss, index))
    if isinstance(index, faiss.IndexHNSW | faiss.IndexNSG):
        return stored_vectors(index.storage)
    n, d, metric = int(index.ntotal), int(index.d), _metric(faiss, index)
    if kind in (faiss.IndexFlat, faiss.IndexFlatIP, faiss.IndexFlatL2, faiss.IndexFlat1D):
        return Stored(ArrayVectors(_flat_rows(faiss, index)), n, d, metric)
    if isinstance(index, faiss.IndexIVF):
        return _of_lists(faiss, index, metric)
    if isinstance(index, faiss.IndexReplicas | faiss.IndexShards):
        parts = [stored_vectors(index.at(number)) for number in range(index.count())]
        if not parts:
            return Stored(ArrayVectors(np.empty((0, d), np.float32)), 0, d, metric)
        if isinstance(index, faiss.IndexReplicas):
            return parts[0]
        return joined(parts, successive=bool(index.successive_ids))
    why = _undecodable(faiss, index)
    losses = (f"{kind.__name__} keeps codes of {_code_bytes(index)}, not vectors",)
    return Stored(None if why else _Decoded(index), n, d, metric, losses=losses, why=why)


def _metric(faiss: Any, index: Any) -> Metric:
    if index.metric_type == faiss.METRIC_INNER_PRODUCT:
        return "ip"
    if index.metric_type == faiss.METRIC_L2:
        return "l2"
    raise ValueError(
        f"index must have METRIC_INNER_PRODUCT (0) or METRIC_L2 (1), got "
        f"metric_type={index.metric_type}"
    )


def _code_bytes(index: Any) -> str:
    try:
        return f"{index.sa_code_size()} bytes"
    except RuntimeError:
        return "its own"


def _undecodable(faiss: Any, index: Any) -> str:
    """Return why an index gives no vectors back, or an empty string."""
    name = type(index).__name__
    if isinstance(index, faiss.IndexLSH):
        return f"{name} keeps signs, from which no vectors can be decoded"
    if index.ntotal == 0:
        return ""
    try:
        index.reconstruct(0)  # reconstruct_n ends the process where there is no reconstruct
    except RuntimeError as error:
        return f"{name} cannot decode its vectors ({str(error).rpartition(': ')[2].strip()})"
    return ""


def _flat_rows(faiss: Any, index: Any) -> FloatRows:
    """Return the vectors of a flat index, without a copy."""
    n, d = int(index.ntotal), int(index.d)
    if n == 0:
        return np.empty((0, d), dtype=np.float32)
    rows: FloatRows = faiss.rev_swig_ptr(index.get_xb(), n * d).reshape(n, d)
    return rows


def _of_lists(faiss: Any, index: Any, metric: Metric) -> Stored:
    lists = Lists(index.quantizer, int(index.nlist), int(index.nprobe))
    numbers = _ListNumbers(index)
    ids = numbers.ids
    if type(index) is faiss.IndexIVFFlat:
        plain = _ListedVectors(index, numbers)
        return Stored(plain, numbers.n, index.d, metric, ids, lists, in_order=ids is None)
    decoded = _DecodedLists(index, numbers)
    losses = (f"{type(index).__name__} keeps codes of {_code_bytes(index)}, not vectors",)
    why = decoded.why()
    vectors = None if why else decoded
    return Stored(vectors, numbers.n, index.d, metric, ids, lists, ids is None, losses, why)


class _Decoded:
    """Vectors that an index decodes from its codes."""

    def __init__(self, index: Any) -> None:
        self._index = index

    def read(self, first: int, n: int) -> FloatRows:
        decoded: FloatRows = self._index.reconstruct_n(first, n)
        return decoded

    def take(self, numbers: Ids) -> FloatRows:
        decoded: FloatRows = self._index.reconstruct_batch(numbers)
        return decoded


class _ListNumbers:
    """Where the vectors of inverted lists are: in order of id if ids are 0 to n - 1, else by list.

    Attributes
    ----------
    n : int
    ids : int64 (n,) or None
        None if they are 0 to n - 1.
    lists : int32 (n,)
    positions : int64 (n,)
        In its list.
    """

    def __init__(self, index: Any) -> None:
        invlists = index.invlists
        sizes = [int(invlists.list_size(number)) for number in range(index.nlist)]
        self.n = sum(sizes)
        ids = [_read_ids(invlists, number, size) for number, size in enumerate(sizes) if size]
        stored = np.concatenate([np.empty(0, dtype=np.int64), *ids])
        self.lists = np.repeat(np.arange(len(sizes), dtype=np.int32), sizes)
        starts = np.repeat(np.cumsum([0, *sizes])[:-1], sizes)
        self.positions = np.arange(self.n, dtype=np.int64) - starts
        self.ids: Ids | None = stored
        order = _inverse(stored)
        if order is not None:
            self.ids = None
            self.lists, self.positions = self.lists[order], self.positions[order]


def _read_ids(invlists: Any, number: int, size: int) -> Ids:
    pointer = invlists.get_ids(number)
    try:
        return np.array(loaded_faiss().rev_swig_ptr(pointer, size), dtype=np.int64)
    finally:
        invlists.release_ids(number, pointer)


def _inverse(ids: Ids) -> Ids | None:
    """Return the position of each of 0 to n - 1 in `ids`, or None if they hold other numbers."""
    n = len(ids)
    if n and (ids.min() != 0 or ids.max() != n - 1):
        return None
    positions = np.full(n, -1, dtype=np.int64)
    positions[ids] = np.arange(n)
    return positions if (positions >= 0).all() else None


class _ListedVectors:
    """Vectors of an IndexIVFFlat, gathered list by list."""

    def __init__(self, index: Any, numbers: _ListNumbers) -> None:
        self._index, self._numbers = index, numbers

    def read(self, first: int, n: int) -> FloatRows:
        return self.take(np.arange(first, min(first + n, self._numbers.n)))

    def take(self, numbers: Ids) -> FloatRows:
        out = np.empty((len(numbers), self._index.d), dtype=np.float32)
        lists = self._numbers.lists[numbers]
        order = np.argsort(lists, kind="stable")
        ends = np.flatnonzero(np.diff(lists[order], append=-1)) + 1
        for start, end in zip([0, *ends], ends, strict=False):
            chosen = order[start:end]
            with _Codes(self._index.invlists, int(lists[chosen[0]]), self._index.d) as rows:
                out[chosen] = rows[self._numbers.positions[numbers[chosen]]]
        return out


class _Codes:
    """Context manager for the rows of one inverted list."""

    def __init__(self, invlists: Any, number: int, d: int) -> None:
        self._invlists, self._number, self._d = invlists, number, d

    def __enter__(self) -> FloatRows:
        self._pointer = self._invlists.get_codes(self._number)
        size = int(self._invlists.list_size(self._number)) * self._d * 4
        codes: NDArray[np.uint8] = loaded_faiss().rev_swig_ptr(self._pointer, size)
        return codes.view(np.float32).reshape(-1, self._d)

    def __exit__(self, *_: object) -> None:
        self._invlists.release_codes(self._number, self._pointer)


class _DecodedLists:
    """Vectors that an index decodes from the codes in its lists, some 2 microseconds each."""

    def __init__(self, index: Any, numbers: _ListNumbers) -> None:
        self._index, self._numbers = index, numbers

    def why(self) -> str:
        """Return why vectors cannot be decoded, or an empty string."""
        if self._numbers.n == 0:
            return ""
        try:
            self.read(0, 1)
        except RuntimeError as error:
            reason = str(error).rpartition(": ")[2].strip()
            return f"{type(self._index).__name__} cannot decode its vectors ({reason})"
        return ""

    def read(self, first: int, n: int) -> FloatRows:
        return self.take(np.arange(first, min(first + n, self._numbers.n)))

    def take(self, numbers: Ids) -> FloatRows:
        faiss = loaded_faiss()
        out = np.empty((len(numbers), self._index.d), dtype=np.float32)
        places = zip(
            self._numbers.lists[numbers].tolist(),
            self._numbers.positions[numbers].tolist(),
            strict=True,
        )
        for row, (number, position) in zip(out, places, strict=True):
            self._index.reconstruct_from_offset(number, position, faiss.swig_ptr(row))
        return out


class _Reversed:
    """Vectors as they were before transformations."""

    def __init__(self, vectors: Vectors, transforms: Sequence[Any]) -> None:
        self._vectors, self._transforms = vectors, transforms

    def read(self, first: int, n: int) -> FloatRows:
        return reverse(self._transforms, self._vectors.read(first, n))

    def take(self, numbers: Ids) -> FloatRows:
        return reverse(self._transforms, self._vectors.take(numbers))


def reverse(transforms: Sequence[Any], rows: FloatRows) -> FloatRows:
    """Undo transformations of rows, the last one first."""
    for transform in reversed(transforms):
        rows = transform.reverse_transform(np.ascontiguousarray(rows))
    return rows


def _before_transforms(faiss: Any, index: Any) -> Stored:
    """Describe an IndexPreTransform by the vectors that it was given."""
    inner = stored_vectors(index.index)
    chain = [faiss.downcast_VectorTransform(index.chain.at(i)) for i in range(index.chain.size())]
    why = inner.why or _irreversible(faiss, chain)
    metric = _metric(faiss, index)
    losses = inner.losses + tuple(
        f"{type(each).__name__} keeps {each.d_out} of {each.d_in} dimensions"
        for each in chain
        if each.d_out < each.d_in
    )
    if metric == "ip" and any(_moves(faiss, each) for each in chain):
        losses += (
            "its inner products were of vectors without their mean, and will be of the vectors",
        )
    if chain and isinstance(chain[0], faiss.NormalizationTransform) and metric == "ip":
        metric = "cosine"
    vectors, lists = None, None
    if inner.vectors is not None and not why:
        vectors = _Reversed(inner.vectors, chain)
    if inner.lists is not None:
        lists = _reversed_lists(faiss, inner.lists, [] if why else chain, int(index.d))
    return replace(
        inner, vectors=vectors, d=int(index.d), metric=metric, lists=lists, losses=losses, why=why
    )


def _irreversible(faiss: Any, chain: Sequence[Any]) -> str:
    """Return why transformations cannot be undone, or an empty string."""
    for position, each in enumerate(chain):
        name = type(each).__name__
        if isinstance(each, faiss.NormalizationTransform):
            if position:
                return f"{name} after another transformation has lost the norms"
            continue
        try:
            each.reverse_transform(np.zeros((1, each.d_out), np.float32))
        except RuntimeError:
            return f"{name} cannot be undone"
    return ""


def _moves(faiss: Any, transform: Any) -> bool:
    """Return whether a transformation takes the mean away."""
    if isinstance(transform, faiss.CenteringTransform):
        return True
    bias = isinstance(transform, faiss.LinearTransform) and transform.have_bias
    return bool(bias and np.any(faiss.vector_to_array(transform.b)))


def _reversed_lists(faiss: Any, lists: Lists, chain: Sequence[Any], d: int) -> Lists:
    """Return the same lists with centroids of vectors before the transformations."""
    if lists.quantizer is None or not chain:
        return replace(lists, quantizer=None)
    centroids = reverse(chain, lists.quantizer.reconstruct_n(0, lists.nlist))
    quantizer = faiss.IndexFlat(d, lists.quantizer.metric_type)
    quantizer.add(centroids)
    return replace(lists, quantizer=quantizer)
