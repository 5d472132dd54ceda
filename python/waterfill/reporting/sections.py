"""The parts of the page: what each chart shows in words, and its numbers as a table."""

from __future__ import annotations

import html
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from waterfill.reporting import chart_data, charts
from waterfill.reporting import formatting as fmt
from waterfill.reporting.html_tables import numbers, paragraph, table, text
from waterfill.reporting.notebook import trial_row

if TYPE_CHECKING:
    from waterfill.codec import Codec
    from waterfill.evaluation.faiss_peers import Peer
    from waterfill.evaluation.recall_extrapolation import Expected
    from waterfill.optimizer.resource_estimate import Estimate
    from waterfill.optimizer.result import Result

_ROWS = 24  # of a table that stands for a chart's many points


@dataclass(frozen=True)
class Section:
    """A chart, the words that stand for it, and its numbers.

    Attributes
    ----------
    name : str
        As the template has it.
    spec : dict
    caption : str
        What is seen.
    table : str
        HTML.
    switch : tuple of str
        Words and channel of an axis that may be logarithmic or linear.
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
        """A figure, which a script draws the chart into."""
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
        what, channel = self.switch
        choices = "".join(
            f'<label><input type="radio" name="{self.name}-scale" value="{kind}"'
            f"{' checked' if kind == 'log' else ''}> {name}</label>"
            for kind, name in (("log", "logarithmic"), ("linear", "linear"))
        )
        return (
            f'<fieldset class="switch" data-chart="{self.name}" data-channel="{channel}">'
            f"<legend>{text(what)}</legend>{choices}</fieldset>"
        )


def recall(result: Result, peers: Sequence[Peer], notes: Sequence[str]) -> Section:
    """Show recall against bytes."""
    least, most = result.frontier[0], result.frontier[-1]
    best, many = result.best, len(result.trials)
    caption = (
        f"{fmt.plural(many, 'trial')}. The best settings find "
        f"{fmt.percent(least.recall)} in {fmt.size(least.bytes_per_vector)}"
        + (
            f" to {fmt.percent(most.recall)} in {fmt.size(most.bytes_per_vector)}"
            if len(result.frontier) > 1
            else ""
        )
        + f". The star is what was chosen: {fmt.percent(best.recall)} in "
        f"{fmt.size(best.bytes_per_vector)}.{_nearest_peer(best.bytes_per_vector, peers)}"
    )
    return Section(
        "recall",
        charts.recall(result, peers),
        caption,
        _trial_table(result) + _peer_table(peers, result.k),
        ("Bytes", "x"),
        tuple(notes),
    )


def _nearest_peer(size: float, peers: Sequence[Peer]) -> str:
    """Say what the best peer of about this size finds."""
    near = [peer for peer in peers if peer.bytes_per_vector <= 1.25 * size]
    if not near:
        return " No peer is as small." if peers else ""
    best = max(near, key=lambda peer: peer.recall)
    return (
        f" The best FAISS type of at most a quarter more, {best.name}, finds "
        f"{fmt.percent(best.recall)} in {fmt.size(best.bytes_per_vector)}."
    )


def _trial_table(result: Result) -> str:
    trials = sorted(result.trials, key=lambda trial: trial.bytes_per_vector)
    on = set(map(id, result.frontier))
    rows = [
        (*trial_row(trial), "chosen" if trial == result.best else "yes" if id(trial) in on else "")
        for trial in trials
    ]
    header = ("settings", "bytes", f"recall@{result.k}", "times smaller", "queries a second")
    marked = next((i for i, trial in enumerate(trials) if trial == result.best), None)
    return table("Trials", (*header, "vectors a second", "on the frontier"), rows, marked)


def _peer_table(peers: Sequence[Peer], k: int) -> str:
    if not peers:
        return ""
    header = ("FAISS type", "bytes", f"recall@{k}", "queries a second", "vectors a second")
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
    return table("Peers on the same split", (*header, "training", "remark"), rows)


def growth(result: Result, expected: list[tuple[int, Expected]], n: int) -> Section:
    """Show recall in larger collections."""
    made = result.growth
    measured = list(zip(made.sizes, made.recalls, strict=True))
    (size, found), (most, one) = measured[-1], expected[-1]
    caption = f"{fmt.percent(found)} among the {size:,} vectors of the sample"
    if len(measured) > 1:
        caption += f", {fmt.percent(measured[0][1])} among {measured[0][0]:,} of them"
    caption += (
        f"; among {fmt.count(most)} like them {fmt.percent(one.recall)} is to be expected, in "
        f"95 % of cases {fmt.interval(one)}. What was measured are vectors that the codec was "
        "trained on, which fits them better than others; what is expected allows for that."
    )
    rows = [(f"{size:,}", fmt.percent(recall), "measured") for size, recall in measured]
    rows += [
        (fmt.count(size), fmt.percent(one.recall), fmt.interval(one))
        for size, one in (expected[i] for i in range(len(expected)) if i % 4 == 3)
    ]
    header = ("vectors", f"recall@{result.k}", "95 % interval")
    return Section(
        "growth",
        charts.growth(result, expected, n),
        caption,
        table("Recall and size", header, rows),
    )


def spectrum(codec: Codec, found: chart_data.Spectrum) -> Section:
    """Show eigenvalues, the water level and the classes."""
    first = fmt.share(found.bars[0].share)
    half = int(np.searchsorted(np.cumsum(codec.plan.variances), 0.5)) + 1
    kept = sum(one.dimensions for one in found.classes if one.relevance != "low")
    caption = f"The first of {codec.d} eigen-dimensions holds {first} of the variance"
    caption += f", the first {half} hold half of it. " if half > 1 else ". "
    if found.level is not None:
        caption += (
            f"{kept} stand out of the water level, the dashed line at {fmt.share(found.level)}, "
            "and are kept"
        )
    else:
        medium = found.classes[1].dimensions
        caption += f"Thresholds part them, not water: {kept - medium} are high, {medium} medium"
    low = found.classes[-1]
    caption += (
        f"; {low.dimensions} with {fmt.percent(low.share)} of the variance are discarded."
        if low.dimensions
        else "; none is discarded."
    )
    notes: tuple[str, ...] = ()
    if codec.cells:
        notes = (
            f"Vectors are coded from the centroids of {codec.cells:,} cells; this is the spectrum "
            "of what is left of them.",
        )
    return Section(
        "spectrum",
        charts.spectrum(found),
        caption,
        _bar_table(found),
        ("Share of variance", "y"),
        notes,
    )


def bits(codec: Codec, found: chart_data.Spectrum) -> Section:
    """Show the bits of each eigen-dimension."""
    groups = len(codec.plan.groups)
    none = found.classes[-1].dimensions
    most = max(found.bars, key=lambda bar: bar.bits)
    caption = (
        f"{fmt.plural(groups, 'byte')} of a code hold {8 * groups} bits, "
        f"{8 * groups / codec.d:.2f} a dimension: {fmt.number(most.bits)} at most, "
        f"{f'nothing for {none} dimensions' if none else 'something for each'}. "
        "A byte for the scale comes on top."
    )
    return Section("bits", charts.bits(found), caption, _bar_table(found))


def _bar_table(found: chart_data.Spectrum) -> str:
    rows = [
        (bar.name, fmt.share(bar.share), f"{bar.bits:.2f}", bar.relevance)
        for bar in (found.bars[i] for i in chart_data.spread_out(len(found.bars), _ROWS))
    ]
    return table("Some of the eigen-dimensions", ("number", "variance", "bits", "class"), rows)


def distortion(codec: Codec) -> Section:
    """Show the codec's error beside Shannon's bound."""
    report, plan = chart_data.distortion(codec), codec.plan
    if report is None:
        caption = "Training had no rows to spare to measure the error on."
    elif report.distortion <= 0:
        caption = "Decoded directions have no error at all."
    else:
        place = "above" if report.gap_db >= 0 else "below"
        caption = (
            f"With {report.bits:.2f} bits a dimension decoded directions miss "
            f"{fmt.percent(report.distortion)} of their energy. No code of as many bits can miss "
            f"less than {fmt.percent(report.bound)} on Gaussian data: "
            f"{abs(report.gap_db):.2f} dB {place} the bound."
        )
    rows = [
        ("measured", fmt.percent(report.distortion if report else None, 2)),
        ("expected by the plan", fmt.percent(plan.predicted_distortion, 2)),
        ("Shannon bound", fmt.percent(plan.shannon_bound, 2)),
    ]
    return Section(
        "distortion",
        charts.distortion(plan, report),
        caption,
        table("Distortion", ("what", "share of energy"), rows),
    )


def estimates(result: Result, all_of: Sequence[Estimate], n: int) -> str:
    """List what indexes of several sizes take."""
    priced = any(one.cost_per_month is not None for one in all_of)
    header = ["vectors", "memory", "float32", "file", "load", "a query", f"recall@{result.k}"]
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
        for one in all_of
    ]
    marked = next((i for i, one in enumerate(all_of) if one.n == n), None)
    header += ["price a month"] if priced else []
    return table("A flat index on this machine", header, rows, marked)


def recipe(result: Result) -> str:
    """Write the lines of Python that train such a codec again."""
    best, normal, d = result.best.settings, result.metric == "cosine", result.codec.d
    if best.dimensions is None:
        plan = f"waterfill(analysis, code_bytes={best.code_bytes}, weighting={best.weighting!r})"
    else:
        high, kept = best.dimensions
        plan = f'classic(analysis, {high} / {d}, {kept} / {d}, by="dimensions")'
    keep = f", refine={json.dumps(best.refine)}" if best.refine else ""
    given = [f"{name}={value!r}" for name, value in _training(result)]
    if result.split.training_queries is not None:
        given.append("queries=result.split.training_queries")
    return "\n".join(
        [
            "import waterfill as wf",
            "",
            f"analysis = wf.analyze(x{', normalize=True' if normal else ''})",
            f"plan = wf.Plan.{plan}",
            "codec = wf.Codec.train(",
            f"    x, plan, {', '.join(given)}",
            ")",
            f'index = wf.IndexFlat(codec, "{result.metric}"{keep})',
        ]
    )


def _training(result: Result) -> list[tuple[str, Any]]:
    """Return how the codec was trained: as it remembers, or as it was asked for."""
    manifest, best = result.codec.manifest, result.best.settings
    if manifest is None:
        made = {"seed": result.seed, "cells": best.cells, "effort": best.effort}
    else:
        made = manifest.training
    return [(name, value) for name, value in made.items() if value is not None]
