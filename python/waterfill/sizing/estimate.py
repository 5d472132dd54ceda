"""`estimate`: what an index of many vectors takes, from measured rates."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from waterfill import _core
from waterfill._util.validation import Metric, as_int, as_number, as_positive_int, metric_name
from waterfill.building.budget import MOST_ROWS, Budget, as_bytes
from waterfill.building.sample import wanted_rows
from waterfill.layout import RefineName
from waterfill.sizing.fan_out import FanOut, fan_out
from waterfill.sizing.measurement import measure_rates
from waterfill.sizing.rates import Rates, Source
from waterfill.sizing.storage import IDS, Ids, Storage, storage
from waterfill.training.cells import AUTO_CELLS

_MOST_VECTORS = 2**32 - 1  # of an index
_HOURS_PER_MONTH = 730
_MB, _GB = 10**6, 10**9
_FEW_CELLS = 4096  # k-means compares a row with all of them


@dataclass(frozen=True)
class Estimate:
    """What an index takes: see `estimate`.

    Attributes
    ----------
    storage : Storage
        The folder that `waterfill.build` makes.
    build_hours, train_hours : float
        Wall-clock time with all cores of one machine. Building includes training, and training
        drawing the sample; both are less with a codec that is there.
    build_rate : float
        Vectors a second.
    build_limit : {'cores', 'disk'}
        Which of them is the slower one.
    read_mb_s : float
        What the disk has to read a second.
    build_bytes : int
        Memory of the build.
    nodes : int
        Machines that hold the index in memory, a shard each.
    node_bytes : int
        Memory of a shard.
    query_seconds : float
        CPU time of a query in a shard.
    queries_per_second : float
        Of all nodes together, with their cores busy: a query goes to each.
    latency : FanOut
        Of a query to all shards, while nothing waits.
    build_cost, cost_per_month : float or None
        None without a price. The month is that of the nodes and replicas.
    currency : str
        Of the costs.
    assumptions : tuple of str
        What the figures assume, in words.
    rates : Rates
        What all of it follows from.
    """

    storage: Storage
    build_hours: float
    train_hours: float
    build_rate: float
    build_limit: str
    read_mb_s: float
    build_bytes: int
    nodes: int
    node_bytes: int
    query_seconds: float
    queries_per_second: float
    latency: FanOut
    build_cost: float | None
    cost_per_month: float | None
    currency: str
    assumptions: tuple[str, ...]
    rates: Rates

    def _repr_html_(self) -> str:
        from waterfill.reporting.object_tables import estimate_html

        return estimate_html(self)


def estimate(
    vectors: float,
    d: int,
    code_bytes: int,
    *,
    metric: Metric | int = "ip",
    lists: int = 0,
    nprobe: int | None = None,
    refine: RefineName | None = None,
    ids: Ids = "positions",
    source: Source = "npy",
    cores: int | None = None,
    disk_mb_s: float | None = None,
    build_memory: int | str | None = None,
    node_memory: int | str = "64GB",
    replicas: int = 1,
    k: int = 10,
    k_factor: float = 4.0,
    latencies: Any = None,
    price_per_hour: float | None = None,
    currency: str = "USD",
    rates: Rates | None = None,
) -> Estimate:
    """Estimate what an index of many vectors takes, from rates that are measured.

    Parameters
    ----------
    vectors : int or float
        Number of vectors, such as 1e9.
    d, code_bytes : int
        As for `Recipe`.
    metric : {'ip', 'l2', 'cosine'} or int
        As for `IndexFlat`.
    lists : int
        Number of lists of an `IndexIVF`; 0 for a flat index.
    nprobe : int, optional
        Lists that a query searches; by default the square root of `lists`.
    refine : {'int8', 'float16', 'float32'}, optional
        As for `IndexFlat`.
    ids : {'positions', 'ascending', 'any'}
        Numbers in the order of the source, or a column that ascends or does not.
    source : {'npy', 'parquet'}
        Files to build from, as float32.
    cores : int, optional
        Of the machine that builds, and of each node; by default `get_num_threads()`.
    disk_mb_s : float, optional
        MB a second that the disk reads and writes; by default it limits nothing.
    build_memory : int or str, optional
        As in `waterfill.build`; by default as much as shards of 1,048,576 vectors need, and 1 GB
        at least.
    node_memory : int or str
        For the index on each node.
    replicas : int
        Copies of each shard.
    k : int
        Neighbours per query.
    k_factor : float
        As for `IndexFlat`.
    latencies : array_like, shape (m,), optional
        Seconds of queries to one shard, if known; otherwise they follow from `rates`.
    price_per_hour : float, optional
        Of a node, and of the machine that builds.
    currency : str
        Of the price.
    rates : Rates, optional
        Result of `measure_rates` on such a machine. By default it is called, for some seconds.

    Returns
    -------
    Estimate
        Storage, hours of building, nodes, latency and cost.

    Raises
    ------
    ValueError, TypeError
        If an argument is invalid, or `rates` are those of other codes.
    """
    n = _count(vectors)
    d, code_bytes = as_positive_int("d", d), as_positive_int("code_bytes", code_bytes)
    named = metric_name(metric)
    lists = as_int("lists", lists)
    if not 0 <= lists <= 65_536:
        raise ValueError(f"lists={lists}: expected 0 to 65,536")
    if ids not in IDS:
        raise ValueError(f"ids={ids!r}: expected one of {', '.join(IDS)}")
    if rates is None:
        rates = measure_rates(d, code_bytes, metric=named, refine=refine, source=source)
    rates.require(d=d, code_bytes=code_bytes, metric=named, refine=refine or "", source=source)
    cores = _core.get_num_threads() if cores is None else as_positive_int("cores", cores)
    memory = as_bytes(node_memory)
    probes = (
        max(1, round(math.sqrt(lists))) if nprobe is None else as_positive_int("nprobe", nprobe)
    )
    probes = min(probes, max(1, lists))
    candidates = round(as_positive_int("k", k) * as_number("k_factor", k_factor, 1, finite=True))
    layout: dict[str, Any] = {
        "metric": named,
        "lists": lists,
        "refine": refine,
        "ids": ids,
        "codec_bytes": rates.codec_bytes,
    }
    row_bytes = code_bytes + 3 + 8 + storage(1, d, code_bytes, refine=refine).rows
    budget = _budget(build_memory, cores, row_bytes, lists)
    built = storage(n, d, code_bytes, segments=-(-n // budget.shard_rows), **layout)
    build = _build(n, d, lists, rates, built, cores, disk_mb_s, budget)
    nodes = _nodes(n, d, code_bytes, memory, layout)
    each = -(-n // nodes)
    query = _query_seconds(each, lists, probes, rates, candidates)
    spread = np.asarray(rates.spread) * query if latencies is None else latencies
    price = None if price_per_hour is None else as_number("price_per_hour", price_per_hour, 0)
    copies = as_positive_int("replicas", replicas)
    return Estimate(
        storage=built,
        **build,
        nodes=nodes,
        node_bytes=storage(each, d, code_bytes, **layout).memory_bytes,
        query_seconds=query,
        queries_per_second=copies * cores / query,
        latency=fan_out(spread, nodes),
        build_cost=None if price is None else build["build_hours"] * price,
        cost_per_month=None if price is None else nodes * copies * _HOURS_PER_MONTH * price,
        currency=currency,
        assumptions=_assumptions(cores, lists, probes, copies, refine, disk_mb_s, latencies, rates),
        rates=rates,
    )


def _count(vectors: Any) -> int:
    """Return a number of vectors, which may be written like 1e9."""
    number = as_number("vectors", vectors, 1, finite=True)
    if number != int(number):
        raise ValueError(f"vectors={vectors}: expected a whole number")
    return int(vectors)


def _budget(memory: int | str | None, cores: int, row_bytes: int, lists: int) -> Budget:
    if memory is not None:
        return Budget(as_bytes(memory), cores, row_bytes, lists)
    needed = Budget(0, cores, row_bytes, lists).needed(MOST_ROWS)
    return Budget(max(_GB, needed), cores, row_bytes, lists)


def _build(
    n: int,
    d: int,
    lists: int,
    rates: Rates,
    built: Storage,
    cores: int,
    disk_mb_s: float | None,
    budget: Budget,
) -> dict[str, Any]:
    """Return the part of an estimate that is about building."""
    cells = lists or AUTO_CELLS  # which training then tries
    drawn = budget.sample_rows(d, wanted_rows(d, lists))
    training = rates.train_seconds + drawn * _compared_cells(cells) * rates.kmeans_seconds
    if rates.source == "parquet":  # to draw a sample, pages are decoded whole
        training += n * rates.read_seconds
    by_cores = (rates.build_seconds + lists * rates.assign_seconds) / cores
    read = 4 * d
    by_disk = 0.0
    if disk_mb_s is not None:
        if as_number("disk_mb_s", disk_mb_s, 0) == 0:
            raise ValueError("disk_mb_s=0: expected a rate above 0")
        by_disk = (read + built.file_bytes / n) / (disk_mb_s * _MB)
    each = max(by_cores, by_disk)
    train_hours = training / cores / 3600
    return {
        "build_hours": n * each / 3600 + train_hours,
        "train_hours": train_hours,
        "build_rate": 1 / each,
        "build_limit": "disk" if by_disk > by_cores else "cores",
        "read_mb_s": read / each / _MB,
        "build_bytes": budget.memory,
    }


def _compared_cells(cells: int) -> float:
    """Return how many cells k-means takes the time to compare a row with (decision 0033)."""
    return cells if cells <= _FEW_CELLS else 25 * math.sqrt(cells)


def _nodes(n: int, d: int, code_bytes: int, memory: int, layout: dict[str, Any]) -> int:
    """Return how many nodes hold all vectors, with a codec each."""
    fixed = storage(1, d, code_bytes, **layout).memory_bytes
    if fixed >= memory:
        raise ValueError(
            f"node_memory={memory}: the codec and its lists alone take {fixed:,} bytes; give more"
        )
    nodes = max(1, -(-n // _MOST_VECTORS))
    while storage(-(-n // nodes), d, code_bytes, **layout).memory_bytes > memory:
        room = memory - fixed
        whole = storage(-(-n // nodes), d, code_bytes, **layout).memory_bytes - fixed
        nodes = max(nodes + 1, int(nodes * whole / room))
    return nodes


def _query_seconds(vectors: int, lists: int, nprobe: int, rates: Rates, candidates: int) -> float:
    """Return the time of a query in one shard, on one core."""
    share = nprobe / lists if lists else 1.0
    return (
        rates.query_seconds
        + lists * rates.centroid_seconds
        + (nprobe * rates.list_seconds if lists else 0.0)
        + share * vectors * rates.scan_seconds
        + candidates * rates.rescore_seconds
    )


def _assumptions(
    cores: int,
    lists: int,
    nprobe: int,
    replicas: int,
    refine: str | None,
    disk_mb_s: float | None,
    latencies: Any,
    rates: Rates,
) -> tuple[str, ...]:
    """Return what was taken for granted, in words."""
    said = [
        f"rates of {rates.machine}; other machines differ: measure there",
        f"{cores} cores encode {cores} times as fast as one, and so do they answer queries",
        "vectors are read from float32 files; decompression and networks are not counted",
        "the codec is trained by the build",
    ]
    if not lists:
        said.append("training chooses no cells; if it does, lists=1024 counts their bytes")
    if disk_mb_s is None:
        said.append("the disk keeps up with the cores")
    if lists:
        said.append(
            f"{nprobe} of {lists:,} lists are scanned, which are of about one size; what a recall "
            "takes, IndexIVF(target_recall=) measures"
        )
        said.append("shards of a node are merged (index.compact())")
    if refine:
        said.append("rows lie on the disk for the memory of nodes, and in memory for query times")
    if latencies is None:
        said.append("latencies of a shard spread as those of the measured run do")
    if replicas == 1:
        said.append("hedged requests need replicas, which are not counted here")
    said.append("latencies are those of nodes where no query waits, independent of each other")
    return tuple(said)
