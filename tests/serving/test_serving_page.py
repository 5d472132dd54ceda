"""The example of docs/serving.md runs as it is written."""

from __future__ import annotations

from support.doc_examples import needs_docs, run_example


@needs_docs
def test_the_page_runs(monkeypatch, capsys):
    names = run_example("serving.md", monkeypatch)
    assert "at capacity, please try again in a moment" in capsys.readouterr().out
    assert names["limiter"].in_use == 0
    assert names["limiter"].stats()["refused"]["default"]["capacity"] == 4
    assert names["limiter"].stats()["admitted"] == {"default": 12, "batch": 1}
