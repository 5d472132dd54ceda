"""The examples of docs/folder.md and docs/mapped-files.md run as they are written."""

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
    names = run_example("folder.md", monkeypatch, tmp_path)
    assert capsys.readouterr().out.splitlines()[-3:] == [
        "2999 False",  # the reader was up to date
        "{1: 2999, 3: 0}",
        "{3: 2999}",
    ]
    reader = names["reader"]
    assert reader.refresh()
    assert reader.ntotal == 2999
    assert len(reader.codecs) == 1
    assert reader.codec.fingerprint == names["retrained"].fingerprint
    assert 7 not in reader.ids()
    wf.write_index(reader, tmp_path / "corpus.wf")
    names = run_example("mapped-files.md", monkeypatch, tmp_path)
    np.testing.assert_array_equal(names["ids"], reader.search(names["queries"], 10)[1])
