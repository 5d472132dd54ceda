"""`Result.plot`: the main charts of a result as a Matplotlib figure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from waterfill._util.optional import require
from waterfill.reporting import chart_data
from waterfill.reporting import formatting as fmt
from waterfill.reporting.figures import new_figure

if TYPE_CHECKING:
    from waterfill.optimizer.result import Result

_SIZE = (11.0, 7.6)  # inches
_OWN, _INK = "#c1121f", "#1b1f24"
_COLOURS = {"high": "#00639c", "medium": "#d98200", "low": "#a9b2bc"}
LEGEND = {"facecolor": "white", "edgecolor": "none", "framealpha": 0.85}
_HATCHES = {"high": "", "medium": "///", "low": "..."}


def plot(result: Result) -> Any:
    """Draw recall against bytes, recall and size, the spectrum, and bits per dimension.

    Parameters
    ----------
    result : Result

    Returns
    -------
    matplotlib.figure.Figure
        Not registered with pyplot: a notebook shows it, ``figure.savefig`` writes it.

    Raises
    ------
    ImportError
        If Matplotlib is not installed: ``pip install ".[plot]"``.
    """
    figure = new_figure(figsize=_SIZE, layout="constrained")
    (recall, growth), (spectrum, bits) = figure.subplots(2, 2)
    data = chart_data.spectrum(result.codec.plan)
    _recall(recall, result)
    _growth(growth, result)
    _spectrum(spectrum, data)
    _bits(bits, data)
    for axis in figure.axes:
        axis.grid(color="#dfe3e8", linewidth=0.7)
        axis.set_axisbelow(True)
        axis.spines[["top", "right"]].set_visible(False)
    figure.suptitle(fmt.answer(result), fontsize=11, fontweight="bold", wrap=True)
    return figure


def _recall(axis: Any, result: Result) -> None:
    trials, best = result.trials, result.best
    tried = [(trial.bytes_per_vector, trial.recall) for trial in trials]
    frontier = [(trial.bytes_per_vector, trial.recall) for trial in result.frontier]
    chosen = (best.bytes_per_vector, best.recall)
    axis.scatter(*zip(*tried, strict=True), s=14, marker="x", color="#76818c", label="tried")
    axis.plot(*zip(*frontier, strict=True), color=_OWN, marker="o", markersize=5, label="frontier")
    axis.plot(
        *zip(chosen, strict=True),
        **{"color": _OWN, "marker": "*", "markersize": 17, "markeredgecolor": _INK},
        linestyle="none",
        label=f"chosen: {fmt.size(chosen[0])}, {fmt.percent(chosen[1])}",
        zorder=3,
    )
    axis.set_title("Recall against bytes")
    axis.set_xlabel("total bytes per vector")
    _log_x(axis, [size for size, _ in tried])
    _recall_axis(axis, result.k)
    axis.legend(**LEGEND, loc="lower right")


def _growth(axis: Any, result: Result) -> None:
    measured, expected = result.growth, chart_data.expectations(result.growth, None)
    axis.plot(
        measured.sizes, measured.recalls, color=_OWN, marker="o", markersize=5, label="measured"
    )
    sizes = [size for size, _ in expected]
    found = [one for _, one in expected]
    axis.plot(sizes, [one.recall for one in found], color=_OWN, linestyle="--", label="expected")
    low, high = [one.low for one in found], [one.high for one in found]
    axis.fill_between(sizes, low, high, color=_OWN, alpha=0.16, linewidth=0, label="95 % interval")
    axis.set_title("Recall in larger collections")
    axis.set_xlabel("vectors")
    axis.set_xscale("log")
    _recall_axis(axis, result.k)
    axis.legend(**LEGEND, loc="lower left")


def _spectrum(axis: Any, data: chart_data.Spectrum) -> None:
    _bars(axis, data, [max(bar.share, data.floor) - data.floor for bar in data.bars], data.floor)
    if data.level is not None:
        axis.axhline(data.level, color="white", linewidth=3.5)
        axis.axhline(data.level, color=_INK, linestyle="--", label="water level")
    ticker = require("matplotlib.ticker", "plot", "plot")
    axis.set_yscale("log")
    axis.yaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
    axis.yaxis.set_major_formatter(ticker.FuncFormatter(lambda share, _: f"{100 * share:.2g} %"))
    axis.yaxis.set_minor_formatter(ticker.NullFormatter())
    axis.set_ylim(bottom=data.floor)
    axis.set_title("Spectrum")
    axis.set_ylabel("share of variance")
    axis.legend(**LEGEND, loc="upper right")


def _bits(axis: Any, data: chart_data.Spectrum) -> None:
    _bars(axis, data, [bar.bits for bar in data.bars], 0)
    axis.set_title("Bits per dimension")
    axis.set_ylabel("bits")
    axis.legend(**LEGEND, loc="upper right")


def _bars(axis: Any, data: chart_data.Spectrum, heights: list[float], foot: float) -> None:
    """Draw one class at a time, each with its colour, hatch and legend entry."""
    for one in data.classes:
        members = [
            (b, h) for b, h in zip(data.bars, heights, strict=True) if b.relevance == one.relevance
        ]
        if members:
            edges = [bar.first - 0.5 for bar, _ in members] + [members[-1][0].last + 0.5]
            axis.stairs(
                [foot + height for _, height in members],
                edges,
                baseline=foot,
                fill=True,
                color=_COLOURS[one.relevance],
                hatch=_HATCHES[one.relevance],
                edgecolor="white" if _HATCHES[one.relevance] else None,
                linewidth=0,
                label=f"{one.relevance}: {one.dimensions}, {chart_data.MEANINGS[one.relevance]}",
            )
    axis.set_xlim(0.5, data.bars[-1].last + 0.5)
    axis.set_xlabel("eigen-dimension")
    axis.xaxis.get_major_locator().set_params(integer=True)


def _recall_axis(axis: Any, k: int) -> None:
    ticker = require("matplotlib.ticker", "plot", "plot")
    axis.set_ylabel(f"recall@{k}")
    axis.yaxis.set_major_formatter(ticker.FuncFormatter(lambda share, _: f"{100 * share:.3g} %"))


def _log_x(axis: Any, values: list[float]) -> None:
    """Set a logarithmic axis with plain numbers, also over less than a power of ten."""
    ticker = require("matplotlib.ticker", "plot", "plot")
    axis.set_xscale("log")
    axis.set_xlim(min(values) / 1.2, max(values) * 1.2)
    axis.xaxis.set_major_locator(ticker.LogLocator(subs=(1, 1.5, 2, 3, 5, 7)))
    axis.xaxis.set_major_formatter(ticker.StrMethodFormatter("{x:g}"))
    axis.xaxis.set_minor_locator(ticker.NullLocator())
