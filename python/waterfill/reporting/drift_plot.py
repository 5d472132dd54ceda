"""`DriftReport.plot`: a drift report as a Matplotlib figure."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from waterfill._util.optional import require
from waterfill.reporting import formatting as fmt
from waterfill.reporting.drift_tables import change, distance, verdict
from waterfill.reporting.figures import new_figure
from waterfill.reporting.result_plot import LEGEND

if TYPE_CHECKING:
    from waterfill.drift.report import DriftReport, StreamReport
    from waterfill.drift.retrain_policy import Cost

_WIDTH, _HEIGHT = 11.0, 3.8  # inches, the height of a row of panels
_BASELINE, _CURRENT, _ALARM, _INK = "#76818c", "#00639c", "#c1121f", "#1b1f24"
_MAX_POWER = 12.0  # bars of smaller p end here
_MAX_SCORE = 1e3
_MAX_MOVED = 10  # directions and dimensions to show
_MARGIN = 1.35  # of the axis, for the number at the longest bar

_Panel = Callable[[Any], None]


def plot(report: DriftReport) -> Any:
    """Draw test families, moved directions, energy by class, and recall, where available.

    Parameters
    ----------
    report : DriftReport

    Returns
    -------
    matplotlib.figure.Figure
        Not registered with pyplot: a notebook shows it, ``figure.savefig`` writes it.

    Raises
    ------
    ImportError
        If Matplotlib is not installed: ``pip install ".[plot]"``.
    """
    panels = _panels(report)
    rows = max(1, (len(panels) + 1) // 2)
    figure = new_figure(figsize=(_WIDTH, _HEIGHT * rows if panels else 1.0), layout="constrained")
    figure.get_layout_engine().set(h_pad=0.1, w_pad=0.1)
    grid = figure.add_gridspec(rows, 2)
    for i, draw in enumerate(panels):
        full_width = i == len(panels) - 1 and i % 2 == 0
        axis = figure.add_subplot(grid[i // 2, :] if full_width else grid[i // 2, i % 2])
        draw(axis)
        axis.set_axisbelow(True)
        axis.spines[["top", "right"]].set_visible(False)
    figure.suptitle(verdict(report), fontsize=11, fontweight="bold", wrap=True)
    return figure


def _panels(report: DriftReport) -> list[_Panel]:
    """Return a function for each panel that has data."""
    streams = {"vectors": report.data}
    if report.queries is not None:
        streams["queries"] = report.queries
    tested = {name: stream for name, stream in streams.items() if stream.judged}
    panels: list[_Panel] = [
        partial(_families, name=name, stream=stream, alpha=report.alpha)
        for name, stream in tested.items()
    ]
    panels += [
        partial(_moved, name=name, stream=stream)
        for name, stream in tested.items()
        if stream.moved.first
    ]
    if "vectors" in tested:
        panels.append(partial(_energy, name="vectors", stream=report.data))
    if report.cost is not None:
        panels.append(partial(_recall, cost=report.cost))
    return panels


def _families(axis: Any, name: str, stream: StreamReport, alpha: float) -> None:
    found = stream.verdicts
    powers = [min(-math.log10(max(one.corrected, 1e-300)), _MAX_POWER) for one in found]
    colours = [_ALARM if one.alarm else _BASELINE for one in found]
    axis.barh(range(len(found)), powers, color=colours, height=0.65)
    for i, (one, power) in enumerate(zip(found, powers, strict=True)):
        _label(axis, power, i, change(one))
    line = -math.log10(alpha)
    axis.axvline(line, color=_INK, linestyle="--")
    axis.set_yticks(range(len(found)), [one.family for one in found])
    axis.invert_yaxis()
    axis.set_xlim(0, max(*powers, line) * _MARGIN)
    _grid(axis, "x")
    _powers_of_ten(axis)
    axis.set_title(f"Test families: {stream.rows:,} {name} against {stream.baseline_rows:,}")
    axis.set_xlabel(f"corrected p-value; alarm below {alpha:g} (dashed)")


def _moved(axis: Any, name: str, stream: StreamReport) -> None:
    first = stream.moved.first[:_MAX_MOVED]
    scores = [min(abs(one.score), _MAX_SCORE) for one in first]
    colours = [_ALARM if one.kind == "dimension" else _CURRENT for one in first]
    axis.barh(range(len(first)), scores, color=colours, height=0.65)
    for i, (one, score) in enumerate(zip(first, scores, strict=True)):
        label = {"mean": "mean ", "spread": "spread "}.get(one.change, one.change)
        _label(axis, score, i, label + distance(one))
    axis.set_yticks(range(len(first)), [f"{one.kind} {one.number}" for one in first])
    axis.invert_yaxis()
    axis.set_xscale("log")
    axis.set_xlim(1, max(scores) * max(scores) ** 0.6 * 2)
    _grid(axis, "x")
    axis.xaxis.set_major_formatter(
        require("matplotlib.ticker", "plot", "plot").StrMethodFormatter("{x:g}")
    )
    axis.set_title(f"What moved in {name}: most likely cause first")
    axis.set_xlabel("change, in standard errors")


def _energy(axis: Any, name: str, stream: StreamReport) -> None:
    classes = stream.relevances
    for shift, label, colour, shares in (
        (-0.19, "baseline", _BASELINE, [one.before for one in classes]),
        (0.19, "current", _CURRENT, [one.now for one in classes]),
    ):
        places = [i + shift for i in range(len(classes))]
        axis.barh(places, shares, color=colour, height=0.36, label=label)
        for place, share in zip(places, shares, strict=True):
            _label(axis, share, place, fmt.percent(share))
    labels = [f"{one.relevance}: {fmt.plural(one.dimensions, 'dimension')}" for one in classes]
    axis.set_yticks(range(len(classes)), labels)
    axis.set_ylim(len(classes) - 0.4, -0.6)
    axis.set_xlim(0, 1.19)
    axis.set_xticks([0, 0.25, 0.5, 0.75, 1])
    _percent(axis)
    _grid(axis, "x")
    axis.set_title(f"Energy of {name} by class of dimensions")
    axis.set_xlabel("share of the squared distance from the codec's mean")
    axis.legend(**LEGEND, loc="lower right")


def _recall(axis: Any, cost: Cost) -> None:
    now, new = cost.recall_now, cost.recall_if_retrained
    ends = [min(max(now + gap, 0.0), 1.0) for gap in (cost.gap_low, cost.gap_high)]
    spread = [[max(new - ends[0], 0.0)], [max(ends[1] - new, 0.0)]]
    axis.axvline(now, color=_BASELINE, linestyle=":")
    axis.plot([now], [0], color=_CURRENT, marker="o", markersize=9)
    axis.errorbar(
        [new], [1], xerr=spread, color=_ALARM, marker="D", markersize=8, capsize=5, linewidth=2
    )
    low, high = min(now, *ends), max(now, new, *ends)
    span = max(high - low, 0.02)
    axis.set_xlim(max(low - 0.35 * span, 0), high + 0.35 * span)
    axis.set_ylim(1.7, -0.7)
    axis.set_yticks([0, 1], ["current", "if retrained"])
    for place, share in ((0, now), (1, new)):
        axis.annotate(
            fmt.percent(share),
            (share, place),
            xytext=(0, 11),
            textcoords="offset points",
            ha="center",
        )
    _percent(axis)
    _grid(axis, "x")
    how = "measured, 95 % interval" if cost.measured else "estimated, at most"
    axis.set_title(f"Recall ({how})")
    axis.set_xlabel(f"recall among {cost.size:,} vectors")


def _label(axis: Any, end: float, place: float, text: str) -> None:
    """Write a number next to the end of a bar."""
    axis.annotate(
        text,
        (end, place),
        xytext=(4, 0),
        textcoords="offset points",
        va="center",
        fontsize=8,
        color=_INK,
    )


def _grid(axis: Any, which: str) -> None:
    axis.grid(color="#dfe3e8", linewidth=0.7, axis=which)


def _percent(axis: Any) -> None:
    ticker = require("matplotlib.ticker", "plot", "plot")
    axis.xaxis.set_major_formatter(ticker.FuncFormatter(lambda share, _: f"{100 * share:.3g} %"))


def _powers_of_ten(axis: Any) -> None:
    """Label an axis of -log10(p) by p; bars that are cut off get no label."""
    ticker = require("matplotlib.ticker", "plot", "plot")
    axis.xaxis.set_major_locator(ticker.MaxNLocator(integer=True, nbins=7))

    def name(power: float, _: int) -> str:
        return "1" if power == 0 else f"$10^{{-{power:.0f}}}$" if power <= _MAX_POWER else ""

    axis.xaxis.set_major_formatter(ticker.FuncFormatter(name))
