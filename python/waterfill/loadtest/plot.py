"""A capacity report as a figure of Matplotlib."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from waterfill._util.optional import require
from waterfill.reporting.result_plot import LEGEND

if TYPE_CHECKING:
    from waterfill.loadtest.figures import Step
    from waterfill.loadtest.report import CapacityReport

_SIZE = (11.0, 6.6)  # inches
_OWN, _BAD, _PALE, _INK = "#00639c", "#c1121f", "#76818c", "#1b1f24"
_MARKS = {"good": ("o", _OWN), "unclear": ("D", _PALE), "bad": ("x", _BAD)}


def plot(report: CapacityReport) -> Any:
    """Draw p99 and goodput against the rate that was offered, and against what was in flight.

    Parameters
    ----------
    report : CapacityReport

    Returns
    -------
    matplotlib.figure.Figure
        Not known to pyplot: a notebook shows it, ``figure.savefig`` writes it.

    Raises
    ------
    ImportError
        If Matplotlib is not installed: ``pip install "waterfill[plot]"``.
    """
    figure = require("matplotlib.figure", "plot", "plot").Figure(
        figsize=_SIZE, layout="constrained"
    )
    axes = figure.subplots(2, 2, sharex="col")
    offered = [step for step in report.steps if step.offered is not None]
    swept = [step for step in report.steps if step.in_flight is not None]
    for column, steps, name in ((0, offered, "offered"), (1, swept, "in_flight")):
        _times(axes[0][column], steps, name, report)
        _answers(axes[1][column], steps, name)
    for axis in axes[:, 0]:
        axis.axvline(report.rate, color=_OWN, linestyle=":", zorder=0)
    axes[1][0].set_xlabel("offered, requests a second")
    for axis in axes[:, 1]:
        axis.axvspan(report.floor, report.ceiling, color=_OWN, alpha=0.08, linewidth=0, zorder=0)
        axis.axvline(report.limit, color=_OWN, linestyle=":", zorder=0)
    axes[1][1].set_xlabel("in flight")
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
        f"{report.rate:.3g} requests a second with {report.slo}; limit {report.limit} in flight "
        f"(from {report.floor} to {report.ceiling})"
    )


def _times(axis: Any, steps: list[Step], name: str, report: CapacityReport) -> None:
    slo = 1000 * report.slo.p99
    known = sorted((s for s in steps if s.p99 is not None), key=lambda s: getattr(s, name))
    places = [getattr(step, name) for step in known]
    axis.axhline(slo, color=_BAD, linestyle="--", label=f"SLO, {slo:g} ms")
    axis.plot(places, [1000 * (s.p99 or 0) for s in known], color=_PALE, linewidth=1, zorder=1)
    for verdict, (marker, colour) in _MARKS.items():
        some = [step for step in known if step.verdict == verdict]
        axis.plot(
            [getattr(step, name) for step in some],
            [1000 * (step.p99 or 0) for step in some],
            linestyle="none",
            marker=marker,
            color=colour,
            label=f"p99, {verdict}" if some else None,
        )
    medians = [1000 * (step.p50 or 0) for step in known]
    axis.plot(places, medians, color=_INK, linewidth=1, linestyle="-.", label="median")
    axis.set_yscale("log")
    ticker = require("matplotlib.ticker", "plot", "plot")
    axis.yaxis.set_major_formatter(ticker.StrMethodFormatter("{x:g}"))
    axis.yaxis.set_minor_formatter(ticker.NullFormatter())
    axis.set_ylabel("until an answer, ms")
    axis.legend(**LEGEND, loc="best", fontsize=8)


def _answers(axis: Any, steps: list[Step], name: str) -> None:
    ordered = sorted(steps, key=lambda step: getattr(step, name))
    places = [getattr(step, name) for step in ordered]
    axis.plot(places, [s.achieved for s in ordered], color=_PALE, linewidth=1, label="answers")
    axis.plot(
        places,
        [step.goodput for step in ordered],
        color=_OWN,
        marker="o",
        markersize=4,
        label="answers in time",
    )
    axis.set_ylim(bottom=0)
    axis.set_xlim(left=0)
    axis.set_ylabel("a second")
    axis.legend(**LEGEND, loc="best", fontsize=8)
