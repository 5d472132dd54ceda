"""Recall and speed of FAISS's compressed indexes (PQ, OPQ, RaBitQ, scalars) on a split."""

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
from waterfill.data.arrays import read_numbers
from waterfill.data.rows import FloatRows, Rows

_SHARES = (64, 32, 16)  # default sizes are these fractions of float32
_TRAIN_ROWS = 10_240  # 40 per centroid of 256; FAISS warns below 39
_ROTATION_ROWS = 4096
_ROTATION_STEPS = 5
_FIRST_STEPS = 10
_RABITQ_BITS = (1, 2, 4)
_FAST_NUMBERS = 150_000
_LEAST_SECONDS = 0.2  # searches are timed for at least this long
_FAMILIES = {"OPQ": "OPQ", "RR": "RaBitQ", "SQ": "SQ", "PQ": "PQ"}  # by prefix of the name


@dataclass(frozen=True)
class Peer:
    """Measurements of one FAISS index.

    Attributes
    ----------
    name : str
        Its string for ``faiss.index_factory``.
    bytes_per_vector : float
        Size of a code; codebooks are not counted.
    recall : float
        Recall@k: the share of the true k nearest neighbours that were found.
    queries_per_second : float
        All queries in one call, with waterfill's number of threads. Not repeatable.
    encode_rate : float
        Vectors encoded per second, likewise.
    train_seconds : float
        On one thread.
    remark : str
        How the index was trained.
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
        """The method without its size: ``PQ``, ``PQ 4 bits``, ``OPQ``, ``RaBitQ`` or ``SQ``."""
        family = next((f for start, f in _FAMILIES.items() if self.name.startswith(start)), "FAISS")
        return f"{family} 4 bits" if self.name.endswith("x4fs") else family


class Peers(list[Peer]):
    """Peers in the order of measurement.

    Parameters
    ----------
    peers : sequence of Peer
        In the order of measurement.
    left_out : dict of str to str, optional
        See the attribute.

    Attributes
    ----------
    left_out : dict of str to str
        Reasons why other types were not measured, by name.
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
    """Train and search FAISS's compressed indexes: PQ, 4-bit PQ, OPQ, RaBitQ and scalars.

    Product quantization [1]_ with codes of 8 and 4 bits, the latter by fast scan [2]_; OPQ [3]_;
    RaBitQ [4]_; and scalar quantizers.

    The figures put a result into context; they are no benchmark, because training is short: it uses
    10,240 random rows, and OPQ, at one size, learns its rotation from 4,096 rows in 5 steps instead
    of 50. Polysemous training [5]_, which does not affect an exhaustive search, is off.

    Parameters
    ----------
    base : array_like, shape (n, d)
        Vectors to train on and to store.
    queries : array_like, shape (m, d)
        Queries to search with.
    truth : array_like of int, shape (m, k or more)
        Row numbers in `base` of the true neighbours of each query, nearest first.
    metric : {'ip', 'l2', 'cosine'}
        ``cosine`` divides all rows by their norms first.
    k : int
        Number of neighbours of recall@k.
    sizes : sequence of int, optional
        Bytes per vector of the product quantizers, rounded to a divisor of d. By default 1/64, 1/32
        and 1/16 of the size of float32.
    progress : callable, optional
        Called with the name of each index before it is trained.

    Returns
    -------
    Peers
        A list of `Peer`. Its ``left_out`` says why a type could not be measured: there are fewer
        rows than centroids, for example.

    Raises
    ------
    ImportError
        If FAISS is not installed: ``pip install ".[faiss]"``.
    ValueError
        If the shapes of the arrays do not match.
    TypeError
        If an argument has the wrong type.

    References
    ----------
    .. [1] H. Jégou, M. Douze and C. Schmid, "Product quantization for nearest neighbor search",
       IEEE Transactions on Pattern Analysis and Machine Intelligence 33(1), 2011.
    .. [2] F. André, A.-M. Kermarrec and N. Le Scouarnec, "Cache locality is not enough:
       high-performance nearest neighbor search with product quantization fast scan", Proceedings of
       the VLDB Endowment 9(4), 2015.
    .. [3] T. Ge, K. He, Q. Ke and J. Sun, "Optimized product quantization for approximate nearest
       neighbor search", CVPR, 2013.
    .. [4] J. Gao and C. Long, "RaBitQ: quantizing high-dimensional vectors with a theoretical error
       bound for approximate nearest neighbor search", SIGMOD, 2024, arXiv:2405.12497.
    .. [5] M. Douze, H. Jégou and F. Perronnin, "Polysemous codes", ECCV, 2016.
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
            except RuntimeError as error:  # older versions of FAISS lack some types
                reason = _reason(error)
            if reason:
                found.left_out[name] = reason
    finally:
        faiss.omp_set_num_threads(threads)
    return found


def train_faiss(
    index: Any, x: FloatRows, *, rotation_rows: int | None = None, rotation_steps: int | None = None
) -> None:
    """Train an index of FAISS's factory, without slow steps that do not improve the result.

    Parameters
    ----------
    index : faiss.Index
    x : float32 (n, d)
    rotation_rows : int, optional
        Rows that OPQ learns its rotation from; all by default.
    rotation_steps : int, optional
        Iterations of OPQ; FAISS's default is 50.
    """
    faiss = require_faiss("train_faiss")
    inner, rotation = faiss.downcast_index(index), None
    if isinstance(inner, faiss.IndexPreTransform):
        rotation = faiss.downcast_VectorTransform(inner.chain.at(0))
        inner = faiss.downcast_index(inner.index)
    if isinstance(inner, faiss.IndexPQ):
        # Polysemous training takes ten times as long as the rest; exhaustive search ignores it.
        inner.do_polysemous_training = False
    if isinstance(inner, faiss.IndexPQ | faiss.IndexPQFastScan):
        if isinstance(rotation, faiss.OPQMatrix):
            if rotation_steps is not None:
                rotation.niter, rotation.niter_pq_0 = rotation_steps, _FIRST_STEPS
            _train_rotation(faiss, rotation, inner.pq, x, rotation_rows)
        x = _enough(inner.pq, x)
    index.train(x)


def _train_rotation(faiss: Any, rotation: Any, pq: Any, x: FloatRows, rows: int | None) -> None:
    """Train an OPQ rotation; the index does not train it again."""
    x = _drawn(x, rows or len(x))
    # Without a product quantizer FAISS assumes 8 bits per sub-quantizer.
    quantizer = faiss.ProductQuantizer(rotation.d_out, pq.M, pq.nbits)
    rotation.pq = quantizer
    x = _enough(quantizer, x)
    rotation.max_train_points = len(x)
    rotation.train(x)
    rotation.pq = None


def _enough(pq: Any, x: FloatRows) -> FloatRows:
    """Allow a product quantizer to train on few rows, and repeat rows if they are few.

    Below about 150,000 numbers FAISS 1.15 searches ten times slower, and so does k-means. Repeating
    all rows does not change the centroids.
    """
    pq.cp.min_points_per_centroid = 1  # or it warns
    repeats = -(-_FAST_NUMBERS // (len(x) * pq.dsub)) if pq.nbits == 8 else 1
    if repeats > 1:
        x = np.tile(x, (repeats, 1))
        pq.cp.max_points_per_centroid = -(-len(x) // pq.ksub)  # or it takes a part of them
    return x


@dataclass(frozen=True)
class _Bench:
    """The data that all peers are measured on."""

    base: FloatRows
    queries: FloatRows
    truth: NDArray[np.int64]
    faiss_metric: int

    @property
    def d(self) -> int:
        return int(self.base.shape[1])


def _bench(base: Any, queries: Any, truth: Any, metric: Metric, k: int) -> _Bench:
    stored = _all_rows("base", base, None, metric)
    searched = _all_rows("queries", queries, stored.shape[1], metric)
    rows = read_numbers(truth, "truth")
    if rows.ndim != 2 or len(rows) != len(searched) or rows.shape[1] < k:
        raise ValueError(f"truth must have shape ({len(searched)}, {k} or more), got {rows.shape}")
    if not np.issubdtype(rows.dtype, np.integer):
        raise TypeError(f"truth must hold integers, got dtype {rows.dtype}")
    return _Bench(stored, searched, rows[:, :k].astype(np.int64), METRIC_TYPES[metric])


def _all_rows(name: str, x: Any, d: int | None, metric: Metric) -> FloatRows:
    rows = Rows(x, name, d)
    if rows.n == 0:
        raise ValueError(f"{name} has no rows; at least 1 is needed")
    array = np.concatenate([block for _, block in rows.blocks()])
    return _core.normalize_rows(array) if metric == "cosine" else array


def _sizes(d: int, sizes: Sequence[int] | None) -> list[int]:
    if sizes is None:
        sizes = [max(1, 4 * d // share) for share in _SHARES]
    return [as_positive_int("sizes", size) for size in sizes]


def _names(d: int, sizes: Sequence[int]) -> Iterator[str]:
    """Yield the factory strings of the indexes to measure, without duplicates."""
    full = sorted({_divisor(d, size) for size in sizes})
    doubled = sorted({_divisor(d, 2 * size) for size in sizes})
    yield from (f"PQ{m}x8" for m in full)
    yield from (f"PQ{m}x4fs" for m in doubled)
    middle = full[len(full) // 2]
    yield f"OPQ{middle},PQ{middle}x8"
    yield from (f"RR{d},RaBitQfs{bits if bits > 1 else ''}" for bits in _RABITQ_BITS)
    yield from ("SQ4", "SQ8")


def _divisor(d: int, size: int) -> int:
    """Return the divisor of d nearest to a size on a logarithmic scale, at most d / 2.

    With a byte per dimension PQ trains for minutes and is worse than a scalar quantizer.
    """
    divisors = [m for m in range(1, max(1, d // 2) + 1) if d % m == 0]
    return min(divisors, key=lambda m: abs(np.log(m / size)))


def _too_few(name: str, rows: int) -> str:
    """Return why there are too few rows to train an index, or an empty string."""
    if "PQ" not in name:
        return ""
    centroids = 16 if name.endswith("x4fs") else 256
    return f"{rows} rows are fewer than {centroids} centroids" if rows < centroids else ""


def _measure(faiss: Any, name: str, bench: _Bench) -> Peer:
    index = faiss.index_factory(bench.d, name, bench.faiss_metric)
    sample = _drawn(bench.base, _TRAIN_ROWS)
    start = time.perf_counter()
    # On a busy machine, training with several threads takes many times as long as with one.
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
    trained = f"trained on {rows:,} rows"
    if not name.startswith("OPQ"):
        return trained
    rotation_rows = min(rows, _ROTATION_ROWS)
    return f"{trained}, rotation learnt from {rotation_rows:,} in {_ROTATION_STEPS} steps"


def _drawn(x: FloatRows, most: int) -> FloatRows:
    """Return at most `most` rows, drawn at random."""
    if len(x) <= most:
        return x
    return x[np.random.default_rng(0).choice(len(x), most, replace=False)]


def _seconds(run: Callable[[], Any]) -> float:
    """Return the time of the fastest run."""
    best, end = float("inf"), time.perf_counter() + _LEAST_SECONDS
    while best == float("inf") or time.perf_counter() < end:
        start = time.perf_counter()
        run()
        best = min(best, time.perf_counter() - start)
    return best


def _reason(error: RuntimeError) -> str:
    """Return the message of a FAISS error without C++ function and file."""
    return "FAISS: " + str(error).rpartition(": ")[2].strip()
