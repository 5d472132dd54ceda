"""The examples of docs/folder.md and docs/mapped-files.md run, and removals erase as they say."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from support.doc_examples import DATA, needs_docs, run_example

import waterfill as wf


@needs_docs
def test_the_examples_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("base.npy", "query.npy"):
        shutil.copy(DATA / name, tmp_path)
    names = run_example("folder.md", monkeypatch, tmp_path)
    assert capsys.readouterr().out.splitlines()[-4:] == [
        "2999 False",  # the reader was up to date
        "0",
        "{1: 2997, 5: 0}",
        "{5: 2997}",
    ]
    reader = names["reader"]
    assert reader.refresh()
    assert reader.ntotal == 2997
    assert len(reader.codecs) == 1
    assert reader.codec.fingerprint == names["retrained"].fingerprint
    assert 7 not in reader.ids()
    wf.write_index(reader, tmp_path / "corpus.wf")
    names = run_example("mapped-files.md", monkeypatch, tmp_path)
    np.testing.assert_array_equal(names["ids"], reader.search(names["queries"], 10)[1])


def files_with(folder: Path, what: bytes) -> set[str]:
    return {file.name.split("-")[0] for file in folder.iterdir() if what in file.read_bytes()}


@pytest.mark.parametrize("flushed", [True, False])
def test_compaction_erases_removed_vectors(
    base: NDArray[np.float32], codec: wf.Codec, tmp_path: Path, flushed: bool
) -> None:
    row, code = base[7].astype(np.float16).tobytes(), codec.encode(base[7:8]).tobytes()
    path = tmp_path / "a.wfx"
    with wf.open_index(path, "a", codec=codec, refine="float16", compaction="off") as index:
        index.add(base[:100])
        if flushed:
            index.flush()
            index.snapshot(tmp_path / "copy.wfx")
        else:
            assert files_with(path, code) == {"log"}
        before = files_with(path, row)
        assert before == {"segment" if flushed else "log"}
        index.remove_ids(np.array([7]))
        assert files_with(path, row) == before  # hidden, and still there
        index.compact()
        assert files_with(path, row) == files_with(path, code) == set()
        assert index.search(base[8:9], 1)[1] == 8
    if flushed:
        assert files_with(tmp_path / "copy.wfx", row) == {"segment"}


def test_a_file_is_written_without_removed_vectors(
    base: NDArray[np.float32], codec: wf.Codec, tmp_path: Path
) -> None:
    index = wf.IndexFlat(codec, refine="float16")
    index.add(base[:1000])
    name, row = tmp_path / "a.wf", base[7].astype(np.float16).tobytes()
    wf.write_index(index, name)
    before = name.stat().st_size
    assert row in name.read_bytes()
    index.remove_ids(np.arange(500))
    wf.write_index(index, name)
    assert row not in name.read_bytes()
    assert name.stat().st_size < before - 500 * 768
