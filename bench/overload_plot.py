"""Goodput over time in an overload, with a limiter and without, as a picture.

``python bench/overload_plot.py overload.json overload.png`` draws a file of ``overload.py``.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np

matplotlib.use("Agg")  # a file, no window

from matplotlib import pyplot

_DPI = 130
_WIDTH, _HEIGHT = 5.4, 3.9  # inches, of a panel
_INK, _OFFERED, _NONE, _OWN = "#1b1f24", "#76818c", "#c1121f", "#00639c"
_STYLES = {
    "limiter": ("with a limiter", _OWN, "-"),
    "none": ("without", _NONE, "--"),
    "uvicorn": ("uvicorn's limit_concurrency", "#d98200", ":"),
}
_WINDOW = 3  # seconds that a point of a curve is the mean of


def drawn(found: dict[str, Any], path: Path) -> None:
    """Draw a panel for each factor of the load.

    Parameters
    ----------
    found : dict
        As ``overload.py`` writes it.
    path : Path
        A picture.
    """
    factors = sorted({run["factor"] for run in found["runs"]})
    figure, axes = pyplot.subplots(
        1,
        len(factors),
        figsize=(_WIDTH * len(factors), _HEIGHT),
        layout="constrained",
        squeeze=False,
        sharey=True,
    )
    for axis, factor in zip(axes[0], factors, strict=True):
        _panel(axis, [run for run in found["runs"] if run["factor"] == factor], factor)
    axes[0][0].set_ylabel("requests a second (log.)")
    axes[0][-1].legend(facecolor="white", edgecolor="none", framealpha=0.85, loc="lower right")
    figure.suptitle(
        f"Answers within {found['timeout']:g} s, of a search service under too much load",
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
    axis.set_title(f"{factor:g} times the capacity offered")
    axis.set_xlabel("seconds")
    axis.grid(color="#dfe3e8", linewidth=0.7)
    axis.set_axisbelow(True)
    axis.spines[["top", "right"]].set_visible(False)


def _curve(axis: Any, seconds: Any, counts: Any, **style: Any) -> None:
    """Draw means of a few seconds, as the count of one is mostly chance."""
    window = np.ones(_WINDOW)
    smooth = np.convolve(counts, window, "same") / np.convolve(np.ones(len(counts)), window, "same")
    axis.plot(seconds, smooth, **style)


if __name__ == "__main__":
    drawn(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")), Path(sys.argv[2]))
