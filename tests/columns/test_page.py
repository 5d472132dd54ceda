"""The examples of docs/columns.md run as they are written."""

from __future__ import annotations

import re
import shutil

import numpy as np
import pytest
from support.doc_examples import DATA, DOCS, needs_docs
from support.store_checks import load

import waterfill as wf


@pytest.fixture
def lake(tmp_path, monkeypatch):
    """The names that the examples before DuckDB's define, in a folder with the sample."""
    for name in ("base.npy", "query.npy"):
        shutil.copy(DATA / name, tmp_path)
    monkeypatch.chdir(tmp_path)
    text = (DOCS / "columns.md").read_text(encoding="utf-8")
    before, _, after = text.partition("## From DuckDB")
    names = {}
    _run(before, names)
    return names, after


def _run(text, names):
    examples = re.findall(r"```python\n(.+?)```", text, re.DOTALL)
    assert examples
    exec(compile("\n".join(examples), "docs/columns.md", "exec"), names)


@needs_docs
def test_the_examples_run(lake, tmp_path):
    names, _ = lake
    index = wf.IndexFlat(names["codec"])
    index.add(np.load(tmp_path / "base.npy"))
    found = index.search(np.load(tmp_path / "query.npy")[:2], 10)[1]
    np.testing.assert_array_equal(names["ids"], found)
    assert wf.open_index(tmp_path / "corpus.wfx").ntotal == 1200


@needs_docs
def test_the_examples_of_duckdb_run(lake, tmp_path):
    load("duckdb")
    names, after = lake
    _run(after, names)
    third = np.arange(0, 4800, 3)
    index = wf.IndexFlat(names["codec"])
    index.add_with_ids(np.load(tmp_path / "base.npy")[third], third)
    query = np.load(tmp_path / "query.npy")[:2]
    np.testing.assert_array_equal(names["ids"], index.search(query, 10)[1])
    best = [row for row, _ in names["best"]]
    codec = names["codec"]
    products = codec.decode(codec.encode(np.load(tmp_path / "base.npy")[third])) @ query[0]
    np.testing.assert_array_equal(best, third[np.argsort(-products)[:10]])
