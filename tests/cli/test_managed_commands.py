"""A managed folder by commands: made, filled, maintained, searched and described."""

from __future__ import annotations

import numpy as np
import pytest
from support.managed import ENOUGH, some_vectors

import waterfill as wf
from waterfill.managed.index import ManagedIndex


@pytest.fixture
def vectors(run):
    x = some_vectors(ENOUGH)
    np.save(run.directory / "base.npy", x)
    np.save(run.directory / "query.npy", x[:3])
    return x


def test_a_folder_from_the_first_vector_to_codes(run, vectors):
    said = run("open", "a.wfx", "--dim", 16, "--code-bytes", 8, "--metric", "l2").out
    assert "0 vectors; asked for: codes of 8 bytes" in said
    run("add", "a.wfx", "base.npy")
    assert "train the first codec" in run("health", "a.wfx").out
    before = run("search", "a.wfx", "query.npy", "-k", 5, "--json").document["ids"]
    done = run("maintain", "a.wfx", "--json").document["done"]
    assert [event["what"] for event in done] == ["trained", "measured"]
    assert "nothing is due" in run("maintain", "a.wfx").out
    after = run("search", "a.wfx", "query.npy", "-k", 5, "--json").document["ids"]
    assert [ids[0] for ids in after] == [ids[0] for ids in before] == [0, 1, 2]
    document = run("health", "a.wfx", "--json").document
    assert (document["vectors"], document["phase"]) == (ENOUGH, "coded")
    index = wf.open_index(run.directory / "a.wfx")
    assert isinstance(index, ManagedIndex)
    assert index.metric == "l2"


def test_what_is_asked_for_changes(run, vectors):
    run("open", "a.wfx", "--dim", 16)
    said = run("open", "a.wfx", "--dim", 16, "--target-recall", 0.8).out
    assert "recall@10 of 0.8" in said
    assert "asked: recall@10 of 0.8" in said


def test_errors_name_the_way_out(run, vectors):
    run("build", "base.npy", "--code-bytes", 8, "-o", "b.wfx")
    for command in ("health", "maintain"):
        assert "waterfill open FOLDER --dim D makes one" in run(command, "b.wfx", code=1).err
        assert "no index in this folder" in run(command, "none.wfx", code=1).err
    both = ("--target-recall", 0.9, "--code-bytes", 8)
    assert "give one of them" in run("open", "a.wfx", "--dim", 16, *both, code=2).err
    run("open", "a.wfx", "--dim", 16)
    assert "d=8: the folder has vectors of 16" in run("open", "a.wfx", "--dim", 8, code=1).err
