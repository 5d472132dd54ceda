"""What FAISS's ways of compression find on the same split."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from waterfill import _core
from waterfill._util.optional import require_faiss
from waterfill._util.validation import METRIC_TYPES, Metric, as_positive_int, metric_name
from waterfill.data.rows import FloatRows, Rows

_SHARES = (64, 32, 16)  # of float32: the sizes, where none are given
_TRAIN_ROWS = 10_240  # 40 for each of 256 centroids; FAISS warns below 39
_ROTATION_ROWS = 4096
_ROTATION_STEPS = 5
_FIRST_STEPS = 10
_RABITQ_BITS = (1, 2, 4)
_FAST_NUMBERS = 150_000
_LEAST_SECONDS = 0.2  # that searches are timed for
_FAMILIES = {"OPQ": "OPQ", "RR": "RaBitQ", "SQ": "SQ", "PQ": "PQ"}  # by how a name begins


@dataclass(frozen=True)
class Peer:
    """What real searches with an index of FAISS found.

    Attributes
    ----------
    name : str
        The text that FAISS's factory makes it from.
    bytes_per_vector : float
        Of the code. What is stored once is not counted.
    recall : float
        Recall@k: the share of the true k nearest neighbours that were found.
    queries_per_second : float
        All queries in one call, with the threads that waterfill has. Not repeatable.
    encode_rate : float
        Vectors a second, likewise.
    train_seconds : float
        On one thread.
    remark : str
        How it was trained.
    """

    name: str
    bytes_per_vector: float
    recall: float
    queries_per_second: float
    encode_rate: float
    train_seconds: float
    remark: str = ""

    @property
    def family(self) -> str:
        """The method, whatever its size: PQ, PQ 4 bits, OPQ, RaBitQ or SQ."""
        family = next((f for start, f in _FAMILIES.items() if self.name.startswith(start)), "FAISS")
        return f"{family} 4 bits" if self.name.endswith("x4fs") else family


class Peers(list[Peer]):
    """Peers in the order in which they were measured.

    Attributes
    ----------
    left_out : dict of str to str
        Why others were not measured, by name.
    """

    def __init__(self, peers: Sequence[Peer] = (), left_out: dict[str, str] | None = None) -> None:
        super().__init__(peers)
        self.left_out = left_out or {}


def measure_peers(
    base: Any,
    queries: Any,
    truth: Any,
    *,
    metric: Metric,
    k: int,
    sizes: Sequence[int] | None = None,
    progress: Callable[[str], None] | None = None,
) -> Peers:
    """Train and search indexes of FAISS on a split: PQ, 4-bit PQ, OPQ, RaBitQ and scalars.

    This is to place a result, not to crown a winner, so training is kept short: on 10,240 rows
    drawn at random, and OPQ, at one size, learns its rotation from 4,096 in 5 steps instead of 50.
    Polysemous training, which changes nothing in an exhaustive search, is off.

    Parameters
    ----------
    base : array_like, shape (n, d)
        Vectors to train on and to store.
    queries : array_like, shape (m, d)
    truth : int (m, k or more)
        Row numbers in `base` of the true neighbours of each query, best first.
    metric : {'ip', 'l2', 'cosine'}
        ``cosine`` divides rows by their norm first.
    k : int
        Neighbours that recall counts.
    sizes : sequence of int, optional
        Bytes per vector for the product quantizers, which take the nearest size that divides d.
        By default a 64th to a 16th of float32's.
    progress : callable, optional
        Is told the name of each index before it is trained.

    Returns
    -------
    list of Peer
        With ``left_out``: why a type could not take part (fewer rows than centroids, say).

    Raises
    ------
    ImportError
        If FAISS is not installed.
    ValueError
        For arrays that do not fit each other.
    TypeError
        If an argument has the wrong type.
    """
    faiss = require_faiss("measure_peers")
    bench = _bench(base, queries, truth, metric_name(metric), as_positive_int("k", k))
    found = Peers()
    threads = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(_core.get_num_threads())
    try:
        for name in _names(bench.d, _sizes(bench.d, sizes)):
            if progress is not None:
                progress(name)
            reason = _too_few(name, len(bench.base))
            try:
                if not reason:
                    found.append(_measure(faiss, name, bench))
            except RuntimeError as error:  # such as a FAISS that does not know this type yet
                reason = _last_words(error)
            if reason:
                found.left_out[name] = reason
    finally:
        faiss.omp_set_num_threads(threads)
    return found


def train_faiss(
    index: Any, x: FloatRows, *, rotation_rows: int | None = None, rotation_steps: int | None = None
) -> None:
    """Train what FAISS's factory made, without what takes long and brings nothing.

    Parameters
    ----------
    index : faiss.Index
    x : float32 (n, d)
    rotation_rows : int, optional
        Rows that an OPQ learns its rotation from; all by default.
    rotation_steps : int, optional
        Steps of its training instead of FAISS's 50, the first of them shorter.
    """
    faiss = require_faiss("train_faiss")
    inner, rotation = faiss.downcast_index(index), None
    if isinstance(inner, faiss.IndexPreTransform):
        rotation = faiss.downcast_VectorTransform(inner.chain.at(0))
        inner = faiss.downcast_index(inner.index)
    if isinstance(inner, faiss.IndexPQ):
        # It reorders codes, takes ten times the training itself, and no exhaustive search uses it.
        inner.do_polysemous_training = False
    if isinstance(inner, faiss.IndexPQ | faiss.IndexPQFastScan):
        if isinstance(rotation, faiss.OPQMatrix):
            if rotation_steps is not None:
                rotation.niter, rotation.niter_pq_0 = rotation_steps, _FIRST_STEPS
            _train_rotation(faiss, rotation, inner.pq, x, rotation_rows)
        x = _enough(inner.pq, x)
    index.train(x)


def _train_rotation(faiss: Any, rotation: Any, pq: Any, x: FloatRows, rows: int | None) -> None:
    """Train an OPQ rotation, which the index then leaves as it is."""
    x = _drawn(x, rows or len(x))
    # FAISS learns the rotation for 8 bits a sub-quantizer unless it is told what follows.
    follows = faiss.ProductQuantizer(rotation.d_out, pq.M, pq.nbits)
    rotation.pq = follows
    x = _enough(follows, x)
    rotation.max_train_points = len(x)
    rotation.train(x)
    rotation.pq = None


def _enough(pq: Any, x: FloatRows) -> FloatRows:
    """Let a product quantizer train on rows of any number, and repeat few of few dimensions.

    For fewer than some 150,000 numbers FAISS 1.15 searches ten times slower, which makes k-means
    take ten times as long. Rows given twice have the same centroids.
    """
    pq.cp.min_points_per_centroid = 1  # or it warns
    repeats = -(-_FAST_NUMBERS // (len(x) * pq.dsub)) if pq.nbits == 8 else 1
    if repeats > 1:
        x = np.tile(x, (repeats, 1))
        pq.cp.max_points_per_centroid = -(-len(x) // pq.ksub)  # or it takes a part of them
    return x


@dataclass(frozen=True)
class _Bench:
    """What all peers are measured on."""

    base: FloatRows
    queries: FloatRows
    truth: NDArray[np.int64]
    faiss_metric: int

    @property
    def d(self) -> int:
        return int(self.base.shape[1])


def _bench(base: Any, queries: Any, truth: Any, metric: Metric, k: int) -> _Bench:
    stored = _all_rows("base", base, None, metric)
    asked = _all_rows("queries", queries, stored.shape[1], metric)
    true = np.asarray(truth)
    if true.ndim != 2 or len(true) != len(asked) or true.shape[1] < k:
        raise ValueError(f"truth must have shape ({len(asked)}, {k} or more), got {true.shape}")
    if not np.issubdtype(true.dtype, np.integer):
        raise TypeError(f"truth must hold integers, got dtype {true.dtype}")
    return _Bench(stored, asked, true[:, :k].astype(np.int64), METRIC_TYPES[metric])


def _all_rows(name: str, x: Any, d: int | None, metric: Metric) -> FloatRows:
    rows = Rows(x, name, d)
    if rows.n == 0:
        raise ValueError(f"{name} has no rows; at least 1 is needed")
    whole = np.concatenate([block for _, block in rows.blocks()])
    return _core.normalize_rows(whole) if metric == "cosine" else whole


def _sizes(d: int, wanted: Sequence[int] | None) -> list[int]:
    if wanted is None:
        wanted = [max(1, 4 * d // share) for share in _SHARES]
    return [as_positive_int("sizes", size) for size in wanted]


def _names(d: int, sizes: Sequence[int]) -> Iterator[str]:
    """Yield what takes part, in the words of FAISS's factory; nothing comes twice."""
    whole = sorted({_divisor(d, size) for size in sizes})
    half = sorted({_divisor(d, 2 * size) for size in sizes})
    yield from (f"PQ{m}x8" for m in whole)
    yield from (f"PQ{m}x4fs" for m in half)
    middle = whole[len(whole) // 2]
    yield f"OPQ{middle},PQ{middle}x8"
    yield from (f"RR{d},RaBitQfs{bits if bits > 1 else ''}" for bits in _RABITQ_BITS)
    yield from ("SQ4", "SQ8")


def _divisor(d: int, size: int) -> int:
    """Return the divisor of d that is nearest to a size in proportion, at most d / 2.

    With a byte a dimension training takes minutes to be worse than a scalar quantizer.
    """
    divisors = [m for m in range(1, max(1, d // 2) + 1) if d % m == 0]
    return min(divisors, key=lambda m: abs(np.log(m / size)))


def _too_few(name: str, rows: int) -> str:
    """Return why so few rows cannot train this, or nothing."""
    if "PQ" not in name:
        return ""
    centroids = 16 if name.endswith("x4fs") else 256
    return f"{rows} rows are fewer than {centroids} centroids" if rows < centroids else ""


def _measure(faiss: Any, name: str, bench: _Bench) -> Peer:
    index = faiss.index_factory(bench.d, name, bench.faiss_metric)
    sample = _drawn(bench.base, _TRAIN_ROWS)
    start = time.perf_counter()
    # Where others work on the machine, threads that train wait for each other, and it takes many
    # times as long as with one.
    faiss.omp_set_num_threads(1)
    train_faiss(index, sample, rotation_rows=_ROTATION_ROWS, rotation_steps=_ROTATION_STEPS)
    faiss.omp_set_num_threads(_core.get_num_threads())
    trained = time.perf_counter()
    index.add(bench.base)
    added = time.perf_counter()
    k = bench.truth.shape[1]
    labels = index.search(bench.queries, k)[1]
    return Peer(
        name=name,
        bytes_per_vector=float(index.sa_code_size()),
        recall=float((labels[:, :, None] == bench.truth[:, None, :]).any(2).mean()),
        queries_per_second=len(bench.queries) / _seconds(lambda: index.search(bench.queries, k)),
        encode_rate=len(bench.base) / (added - trained),
        train_seconds=trained - start,
        remark=_remark(name, len(sample)),
    )


def _remark(name: str, rows: int) -> str:
    said = f"trained on {rows:,} rows"
    if not name.startswith("OPQ"):
        return said
    turned = min(rows, _ROTATION_ROWS)
    return f"{said}, rotation learnt from {turned:,} in {_ROTATION_STEPS} steps"


def _drawn(x: FloatRows, most: int) -> FloatRows:
    """Return so many rows drawn at random, or all where there are no more."""
    if len(x) <= most:
        return x
    return x[np.random.default_rng(0).choice(len(x), most, replace=False)]


def _seconds(run: Callable[[], Any]) -> float:
    """Return the time of the fastest of some runs."""
    best, end = float("inf"), time.perf_counter() + _LEAST_SECONDS
    while best == float("inf") or time.perf_counter() < end:
        start = time.perf_counter()
        run()
        best = min(best, time.perf_counter() - start)
    return best


def _last_words(error: RuntimeError) -> str:
    """Return what FAISS says without the C++ function and file it says it in."""
    return "FAISS: " + str(error).rpartition(": ")[2].strip()
