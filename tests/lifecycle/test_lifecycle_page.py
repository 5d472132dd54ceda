"""The example in docs/lifecycle.md runs as written."""

from __future__ import annotations

from support.doc_examples import needs_docs, run_example


@needs_docs
def test_documentation_example_runs(monkeypatch, capsys):
    names = run_example("lifecycle.md", monkeypatch)
    live = names["live"]
    assert [event.what for event in live.history] == ["start", "swap", "rollback"]
    assert live.index is names["index"]
    assert names["ids"].shape == (200, 10)
    assert "generation 2 is in use" in capsys.readouterr().out
