"""A capacity report as a Matplotlib figure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from waterfill._util.optional import require
from waterfill.reporting.figures import new_figure
from waterfill.reporting.result_plot import LEGEND

if TYPE_CHECKING:
    from waterfill.loadtest.figures import Step
    from waterfill.loadtest.report import CapacityReport

_SIZE = (11.0, 6.6)  # inches
_BLUE, _RED, _GREY, _INK = "#00639c", "#c1121f", "#76818c", "#1b1f24"
_MARKS = {"good": ("o", _BLUE), "unclear": ("D", _GREY), "bad": ("x", _RED)}


def plot(report: CapacityReport) -> Any:
    """Draw p99 and goodput against the offered rate, and against the number in flight.

    Parameters
    ----------
    report : CapacityReport

    Returns
    -------
    matplotlib.figure.Figure
        Not registered with pyplot: a notebook displays it, ``figure.savefig`` writes it.

    Raises
    ------
    ImportError
        If Matplotlib is not installed: ``pip install ".[plot]"``.
    """
    figure = new_figure(figsize=_SIZE, layout="constrained")
    axes = figure.subplots(2, 2, sharex="col")
    offered = [step for step in report.steps if step.offered is not None]
    swept = [step for step in report.steps if step.in_flight is not None]
    for column, steps, name in ((0, offered, "offered"), (1, swept, "in_flight")):
        _draw_latency(axes[0][column], steps, name, report)
        _draw_throughput(axes[1][column], steps, name)
    for axis in axes[:, 0]:
        axis.axvline(report.rate, color=_BLUE, linestyle=":", zorder=0)
    axes[1][0].set_xlabel("offered, requests per second")
    for axis in axes[:, 1]:
        axis.axvspan(report.floor, report.ceiling, color=_BLUE, alpha=0.08, linewidth=0, zorder=0)
        axis.axvline(report.limit, color=_BLUE, linestyle=":", zorder=0)
    axes[1][1].set_xlabel("requests in flight")
    axes[0][0].set_title("Requests at random times")
    axes[0][1].set_title("Requests kept in flight")
    for axis in figure.axes:
        axis.grid(color="#dfe3e8", linewidth=0.7)
        axis.set_axisbelow(True)
        axis.spines[["top", "right"]].set_visible(False)
    figure.suptitle(_title(report), fontsize=11, fontweight="bold", wrap=True)
    return figure


def _title(report: CapacityReport) -> str:
    return (
        f"{report.rate:.3g} requests per second with {report.slo}; limit {report.limit} in flight "
        f"(from {report.floor} to {report.ceiling})"
    )


def _draw_latency(axis: Any, steps: list[Step], name: str, report: CapacityReport) -> None:
    slo = 1000 * report.slo.p99
    known = sorted((s for s in steps if s.p99 is not None), key=lambda s: getattr(s, name))
    x = [getattr(step, name) for step in known]
    axis.axhline(slo, color=_RED, linestyle="--", label=f"SLO, {slo:g} ms")
    axis.plot(x, [1000 * (s.p99 or 0) for s in known], color=_GREY, linewidth=1, zorder=1)
    for verdict, (marker, colour) in _MARKS.items():
        judged = [step for step in known if step.verdict == verdict]
        axis.plot(
            [getattr(step, name) for step in judged],
            [1000 * (step.p99 or 0) for step in judged],
            linestyle="none",
            marker=marker,
            color=colour,
            label=f"p99, {verdict}" if judged else None,
        )
    medians = [1000 * (step.p50 or 0) for step in known]
    axis.plot(x, medians, color=_INK, linewidth=1, linestyle="-.", label="median")
    axis.set_yscale("log")
    ticker = require("matplotlib.ticker", "plot", "plot")
    axis.yaxis.set_major_formatter(ticker.StrMethodFormatter("{x:g}"))
    axis.yaxis.set_minor_formatter(ticker.NullFormatter())
    axis.set_ylabel("latency, ms")
    axis.legend(**LEGEND, loc="best", fontsize=8)


def _draw_throughput(axis: Any, steps: list[Step], name: str) -> None:
    ordered = sorted(steps, key=lambda step: getattr(step, name))
    x = [getattr(step, name) for step in ordered]
    axis.plot(x, [s.achieved for s in ordered], color=_GREY, linewidth=1, label="answers")
    axis.plot(
        x,
        [step.goodput for step in ordered],
        color=_BLUE,
        marker="o",
        markersize=4,
        label="within the SLO",
    )
    axis.set_ylim(bottom=0)
    axis.set_xlim(left=0)
    axis.set_ylabel("answers per second")
    axis.legend(**LEGEND, loc="best", fontsize=8)
