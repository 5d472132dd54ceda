"""Figures of Matplotlib, really drawn."""

from __future__ import annotations

import io
import sys

import pytest

matplotlib = pytest.importorskip("matplotlib")


def drawn(figure):
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=50)
    return file.getvalue()


def test_the_story_has_four_parts(result):
    figure = result.plot()
    titles = [axis.get_title() for axis in figure.axes]
    assert titles == [
        "Recall against bytes",
        "Recall in larger collections",
        "Spectrum",
        "Bits per dimension",
    ]
    assert all(axis.has_data() for axis in figure.axes)
    assert len(drawn(figure)) > 10_000


def test_what_is_drawn_is_what_was_measured(result):
    recall, growth, _, _ = result.plot().axes
    tried = recall.collections[0].get_offsets().tolist()
    assert tried == [[trial.bytes_per_vector, trial.recall] for trial in result.trials]
    frontier = recall.lines[0].get_xydata().tolist()
    assert frontier == [[trial.bytes_per_vector, trial.recall] for trial in result.frontier]
    assert growth.lines[0].get_ydata().tolist() == list(result.growth.recalls)


def test_odd_results_are_drawn(odd):
    for result in odd.values():
        figure = result.plot()
        figure.set_layout_engine("none")  # most of the time goes into the layout
        assert all(axis.has_data() for axis in figure.axes)
        assert drawn(figure)


def test_pyplot_does_not_keep_it(result):
    from matplotlib import pyplot

    before = pyplot.get_fignums()
    result.plot()
    assert pyplot.get_fignums() == before


def test_without_matplotlib_it_says_how_to_get_it(result, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(
        ImportError, match=r'plot needs Matplotlib: pip install "waterfill\[plot\]"'
    ):
        result.plot()
