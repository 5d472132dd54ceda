"""The examples of docs/build.md run as they are written."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from support.doc_examples import DATA, needs_docs, run_example

import waterfill as wf


@needs_docs
def test_the_examples_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("base.npy", "query.npy"):
        shutil.copy(DATA / name, tmp_path)
    names = run_example("build.md", monkeypatch, tmp_path)
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == ["4800 1", "True"]
    assert lines[-1].startswith("encoding: 4,800 of 4,800 vectors")
    memory = wf.IndexFlat(names["index"].codec)
    memory.add(np.load(tmp_path / "base.npy"))
    found = memory.search(np.load(tmp_path / "query.npy")[:2], 10)[1]
    np.testing.assert_array_equal(names["ids"], found)
    lists = wf.open_index(tmp_path / "lists.wfx", verify="full")
    assert (lists.nlist, lists.ntotal, lists.refine) == (64, 4800, "float16")
