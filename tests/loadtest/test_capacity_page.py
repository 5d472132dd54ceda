"""The example of docs/capacity.md runs as it is written."""

from __future__ import annotations

import shutil

from support.doc_examples import DATA, needs_docs, run_example

import waterfill as wf


@needs_docs
def test_the_page_runs(monkeypatch, capsys, tmp_path):
    for name in ("base.npy", "query.npy"):
        shutil.copy(DATA / name, tmp_path)
    monkeypatch.setattr("pages.DATA", tmp_path)
    names = run_example("capacity.md", monkeypatch)
    report = names["report"]
    assert 0 < report.rate <= 200  # less where the machine stalls meanwhile
    assert capsys.readouterr().out.startswith(f"{report.rate:.3g} requests a second")
    assert wf.loadtest.CapacityReport.load(tmp_path / "capacity.json") == report
    assert names["limiter"].limit == report.limit
    assert names["limiter"].in_use == 0
