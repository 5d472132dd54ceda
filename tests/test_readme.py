"""The Python blocks of README.md run in order, as one program, on the sample of the repository."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import faiss
import numpy as np
import pytest
from support.doc_examples import DATA

import waterfill as wf

README = Path(__file__).parents[1] / "README.md"
TAKE_SECONDS = ("wf.optimize(", "import faiss")

needs_readme = pytest.mark.skipif(not README.exists(), reason="an installed package has no README")


def blocks():
    return re.findall(r"```python\n(.+?)```", README.read_text(encoding="utf-8"), re.DOTALL)


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A directory with the sample where a checkout has it."""
    (tmp_path / "tests" / "samples").mkdir(parents=True)
    for name in ("base.npy", "query.npy"):
        shutil.copy(DATA / name, tmp_path / "tests" / "samples")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(parts):
    names = {}
    for number, part in enumerate(parts, 1):
        exec(compile(part, f"README.md, block {number}", "exec"), names)
    return names


def check(names, checkout):
    index, ids, queries = names["index"], names["ids"], names["queries"]
    assert ids.shape == (1, 10)
    np.testing.assert_array_equal(ids, index.search(queries[:1], 10)[1])
    assert not names["report"].drift
    assert names["live"].index is names["better"]
    assert names["live"].generation == 2
    exact = np.argsort(-queries @ names["vectors"].T, axis=1)[:, :10]
    found = np.mean([np.isin(a, b).mean() for a, b in zip(exact, names["labels"], strict=True)])
    assert found > 0.8
    assert wf.read_index(checkout / "corpus.wf").ntotal == 4_800
    assert names["limiter"].in_use == 0


@needs_readme
def test_the_quick_blocks_run_in_order(checkout):
    parts = blocks()
    quick = [part for part in parts if not any(words in part for words in TAKE_SECONDS)]
    assert (len(parts), len(quick)) == (5, 3)
    check(run(quick), checkout)


@needs_readme
@pytest.mark.slow
def test_all_blocks_run_in_order(checkout):
    pytest.importorskip("altair")
    pytest.importorskip("vl_convert")
    names = run(blocks())
    check(names, checkout)
    index, result = names["index"], names["result"]
    assert isinstance(index, wf.IndexIVF)
    assert index.ntotal == 4_700  # 100 were removed
    assert faiss.read_index(str(checkout / "corpus.faiss")).ntotal == 4_700
    assert result.best.recall >= 0.9
    assert result.expected_recall(100_000).recall < result.best.recall
    assert (checkout / "report.html").stat().st_size > 100_000
