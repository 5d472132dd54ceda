"""A short run that measures what a vector and a query cost on this machine."""

from __future__ import annotations

import os
import platform
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from waterfill import _core
from waterfill._util.optional import require
from waterfill._util.validation import Metric
from waterfill.building.build import build
from waterfill.building.sample import wanted_rows
from waterfill.building.workers import own_threads
from waterfill.codec import Codec
from waterfill.data.rows import FloatRows, Rows
from waterfill.data.vector_files import open_vectors
from waterfill.index.flat import IndexFlat
from waterfill.index.ivf import IndexIVF
from waterfill.layout import RefineName
from waterfill.recipe import Recipe
from waterfill.sizing.rates import Rates, Source
from waterfill.training.cells import Cells

_BYTES = 128 << 20  # of the vectors
_MOST_ROWS = 250_000
_TRAINING_ROWS = 8192
_LISTS = (128, 2048)  # few, many
_LISTED_ROWS = 40_000
_SCANNED = 1_000_000  # codes of the flat index: more than fit into a cache
_QUERIES = 200
_CANDIDATES = 400  # that are scored by their rows
_ROUNDS = 3
_ROW_GROUP = 50_000
_DECAY = 0.35  # of the spectrum, which real embeddings have too

Seconds = NDArray[np.float64]


def measure_rates(
    d: int,
    code_bytes: int,
    *,
    metric: Metric = "ip",
    refine: RefineName | None = None,
    source: Source = "npy",
    sample: Any = None,
    folder: str | None = None,
) -> Rates:
    """Measure the rates of this machine in some seconds, with one thread.

    Codecs are trained, a folder is built from files that are not in the system's cache, and
    indexes are searched, as `waterfill.build` and an `IndexIVF` do. Rates are CPU time, so they
    hold on a machine that others use, too; only the spread of latencies is that of wall-clock time.

    Parameters
    ----------
    d, code_bytes : int
        As for `Recipe`.
    metric : {'ip', 'l2', 'cosine'}
        As for `IndexFlat`.
    refine : {'int8', 'float16', 'float32'}, optional
        As for `IndexFlat`.
    source : {'npy', 'parquet'}
        Format of the files.
    sample : array_like, shape (n, d), optional
        Vectors like those to come, 20,000 or more. By default normal ones whose spectrum decays.
    folder : str, optional
        Where to write up to 600 MB for a moment; by default where the system has temporary files.

    Returns
    -------
    Rates
        Seconds of a core, per vector and per query.

    Raises
    ------
    ValueError, TypeError
        If an argument is invalid.
    """
    x = _vectors(d, sample)
    recipe = Recipe(d, code_bytes)
    with own_threads(1), tempfile.TemporaryDirectory(dir=folder) as directory:
        train_seconds, codec = _trained(recipe, x, metric, 0)
        (few_seconds, few), (many_seconds, many) = (_trained(recipe, x, metric, n) for n in _LISTS)
        kmeans = (many_seconds - few_seconds) / (_LISTS[1] - _LISTS[0]) / _TRAINING_ROWS
        build_seconds = _build_seconds(Path(directory), x, codec, metric, refine, source)
        read_seconds = _read_seconds(Path(directory) / f"{len(x)}.{source}") / len(x)
        encode, assign = (_encode_seconds(each, x[: len(x) // 8]) for each in (codec, many))
        scanning = _scan_rates(codec, x, metric, refine)
        lists: dict[str, Any] = _list_rates(
            (few, many), x[:_LISTED_ROWS], metric, scanning["scan_seconds"]
        )
    return Rates(
        machine=_machine(),
        d=d,
        code_bytes=code_bytes,
        metric=metric,
        refine=refine or "",
        source=source,
        build_seconds=build_seconds,
        read_seconds=read_seconds,
        assign_seconds=max(0.0, assign - encode) / many.cells,
        train_seconds=train_seconds * wanted_rows(d, 0) / _TRAINING_ROWS,
        kmeans_seconds=max(0.0, kmeans),
        codec_bytes=len(codec.to_bytes()),
        **scanning,
        **lists,
    )


def _vectors(d: int, sample: Any) -> FloatRows:
    rows = min(_MOST_ROWS, max(2 * _TRAINING_ROWS, _BYTES // (4 * d)))
    if sample is not None:
        given = Rows(sample, "sample", d)
        if given.n == 0:
            raise ValueError("sample has no rows; at least 1 is needed")
        first = given.take(np.arange(min(given.n, rows))).astype(np.float32)
        return np.ascontiguousarray(np.resize(first, (rows, d)))
    x = np.random.default_rng(0).standard_normal((rows, d), np.float32)
    x *= ((1 + np.arange(d)) ** -_DECAY).astype(np.float32)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    return x


def _trained(recipe: Recipe, x: FloatRows, metric: Metric, cells: Cells) -> tuple[float, Codec]:
    """Return the CPU time of training, and the codec."""
    start = time.process_time()
    codec = recipe.train(x[:_TRAINING_ROWS], metric, cells=cells)
    return time.process_time() - start, codec


def _build_seconds(
    directory: Path, x: FloatRows, codec: Codec, metric: Metric, refine: Any, source: Source
) -> float:
    """Return the CPU time of a vector: of a large build less a small one, over their difference."""
    sizes = (len(x) // 4, len(x))
    files = [_write(directory / f"{n}.{source}", x[:n]) for n in sizes]
    # Two workers, as in a large build: they share caches and the bus.
    options: dict[str, Any] = {"workers": 2, "shard_rows": len(x) // 8}
    options |= {"metric": metric, "refine": refine}
    differences = []
    for number in range(_ROUNDS):
        spent = []
        for file in files:
            _evict(file)
            out = directory / f"{number}-{file.stem}.wfx"
            spent.append(_once(partial(build, file, out, codec, **options)))
        differences.append(spent[1] - spent[0])
    return float(np.median(differences)) / (sizes[1] - sizes[0])


def _write(path: Path, x: FloatRows) -> Path:
    if path.suffix == ".npy":
        np.save(path, x)
    else:
        arrow = require("pyarrow", "source='parquet'", "parquet")
        parquet = require("pyarrow.parquet", "source='parquet'", "parquet")
        lists = arrow.FixedSizeListArray.from_arrays(arrow.array(x.reshape(-1)), x.shape[1])
        parquet.write_table(
            arrow.table({"vector": lists}),
            path,
            compression="none",
            use_dictionary=False,
            row_group_size=_ROW_GROUP,
        )
    return path


def _read_seconds(path: Path) -> float:
    """Return the CPU time of reading all vectors."""
    _evict(path)

    def read() -> None:
        for _ in Rows(open_vectors(path)).blocks():
            pass

    return _once(read)


def _evict(path: Path) -> None:
    """Let the system drop a file from its cache, where it can be asked to."""
    with open(path, "rb") as file:
        os.fsync(file.fileno())
        with suppress(AttributeError):
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def _scan_rates(codec: Codec, x: FloatRows, metric: Metric, refine: Any) -> dict[str, Any]:
    """Return the parts of a query's time in a flat index, and the spread of latencies."""
    codes, queries = codec.encode(x), _queries(x)
    small, large = IndexFlat(codec, metric), IndexFlat(codec, metric)
    small.add_sa_codes(codes[: len(x) // 16])
    while large.ntotal < max(_SCANNED, len(x)):
        large.add_sa_codes(codes)
    short, _ = _latencies(small, queries)
    long, latencies = _latencies(large, queries)
    scan = max(0.0, long - short) / (large.ntotal - small.ntotal)
    rescore = 0.0
    if refine is not None:
        kept = IndexFlat(codec, metric, refine=refine, k_factor=_CANDIDATES / 10)
        kept.add(x[: small.ntotal])
        rescore = max(0.0, _latencies(kept, queries)[0] - short) / _CANDIDATES
    return {
        "query_seconds": max(0.0, short - small.ntotal * scan),
        "scan_seconds": scan,
        "rescore_seconds": rescore,
        "spread": [float(f"{value:.4g}") for value in np.sort(latencies) / np.median(latencies)],
    }


def _list_rates(
    codecs: tuple[Codec, Codec], x: FloatRows, metric: Metric, scan: float
) -> dict[str, float]:
    """Return the time of a query for a centroid and for a list.

    A long list, a sixteenth of it in each of 16 lists, and eight times as many lists are scanned.
    """
    spent, centroids = [], []
    for codec, nprobes in zip(codecs, ((1,), (16, 128)), strict=True):
        index = IndexIVF(codec, codec.cells, metric=metric)
        index.add(x)
        centroids.append(index.nlist)
        for nprobe in nprobes:
            index.nprobe = nprobe
            scanned = len(x) * nprobe / index.nlist
            spent.append(_latencies(index, _queries(x))[0] - scanned * scan)
    one, some, most = spent
    per_list = max(0.0, most - some) / (128 - 16)
    return {
        "centroid_seconds": max(0.0, some - 15 * per_list - one) / (centroids[1] - centroids[0]),
        "list_seconds": per_list,
    }


def _queries(x: FloatRows) -> FloatRows:
    return x[:: len(x) // _QUERIES][:_QUERIES]


def _latencies(index: IndexFlat | IndexIVF, queries: FloatRows) -> tuple[float, Seconds]:
    """Return the median CPU time of a query for ten neighbours, and all wall-clock times."""
    index.search(queries, 10)  # so that all is where it is in a running service
    cpu, wall = np.empty(len(queries)), np.empty(len(queries))
    for i in range(len(queries)):
        start = time.thread_time(), time.perf_counter()
        index.search(queries[i : i + 1], 10)
        cpu[i], wall[i] = time.thread_time() - start[0], time.perf_counter() - start[1]
    return float(np.median(cpu)), wall


def _encode_seconds(codec: Codec, x: FloatRows) -> float:
    return float(np.median([_once(lambda: codec.encode(x)) for _ in range(_ROUNDS)])) / len(x)


def _once(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def _machine() -> str:
    name = platform.processor() or platform.machine()
    with suppress(OSError, IndexError):
        cpus = Path("/proc/cpuinfo").read_text().split("model name")
        name = cpus[1].partition("\n")[0].strip("\t :")
    return f"{name}, {_core.isa()}, {time.strftime('%Y-%m-%d')}"
