"""The example of docs/batching.md runs as it is written."""

from __future__ import annotations

from support.concurrency import assert_same
from support.doc_examples import needs_docs, run_example


@needs_docs
def test_the_example_runs(monkeypatch, capsys):
    names = run_example("batching.md", monkeypatch)
    for answers in (names["found"], names["answers"]):
        distances, ids = zip(*answers, strict=True)
        together = names["index"].search(names["queries"], 10)
        assert_same(together, [*map(names["np"].concatenate, (distances, ids))])
    printed = capsys.readouterr().out
    assert "BatcherStats(calls=200" in printed
    assert "CacheStats(hits=200, misses=200" in printed
