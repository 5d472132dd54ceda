"""Estimates of the memory, file size, time and cost of an index of n vectors."""

from __future__ import annotations

import copy
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from waterfill.codec import Codec
from waterfill.evaluation.recall_extrapolation import Expected
from waterfill.evaluation.sample_split import Split
from waterfill.index.flat import IndexFlat
from waterfill.io import read_index, write_index
from waterfill.optimizer.trial import TrialSettings
from waterfill.optimizer.trial_measurement import fill

_VECTORS = 400_000  # rates are measured beyond the size of a CPU cache
_BYTES = 256 << 20  # at most
_QUERIES = 64
_SEARCHES = 3  # the fastest one counts
_GB = 1e9


@dataclass(frozen=True)
class Estimate:
    """Estimated resources of a flat index on this machine.

    Attributes
    ----------
    n : int
        Number of vectors.
    recall : Expected
        Expected recall@k.
    memory_bytes, file_bytes : int
        Codec and vectors; explicit ids are not counted.
    load_seconds : float
        Time to read the file if it is in the page cache.
    query_seconds : float
        Time per query in a batch, with the number of threads that is set.
    cost_per_month : float or None
        Cost of the memory; None without a price.
    """

    n: int
    recall: Expected
    memory_bytes: int
    file_bytes: int
    load_seconds: float
    query_seconds: float
    cost_per_month: float | None

    def __str__(self) -> str:
        lines = [
            f"{self.n:,} vectors",
            f"  recall   {self.recall}",
            f"  memory   {_size(self.memory_bytes)}, file {_size(self.file_bytes)}",
            f"  load     {self.load_seconds:.2g} s",
            f"  a query  {self.query_seconds * 1e3:.2g} ms",
        ]
        if self.cost_per_month is not None:
            lines.append(f"  a month  {self.cost_per_month:,.2f}")
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        from waterfill.reporting.object_tables import codec_estimate_html

        return codec_estimate_html(self)


def _size(count: int) -> str:
    for unit, size in (("GB", 1e9), ("MB", 1e6)):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count / 1e3:.3g} kB"


@dataclass(frozen=True)
class Rates:
    """Rates measured with an index that holds the sample many times over.

    Attributes
    ----------
    bytes_per_vector : float
        In memory and in the file: see `IndexFlat.bytes_per_vector`.
    memory_bytes, file_bytes : float
        The part that does not depend on the number of vectors: codec, lists, blocks that are not
        full.
    query_seconds, query_seconds_per_vector : float
        Time per query: the constant part, and the part per vector.
    load_seconds_per_byte : float
        Time to load a byte of the file.
    """

    bytes_per_vector: float
    memory_bytes: float
    file_bytes: float
    query_seconds: float
    query_seconds_per_vector: float
    load_seconds_per_byte: float

    def estimate(self, n: int, recall: Expected, price_per_gb: float | None) -> Estimate:
        """Estimate the resources of an index.

        Parameters
        ----------
        n : int
            Number of vectors.
        recall : Expected
            The recall among them.
        price_per_gb : float or None
            Price of 10**9 bytes of memory for a month, in any currency.

        Returns
        -------
        Estimate
            Memory, file size, times and cost.
        """
        memory = round(self.memory_bytes + n * self.bytes_per_vector)
        file = round(self.file_bytes + n * self.bytes_per_vector)
        return Estimate(
            n=n,
            recall=recall,
            memory_bytes=memory,
            file_bytes=file,
            load_seconds=file * self.load_seconds_per_byte,
            query_seconds=self.query_seconds + n * self.query_seconds_per_vector,
            cost_per_month=None if price_per_gb is None else memory / _GB * price_per_gb,
        )


def measure_rates(codec: Codec, settings: TrialSettings, split: Split) -> Rates:
    """Time searches of the sample and of many copies of it, and the reading of a file."""
    index = fill(codec, settings, split)
    each, n = index.bytes_per_vector, len(split.base)
    queries = split.queries[:_QUERIES]
    # Each cell has a block that is not full, a large part of an index of few vectors.
    unused = max(0.0, index.nbytes - n * each)
    fixed = _written(index)[0] - n * each
    once = _seconds(lambda: index.search(queries, split.k)) / len(queries)
    most = min(_VECTORS, int(_BYTES / each))
    while 2 * index.ntotal <= most:
        index.merge_from(copy.deepcopy(index))
    many = _seconds(lambda: index.search(queries, split.k)) / len(queries)
    slope = max(0.0, (many - once) / (index.ntotal - n)) if index.ntotal > n else once / n
    size, load = _written(index)
    return Rates(
        bytes_per_vector=each,
        memory_bytes=len(codec.to_bytes()) + unused,
        file_bytes=fixed,
        query_seconds=max(0.0, once - n * slope),
        query_seconds_per_vector=slope,
        load_seconds_per_byte=load / size,
    )


def _written(index: IndexFlat) -> tuple[int, float]:
    """Return the size of an index's file, and the seconds that reading it takes."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "index.wf"
        write_index(index, path)
        return path.stat().st_size, _seconds(lambda: read_index(path))


def _seconds(work: Callable[[], object]) -> float:
    times = []
    for _ in range(_SEARCHES):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return float(np.min(times))
