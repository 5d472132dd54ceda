"""The examples of docs/columns.md run as they are written."""

from __future__ import annotations

import shutil

import numpy as np
from support.doc_examples import DATA, needs_docs, run_example

import waterfill as wf


@needs_docs
def test_the_examples_run(tmp_path, monkeypatch):
    for name in ("base.npy", "query.npy"):
        shutil.copy(DATA / name, tmp_path)
    names = run_example("columns.md", monkeypatch, tmp_path)
    index = wf.IndexFlat(names["codec"])
    index.add(np.load(tmp_path / "base.npy"))
    found = index.search(np.load(tmp_path / "query.npy")[:2], 10)[1]
    np.testing.assert_array_equal(names["ids"], found)
    assert wf.open_index(tmp_path / "corpus.wfx").ntotal == 1200
