"""A plot of recall against bytes per vector: one panel per data set, one line per method.

``accuracy.py --picture`` plots its measurements; ``python bench/accuracy_plot.py JSON PNG`` plots
all results of a file.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
from method_sizes import CELLS, NO_CELLS
from results import Results, Section

matplotlib.use("Agg")  # no window

from matplotlib import pyplot
from matplotlib.ticker import FuncFormatter, NullLocator

_COLUMNS, _WIDTH, _HEIGHT = 3, 4.3, 3.6
_DPI = 130
_TICKS = (16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768)
_NOTE = (
    "Stored bytes per vector, including side information. Cells also need memory for the insertion "
    "order\nand for partly filled blocks; the dotted line counts all memory of the index."
)
_MEMORY = "waterfill, by bytes in memory"


@dataclass(frozen=True)
class Style:
    """The line style of a method; colours are distinguishable with colour blindness."""

    colour: str
    marker: str
    line: str = "-"
    width: float = 1.1
    size: float = 4.5


_STYLES = {
    CELLS: Style("#c1121f", "o", "-", 3.4, 7.5),
    NO_CELLS: Style("#1d1d1d", "o", "--", 1.6, 4.0),
    _MEMORY: Style("#c1121f", "o", ":", 1.2, 3.5),
    "FAISS PQ": Style("#0072b2", "s"),
    "FAISS PQ 4 bits": Style("#56b4e9", "v"),
    "FAISS OPQ+PQ": Style("#009e73", "D"),
    "FAISS OPQ+PQ 4 bits": Style("#7bc8a4", "^"),
    "FAISS RaBitQ": Style("#e69f00", "P"),
    "FAISS SQ": Style("#8c6bb1", "X"),
    "FAISS SQ TurboQuant": Style("#cc79a7", "<"),
    "turbovec": Style("#7f6000", ">"),
}
_ZORDER = {CELLS: 3, NO_CELLS: 4}  # the thinner line on top, as the two can coincide
_LABELS = {
    CELLS: "waterfill",
    "FAISS PQ": "FAISS PQ, 8 bits",
    "FAISS PQ 4 bits": "FAISS PQ fast scan, 4 bits",
    "FAISS OPQ+PQ": "FAISS OPQ + PQ, 8 bits",
    "FAISS OPQ+PQ 4 bits": "FAISS OPQ + PQ fast scan, 4 bits",
    "FAISS RaBitQ": "FAISS RaBitQ, 1 bit or more, rotated",
    "FAISS SQ": "FAISS SQ4, SQ6, SQ8",
    "FAISS SQ TurboQuant": "FAISS TurboQuant scalars, rotated",
    "turbovec": "turbovec (TurboQuant)",
}


def draw(sections: Sequence[Section], path: Path) -> None:
    """Plot recall@10 against bytes for every section and save it as a PNG file.

    Parameters
    ----------
    sections
        The results; one panel per section.
    path
        The image file to write.
    """
    panels = len(sections) + 1  # the last panel holds the legend
    columns = min(_COLUMNS, panels)
    rows = -(-panels // columns)
    figure, grid = pyplot.subplots(
        rows, columns, figsize=(_WIDTH * columns, _HEIGHT * rows + 0.4), squeeze=False
    )
    axes = list(grid.flat)
    for section, axis in zip(sections, axes, strict=False):
        _plot(axis, section)
    for axis in axes[len(sections) :]:
        axis.axis("off")
    _legend(axes[len(sections)], sections)
    figure.text(0.5, 0.008, _NOTE, ha="center", fontsize=8, color="#555555")
    figure.tight_layout(rect=(0, 0.045, 1, 1))
    figure.savefig(path, dpi=_DPI)
    pyplot.close(figure)


def _plot(axis: Any, section: Section) -> None:
    for family, style in _STYLES.items():
        points = _points(section, family)
        if points:
            axis.plot(
                *zip(*points, strict=True),
                label=_LABELS.get(family, family),
                zorder=_ZORDER.get(family, 2),
                **_line_style(style),
            )
    sizes = [one.size for one in section.results.values()]
    axis.set_xscale("log")
    if sizes:
        axis.set_xlim(min(sizes) / 1.12, max(sizes) * 1.12)
    axis.xaxis.set_major_locator(matplotlib.ticker.FixedLocator(_TICKS))
    axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0f}"))
    axis.xaxis.set_minor_locator(NullLocator())
    axis.tick_params(labelsize=8)
    axis.grid(color="#e3e3e3", linewidth=0.7)
    axis.spines[["top", "right"]].set_visible(False)
    axis.set_title(_title(section.title), fontsize=9.5)
    axis.set_xlabel("bytes per vector", fontsize=8.5)
    axis.set_ylabel("recall@10", fontsize=8.5)


def _points(section: Section, family: str) -> list[tuple[float, float]]:
    results = section.results.values()
    if family == _MEMORY:
        points = [one for one in results if one.family == CELLS and one.memory is not None]
        return sorted((one.memory or 0.0, one.recall) for one in points)
    return sorted((one.size, one.recall) for one in results if one.family == family)


def _line_style(style: Style) -> dict[str, Any]:
    return {
        "color": style.colour,
        "marker": style.marker,
        "linestyle": style.line,
        "linewidth": style.width,
        "markersize": style.size,
        "markeredgecolor": "white",
        "markeredgewidth": 0.5,
    }


def _legend(axis: Any, sections: Sequence[Section]) -> None:
    lines = [
        axis.plot([], [], label=_LABELS.get(family, family), **_line_style(style))[0]
        for family, style in _STYLES.items()
        if any(_points(section, family) for section in sections)
    ]
    axis.legend(handles=lines, loc="center", frameon=False, fontsize=9, handlelength=3)


def _title(title: str) -> str:
    """Shorten "set: rows x d, queries, metric, threads" to the part that differs between panels."""
    name, _, rest = title.partition(": ")
    shape, _, metric, *_ = rest.split(", ") if rest.count(", ") >= 3 else (rest, "", "")
    words = {"ip": "inner product", "l2": "L2"}
    return f"{name}\n{shape}, {words.get(metric, metric)}"


def main() -> int:
    """Plot a file of results; return the exit status."""
    if len(sys.argv) != 3:
        print("usage: accuracy_plot.py RESULTS.json PICTURE.png", file=sys.stderr)
        return 2
    draw(list(Results(Path(sys.argv[1])).sections.values()), Path(sys.argv[2]))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
