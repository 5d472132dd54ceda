"""A plot of queries per second against recall: two panels per set, one line per method.

``peers.py --picture`` or ``--write`` draws it from the file of results.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from peer_goals import of_kind
from recall_curves import LOADS, Curve, Point, frontier
from swept_methods import Array

matplotlib.use("Agg")  # no window

from matplotlib import pyplot
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullFormatter, NullLocator

_COLUMNS, _WIDTH, _ROW_HEIGHT, _LEGEND_HEIGHT = 3, 10.0, 2.7, 1.25
_DPI = 170
_LEAST, _MOST = 0.5, 0.997  # recalls; the axis is logarithmic in what is not found
_TICKS = (0.5, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99)
_LABELS = {"batch": "QPS, 100 queries per call", "single": "QPS, one query per call"}
_GREY, _TEXT = "#e4e4e4", "#222222"


@dataclass(frozen=True)
class Line:
    """A line of the plot: which curves it is the frontier of, and its style.

    Methods without search settings have no line: `style` is empty and all points are shown.
    """

    label: str
    select: Callable[[Curve], bool]
    colour: str
    marker: str
    style: str = "-"
    width: float = 1.1
    size: float = 3.6


def _named(name: str) -> Callable[[Curve], bool]:
    return lambda one: one.name == name


_RED = "#c1121f"
# Colours are distinguishable with colour blindness; waterfill's lines are thick and drawn last.
_LINES = (
    Line("FAISS IVF,PQ fast scan, float16 rows", of_kind("faiss", "rows"), "#0072b2", "s"),
    Line("FAISS IVF, fast scan, no rows", of_kind("faiss", "lists"), "#56b4e9", "v", size=4.5),
    Line("FAISS flat fast scan", of_kind("faiss", "flat"), "#7a8fa1", "P", "", size=5.5),
    Line("FAISS HNSW32", _named("FAISS HNSW32"), "#7b3294", "D"),
    Line("FAISS HNSW32_SQ8", _named("FAISS HNSW32_SQ8"), "#c2a5cf", "D"),
    Line("hnswlib", _named("hnswlib"), "#009e73", "^", size=4.5),
    Line("usearch, int8", _named("usearch i8"), "#117733", "<", "--", size=4.5),
    Line("usearch, float16", _named("usearch f16"), "#7bc8a4", ">", size=4.5),
    Line("ScaNN", _named("ScaNN"), "#b8860b", "X", size=4.5),
    Line("turbovec, 2 and 4 bit", of_kind("turbovec", "flat"), "#1d1d1d", "*", "", size=8),
    Line("waterfill flat", of_kind("waterfill", "flat"), "#f4a582", "o", "-", 2.4, 4.2),
    Line("waterfill IVF, no rows", of_kind("waterfill", "lists"), "#ef6a4c", "o", "-", 2.4, 4.2),
    Line("waterfill HNSW", of_kind("waterfill", "graph"), "#67000d", "D", ":", 2, 3.6),
    Line("waterfill IVF, int8 rows", of_kind("waterfill", "rows", "int8"), _RED, "o", "--", 2, 3.6),
    Line(
        "waterfill IVF, float16 rows", of_kind("waterfill", "rows", "float16"), _RED, "o", "-", 3, 5
    ),
)


def draw(sets: Mapping[str, Sequence[Curve]], path: Path) -> None:
    """Plot queries per second against recall@10 for every set and save the plot.

    Parameters
    ----------
    sets
        The curves by the name of the set; sets without timed curves have no panel.
    path
        The image file to write.
    """
    timed = {name: [one for one in curves if one.run] for name, curves in sets.items()}
    shown = {name: curves for name, curves in timed.items() if curves}
    columns = max(1, min(_COLUMNS, len(shown)))
    rows = max(1, -(-len(shown) // columns)) * len(LOADS)
    height = _ROW_HEIGHT * rows + _LEGEND_HEIGHT
    figure, grid = pyplot.subplots(rows, columns, figsize=(_WIDTH, height), squeeze=False)
    for axis in grid.flat:
        axis.axis("off")
    for number, (name, curves) in enumerate(shown.items()):
        row, column = divmod(number, columns)
        for offset, load in enumerate(LOADS):
            axis = grid[row * len(LOADS) + offset][column]
            axis.axis("on")
            _plot(axis, curves, load)
            if column == 0:
                axis.set_ylabel(_LABELS[load], fontsize=9, color=_TEXT)
            if offset == 0:
                axis.set_title(name, fontsize=10, color=_TEXT, fontweight="bold")
            else:
                axis.set_xlabel("recall@10", fontsize=9, color=_TEXT)
    _legend(figure, [one for curves in shown.values() for one in curves])
    figure.tight_layout(rect=(0, _LEGEND_HEIGHT / height, 1, 1))
    figure.savefig(path, dpi=_DPI, facecolor="white")
    pyplot.close(figure)


def _plot(axis: Any, curves: Sequence[Curve], load: str) -> None:
    for order, line in enumerate(_LINES):
        points = _points(curves, line, load)
        if points:
            recalls = [min(point.recall, _MOST) for point in points]
            rates = [point.qps[load] for point in points]
            zorder = (2 if line.style else 3) + order / 100
            axis.plot(recalls, rates, zorder=zorder, **_line_style(line))
    axis.set_yscale("log")
    axis.set_xscale("function", functions=(_spread, _gather))
    axis.set_xlim(_LEAST, _MOST)
    axis.xaxis.set_major_locator(FixedLocator(_TICKS))
    axis.xaxis.set_minor_locator(NullLocator())
    axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.2f}".lstrip("0")))
    axis.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axis.yaxis.set_major_formatter(FuncFormatter(_thousands))
    axis.yaxis.set_minor_formatter(NullFormatter())
    axis.yaxis.set_minor_locator(NullLocator())
    axis.tick_params(labelsize=8.5, colors=_TEXT)
    axis.grid(color=_GREY, linewidth=0.7)
    axis.set_axisbelow(True)
    axis.spines[["top", "right"]].set_visible(False)


def _spread(recall: Array) -> Array:
    return np.asarray(-np.log(np.maximum(1 - np.asarray(recall), 1e-4)))


def _gather(value: Array) -> Array:
    return np.asarray(1 - np.exp(-np.asarray(value)))


def _thousands(value: float, _: int) -> str:
    return f"{value / 1000:g}k" if value >= 1000 else f"{value:g}"


def _points(curves: Sequence[Curve], line: Line, load: str) -> list[Point]:
    points = [one for curve in curves if line.select(curve) for one in curve.points]
    if line.style:
        points = frontier(points, load)
    shown = [point for point in points if load in point.qps and point.recall >= _LEAST]
    beyond = [point for point in shown if point.recall >= _MOST]
    return [point for point in shown if point not in beyond[1:]]


def _line_style(line: Line) -> dict[str, Any]:
    return {
        "color": line.colour,
        "marker": line.marker,
        "linestyle": line.style,
        "linewidth": line.width,
        "markersize": line.size,
        "markeredgecolor": "white",
        "markeredgewidth": 0.4,
    }


def _legend(figure: Any, curves: Sequence[Curve]) -> None:
    handles = [
        pyplot.Line2D([], [], label=line.label, **_line_style(line))
        for line in reversed(_LINES)
        if any(line.select(one) for one in curves)
    ]
    figure.legend(
        handles=handles,
        loc="lower center",
        ncols=3,
        frameon=False,
        fontsize=9,
        labelcolor=_TEXT,
        handlelength=2.8,
    )
