"""A drift report as tables, as a figure and as JSON, and the example in docs/drift.md."""

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


def rotated(base, rows, directions=200):
    """Rotate rows within the leading directions, which keep their energy."""
    mean = base.mean(axis=0)
    basis = np.linalg.eigh(np.cov(base.T))[1][:, ::-1].T[:directions]
    rng = np.random.default_rng(0)
    rotation = np.linalg.qr(rng.standard_normal((directions, directions)))[0]
    projected = (rows - mean) @ basis.T
    return (rows + (projected @ rotation - projected) @ basis).astype(np.float32)


@pytest.fixture(scope="session")
def reports(base_64, queries_64) -> dict[str, wf.drift.DriftReport]:
    """Reports of all kinds, for sentences with a decreasing spectrum."""
    scale = np.geomspace(1, 0.15, 64, dtype=np.float32)
    base, queries = base_64 * scale, queries_64 * scale
    codec = wf.Recipe(64, 12).train(base[: OLD // 2], "ip")
    old, new = base[OLD // 2 : OLD], base[OLD:]
    full_rotation = np.linalg.qr(np.random.default_rng(1).standard_normal((64, 64)))[0]
    canary = wf.drift.Canary(queries[:100], old)
    full = wf.DriftMonitor.from_codec(
        codec, old, queries=queries[:100], probes=base[:64], canary=canary
    )
    bare = wf.DriftMonitor.from_codec(codec, old, errors=False)

    def report_on(monitor, x, queries=None, probes=None, canary=None):
        copy = pickle.loads(pickle.dumps(monitor))
        copy.update(x)
        if queries is not None:
            copy.update_queries(queries)
            copy.update_probes(probes)
        return copy.report(canary)

    far, other = rotated(base, new, 40), (new @ full_rotation).astype(np.float32)
    other_queries = (queries[100:] @ full_rotation).astype(np.float32)
    probes = (base[:64] @ full_rotation).astype(np.float32)
    bad = new.copy()
    bad[:9] = np.nan
    bad[9:12] = 0
    bad[12:400] = bad[12]
    return {
        "none": report_on(full, new, queries[100:], base[:64]),
        "none, bare": report_on(bare, new),
        "one": report_on(bare, new + 0.05 * np.eye(64, dtype=np.float32)[7]),
        "far": report_on(full, far, canary=wf.drift.Canary(rotated(base, queries[100:], 40), far)),
        "another": report_on(
            full, other, other_queries, probes, wf.drift.Canary(other_queries, other)
        ),
        "bad": report_on(full, bad),
        "few": report_on(bare, new[:3]),
        "learning": report_on(wf.DriftMonitor.from_codec(codec), new[:50]),
        "nothing": full.report(),
    }


def titles(report) -> list[str]:
    return [axis.get_title() for axis in report.plot().axes]


def test_reports_convert_to_json(reports):
    for report in reports.values():
        assert json.loads(json.dumps(report.to_dict(), allow_nan=False))["drift"] == report.drift
    cost = replace(reports["far"].cost, gap_low=-math.inf)
    values = replace(reports["far"], cost=cost, error_ratio=math.nan).to_dict()
    assert (values["cost"]["gap_low"], values["error_ratio"]) == (None, None)


def test_tables_hold_the_report(reports):
    report = reports["far"]
    text = Words(report._repr_html_()).text
    assert text.startswith("Drift of vectors (")
    for verdict in report.data.verdicts:
        assert verdict.family in text
    for one in report.data.moved.first:
        assert f"{one.kind} {one.number}" in text
    assert f"{report.cost.gap:.3f} ({report.cost.gap_low:.3f}" in text
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


def test_tables_have_no_nan(reports):
    for report in reports.values():
        assert not {"nan", "inf", "None"} & set(Words(report._repr_html_()).text.split())


def test_tables_are_escaped(reports):
    model = Model("<b>another</b>", 0.0, (), 0, 0, None)
    page = replace(reports["far"], model=model)._repr_html_()
    assert "&lt;b&gt;another" in page
    assert "<b>" not in page


def test_figure_has_a_panel_for_each_result(reports):
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


def test_bars_agree_with_the_report(reports):
    report = reports["one"]
    families, moved, energy = report.plot().axes
    widths = [bar.get_width() for bar in families.patches]
    expected = [min(-math.log10(max(v.corrected, 1e-300)), 12) for v in report.data.verdicts]
    np.testing.assert_allclose(widths, expected)
    assert moved.get_yticklabels()[0].get_text() == "dimension 7"
    shares = [bar.get_width() for bar in energy.patches]
    classes = report.data.relevances
    assert shares == [one.before for one in classes] + [one.now for one in classes]


def test_panels_fit_the_figure(reports):
    for report in reports.values():
        figure, file = report.plot(), io.BytesIO()
        figure.savefig(file, format="png", dpi=40)
        assert len(file.getvalue()) > 1000
        for axis in figure.axes:
            assert axis.has_data()
            edges = figure.transFigure.inverted().transform(axis.get_tightbbox().get_points())
            assert -0.01 <= edges.min() <= edges.max() <= 1.01


def test_missing_matplotlib_names_the_extra(reports, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r'pip install "\.\[plot\]"'):
        reports["none"].plot()


@needs_docs
def test_documentation_example_runs_and_retrains(monkeypatch, capsys):
    names = run_example("drift.md", monkeypatch)
    first = names["monitor"]
    assert not names["report"].drift
    assert not names["decision"].retrain
    assert "no drift" in capsys.readouterr().out
    base = names["vectors"].astype(np.float32)
    new = rotated(base, base[3400:])
    queries = rotated(base, names["queries"][100:].astype(np.float32))
    decisions = []
    for day in range(2):
        rows = np.random.default_rng(day).permutation(1400)
        _, decision = names["daily"](new[rows], np.arange(1400) // 10, queries, names["probes"])
        decisions.append(decision.retrain)
    assert decisions == [False, True]  # the policy requires two positive checks
    assert [event.what for event in names["live"].history] == ["start", "swap"]
    assert names["monitor"] is not first
    assert names["monitor"].learning
