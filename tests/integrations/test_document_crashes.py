"""Documents with vectors in a folder: what a crash, a failure or damage leaves of a change."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.documents import ids, named

import waterfill as wf
from waterfill.integrations.document_folder import VECTORS
from waterfill.integrations.document_index import DocumentIndex
from waterfill.integrations.document_table import StoredDocument

PROGRAM = """
import os, sys
import numpy as np
from waterfill.integrations.document_index import DocumentIndex
from waterfill.integrations.document_table import DocumentTable, StoredDocument

folder, step = sys.argv[1:]
documents = DocumentIndex(folder)
rows = np.random.default_rng(0).standard_normal((1000, 8)).astype("f4")

def put(n):
    documents.put([StoredDocument(f"{n % 50}", f"text {n}")], [rows[n]])
    print(n, flush=True)

for n in range(30):
    put(n)
if step == "any":
    for n in range(30, 1000):
        put(n)
        if n % 7 == 0:
            documents.remove([f"{n % 50}"])
            print(-n, flush=True)
if step == "before the documents":
    DocumentTable.put = lambda *_: os._exit(9)
if step == "after the documents":
    documents._forget = lambda *_: os._exit(9)
for n in range(5):
    documents.put([StoredDocument(f"{n}", "new")], [rows[100 + n]])
"""


def run_until_it_dies(folder: Path, step: str, lines: int = 10**6) -> list[int]:
    command = [sys.executable, "-c", PROGRAM, str(folder), step]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        said = []
        for line in process.stdout:
            said.append(int(line))
            if len(said) == lines:
                process.send_signal(signal.SIGKILL)
                break
        said += [int(line) for line in process.stdout if line.endswith("\n")]
    return said


@pytest.mark.parametrize(
    ("step", "first"), [("before the documents", "text 0"), ("after the documents", "new")]
)
def test_a_crash_between_the_steps_leaves_all_or_nothing(
    tmp_path: Path, step: str, first: str
) -> None:
    assert run_until_it_dies(tmp_path, step) == list(range(30))
    vectors = np.random.default_rng(0).standard_normal((1000, 8)).astype("f4")
    with DocumentIndex(tmp_path, "r") as reader:  # which removes nothing
        assert reader.index is not None
        assert reader.index.ntotal == 31
        assert len(reader.search(np.ones(8), 100)) == 30
    with DocumentIndex(tmp_path) as documents:
        assert documents.index is not None
        assert documents.index.ntotal == len(documents) == 30
        (found,) = documents.search(vectors[100 if first == "new" else 0], 1)
        assert (found.document.id, found.document.content) == ("0", first)
        documents.put([StoredDocument("later", "")], [vectors[500]])
        assert ids(documents.search(vectors[500], 1)) == ["later"]


@pytest.mark.parametrize("lines", [1, 3, 21, 45, 160])
def test_nothing_acknowledged_is_lost_by_a_kill(tmp_path: Path, lines: int) -> None:
    said = run_until_it_dies(tmp_path, "any", lines)
    assert len(said) >= lines
    vectors = np.random.default_rng(0).standard_normal((1000, 8)).astype("f4")
    model: dict[str, int] = {}
    for n in said:
        if n < 0:
            del model[f"{-n % 50}"]
        else:
            model[f"{n % 50}"] = n
    with DocumentIndex(tmp_path) as documents:
        stored = {one.id: int(one.content.split()[1]) for one in documents.table.scan()}
        # The change after the last one that was acknowledged may have happened, too.
        after = said[-1] + 1 if said[-1] >= 0 else -said[-1] + 1
        may = {f"{n % 50}" for n in (after, after - 1)}
        assert {k: v for k, v in stored.items() if k not in may} == {
            k: v for k, v in model.items() if k not in may
        }
        found = documents.search(np.ones(8), 1000)
        assert sorted(ids(found)) == sorted(stored)
        for id, n in stored.items():
            assert ids(documents.search(vectors[n], 1)) == [id]


def test_a_change_that_fails_has_not_happened(rows: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with DocumentIndex() as documents:

        def fail(*_: Any) -> None:
            raise sqlite3.OperationalError("database or disk is full")

        with monkeypatch.context() as patch:
            patch.setattr(documents.table, "put", fail)
            with pytest.raises(sqlite3.OperationalError, match="full"):
                documents.put(named([0]), [rows[0, :5]])
        assert documents.index is None
        documents.put(named(range(20)), list(rows[:20]))
        with monkeypatch.context() as patch:
            patch.setattr(documents.table, "put", fail)
            with pytest.raises(sqlite3.OperationalError, match="full"):
                documents.put(named([0, 99]), [rows[50], rows[51]])
        assert documents.index is not None
        assert documents.index.ntotal == len(documents) == 20
        assert ids(documents.search(rows[0], 1)) == ["id 0"]
        documents.put(named([99]), [rows[51]])
        assert ids(documents.search(rows[51], 1)) == ["id 99"]


def test_documents_without_their_vectors_are_damage(rows: Any, tmp_path: Path) -> None:
    with DocumentIndex(tmp_path) as documents:
        documents.put(named(range(20)), list(rows[:20]))
    with wf.open_index(tmp_path / VECTORS, "a") as index:
        index.remove_ids(np.array([3]))
    with pytest.raises(wf.FormatError, match="without their vectors"):
        DocumentIndex(tmp_path)
