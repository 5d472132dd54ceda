"""The command ``waterfill estimate``: what an index of many vectors takes."""

from __future__ import annotations

from dataclasses import asdict
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from waterfill.cli.errors import UsageError
from waterfill.cli.options import CodeBytes, Metric, MetricName, Neighbours, RefineName
from waterfill.cli.output import Output, pairs, size
from waterfill.sizing import Estimate, FanOut, Rates, measure_rates
from waterfill.sizing import estimate as estimated
from waterfill.sizing.storage import Storage


class IdsName(str, Enum):
    """Where ids come from."""

    positions = "positions"
    ascending = "ascending"
    any = "any"


class SourceName(str, Enum):
    """Formats to build from."""

    npy = "npy"
    parquet = "parquet"


def _value(name: str, metavar: str, help_: str) -> Any:
    return typer.Option(name, metavar=metavar, help=help_, show_default=False)


_EXTRAPOLATED = "extrapolated from rates of fewer vectors, without an interval"


def estimate(
    out: Output,
    vectors: Annotated[float, _value("--vectors", "N", "Number of vectors, such as 1e9.")],
    dim: Annotated[int, _value("--dim", "D", "Their dimensions.")],
    code_bytes: CodeBytes = 48,
    metric: Metric = MetricName.ip,
    lists: Annotated[
        int, typer.Option("--lists", metavar="N", help="Lists of an inverted file; 0: flat.")
    ] = 0,
    nprobe: Annotated[
        int | None, _value("--nprobe", "N", "Lists per query (default: square root of --lists).")
    ] = None,
    refine: Annotated[
        RefineName | None, _value("--refine", "TYPE", "Rows to keep for re-ranking.")
    ] = None,
    k: Neighbours = 10,
    ids: Annotated[
        IdsName,
        typer.Option("--ids", help="Positions in the source, or a column, which ascends or not."),
    ] = IdsName.positions,
    source: Annotated[
        SourceName, typer.Option("--source", help="Format of the files to build from.")
    ] = SourceName.npy,
    cores: Annotated[
        int | None, _value("--cores", "N", "Of each machine (default: those of this one).")
    ] = None,
    disk_mb_s: Annotated[
        float | None, _value("--disk-mb-s", "MB", "What the disk of the build reads a second.")
    ] = None,
    memory_gb: Annotated[
        float, typer.Option("--memory-gb", metavar="GB", help="For the index, of each node.")
    ] = 64.0,
    replicas: Annotated[
        int, typer.Option("--replicas", metavar="N", help="Copies of each shard.")
    ] = 1,
    latencies: Annotated[
        Path | None,
        _value("--latencies", "FILE", "Seconds of queries to one shard: .npy, or one a line."),
    ] = None,
    price_per_hour: Annotated[
        float | None, _value("--price-per-hour", "P", "Of a machine, for the cost.")
    ] = None,
    currency: Annotated[str, typer.Option("--currency", help="Of the price.")] = "USD",
    rates: Annotated[
        Path | None,
        _value("--rates", "FILE", "Rates of a machine, instead of measuring this one."),
    ] = None,
    save_rates: Annotated[
        Path | None, _value("--save-rates", "FILE", "Write the measured rates, for --rates.")
    ] = None,
) -> None:
    """Estimate bytes, hours of building, nodes, latency and cost.

    Sizes follow from the file format. Rates are measured on this machine
    first, which takes some 10 to 60 seconds, or are those of --rates.

    Example:
      waterfill estimate --vectors 1e9 --dim 768 --code-bytes 96
      waterfill estimate --vectors 2e7 --dim 128 --metric l2 --cores 2
    """
    if rates is not None and save_rates is not None:
        raise UsageError("--save-rates writes what is measured, which --rates replaces")
    setting: Any = {
        "metric": metric.value,
        "refine": None if refine is None else refine.value,
        "source": source.value,
    }
    if rates is not None:
        known = Rates.load(rates)
    else:
        with out.trace("measuring"):
            known = measure_rates(dim, code_bytes, **setting)
    if save_rates is not None:
        known.save(save_rates)
    found = estimated(
        vectors,
        dim,
        code_bytes,
        **setting,
        lists=lists,
        nprobe=nprobe,
        ids=ids.value,
        cores=cores,
        disk_mb_s=disk_mb_s,
        node_memory=round(memory_gb * 1e9),
        replicas=replicas,
        k=k,
        latencies=None if latencies is None else _seconds(latencies),
        price_per_hour=price_per_hour,
        currency=currency,
        rates=known,
    )
    out.show(
        asdict(found)
        | {
            "file_bytes": found.storage.file_bytes,
            "fixed_bytes": found.storage.fixed_bytes,
            "bytes_per_vector": found.storage.bytes_per_vector,
        },
        pairs("Storage, by the file format", _storage_lines(found.storage)),
        pairs(f"\nBuild, {_EXTRAPOLATED}", _build_lines(found)),
        pairs(f"\nSearch, {_EXTRAPOLATED}", _search_lines(found)),
        "\nAssumptions",
        *(f"- {each}" for each in found.assumptions),
    )


def _seconds(path: Path) -> Any:
    try:
        return np.load(path) if path.suffix == ".npy" else np.loadtxt(path, ndmin=1)
    except ValueError as error:
        raise UsageError(f"--latencies {path}: expected numbers: {error}") from None


def _storage_lines(storage: Storage) -> dict[str, str]:
    parts = {
        "codes": storage.codes,
        "order of lists": storage.order,
        "ids": storage.ids,
        "rows": storage.rows,
        "codec": storage.codec,
        "headers": storage.headers,
    }
    return {
        "files": f"{size(storage.file_bytes)} in {storage.segments:,} segments",
        "bytes per vector": f"{storage.bytes_per_vector:.4g}, and "
        f"{size(storage.fixed_bytes)} beside the vectors",
        **{name: size(count) for name, count in parts.items() if count},
    }


def _build_lines(found: Estimate) -> dict[str, str]:
    lines = {
        "time": f"{_time(found.build_hours)}, of which training {_time(found.train_hours)}",
        "rate": f"{found.build_rate:,.0f} vectors/s, limited by the {found.build_limit}; "
        f"the disk reads {found.read_mb_s:,.0f} MB/s",
        "memory": size(found.build_bytes),
    }
    if found.build_cost is not None:
        lines["cost"] = f"{found.build_cost:,.2f} {found.currency}"
    return lines


def _search_lines(found: Estimate) -> dict[str, str]:
    lines = {
        "nodes": f"{found.nodes:,}, with {size(found.node_bytes)} of the index each",
        "a query": f"{1e3 * found.query_seconds:,.2f} ms of a core in each node",
        "throughput": f"{found.queries_per_second:,.0f} queries/s",
        **_latency_lines(found.latency),
    }
    if found.cost_per_month is not None:
        lines["cost"] = f"{found.cost_per_month:,.2f} {found.currency} a month"
    return lines


def _latency_lines(latency: FanOut) -> dict[str, str]:
    return {
        "latency": f"p50 {1e3 * latency.p50:,.2f} ms, p99 {1e3 * latency.p99:,.2f} ms",
        "hedged": f"p50 {1e3 * latency.hedged_p50:,.2f} ms, "
        f"p99 {1e3 * latency.hedged_p99:,.2f} ms, with {latency.hedge_share:.0%} more requests, "
        f"after {1e3 * latency.hedge_delay:,.2f} ms",
    }


def _time(hours: float) -> str:
    seconds = 3600 * hours
    if seconds < 120:
        return f"{seconds:,.1f} s"
    return f"{seconds / 60:,.1f} min" if seconds < 7200 else f"{hours:,.1f} h"
