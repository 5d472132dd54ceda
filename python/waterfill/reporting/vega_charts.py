"""The charts of the HTML page as Vega-Lite specifications, made and validated by Altair.

Colours are variables of the page's style sheet, so light mode, dark mode and print share one
specification.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from waterfill._util.optional import require
from waterfill.reporting import chart_data
from waterfill.reporting import formatting as fmt

if TYPE_CHECKING:
    from waterfill.codec import DistortionReport
    from waterfill.evaluation.faiss_peers import Peer
    from waterfill.evaluation.recall_extrapolation import Expected
    from waterfill.optimizer.result import Result
    from waterfill.optimizer.trial import Trial
    from waterfill.plan import Plan

Spec = dict[str, Any]
Row = dict[str, Any]
Style = tuple[str, str, list[int]]  # colour, shape, dashes

TRIED, FRONTIER, CHOSEN = "tried", "frontier", "chosen"

_HEIGHT, _TALL = 260, 360
_STAR = "M0,-1L.24,-.31H.95L.38,.12L.59,.81L0,.4L-.59,.81L-.38,.12L-.95,-.31H-.24Z"
_DOT = "M-.6,0A.6,.6,0,1,1,.6,0A.6,.6,0,1,1,-.6,0"  # smaller than a circle
_STYLES: dict[str, Style] = {
    TRIED: ("var(--faint)", _DOT, [1, 0]),
    FRONTIER: ("var(--own)", "circle", [1, 0]),
    CHOSEN: ("var(--own)", _STAR, [1, 0]),
    "FAISS PQ": ("var(--pq)", "square", [6, 3]),
    "FAISS PQ 4 bits": ("var(--pq4)", "triangle-down", [2, 2]),
    "FAISS OPQ": ("var(--opq)", "diamond", [8, 2, 2, 2]),
    "FAISS RaBitQ": ("var(--rabitq)", "cross", [4, 4]),
    "FAISS SQ": ("var(--sq)", "triangle-up", [10, 4]),
}
_GROWTH: dict[str, Style] = {
    "measured": ("var(--own)", "circle", [1, 0]),
    "expected": ("var(--own)", "diamond", [5, 4]),
}
_DISTORTION: dict[str, Style] = {
    "Shannon bound": ("var(--ink)", "stroke", [1, 0]),
    "predicted": ("var(--pq)", "diamond", [1, 0]),
    "measured": ("var(--own)", "circle", [1, 0]),
}
_TIPS = {
    "series": "series",
    "name": "settings",
    "bytes": "bytes",
    "percent": "recall",
    "note": "note",
    "speed": "search",
    "encoding": "encoding",
}
_CLASS_COLOURS = {"high": "var(--high)", "medium": "var(--medium)", "low": "var(--low)"}
_BOLD = {"fontWeight": "bold", "color": "var(--ink)", "aria": False}
_HALO = {**_BOLD, "stroke": "var(--paper)", "strokeWidth": 4, "strokeJoin": "round"}
_FEW = 12  # dimensions, each with a tick
_LABEL_WIDTH = 130  # pixels
_FONT = "system-ui, sans-serif"
_SMALL = "format(100 * datum.value, datum.value < 1e-5 ? '.0e' : '.1~r') + '%'"


def library() -> Any:
    """Import Altair.

    Raises
    ------
    ImportError
        If it is not installed.
    """
    return require("altair", "report", "report")


def recall(result: Result, peers: Sequence[Peer]) -> Spec:
    """Draw recall against bytes: all trials, the frontier, the chosen one, FAISS index types."""
    alt = library()
    rows = [_trial_row(TRIED, trial) for trial in result.trials]
    rows += [_trial_row(FRONTIER, trial) for trial in result.frontier]
    chosen = _trial_row(CHOSEN, result.best)
    rows += [_peer_row(peer) for peer in peers]
    x = _log_axis(alt, "bytes", "total bytes per vector", [row["bytes"] for row in [*rows, chosen]])
    y = _recall_axis(alt, result.k, [row["recall"] for row in [*rows, chosen]])
    series = [name for name in _STYLES if name == CHOSEN or any(r["series"] == name for r in rows)]
    colour, shape, dash = _styled(alt, series, _STYLES)
    lines = [row for row in rows if row["series"] != TRIED]
    tips = [alt.Tooltip(f"{field}:N", title=title) for field, title in _TIPS.items()]
    points = {"color": colour, "shape": shape, "tooltip": tips, "x": x, "y": y}
    chosen_bytes = fmt.number(chosen["bytes"])
    text = {"x": x, "y": y, "text": alt.value(f"{chosen_bytes} bytes, {chosen['percent']}")}
    chart = alt.layer(
        _chart(alt, lines).mark_line(strokeWidth=1.6, aria=False).encode(x, y, colour, dash),
        _chart(alt, rows).mark_point(filled=True, size=55, opacity=0.9).encode(**points),
        _chart(alt, [chosen])
        .mark_point(filled=True, size=420, opacity=1, stroke="var(--ink)", strokeWidth=1)
        .encode(**points),
        *(
            _chart(alt, [chosen]).mark_text(**_label_position(chosen, rows), **look).encode(**text)
            for look in (_HALO, _BOLD)
        ),
    )
    return _finish(
        alt, chart, _TALL, f"Recall against bytes per vector; chosen: {chosen_bytes} bytes."
    )


def growth(result: Result, expected: Sequence[tuple[int, Expected]], n: int) -> Spec:
    """Draw measured recall, and the recall expected in larger collections."""
    alt = library()
    measured = result.growth
    rows: list[Row] = [
        {"series": "measured", "n": size, "recall": recall, "percent": fmt.percent(recall)}
        for size, recall in zip(measured.sizes, measured.recalls, strict=True)
    ]
    rows += [_expected_row(size, one) for size, one in expected]
    x = _log_axis(alt, "n", "vectors in the collection", [row["n"] for row in rows], "~s")
    values = [row[field] for row in rows for field in ("recall", "low", "high") if field in row]
    y = _recall_axis(alt, result.k, values)
    domain = [name for name in ("measured", "expected") if any(r["series"] == name for r in rows)]
    colour, shape, dash = _styled(alt, domain, _GROWTH)
    low = _recall_axis(alt, result.k, values, "low")
    extrapolated = [row for row in rows if row["series"] == "expected"]
    tips = ["series:N", "n:Q", "percent:N", "interval:N"]
    layers = [
        _chart(alt, extrapolated)
        .mark_area(color="var(--own)", opacity=0.16, aria=False)
        .encode(x=x, y=low, y2="high:Q"),
        _chart(alt, rows).mark_line(aria=False).encode(x, y, colour, dash),
        _chart(alt, rows)
        .mark_point(filled=True, size=45)
        .encode(x=x, y=y, color=colour, shape=shape, tooltip=tips),
    ]
    if expected and expected[0][0] < n <= expected[-1][0]:
        rule = _chart(alt, [{"n": n}]).mark_rule(color="var(--soft)", strokeDash=[2, 3])
        layers.append(rule.encode(x=x))
    description = f"Recall at {fmt.count(rows[0]['n'])} to {fmt.count(rows[-1]['n'])} vectors."
    return _finish(alt, alt.layer(*layers), _HEIGHT, description)


def spectrum(data: chart_data.Spectrum) -> Spec:
    """Draw the share of variance of each eigen-dimension, and the water level."""
    alt = library()
    floor = data.floor
    rows = [{**_bar_row(bar), "share": max(bar.share, floor)} for bar in data.bars]
    scale = alt.Scale(type="log", domainMin=floor, nice=False)
    axis = alt.Axis(labelExpr=_SMALL, tickCount=5)
    y = alt.Y("share:Q", title="share of variance", scale=scale, axis=axis)
    bars = _bars(alt, rows, data, y, alt.Y2Datum(floor))
    layers = [bars]
    if data.level is not None:
        level = [{"level": data.level, "name": "water level", "at": rows[-1]["end"]}]
        line, place = alt.Y("level:Q"), {"align": "right", "dx": -4, "dy": -9}
        halo = _chart(alt, level).mark_rule(color="var(--paper)", strokeWidth=4, aria=False)
        rule = _chart(alt, level).mark_rule(color="var(--ink)", strokeWidth=2, strokeDash=[6, 4])
        layers += [halo.encode(y=line), rule.encode(y=line, tooltip=["name:N"])]
        layers += [
            _chart(alt, level)
            .mark_text(**place, **look)
            .encode(x=alt.X("at:Q"), y=line, text="name:N")
            for look in (_HALO, _BOLD)
        ]
    return _finish(alt, alt.layer(*layers), _HEIGHT, "Share of variance of each eigen-dimension.")


def bits(data: chart_data.Spectrum) -> Spec:
    """Draw the bits that each eigen-dimension gets."""
    alt = library()
    rows = [_bar_row(bar) for bar in data.bars]
    y = alt.Y("bits:Q", title="bits", scale=alt.Scale(zero=True))
    return _finish(
        alt, _bars(alt, rows, data, y, alt.Y2Datum(0)), _HEIGHT, "Bits of each eigen-dimension."
    )


def distortion(plan: Plan, report: DistortionReport | None) -> Spec:
    """Draw the Shannon bound and the codec's distortion."""
    alt = library()
    bits = 8 * len(plan.groups) / plan.d if report is None else report.bits
    each, bound = chart_data.shannon_curve(plan, 2 * bits)
    curve = [
        {"series": "Shannon bound", "bits": b, "error": e, "share": fmt.percent(e)}
        for b, e in zip(each, bound, strict=True)
    ]
    marks = [("predicted", plan.predicted_distortion)]
    if report is not None and report.distortion > 0:
        marks.append(("measured", report.distortion))
    rows = [
        {"series": name, "bits": bits, "error": error, "share": fmt.percent(error)}
        for name, error in marks
    ]
    x = alt.X("bits:Q", title="bits per dimension", scale=alt.Scale(nice=False))
    scale = alt.Scale(type="log", nice=False)
    y = alt.Y("error:Q", title="distortion", scale=scale, axis=alt.Axis(format=".3~%"))
    colour, shape, _ = _styled(alt, list(_DISTORTION)[: 1 + len(marks)], _DISTORTION, 2)
    tips = ["series:N", alt.Tooltip("bits:Q", format=".2f"), "share:N"]
    chart = alt.layer(
        _chart(alt, curve).mark_line(strokeWidth=2, aria=False).encode(x, y, colour),
        _chart(alt, rows)
        .mark_point(filled=True, size=110)
        .encode(x=x, y=y, color=colour, shape=shape, tooltip=tips),
    )
    return _finish(alt, chart, _HEIGHT, "Distortion against bits per dimension.")


def _trial_row(series: str, trial: Trial) -> Row:
    return {
        "series": series,
        "name": str(trial.settings),
        "bytes": round(trial.bytes_per_vector, 2),
        "recall": trial.recall,
        "percent": fmt.percent(trial.recall),
        "note": fmt.smaller(trial.memory_ratio),
        "speed": f"{fmt.rate(trial.queries_per_second)} queries per second",
        "encoding": f"{fmt.rate(trial.encode_rate)} vectors per second",
    }


def _peer_row(peer: Peer) -> Row:
    return {
        "series": f"FAISS {peer.family}",
        "name": peer.name,
        "bytes": peer.bytes_per_vector,
        "recall": peer.recall,
        "percent": fmt.percent(peer.recall),
        "note": peer.remark,
        "speed": f"{fmt.rate(peer.queries_per_second)} queries per second",
        "encoding": f"{fmt.rate(peer.encode_rate)} vectors per second",
    }


def _expected_row(size: int, one: Expected) -> Row:
    return {
        "series": "expected",
        "n": size,
        "recall": one.recall,
        "low": one.low,
        "high": one.high,
        "percent": fmt.percent(one.recall),
        "interval": fmt.interval(one),
    }


def _bar_row(bar: chart_data.Bar) -> Row:
    return {
        "dimension": bar.name,
        "start": bar.first - 0.5,
        "end": bar.last + 0.5,
        "share": bar.share,
        "variance": fmt.share(bar.share),
        "bits": round(bar.bits, 3),
        "class": bar.relevance,
    }


def _bars(alt: Any, rows: list[Row], data: chart_data.Spectrum, y: Any, foot: Any) -> Any:
    present = data.present
    colour = alt.Color(
        "class:N",
        legend=alt.Legend(title=None),
        scale=alt.Scale(domain=present, range=[_CLASS_COLOURS[name] for name in present]),
    )
    last = data.bars[-1].last
    few = (
        {"values": list(range(1, last + 1))} if last <= _FEW else {}
    )  # otherwise ticks fall between dimensions
    axis = alt.Axis(format="d", **few)
    scale = alt.Scale(domain=[0.5, last + 0.5], nice=False)
    x = alt.X("start:Q", title="eigen-dimension", scale=scale, axis=axis)
    tips = ["dimension:N", "class:N", "variance:N", alt.Tooltip("bits:Q", format=".2f")]
    return (
        _chart(alt, rows)
        .mark_rect(aria=False)
        .encode(x=x, x2="end:Q", y=y, y2=foot, color=colour, tooltip=tips)
    )


def _chart(alt: Any, rows: list[Row]) -> Any:
    return alt.Chart(alt.Data(values=rows))


def _log_axis(alt: Any, field: str, title: str, values: list[float], form: str = "~r") -> Any:
    low, high = min(values) / 1.15, max(values) * 1.15
    scale = alt.Scale(type="log", domain=[low, high], nice=False)
    return alt.X(f"{field}:Q", title=title, scale=scale, axis=alt.Axis(format=form, tickCount=8))


def _recall_axis(alt: Any, k: int, values: list[float], field: str = "recall") -> Any:
    """Return an axis that spans the values, not one that starts at 0."""
    room = max(0.01, 0.08 * (max(values) - min(values)))
    domain = [max(0.0, min(values) - room), min(1.0, max(values) + room)]
    scale, axis = alt.Scale(domain=domain, nice=False), alt.Axis(format=".3~%")
    return alt.Y(f"{field}:Q", title=f"recall@{k}", axis=axis, scale=scale)


def _styled(
    alt: Any, series: list[str], styles: dict[str, Style], outline: float = 0
) -> tuple[Any, Any, Any]:
    """Return colour, shape and dashes, which share one legend without dashed symbols."""
    channels = (alt.Color, alt.Shape, alt.StrokeDash)
    legend = alt.Legend(title=None, symbolStrokeWidth=outline)
    colour, shape, dash = (
        channel(
            "series:N",
            legend=legend,
            scale=alt.Scale(domain=series, range=[styles[name][i] for name in series]),
        )
        for i, channel in enumerate(channels)
    )
    return colour, shape, dash


def _label_position(chosen: Row, rows: list[Row]) -> dict[str, Any]:
    """Place the label of the chosen point where the frontier leaves room: above, to the left."""
    sizes = [math.log(row["bytes"]) for row in rows]
    span = max(sizes) - min(sizes)
    at = (math.log(chosen["bytes"]) - min(sizes)) / span if span else 0.5
    recalls = [row["recall"] for row in rows]
    top = chosen["recall"] > max(recalls) - 0.08 * (max(recalls) - min(recalls))
    above = 18 if top and span else -12  # below the legend
    return {
        name: {"expr": f"{at:.3f} * width > {_LABEL_WIDTH} ? {left} : {right}"}
        for name, left, right in (
            ("align", "'right'", "'left'"),
            ("dx", -14, 14),
            ("dy", above, 16),
        )
    }


def _finish(alt: Any, chart: Any, height: int, description: str) -> Spec:
    figure = chart.properties(width="container", height=height, description=description)
    spec: Spec = figure.configure(**_config(alt)).to_dict()
    return spec


def _config(alt: Any) -> dict[str, Any]:
    text_style = {"labelColor": "var(--soft)", "titleColor": "var(--ink)", "labelFontSize": 12}
    return {
        "background": "transparent",
        "font": _FONT,
        "autosize": {"type": "fit-x", "contains": "padding"},
        "view": alt.ViewConfig(stroke=None),
        "text": alt.MarkConfig(fontSize=12),
        "axis": alt.AxisConfig(
            **text_style,
            titleFontSize=12,
            titleFontWeight="normal",
            gridColor="var(--line)",
            domainColor="var(--faint)",
            tickColor="var(--faint)",
            labelOverlap="greedy",
            labelSeparation=6,
        ),
        "legend": alt.LegendConfig(
            **text_style,
            orient="top",
            direction="horizontal",
            columns=4,  # page.js reduces it on narrow screens
            labelLimit=200,
            symbolSize=90,
            symbolOpacity=1,
        ),
    }
