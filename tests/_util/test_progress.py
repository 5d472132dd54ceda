"""Progress: what is told, and what is shown where."""

from __future__ import annotations

import logging
import sys
import types

import numpy as np
import pytest

import waterfill as wf
from waterfill._util import progress_display
from waterfill._util.progress import Meter, Progress, duration, metered, part_of


def told(call):
    """Call with a function that keeps what it is told."""
    seen = []
    call(seen.append)
    assert seen
    for one in seen:
        assert isinstance(one, Progress)
        assert one.total is None or 0 <= one.done <= one.total
        assert one.seconds_left is None or one.seconds_left >= 0
    return seen


def phases(seen):
    return list(dict.fromkeys(one.phase for one in seen))


def test_training_tells_shares_that_rise(base_64):
    recipe = wf.Recipe(64, 16, effort="best")
    seen = told(lambda tell: recipe.train(np.tile(base_64, (4, 1)), "ip", progress=tell))
    assert phases(seen) == ["analysis", "training"]
    shares = [one.done for one in seen if one.phase == "training"]
    assert shares == sorted(shares)
    assert shares[0] == 0
    assert len(set(shares)) > 2  # the core tells, too


def test_an_index_tells_as_its_codec_does(base_64):
    index = wf.IndexIVF(wf.Recipe(64, 8, effort="fast"), 64)
    assert phases(told(lambda tell: index.train(base_64, progress=tell))) == [
        "analysis",
        "training",
    ]


def test_retraining_and_building_tell_of_encoding(base_64, tmp_path):
    index = wf.IndexFlat(wf.Recipe(64, 8, effort="fast"), refine="float16")
    index.train(base_64)
    index.add(base_64)
    seen = told(lambda tell: wf.retrain(index, base_64, progress=tell))
    assert phases(seen) == ["analysis", "training", "encoding"]
    assert seen[-1].total == len(base_64)
    seen = told(
        lambda tell: wf.build(
            base_64, tmp_path / "a.wfx", wf.Recipe(64, 8, effort="fast"), progress=tell
        )
    )
    assert phases(seen) == ["sample", "analysis", "training", "encoding"]
    assert seen[-1].unit == "vectors"


def test_the_optimizer_tells_trials(base_64):
    seen = told(lambda tell: wf.optimize(base_64, max_bytes=8, time_budget=0, progress=tell))
    assert "trials" in phases(seen)
    trials = [one for one in seen if one.phase == "trials"]
    assert trials[0].total > 1


def test_what_a_callback_raises_ends_the_call_and_nothing_is_left(base_64):
    """Also in the middle of the core's work."""

    class EnoughError(Exception):
        pass

    def stop(progress):
        if progress.phase == "training" and progress.done > 0.05:
            raise EnoughError

    index = wf.IndexFlat(wf.Recipe(64, 32, effort="best"))
    with pytest.raises(EnoughError):
        index.train(np.tile(base_64, (8, 1)), progress=stop)
    assert not index.is_trained
    index.train(base_64)
    assert index.is_trained


@pytest.mark.parametrize("given", [3, "yes", [1]])
def test_other_values_are_refused_before_any_work(base_64, tmp_path, given):
    words = "progress: expected True, False, None or a callable, got"
    index = wf.IndexFlat(wf.Recipe(64, 8))
    for call in (
        lambda: index.train(base_64, progress=given),
        lambda: wf.optimize(base_64, max_bytes=8, progress=given),
        lambda: wf.build(base_64, tmp_path / "a.wfx", progress=given),
    ):
        with pytest.raises(TypeError, match=words):
            call()
    assert not (tmp_path / "a.wfx").exists()


def test_words():
    assert duration(59.6) == "1:00"
    assert duration(3725) == "1:02:05"
    vectors = Progress("encoding", 2000, 10_000, "vectors", 0, 500.0, 16.0)
    assert str(vectors) == "encoding: 2,000 of 10,000 vectors, 500/s, 0:16 left"
    assert str(Progress("training", 0.25, 1, "", 0, 0.1, 7.5)) == "training: 25 %, 0:08 left"
    assert str(Progress("writing", 0, None, "vectors", 0, 0, None)) == "writing: 0 vectors"


def test_parts_of_a_whole():
    seen = []
    inner = part_of(part_of(seen.append, 0.5, 1.0), 0.0, 0.5)
    assert inner is not None
    inner(1.0)
    assert seen == [0.75]
    assert part_of(None, 0, 1) is None


def test_the_meter_of_an_outer_call_stays_in_use():
    meter = Meter(None)
    with metered(meter) as inner:
        assert inner is meter


def test_nothing_is_shown_without_a_terminal(capsys):
    for given in (None, False):
        with metered(given) as meter:
            meter.begin("training", 1, unit="")
            meter.note("a line")
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("given", [None, False, True])
def test_a_program_without_a_console_can_call(given, monkeypatch):
    monkeypatch.setattr(sys, "stderr", None)
    with metered(given) as meter:
        meter.begin("training", 1, unit="")


def test_lines_where_there_is_no_terminal(capsys, monkeypatch):
    monkeypatch.setattr(progress_display, "DELAY", 0.0)
    with metered(True) as meter:
        meter.begin("encoding", 100)
        meter.note("half of it")
    shown = capsys.readouterr().err
    assert "encoding: 0 of 100 vectors" in shown
    assert "half of it" in shown


class Handle:
    """What IPython returns for a display that can be updated."""

    def __init__(self, shown):
        self.shown = shown

    def update(self, content, raw):
        assert raw
        self.shown.append(content)


def test_a_notebook_gets_a_line_of_html(monkeypatch):
    shown = []

    def show(content, raw, display_id):
        shown.append(content)
        return Handle(shown)

    shell = type("ZMQInteractiveShell", (), {})()
    ipython = types.SimpleNamespace(get_ipython=lambda: shell)
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    monkeypatch.setitem(sys.modules, "IPython.display", types.SimpleNamespace(display=show))
    monkeypatch.setattr(progress_display, "DELAY", 0.0)
    with metered(None) as meter:
        meter.begin("a <b> phase", 10)
        meter.add(5)
        meter.tell(at_once=True)
    assert 'max="10" value="5' in shown[-2]["text/html"]
    assert "a &lt;b&gt; phase: 5 of 10 vectors" in shown[-2]["text/html"]
    assert shown[-1]["text/plain"].startswith("a <b> phase: ended after 0:0")


def test_long_calls_log_what_they_do(base_64, caplog):
    with caplog.at_level(logging.INFO, logger="waterfill"):
        index = wf.IndexFlat(wf.Recipe(64, 8, effort="fast"))
        index.train(base_64)
    assert any("trained a codec on" in record.getMessage() for record in caplog.records)
    assert all(record.name.startswith("waterfill") for record in caplog.records)
    handlers = logging.getLogger("waterfill").handlers
    assert any(isinstance(handler, logging.NullHandler) for handler in handlers)
