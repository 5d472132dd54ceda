"""The example in docs/capacity.md runs as written."""

from __future__ import annotations

import shutil

from support.doc_examples import DATA, needs_docs, run_example

import waterfill as wf


@needs_docs
def test_documentation_example_runs(monkeypatch, capsys, tmp_path):
    for name in ("base.npy", "query.npy"):
        shutil.copy(DATA / name, tmp_path)
    names = run_example("capacity.md", monkeypatch, tmp_path)
    report = names["report"]
    assert 0 < report.rate <= 200  # lower if the machine stalls during the test
    assert capsys.readouterr().out.startswith(f"{report.rate:.3g} requests per second")
    assert wf.loadtest.CapacityReport.load(tmp_path / "capacity.json") == report
    assert names["limiter"].limit == report.limit
    assert names["limiter"].in_use == 0
