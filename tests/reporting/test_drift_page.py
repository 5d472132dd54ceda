"""A drift report as tables, as a figure and as JSON; and the example of docs/drift.md."""

from __future__ import annotations

import io
import json
import math
import pickle
import sys
from dataclasses import replace

import numpy as np
import pytest
from support.doc_examples import needs_docs, run_example
from support.html_text import Words

import waterfill as wf
from waterfill.drift.model_change import Model

matplotlib = pytest.importorskip("matplotlib")

OLD = 2600
FAMILIES, MOVED = "Test families", "What moved in"


def turned(base, rows, directions=200):
    """Turn rows within the leading directions: nothing leaves them, but the codec fits no more."""
    mean = base.mean(axis=0)
    basis = np.linalg.eigh(np.cov(base.T))[1][:, ::-1].T[:directions]
    rng = np.random.default_rng(0)
    turn = np.linalg.qr(rng.standard_normal((directions, directions)))[0]
    along = (rows - mean) @ basis.T
    return (rows + (along @ turn - along) @ basis).astype(np.float32)


@pytest.fixture(scope="session")
def reports(base_64, queries_64) -> dict[str, wf.drift.DriftReport]:
    """Real reports of all kinds, of sentences with a spectrum that falls."""
    falling = np.geomspace(1, 0.15, 64, dtype=np.float32)
    base, queries = base_64 * falling, queries_64 * falling
    codec = wf.Recipe(64, 12).train(base[: OLD // 2], "ip")
    old, new = base[OLD // 2 : OLD], base[OLD:]
    everywhere = np.linalg.qr(np.random.default_rng(1).standard_normal((64, 64)))[0]
    canary = wf.drift.Canary(queries[:100], old)
    full = wf.DriftMonitor.from_codec(
        codec, old, queries=queries[:100], probes=base[:64], canary=canary
    )
    bare = wf.DriftMonitor.from_codec(codec, old, errors=False)

    def seen(monitor, x, asked=None, probes=None, measured=None):
        copy = pickle.loads(pickle.dumps(monitor))
        copy.update(x)
        if asked is not None:
            copy.update_queries(asked)
            copy.update_probes(probes)
        return copy.report(measured)

    far, other = turned(base, new, 40), (new @ everywhere).astype(np.float32)
    asked = (queries[100:] @ everywhere).astype(np.float32)
    probes = (base[:64] @ everywhere).astype(np.float32)
    bad = new.copy()
    bad[:9] = np.nan
    bad[9:12] = 0
    bad[12:400] = bad[12]
    return {
        "none": seen(full, new, queries[100:], base[:64]),
        "none, bare": seen(bare, new),
        "one": seen(bare, new + 0.05 * np.eye(64, dtype=np.float32)[7]),
        "far": seen(full, far, measured=wf.drift.Canary(turned(base, queries[100:], 40), far)),
        "another": seen(full, other, asked, probes, wf.drift.Canary(asked, other)),
        "bad": seen(full, bad),
        "few": seen(bare, new[:3]),
        "learning": seen(wf.DriftMonitor.from_codec(codec), new[:50]),
        "nothing": full.report(),
    }


def titles(report) -> list[str]:
    return [axis.get_title() for axis in report.plot().axes]


def test_json_takes_all_of_it(reports):
    for report in reports.values():
        assert json.loads(json.dumps(report.to_dict(), allow_nan=False))["drift"] == report.drift
    cost = replace(reports["far"].cost, gap_low=-math.inf)
    odd = replace(reports["far"], cost=cost, error_ratio=math.nan).to_dict()
    assert (odd["cost"]["gap_low"], odd["error_ratio"]) == (None, None)


def test_tables_say_what_the_report_says(reports):
    report = reports["far"]
    said = Words(report._repr_html_()).text
    assert said.startswith("Drift of vectors (")
    for verdict in report.data.verdicts:
        assert verdict.family in said
    for one in report.data.moved.first:
        assert f"{one.kind} {one.number}" in said
    assert f"{report.cost.gap:.3f} ({report.cost.gap_low:.3f}" in said
    assert "probes none" not in Words(reports["another"]._repr_html_()).text
    assert "64 of 64 changed" in Words(reports["another"]._repr_html_()).text
    assert "No drift" in Words(reports["none"]._repr_html_()).text
    assert "100 queries against 100" in Words(reports["none"]._repr_html_()).text
    assert "too few to test" in Words(reports["few"]._repr_html_()).text
    assert "50 vectors so far" in Words(reports["learning"]._repr_html_()).text
    bad = Words(reports["bad"]._repr_html_()).text
    assert "nonfinite 9" in bad
    copies = reports["bad"].quality["duplicates"]  # an estimate
    assert copies > 350
    assert f"duplicates {copies}" in bad


def test_all_reports_are_shown_without_a_nan(reports):
    for report in reports.values():
        assert not {"nan", "inf", "None"} & set(Words(report._repr_html_()).text.split())


def test_what_is_shown_is_escaped(reports):
    model = Model("<b>another</b>", 0.0, (), 0, 0, None)
    shown = replace(reports["far"], model=model)._repr_html_()
    assert "&lt;b&gt;another" in shown
    assert "<b>" not in shown


def test_a_figure_has_the_panels_that_there_is_something_for(reports):
    assert [name.split(":")[0] for name in titles(reports["far"])] == [
        FAMILIES,
        "What moved in vectors",
        "Energy of vectors by class of dimensions",
        "Recall (measured, 95 % interval)",
    ]
    assert [name.split(":")[0] for name in titles(reports["none, bare"])] == [
        FAMILIES,
        "Energy of vectors by class of dimensions",
    ]
    assert sum(name.startswith(FAMILIES) for name in titles(reports["another"])) == 2
    assert sum(name.startswith(MOVED) for name in titles(reports["another"])) == 2
    assert titles(reports["none"])[-1] == "Recall (estimated, at most)"
    assert titles(reports["learning"]) == []


def test_bars_are_what_was_found(reports):
    report = reports["one"]
    families, moved, energy = report.plot().axes
    widths = [bar.get_width() for bar in families.patches]
    expected = [min(-math.log10(max(v.corrected, 1e-300)), 12) for v in report.data.verdicts]
    np.testing.assert_allclose(widths, expected)
    assert moved.get_yticklabels()[0].get_text() == "dimension 7"
    shares = [bar.get_width() for bar in energy.patches]
    classes = report.data.relevances
    assert shares == [one.before for one in classes] + [one.now for one in classes]


def test_all_reports_are_drawn_within_their_figure(reports):
    for report in reports.values():
        figure, file = report.plot(), io.BytesIO()
        figure.savefig(file, format="png", dpi=40)
        assert len(file.getvalue()) > 1000
        for axis in figure.axes:
            assert axis.has_data()
            edges = figure.transFigure.inverted().transform(axis.get_tightbbox().get_points())
            assert -0.01 <= edges.min() <= edges.max() <= 1.01


def test_without_matplotlib_it_says_how_to_get_it(reports, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r'pip install "waterfill\[plot\]"'):
        reports["none"].plot()


@needs_docs
def test_the_example_of_the_page_runs_and_retrains(monkeypatch, capsys):
    names = run_example("drift.md", monkeypatch)
    first = names["monitor"]
    assert not names["report"].drift
    assert not names["decision"].retrain
    assert "no drift" in capsys.readouterr().out
    base = names["vectors"].astype(np.float32)
    new, asked = turned(base, base[3400:]), turned(base, names["queries"][100:].astype(np.float32))
    decisions = []
    for day in range(2):
        rows = np.random.default_rng(day).permutation(1400)
        _, decision = names["daily"](new[rows], np.arange(1400) // 10, asked, names["probes"])
        decisions.append(decision.retrain)
    assert decisions == [False, True]  # a second look has to say the same
    assert [event.what for event in names["live"].history] == ["start", "swap"]
    assert names["monitor"] is not first
    assert names["monitor"].learning
