"""Matplotlib figures of a result."""

from __future__ import annotations

import io
import sys

import pytest

matplotlib = pytest.importorskip("matplotlib")


def png(figure):
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=50)
    return file.getvalue()


def test_figure_has_four_panels(result):
    figure = result.plot()
    titles = [axis.get_title() for axis in figure.axes]
    assert titles == [
        "Recall against bytes",
        "Recall in larger collections",
        "Spectrum",
        "Bits per dimension",
    ]
    assert all(axis.has_data() for axis in figure.axes)
    assert len(png(figure)) > 10_000


def test_points_agree_with_the_result(result):
    recall, growth, _, _ = result.plot().axes
    tried = recall.collections[0].get_offsets().tolist()
    assert tried == [[trial.bytes_per_vector, trial.recall] for trial in result.trials]
    frontier = recall.lines[0].get_xydata().tolist()
    assert frontier == [[trial.bytes_per_vector, trial.recall] for trial in result.frontier]
    assert growth.lines[0].get_ydata().tolist() == list(result.growth.recalls)


def test_edge_cases_are_drawn(edge_cases):
    for result in edge_cases.values():
        figure = result.plot()
        figure.set_layout_engine("none")  # most of the time goes into the layout
        assert all(axis.has_data() for axis in figure.axes)
        assert png(figure)


def test_figure_is_not_registered_with_pyplot(result):
    from matplotlib import pyplot

    before = pyplot.get_fignums()
    result.plot()
    assert pyplot.get_fignums() == before


def test_missing_matplotlib_names_the_extra(result, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r'plot needs Matplotlib: pip install "\.\[plot\]"'):
        result.plot()
