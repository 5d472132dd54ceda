"""The sections of the HTML page: a chart, a caption and a table of its numbers each."""

from __future__ import annotations

import html
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from waterfill.reporting import chart_data, vega_charts
from waterfill.reporting import formatting as fmt
from waterfill.reporting.html_tables import numbers, paragraph, table, text
from waterfill.reporting.notebook import trial_row

if TYPE_CHECKING:
    from waterfill.codec import Codec
    from waterfill.evaluation.faiss_peers import Peer
    from waterfill.evaluation.recall_forecast import Expected
    from waterfill.optimizer.estimate import Estimate
    from waterfill.optimizer.result import Result

_MAX_ROWS = 24  # of a table for a chart with many points


@dataclass(frozen=True)
class Section:
    """A chart, its caption and its numbers.

    Attributes
    ----------
    name : str
        Its name in the template.
    spec : dict
    caption : str
        What the chart shows.
    table : str
        HTML.
    switch : tuple of str
        Label and channel of the axis that switches between logarithmic and linear.
    notes : tuple of str
    """

    name: str
    spec: dict[str, Any]
    caption: str
    table: str
    switch: tuple[str, str] | None = None
    notes: tuple[str, ...] = field(default=())

    @property
    def html(self) -> str:
        """The figure element that page.js draws the chart into, and the table."""
        label = html.escape(self.caption, quote=True)
        return (
            f'<figure><div class="chart" id="chart-{self.name}" data-label="{label}"></div>'
            f"{self._switch()}"
            f"<figcaption>{text(self.caption)}</figcaption></figure>"
            f"{''.join(paragraph(note, 'note') for note in self.notes)}"
            f"{numbers('The numbers', self.table)}"
        )

    def _switch(self) -> str:
        if self.switch is None:
            return ""
        label, channel = self.switch
        choices = "".join(
            f'<label><input type="radio" name="{self.name}-scale" value="{kind}"'
            f"{' checked' if kind == 'log' else ''}> {name}</label>"
            for kind, name in (("log", "logarithmic"), ("linear", "linear"))
        )
        return (
            f'<fieldset class="switch" data-chart="{self.name}" data-channel="{channel}">'
            f"<legend>{text(label)}</legend>{choices}</fieldset>"
        )


def recall(result: Result, peers: Sequence[Peer], notes: Sequence[str]) -> Section:
    """Return recall against bytes."""
    least, most = result.frontier[0], result.frontier[-1]
    best = result.best
    caption = (
        f"{fmt.plural(len(result.trials), 'trial')}. The frontier finds "
        f"{fmt.percent(least.recall)} in {fmt.size(least.bytes_per_vector)}"
        + (
            f" to {fmt.percent(most.recall)} in {fmt.size(most.bytes_per_vector)}"
            if len(result.frontier) > 1
            else ""
        )
        + f". The star marks the chosen settings: {fmt.percent(best.recall)} in "
        f"{fmt.size(best.bytes_per_vector)}.{_nearest_peer(best.bytes_per_vector, peers)}"
    )
    return Section(
        "recall",
        vega_charts.recall(result, peers),
        caption,
        _trial_table(result) + _peer_table(peers, result.k),
        ("Bytes", "x"),
        tuple(notes),
    )


def _nearest_peer(size: float, peers: Sequence[Peer]) -> str:
    """Compare with the best peer of up to 1.25 times the size."""
    near = [peer for peer in peers if peer.bytes_per_vector <= 1.25 * size]
    if not near:
        return " No FAISS index type is as small." if peers else ""
    best = max(near, key=lambda peer: peer.recall)
    return (
        f" The best FAISS index type of at most 1.25 times that size, {best.name}, finds "
        f"{fmt.percent(best.recall)} in {fmt.size(best.bytes_per_vector)}."
    )


def _trial_table(result: Result) -> str:
    trials = sorted(result.trials, key=lambda trial: trial.bytes_per_vector)
    frontier = set(map(id, result.frontier))
    rows = [
        (
            *trial_row(trial),
            "chosen" if trial == result.best else "yes" if id(trial) in frontier else "",
        )
        for trial in trials
    ]
    header = ("settings", "bytes", f"recall@{result.k}", "times smaller", "queries per second")
    marked = next((i for i, trial in enumerate(trials) if trial == result.best), None)
    return table("Trials", (*header, "vectors per second", "on the frontier"), rows, marked)


def _peer_table(peers: Sequence[Peer], k: int) -> str:
    if not peers:
        return ""
    header = (
        "FAISS index type",
        "bytes",
        f"recall@{k}",
        "queries per second",
        "vectors per second",
    )
    rows = [
        (
            peer.name,
            fmt.number(peer.bytes_per_vector),
            fmt.percent(peer.recall),
            fmt.rate(peer.queries_per_second),
            fmt.rate(peer.encode_rate),
            fmt.seconds(peer.train_seconds),
            peer.remark,
        )
        for peer in peers
    ]
    return table("FAISS on the same split", (*header, "training", "remark"), rows)


def growth(result: Result, expected: list[tuple[int, Expected]], n: int) -> Section:
    """Return recall in larger collections."""
    growth = result.growth
    measured = list(zip(growth.sizes, growth.recalls, strict=True))
    (size, found), (most, one) = measured[-1], expected[-1]
    caption = f"Recall is {fmt.percent(found)} among the {size:,} vectors of the sample"
    if len(measured) > 1:
        caption += f", {fmt.percent(measured[0][1])} among {measured[0][0]:,} of them"
    caption += (
        f". Among {fmt.count(most)} similar vectors, {fmt.percent(one.recall)} is expected "
        f"(95 % interval: {fmt.interval(one)}). The measured vectors are those that the codec was "
        "trained on and fits best; the expected recall accounts for that."
    )
    rows = [(f"{size:,}", fmt.percent(recall), "measured") for size, recall in measured]
    rows += [
        (fmt.count(size), fmt.percent(one.recall), fmt.interval(one))
        for size, one in (expected[i] for i in range(len(expected)) if i % 4 == 3)
    ]
    header = ("vectors", f"recall@{result.k}", "95 % interval")
    return Section(
        "growth",
        vega_charts.growth(result, expected, n),
        caption,
        table("Recall and size", header, rows),
    )


def spectrum(codec: Codec, data: chart_data.Spectrum) -> Section:
    """Return eigenvalues, the water level and the classes."""
    first = fmt.share(data.bars[0].share)
    half = int(np.searchsorted(np.cumsum(codec.plan.variances), 0.5)) + 1
    kept = sum(one.dimensions for one in data.classes if one.relevance != "low")
    caption = f"The first of {codec.d} eigen-dimensions holds {first} of the variance"
    caption += f", the first {half} hold half of it. " if half > 1 else ". "
    if data.level is not None:
        caption += (
            f"{kept} lie above the water level, the dashed line at {fmt.share(data.level)}, "
            "and are coded"
        )
    else:
        medium = data.classes[1].dimensions
        caption += f"Thresholds separate the classes: {kept - medium} are high, {medium} medium"
    low = data.classes[-1]
    caption += (
        f"; {low.dimensions} with {fmt.percent(low.share)} of the variance are discarded."
        if low.dimensions
        else "; none is discarded."
    )
    notes: tuple[str, ...] = ()
    if codec.cells:
        notes = (
            f"Vectors are coded relative to the centroids of {codec.cells:,} cells; this is the "
            "spectrum of the residuals.",
        )
    return Section(
        "spectrum",
        vega_charts.spectrum(data),
        caption,
        _bar_table(data),
        ("Share of variance", "y"),
        notes,
    )


def bits(codec: Codec, data: chart_data.Spectrum) -> Section:
    """Return the bits of each eigen-dimension."""
    groups = len(codec.plan.groups)
    none = data.classes[-1].dimensions
    most = max(data.bars, key=lambda bar: bar.bits)
    caption = (
        f"The {fmt.plural(groups, 'byte')} of a code hold {8 * groups} bits, "
        f"{8 * groups / codec.d:.2f} per dimension on average and {fmt.number(most.bits)} at most; "
        f"{f'{none} dimensions get none' if none else 'every dimension gets some'}. "
        "One more byte holds the scale."
    )
    return Section("bits", vega_charts.bits(data), caption, _bar_table(data))


def _bar_table(data: chart_data.Spectrum) -> str:
    rows = [
        (bar.name, fmt.share(bar.share), f"{bar.bits:.2f}", bar.relevance)
        for bar in (data.bars[i] for i in chart_data.spread_out(len(data.bars), _MAX_ROWS))
    ]
    return table("Some of the eigen-dimensions", ("number", "variance", "bits", "class"), rows)


def distortion(codec: Codec) -> Section:
    """Return the codec's distortion and the Shannon bound."""
    report, plan = chart_data.distortion(codec), codec.plan
    if report is None:
        caption = "Training held out no rows to measure the distortion on."
    elif report.distortion <= 0:
        caption = "Decoded directions have no measurable error."
    else:
        place = "above" if report.gap_db >= 0 else "below"
        caption = (
            f"At {report.bits:.2f} bits per dimension, decoded directions lose "
            f"{fmt.percent(report.distortion)} of their energy, {abs(report.gap_db):.2f} dB "
            f"{place} the Shannon bound: on Gaussian data, no code of as many bits loses less than "
            f"{fmt.percent(report.bound)}."
        )
    rows = [
        ("measured", fmt.percent(report.distortion if report else None, 2)),
        ("predicted by the plan", fmt.percent(plan.predicted_distortion, 2)),
        ("Shannon bound", fmt.percent(plan.shannon_bound, 2)),
    ]
    return Section(
        "distortion",
        vega_charts.distortion(plan, report),
        caption,
        table("Distortion", ("distortion", "share of energy"), rows),
    )


def estimates(result: Result, by_size: Sequence[Estimate], n: int) -> str:
    """Return a table of memory, time and recall of indexes of several sizes."""
    priced = any(one.cost_per_month is not None for one in by_size)
    header = ["vectors", "memory", "float32", "file", "load", "per query", f"recall@{result.k}"]
    rows = [
        [
            fmt.count(one.n),
            fmt.size(one.memory_bytes),
            fmt.size(4.0 * one.n * result.codec.d),
            fmt.size(one.file_bytes),
            fmt.seconds(one.load_seconds),
            fmt.seconds(one.query_seconds),
            f"{fmt.percent(one.recall.recall)} ({fmt.interval(one.recall)})",
            *([fmt.number(one.cost_per_month)] if priced else []),
        ]
        for one in by_size
    ]
    marked = next((i for i, one in enumerate(by_size) if one.n == n), None)
    header += ["price per month"] if priced else []
    return table("A flat index on this machine", header, rows, marked)


def recipe(result: Result) -> str:
    """Return the lines of Python that train such a codec."""
    best, normalize, d = result.best.settings, result.metric == "cosine", result.codec.d
    if best.dimensions is None:
        plan = f"waterfill(analysis, code_bytes={best.code_bytes}, weighting={best.weighting!r})"
    else:
        high, kept = best.dimensions
        plan = f'classic(analysis, {high} / {d}, {kept} / {d}, by="dimensions")'
    keep = f", refine={json.dumps(best.refine)}" if best.refine else ""
    arguments = [f"{name}={value!r}" for name, value in _training(result)]
    if result.split.training_queries is not None:
        arguments.append("queries=result.split.training_queries")
    return "\n".join(
        [
            "import waterfill as wf",
            "",
            f"analysis = wf.analyze(x{', normalize=True' if normalize else ''})",
            f"plan = wf.Plan.{plan}",
            "codec = wf.Codec.train(",
            f"    x, plan, {', '.join(arguments)}",
            ")",
            f'index = wf.IndexFlat(codec, "{result.metric}"{keep})',
        ]
    )


def _training(result: Result) -> list[tuple[str, Any]]:
    """Return the training arguments: of the manifest, or those of the trial."""
    manifest, best = result.codec.manifest, result.best.settings
    if manifest is None:
        arguments = {"seed": result.seed, "cells": best.cells, "effort": best.effort}
    else:
        arguments = manifest.training
    return [(name, value) for name, value in arguments.items() if value is not None]
