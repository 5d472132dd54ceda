"""The example of docs/service.md runs as it is written."""

from __future__ import annotations

import pytest
from support.doc_examples import needs_docs, run_example

import waterfill as wf


@needs_docs
@pytest.mark.filterwarnings("ignore:Using `httpx` with:DeprecationWarning")
def test_the_page_runs(monkeypatch, capsys):
    names = run_example("service.md", monkeypatch)
    before = wf.SearchParameters(sel=wf.IDSelectorRange(0, 4800))
    _, ids = names["index"].search(names["queries"][:2], 3, params=before)
    assert names["found"]["ids"] == ids.tolist()
    assert names["found"] == names["same"]
    assert "'added': 2, 'ids': [4800, 4801], 'ntotal': 4802" in capsys.readouterr().out
