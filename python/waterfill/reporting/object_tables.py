"""Notebook tables of indexes, codecs, monitors, checks, manifests and estimates."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from waterfill.reporting import formatting as fmt
from waterfill.reporting.html_tables import items, paragraph, table

if TYPE_CHECKING:
    from waterfill.codec import Codec
    from waterfill.drift.monitor import DriftMonitor
    from waterfill.index.vector_index import VectorIndex
    from waterfill.layout import VectorBytes
    from waterfill.lifecycle.swap import SwapIndex
    from waterfill.managed.health import Health
    from waterfill.optimizer.resource_estimate import Estimate as CodecEstimate
    from waterfill.quality import Check
    from waterfill.sizing.estimate import Estimate
    from waterfill.training.manifest import Manifest

_PAIR = ("property", "value")
_EVENT = ("generation", "what", "at", "vectors", "codec")
_MAX_EVENTS = 10
_FINGERPRINT = 12  # digits that tell codecs apart
_PART_NAMES = {"order": "place in its list"}


def index_html(index: VectorIndex[Any]) -> str:
    """Return what an index holds and takes."""
    return table(type(index).__name__, _PAIR, index_rows(index))


def index_rows(index: VectorIndex[Any]) -> list[tuple[str, str]]:
    """Return names and values of the properties of an index."""
    held = f"{index.ntotal:,} of {index.d} dimensions" if index.is_trained else "not trained"
    rows = [("vectors", held), ("metric", fmt.METRICS[index._metric])]
    if index.is_trained:
        taken = index._vector_bytes()
        rows += [
            ("bytes per vector", bytes_words(taken, index.d)),
            ("memory now", fmt.size(index.nbytes)),
            ("ids", "custom" if index.has_ids else "positions"),
        ]
    return rows + _settings(index)


def bytes_words(taken: VectorBytes, d: int) -> str:
    """Return the bytes per vector, their parts, and the ratio to float32."""
    parts = [f"{_PART_NAMES.get(name, name)} {value:.4g}" for name, value in taken.parts.items()]
    inside = f" ({', '.join(parts)})" if len(parts) > 1 else ""
    return f"{taken.total:.4g}{inside}, {fmt.smaller(taken.times_smaller(d))} than float32"


def _settings(index: Any) -> list[tuple[str, str]]:
    names = {name for kind in type(index).__mro__ for name in vars(kind)}
    rows = []
    if "nlist" in names:
        rows.append(("lists", f"{index.nlist:,}, of which a query searches {index.nprobe:,}"))
    if "hnsw" in names:
        rows.append(("graph", f"{index.M} links per vector, efSearch {index.hnsw.efSearch}"))
    if "refine" in names and index.refine is not None:
        kept = index.refine if isinstance(index.refine, str) else "your array of"
        rows.append(("refine", f"{kept} rows, k_factor {index.k_factor:g}"))
    return rows


def health_html(index: VectorIndex[Any], health: Health) -> str:
    """Return the state of a managed index."""
    recall = "exact" if health.phase == "exact" else str(health.recall or "not measured yet")
    rows = [
        ("asked for", health.asked_for),
        ("phase", health.phase),
        ("recall", recall),
        ("on the disk", fmt.size(health.disk_bytes)),
        ("drift", health.drift),
        ("next", health.next),
    ]
    return table(type(index).__name__, _PAIR, index_rows(index) + rows) + items(
        str(event) for event in health.done
    )


def codec_html(codec: Codec) -> str:
    """Return what a codec makes of vectors."""
    plan = codec.plan
    ip, l2 = (f"{each:.4g}" for each in codec.bytes_per_vector.values())
    rows = [
        ("vectors", f"{codec.d} dimensions" + (", normalised" if plan.normalize else "")),
        ("code", f"{codec.code_size} bytes"),
        ("in an index", f"{ip} bytes per vector, {l2} for Euclidean distance"),
        ("cells", f"{codec.cells:,}" if codec.cells else "none"),
        ("plan", plan.maker + (", for queries" if plan.query_variances is not None else "")),
        (
            "distortion",
            f"{fmt.percent(plan.predicted_distortion)} predicted, Shannon bound "
            f"{fmt.percent(plan.shannon_bound)}",
        ),
    ]
    manifest = codec.manifest
    return table("Codec", _PAIR, rows) + ("" if manifest is None else manifest_html(manifest))


def manifest_html(manifest: Manifest) -> str:
    """Return how a codec was trained."""
    return table("Manifest", _PAIR, manifest.words().items())


def swap_html(swap: SwapIndex) -> str:
    """Return the index in use, and the last generations."""
    events = swap.history[-_MAX_EVENTS:]
    rows = [
        (
            event.generation,
            event.what,
            event.at,
            f"{event.ntotal:,}",
            (event.fingerprint or "-")[:_FINGERPRINT],
        )
        for event in reversed(events)
    ]
    return index_html(swap.index) + table("Generations, the last one in use", _EVENT, rows, 0)


def monitor_html(monitor: DriftMonitor) -> str:
    """Return what a monitor has seen."""
    streams = [("vectors", monitor._data, monitor.learning)]
    streams.append(("queries", monitor._queries, monitor.learning_queries))
    rows = [
        (
            name,
            f"{stream.reference.n:,}" + (", still learning" if learning else ""),
            f"{stream.window.n:,}",
        )
        for name, stream, learning in streams
    ]
    note = (
        f"Metric: {fmt.METRICS[monitor.metric]}. Probability of any false alarm: at most "
        f"{monitor.alpha:g}. State: {fmt.size(monitor.nbytes)}. report() tests the window."
    )
    return table("DriftMonitor", ("stream", "baseline", "window"), rows) + paragraph(note)


def check_html(check: Check) -> str:
    """Return the findings of a check of vectors."""
    caption = f"{check.name}: {fmt.plural(check.n, 'row')} of {check.d} dimensions, {check.dtype}"
    rows = [
        ("refused" if finding.kind in check.refuse else "reported", finding.message)
        for finding in check.findings
    ]
    if check.norms is not None:
        low, high, mean = (
            fmt.number(v) for v in (check.norms.min, check.norms.max, check.norms.mean)
        )
        rows.insert(0, ("norms", f"{low} to {high}, mean {mean}"))
    refused = fmt.plural(len(check.refused), "row")
    verdict = "No row is refused." if check.ok else f"Refused: {refused}."
    return table(caption, ("what", "finding"), rows) + paragraph(verdict)


def estimate_html(estimate: Estimate) -> str:
    """Return what an index of many vectors takes."""
    storage, latency = estimate.storage, estimate.latency
    rows: list[tuple[str, str]] = [
        ("bytes per vector", f"{storage.bytes_per_vector:.4g}"),
        ("beside the vectors", fmt.size(storage.fixed_bytes)),
        ("files", f"{fmt.size(storage.file_bytes)} in {storage.segments:,} segments"),
        ("build", f"{_hours(estimate.build_hours)}, limited by the {estimate.build_limit}"),
        ("nodes", f"{estimate.nodes:,}, with {fmt.size(estimate.node_bytes)} each"),
        ("a query", f"{fmt.seconds(estimate.query_seconds)} of a core in each node"),
        ("throughput", f"{fmt.rate(estimate.queries_per_second)} queries per second"),
        ("latency", f"p50 {fmt.seconds(latency.p50)}, p99 {fmt.seconds(latency.p99)}"),
    ]
    if estimate.cost_per_month is not None:
        rows.append(("cost per month", f"{estimate.cost_per_month:,.2f} {estimate.currency}"))
    caption = f"Estimate for {storage.vectors:,} vectors"
    note = "Bytes follow from the file format; times are extrapolated, without an interval."
    return table(caption, _PAIR, rows) + paragraph(note) + items(estimate.assumptions)


def codec_estimate_html(estimate: CodecEstimate) -> str:
    """Return what an index of many vectors takes with the codec of a result."""
    rows: Iterable[tuple[str, str]] = [
        ("expected recall", str(estimate.recall)),
        ("memory", fmt.size(estimate.memory_bytes)),
        ("file", fmt.size(estimate.file_bytes)),
        ("load", fmt.seconds(estimate.load_seconds)),
        ("a query", fmt.seconds(estimate.query_seconds)),
        *(
            []
            if estimate.cost_per_month is None
            else [("cost per month", f"{estimate.cost_per_month:,.2f}")]
        ),
    ]
    caption = f"Estimate for {estimate.n:,} vectors, extrapolated from the sample"
    return table(caption, _PAIR, rows)


def _hours(hours: float) -> str:
    return fmt.seconds(3600 * hours) if hours < 2 else f"{fmt.number(hours)} h"
