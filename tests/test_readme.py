"""The Python blocks of README.md and of pages that continue it run as a reader runs them."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import faiss
import numpy as np
import pytest
from support.doc_examples import DATA, needs_docs, run_example

import waterfill as wf

README = Path(__file__).parents[1] / "README.md"

needs_readme = pytest.mark.skipif(not README.exists(), reason="an installed package has no README")


@pytest.fixture
def samples(tmp_path):
    """A directory with the sample."""
    for name in ("base.npy", "query.npy"):
        shutil.copy(DATA / name, tmp_path)
    return tmp_path


@needs_readme
def test_the_readme_prints_what_it_shows(tmp_path, monkeypatch, capsys):
    (tmp_path / "tests" / "samples").mkdir(parents=True)
    for name in ("base.npy", "query.npy"):
        shutil.copy(DATA / name, tmp_path / "tests" / "samples")
    monkeypatch.chdir(tmp_path)
    text = README.read_text(encoding="utf-8")
    names = {}
    for number, part in enumerate(re.findall(r"```python\n(.+?)```", text, re.DOTALL), 1):
        exec(compile(part, f"README.md, block {number}", "exec"), names)
    lines = capsys.readouterr().out.splitlines()
    shown, recall = lines[0].rsplit(" ", 1)
    assert shown in text
    assert abs(float(recall) - float(re.search(rf"{shown} (\S+)", text)[1])) < 0.02
    assert lines[1] == "(200, 10)"
    assert lines[2].startswith("2,000 vectors; asked for: recall@10 of 0.9")
    assert wf.read_index(tmp_path / "corpus.wf").ntotal == 4_800
    assert wf.open_index(tmp_path / "corpus.wfx").ntotal == 2_000


@needs_docs
def test_the_page_about_faiss(samples, monkeypatch):
    names = run_example("faiss.md", monkeypatch, samples)
    index, ids, queries = names["index"], names["ids"], names["queries"]
    assert isinstance(index, wf.IndexIVF)
    assert index.ntotal == 4_700  # 100 were removed
    assert ids.min() >= 1_000
    assert faiss.read_index(str(samples / "corpus.faiss")).ntotal == 4_700
    assert queries.dtype == np.float32
    np.testing.assert_array_equal(names["mapped"].reconstruct_n(0, 9), names["vectors"][:9])
    assert names["small"].ntotal == 4_800


@needs_docs
@pytest.mark.slow
def test_the_page_about_the_optimizer(samples, monkeypatch):
    pytest.importorskip("altair")
    pytest.importorskip("vl_convert")
    result = run_example("optimize.md", monkeypatch, samples)["result"]
    assert result.best.recall >= 0.9
    assert result.expected_recall(100_000).recall < result.best.recall
    assert (samples / "report.html").stat().st_size > 100_000
