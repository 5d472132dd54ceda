"""The examples of docs/managed.md run as they are written."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from support.doc_examples import DATA, needs_docs, run_example


@needs_docs
def test_the_examples_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("base.npy", "query.npy"):
        shutil.copy(DATA / name, tmp_path)
    run_example("managed.md", monkeypatch, tmp_path)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "100 vectors; asked for: recall@10 of 0.9 in the fewest bytes"
    assert lines[5].endswith("a first codec is trained at 4,096 vectors")
    assert lines[-4:] == ["trained", "measured", "coded True", "(200, 10)"]
