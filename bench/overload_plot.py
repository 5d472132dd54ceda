"""A plot of goodput over time under overload, with a limiter and without.

``python bench/overload_plot.py overload.json overload.png`` plots a file of ``overload.py``.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np

matplotlib.use("Agg")  # no window

from matplotlib import pyplot

_DPI = 130
_WIDTH, _HEIGHT = 5.4, 3.9  # inches per panel
_INK, _OFFERED, _NONE, _OWN = "#1b1f24", "#76818c", "#c1121f", "#00639c"
_STYLES = {
    "limiter": ("with a limiter", _OWN, "-"),
    "none": ("without a limiter", _NONE, "--"),
    "uvicorn": ("uvicorn's limit_concurrency", "#d98200", ":"),
}
_WINDOW = 3  # seconds over which a curve is averaged


def draw(results: dict[str, Any], path: Path) -> None:
    """Plot one panel per overload factor.

    Parameters
    ----------
    results : dict
        The content of a file that ``overload.py`` wrote.
    path : Path
        Image file to write.
    """
    factors = sorted({run["factor"] for run in results["runs"]})
    figure, axes = pyplot.subplots(
        1,
        len(factors),
        figsize=(_WIDTH * len(factors), _HEIGHT),
        layout="constrained",
        squeeze=False,
        sharey=True,
    )
    for axis, factor in zip(axes[0], factors, strict=True):
        _panel(axis, [run for run in results["runs"] if run["factor"] == factor], factor)
    axes[0][0].set_ylabel("requests per second (log)")
    axes[0][-1].legend(facecolor="white", edgecolor="none", framealpha=0.85, loc="lower right")
    figure.suptitle(
        f"Responses within {results['timeout']:g} s of an overloaded search service",
        fontsize=11,
        fontweight="bold",
    )
    figure.savefig(path, dpi=_DPI)


def _panel(axis: Any, runs: list[dict[str, Any]], factor: float) -> None:
    shown: set[str] = set()
    for run in runs:
        offered, good, _ = np.array(run["by_second"], float).T
        seconds = np.arange(len(good)) + 0.5
        label, colour, line = _STYLES[run["way"]]
        first = run["way"] not in shown
        if not shown:
            _curve(axis, seconds, offered, color=_OFFERED, label="offered", linewidth=1)
        shown.add(run["way"])
        _curve(axis, seconds, good, color=colour, linestyle=line, label=label if first else None)
    capacity = float(np.median([run["capacity"] for run in runs]))
    axis.axhline(capacity, color=_INK, linestyle="-.", linewidth=0.9, label="capacity")
    axis.set_yscale("symlog", linthresh=1)
    axis.set_yticks([0, 1, 10, 100, 1000], ["0", "1", "10", "100", "1,000"])
    axis.set_ylim(0, 1000)
    axis.set_xlim(0, len(runs[0]["by_second"]))
    axis.set_title(f"offered load: {factor:g} times the capacity")
    axis.set_xlabel("seconds")
    axis.grid(color="#dfe3e8", linewidth=0.7)
    axis.set_axisbelow(True)
    axis.spines[["top", "right"]].set_visible(False)


def _curve(axis: Any, seconds: Any, counts: Any, **style: Any) -> None:
    """Plot a moving average: counts of single seconds are noisy."""
    window = np.ones(_WINDOW)
    smooth = np.convolve(counts, window, "same") / np.convolve(np.ones(len(counts)), window, "same")
    axis.plot(seconds, smooth, **style)


if __name__ == "__main__":
    draw(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")), Path(sys.argv[2]))
