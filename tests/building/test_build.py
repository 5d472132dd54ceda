"""What a build makes: codecs, lists, rows, progress, memory."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

import waterfill as wf
from waterfill.building.budget import Budget, as_bytes


def test_a_codec_is_trained_on_rows_of_the_whole_source(files, tmp_path, vectors):
    """On all of them here, since there are few: as in memory."""
    recipe = wf.Recipe(64, 16, effort="fast")
    wf.build(files / "lake", tmp_path / "a.wfx", recipe, key="vector", workers=2)
    codec = wf.open_index(tmp_path / "a.wfx").codec
    assert codec.fingerprint == recipe.train(vectors, "ip").fingerprint
    plan = wf.Plan.waterfill(wf.analyze(vectors), 12)
    wf.build(files / "all.npy", tmp_path / "b.wfx", plan, metric="l2", seed=4)
    codec = wf.open_index(tmp_path / "b.wfx").codec
    assert codec.fingerprint == wf.Codec.train(vectors, plan, 4, metric="l2").fingerprint


def test_training_queries(files, tmp_path, vectors, queries_64):
    recipe = wf.Recipe(64, 16, effort="fast")
    wf.build(files / "all.npy", tmp_path / "a.wfx", recipe, queries=queries_64)
    trained = recipe.train(vectors, "ip", queries=queries_64)
    assert wf.open_index(tmp_path / "a.wfx").codec.fingerprint == trained.fingerprint


def test_lists_and_rows(files, tmp_path, vectors, queries_64):
    wf.build(
        files / "all.npy",
        tmp_path / "a.wfx",
        wf.Recipe(64, 16),
        nlist=16,
        nprobe=4,
        metric="cosine",
        refine="float16",
        k_factor=8,
        shard_rows=800,
    )
    folder = wf.open_index(tmp_path / "a.wfx")
    assert isinstance(folder, wf.IndexIVF)
    assert (folder.nlist, folder.nprobe, folder.k_factor) == (16, 4, 8)
    memory = wf.IndexIVF(folder.codec, 16, metric="cosine", refine="float16", k_factor=8)
    memory.nprobe = 4
    memory.add(vectors)
    for ours, theirs in zip(
        folder.search(queries_64, 10), memory.search(queries_64, 10), strict=True
    ):
        np.testing.assert_array_equal(ours, theirs)


def test_lists_are_probed_as_the_target_recall_takes(files, tmp_path, vectors):
    recipe = wf.Recipe(64, 8)
    for target, options in ((0.9, {}), (0.99, {"target_recall": 0.99})):
        path = tmp_path / f"{target}.wfx"
        wf.build(files / "all.npy", path, recipe, nlist=32, shard_rows=1000, **options)
        folder = wf.open_index(path)
        memory = wf.IndexIVF(folder.codec, 32, target_recall=target)
        memory.add(vectors)
        assert 1 <= folder.nprobe == memory.nprobe < 32
        assert folder.target_recall == target
    with pytest.raises(ValueError, match=r"target_recall=0.8 instead of 0\.99"):
        wf.build(files / "all.npy", path, recipe, nlist=32, shard_rows=1000, target_recall=0.8)


def test_a_folder_of_a_build_is_changed_and_compacted(files, tmp_path, codec_64, vectors):
    wf.build(files / "all.npy", tmp_path / "a.wfx", codec_64, shard_rows=300)
    with wf.open_index(tmp_path / "a.wfx", "a", compaction="off") as index:
        index.upsert([5], vectors[:1])
        index.compact()
        assert len(index.segments) == 1
        assert index.ntotal == 3000


@pytest.mark.parametrize("name", ["all.npy", "lake"])
def test_progress(files, tmp_path, name):
    seen: list[wf.building.Progress] = []
    wf.build(
        files / name,
        tmp_path / "a.wfx",
        wf.Recipe(64, 16, effort="fast"),
        progress=seen.append,
        shard_rows=500,
        key=None if name == "all.npy" else "vector",
        ids=None if name == "all.npy" else "id",
    )
    phases = list(dict.fromkeys(progress.phase for progress in seen))
    first = [] if name == "all.npy" else ["ids"]
    assert phases == [*first, "sample", "analysis", "training", "encoding"]
    assert (seen[-1].done, seen[-1].total, seen[-1].shards) == (3000, 3000, 6)
    done = [progress.done for progress in seen if progress.phase == "encoding"]
    assert done == sorted(done)
    text = str(wf.building.Progress("encoding", 1000, 3000, "vectors", 1, 500.0, 4.0))
    assert text == "encoding: 1,000 of 3,000 vectors, 500/s, 0:04 left"


def test_an_error_of_the_callback_ends_the_build(files, tmp_path, codec_64):
    def fail(progress):
        raise RuntimeError("no more")

    with pytest.raises(RuntimeError, match="no more"):
        wf.build(files / "all.npy", tmp_path / "a.wfx", codec_64, progress=fail)
    assert wf.build(files / "all.npy", tmp_path / "a.wfx", codec_64).vectors == 3000


def test_sizes():
    sizes = {"1GB": 10**9, "1.5 gb": 15 * 10**8, "512MiB": 512 << 20, "2k": 2000, "7": 7, 5: 5}
    assert {text: as_bytes(text) for text in sizes} == sizes
    for wrong in ("", "GB", "1XB", "-1", "1ib", "0"):
        with pytest.raises(ValueError, match="memory"):
            as_bytes(wrong)


def test_shards_fit_into_the_memory():
    large, small = (Budget(memory, 2, 60, 0) for memory in (10**9, 350 * 10**6))
    assert large.shard_rows == 1 << 20
    assert small.shard_rows < 1 << 18
    assert small.workers_for(small.shard_rows) == 2
    assert small.workers_for(large.shard_rows // 2) == 1
    with pytest.raises(ValueError, match=r"memory=100: expected at least .* for 2 workers"):
        _ = Budget(100, 2, 60, 0).shard_rows
    with pytest.raises(ValueError, match="give as much, or smaller shards"):
        small.workers_for(1 << 22)


WRONG = {
    "codec": ({"codec": 3}, TypeError, "codec must be a waterfill.Codec, Plan or Recipe, or None"),
    "dimensions": ({"codec": wf.Recipe(32, 8)}, ValueError, "codec has 32 dimensions, expected 64"),
    "cells": ({"nlist": 7}, ValueError, r"codec has \d+ cells, expected nlist=7"),
    "queries": ({"queries": [[1.0] * 64]}, ValueError, "queries: they are for training"),
    "probes": ({"nprobe": 7}, ValueError, "nprobe needs lists: give nlist"),
    "target": ({"target_recall": 0.9}, ValueError, "target_recall needs lists: give nlist"),
    "policy": ({"policy": "quarantine"}, ValueError, "must be 'raise' or 'drop'"),
    "workers": ({"workers": 0}, ValueError, "workers=0 must be at least 1"),
    "rows": (
        {"refine": np.ones((3, 64), "f4")},
        TypeError,
        "refine must be the name of a row type",
    ),
    "format": ({"format": "npy", "source": np.ones((3, 64), "f4")}, ValueError, "only files have"),
    "column": ({"key": "a", "source": np.ones((3, 64), "f4")}, ValueError, "without columns"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_arguments(files, tmp_path, codec_64, case):
    options, error, words = WRONG[case]
    options = {"source": files / "all.npy", "codec": codec_64} | options
    with pytest.raises(error, match=words):
        wf.build(out=tmp_path / "a.wfx", **options)
    assert not (tmp_path / "a.wfx").exists()


MEASURED = """
import sys
import waterfill as wf
wf.build(sys.argv[1], sys.argv[2], wf.read_codec(sys.argv[3]), memory="350MB", workers=2)
print(1024 * int(open("/proc/self/status").read().partition("VmHWM:")[2].split()[0]))
"""


@pytest.mark.memory
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_stays_below_the_limit(tmp_path, codec_64, vectors):
    rows = 1_600_000  # 400 MB
    with open(tmp_path / "x.fbin", "wb") as file:
        np.array([rows, 64], "<u4").tofile(file)
        for _ in range(rows // 2000):
            vectors[:2000].tofile(file)
    wf.write_codec(codec_64, tmp_path / "codec.wf")
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            MEASURED,
            *(str(tmp_path / x) for x in ("x.fbin", "a.wfx", "codec.wf")),
        ],
        capture_output=True,
        text=True,
        check=True,
        timeout=600,
    )
    assert int(done.stdout) < 350 * 10**6
    assert wf.open_index(tmp_path / "a.wfx").ntotal == rows
