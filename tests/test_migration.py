"""The ten pairs of docs/migration.md run as they are written, FAISS's program and ours."""

from __future__ import annotations

import re
import socket

import faiss
import numpy as np
import pytest
from support.doc_examples import DOCS, needs_docs
from support.migration_pairs import STORES, found, inputs, pairs, run
from support.store_checks import load

PAGE = DOCS / "migration.md"
PAIRS = {pair.title: pair for pair in pairs(PAGE)} if PAGE.exists() else {}
HOSTS = {
    "LangChain": ("langchain_community.vectorstores", "langchain_core.embeddings"),
    "LlamaIndex": ("llama_index.core", "llama_index.vector_stores.faiss"),
    "Hugging Face datasets": ("datasets",),
}
# What our programs must find at least, of 48 bytes and 4,800 vectors: lists add their own loss.
LEAST = {title: 0.7 for title in ("IVFPQ, filled in batches", "OPQ in front of lists")}


@pytest.fixture(autouse=True)
def _alone(monkeypatch):
    """No telemetry, and no connection at all."""

    def refuse(*args):
        raise AssertionError(f"a host connects to {args[1:]}")

    monkeypatch.setenv("LANGSMITH_TRACING", "false")
    monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest.fixture(scope="module")
def opq(base, tmp_path_factory):
    """The file that the fourth pair reads."""
    path = tmp_path_factory.mktemp("opq") / "opq.faiss"
    names = run(
        PAIRS["OPQ in front of lists"],
        _quick(PAIRS["OPQ in front of lists"].old),
        inputs("", base, base[:5]),
    )
    faiss.write_index(names["index"], str(path))
    return path


def _quick(program):
    """Train less: fewer lists and centroids, fewer steps of OPQ."""
    program = program.replace("IVF256,PQ48", "IVF16,PQ48x4").replace("nprobe = 64", "nprobe = 8")
    program = program.replace("IVF256,WF48", "IVF16,WF48").replace("IVF64", "IVF16")
    steps = "niter = rotation.niter_pq = rotation.niter_pq_0 = 1"
    return re.sub(r"niter = \d+", steps, program)


@needs_docs
def test_there_are_ten():
    assert len(PAIRS) == 10


@needs_docs
@pytest.mark.parametrize("title", PAIRS)
def test_both_programs_of_a_pair_run(title, base, queries, request, tmp_path, monkeypatch):
    pair = PAIRS[title]
    load(*HOSTS.get(title, ()))
    if title == "OPQ in front of lists":
        (tmp_path / "opq.faiss").write_bytes(request.getfixturevalue("opq").read_bytes())
    monkeypatch.chdir(tmp_path)
    vectors, asked = (base[:1200], queries[:40]) if title in STORES else (base, queries)
    truth = np.argsort(-(asked @ vectors.T), axis=1)[:, :10]
    recalls = []
    for program in (pair.old, pair.new):
        if title == "OPQ in front of lists" and program is pair.old:
            continue  # the fixture has run it
        names = run(pair, _quick(program), inputs(title, vectors, asked))
        rows = found(pair, names)
        assert rows.shape == truth.shape
        recalls.append(np.mean([len({*a} & {*b}) / 10 for a, b in zip(rows, truth, strict=True)]))
        close = getattr(names.get("store"), "close", None) or getattr(
            names.get("index"), "close", None
        )
        if close is not None:
            close()
    assert recalls[-1] >= LEAST.get(title, 0.8)
    if "PQ" in pair.old and len(recalls) == 2:
        assert recalls[1] > recalls[0]


@needs_docs
def test_the_table_counts_the_lines_that_change():
    text = PAGE.read_text(encoding="utf-8")
    for number, pair in enumerate(PAIRS.values(), 1):
        row = re.search(rf"^\| {number}\. .+$", text, re.MULTILINE)
        assert row is not None, pair.title
        assert int(row[0].split("|")[2]) == pair.changed_lines
