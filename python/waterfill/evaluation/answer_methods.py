"""Methods whose answers are compared: exact search, waterfill, and FAISS's compressed indexes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from waterfill import _core
from waterfill._util.optional import require_faiss
from waterfill._util.validation import METRIC_TYPES, Metric
from waterfill.data.rows import FloatRows
from waterfill.evaluation.faiss_peers import train_faiss
from waterfill.evaluation.ground_truth import Neighbours, true_neighbours
from waterfill.index.flat import IndexFlat
from waterfill.index.vector_index import VectorIndex
from waterfill.recipe import Recipe

K_FACTOR = 4  # candidates per result that rows re-rank, of all methods
BITS = (0.5, 1, 2)  # per dimension

_TRAIN_ROWS = 20_480
_BITS_PER_BYTE = 8
_ROTATION_ROWS, _ROTATION_STEPS = 4096, 10


@dataclass(frozen=True)
class Searched:
    """What a method made of the stored vectors: a search, and bytes per vector, rows included."""

    search: Callable[[FloatRows, int], Neighbours]
    bytes_per_vector: float
    row_bytes: float = 0.0


@dataclass(frozen=True)
class Method:
    """A name, and what makes a search of stored vectors."""

    name: str
    build: Callable[[FloatRows, Metric], Searched]


def default_methods(d: int) -> tuple[Method, ...]:
    """Return exact search, and waterfill at several sizes without and with re-ranking rows."""
    return exact(), *(
        waterfill(max(1, round(bits * d / _BITS_PER_BYTE)), bits_name(bits), refine)
        for bits in BITS
        for refine in (False, True)
    )


def bits_name(bits: float) -> str:
    """Return a number of bits per dimension in words."""
    return f"{bits:g} bit{'' if bits == 1 else 's'}"


def peer_methods(d: int) -> tuple[Method, ...]:
    """Return FAISS's PQ, RaBitQ, int8 and binary codes, without and with re-ranking rows."""
    return tuple(
        make(refine)
        for make in (
            lambda refine: stock(f"PQ{_divisor(d, d // 16)}", refine),
            lambda refine: stock(f"PQ{_divisor(d, d // 8)}", refine),
            lambda refine: stock(f"RR{d},RaBitQ", refine),
            lambda refine: stock("SQ8", refine),
            binary,
        )
        for refine in (False, True)
    )


def exact() -> Method:
    """Make exact search of float32 vectors."""

    def build(base: FloatRows, metric: Metric) -> Searched:
        def search(queries: FloatRows, k: int) -> Neighbours:
            return true_neighbours(base, queries, metric, k)

        return Searched(search, 4.0 * base.shape[1])

    return Method("exact, float32", build)


def waterfill(code_bytes: int, size: str = "", refine: bool = False, queries: Any = None) -> Method:
    """Make a flat index of waterfill; `queries` is a sample that training fits codes to."""
    name = f"waterfill{f' {size}' if size else f' {code_bytes} bytes'}"
    name += ", fitted to queries" if queries is not None else ""

    def build(base: FloatRows, metric: Metric) -> Searched:
        codec = Recipe(int(base.shape[1]), code_bytes).train(base, metric, queries=queries)
        index = IndexFlat(codec, metric, refine="float16" if refine else None)
        index.add(base)
        if refine:
            index.k_factor = K_FACTOR
        return of_index(index)

    return Method(_rescored(name, refine), build)


def of_index(index: Any, ids: NDArray[np.int64] | None = None) -> Searched:
    """Search an index that exists, of waterfill or FAISS; `ids` are those of the stored rows."""
    order = None if ids is None else np.argsort(ids, kind="stable")

    def search(queries: FloatRows, k: int) -> Neighbours:
        found: Neighbours = np.asarray(index.search(queries, k)[1])
        if ids is None or order is None:
            return found
        places = np.minimum(np.searchsorted(ids[order], found), len(ids) - 1)
        rows = order[places]
        rows[ids[rows] != found] = -1
        return rows

    if isinstance(index, VectorIndex):
        taken = index._vector_bytes()
        return Searched(search, taken.total, taken.row)
    return Searched(search, float(index.sa_code_size()))


def stock(factory: str, refine: bool = False) -> Method:
    """Make an index of FAISS's factory; with `refine`, float32 rows re-rank."""

    def build(base: FloatRows, metric: Metric) -> Searched:
        faiss = require_faiss("a comparison with FAISS")
        rows = _core.normalize_rows(base) if metric == "cosine" else base
        index = faiss.index_factory(rows.shape[1], factory, METRIC_TYPES[metric])
        train_faiss(
            index,
            rows[np.random.default_rng(0).permutation(len(rows))[:_TRAIN_ROWS]],
            rotation_rows=_ROTATION_ROWS,
            rotation_steps=_ROTATION_STEPS,
        )
        size, row_bytes = float(index.sa_code_size()), 0.0
        if refine:
            index = faiss.IndexRefineFlat(index)
            index.k_factor, row_bytes = K_FACTOR, 4.0 * rows.shape[1]
        index.add(rows)

        def search(queries: FloatRows, k: int) -> Neighbours:
            asked = _core.normalize_rows(queries) if metric == "cosine" else queries
            found: Neighbours = index.search(asked, k)[1]
            return found

        return Searched(search, size + row_bytes, row_bytes)

    return Method(_rescored(_peer_name(factory), refine), build)


def binary(refine: bool = False) -> Method:
    """Make codes of the signs of vectors, compared by Hamming distance.

    With `refine`, float32 rows re-rank. Both are what sentence-transformers calls ``ubinary``.
    """

    def build(base: FloatRows, metric: Metric) -> Searched:
        faiss = require_faiss("a comparison with FAISS")
        codes = np.packbits(base > 0, axis=1)
        index = faiss.IndexBinaryFlat(codes.shape[1] * _BITS_PER_BYTE)
        index.add(codes)

        def search(queries: FloatRows, k: int) -> Neighbours:
            count = min(len(base), k * K_FACTOR if refine else k)
            found: Neighbours = index.search(np.packbits(queries > 0, axis=1), count)[1]
            return _best(base, queries, metric, found, k) if refine else found

        row_bytes = 4.0 * base.shape[1] if refine else 0.0
        return Searched(search, codes.shape[1] + row_bytes, row_bytes)

    return Method(_rescored("binary", refine), build)


def _best(
    base: FloatRows, queries: FloatRows, metric: Metric, found: Neighbours, k: int
) -> Neighbours:
    """Return the best k of the candidates of each query, by their vectors."""
    best = [
        candidates[true_neighbours(base[candidates], query[None], metric, k)[0]]
        for query, candidates in zip(queries, found, strict=True)
    ]
    return np.stack(best)


def _rescored(name: str, refine: bool) -> str:
    return f"{name}, rescored" if refine else name


def _peer_name(factory: str) -> str:
    return "RaBitQ" if "RaBitQ" in factory else {"SQ8": "int8"}.get(factory, factory)


def _divisor(d: int, size: int) -> int:
    """Return the divisor of d nearest to a number of sub-quantizers."""
    divisors: Sequence[int] = [m for m in range(1, d + 1) if d % m == 0]
    return min(divisors, key=lambda m: abs(np.log(m / max(1, size))))
