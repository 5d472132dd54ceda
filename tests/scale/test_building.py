"""Folders that Ray workers build: those that one process builds from the same rows."""

from __future__ import annotations

import os

import numpy as np
import pytest
from support.range_server import serving
from support.store_checks import load

import waterfill as wf
from waterfill.scale import building

SHARD_ROWS = 700


def contents(path) -> dict[str, bytes]:
    """What a folder holds, apart from its lock and the name of its source."""
    return {
        file.name: file.read_bytes()
        for file in sorted(path.iterdir())
        if file.name not in ("LOCK", "BUILD")
    }


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, vectors, codec_64):
    """The folder that one process builds."""
    path = tmp_path_factory.mktemp("undisturbed") / "a.wfx"
    wf.build(lambda: iter([vectors]), path, codec_64, shard_rows=SHARD_ROWS)
    return contents(path)


def test_the_folder_is_that_of_one_process(dataset, codec_64, undisturbed, tmp_path):
    built = wf.scale.build(dataset, tmp_path / "a.wfx", codec_64, shard_rows=SHARD_ROWS)
    assert (built.vectors, built.segments, built.finished_before) == (3000, 5, False)
    assert contents(tmp_path / "a.wfx") == undisturbed
    again = wf.scale.build(dataset, tmp_path / "a.wfx", codec_64, shard_rows=SHARD_ROWS)
    assert again.finished_before
    with pytest.raises(ValueError, match=r"was built otherwise.*metric='l2' instead of 'ip'"):
        wf.scale.build(dataset, tmp_path / "a.wfx", codec_64, metric="l2")


def test_ids_from_a_column_and_a_trained_codec(lake_dataset, vectors, tmp_path):
    recipe = wf.Recipe(64, 12, effort="fast")
    wf.scale.build(
        lake_dataset, tmp_path / "a.wfx", recipe, ids="id", column="vector", shard_rows=1000,
        metric="l2", nlist=16, nprobe=3, refine="float16", workers=1,
    )  # fmt: skip
    with wf.open_index(tmp_path / "a.wfx", verify="full") as index:
        assert index.codec.fingerprint == recipe.train(vectors, "l2", cells=16).fingerprint
        memory = wf.IndexIVF(index.codec, 16, metric="l2", refine="float16")
        memory.nprobe = 3
        memory.add_with_ids(vectors, 7 * np.arange(3000) + 3)
        for ours, theirs in zip(
            index.search(vectors[:50], 5), memory.search(vectors[:50], 5), strict=True
        ):
            np.testing.assert_array_equal(ours, theirs)


def test_a_worker_that_dies_behind_its_segment(
    dataset, codec_64, undisturbed, tmp_path, monkeypatch
):
    """Each task writes its segment, dies before anybody knows, and is done again."""
    markers, encode = str(tmp_path), building._encode_shard

    def dying(chunk, *arguments):
        done = encode(chunk, *arguments)
        try:
            open(f"{markers}/{chunk.number}", "x").close()
        except FileExistsError:
            return done
        os._exit(1)

    monkeypatch.setattr(building, "_encode_shard", dying)
    wf.scale.build(dataset, tmp_path / "a.wfx", codec_64, shard_rows=SHARD_ROWS)
    assert sorted(path.name for path in tmp_path.glob("?")) == list("01234")
    assert contents(tmp_path / "a.wfx") == undisturbed


class Stopped(Exception):  # noqa: N818
    """A build is interrupted."""


def test_an_interrupted_build_goes_on(ray, dataset, vectors, codec_64, undisturbed, tmp_path):
    def stop(progress):
        if progress.shards:
            raise Stopped

    path = tmp_path / "a.wfx"
    options = {"codec": codec_64, "shard_rows": SHARD_ROWS, "workers": 1}
    with pytest.raises(Stopped):
        wf.scale.build(dataset, path, progress=stop, **options)
    with pytest.raises(FileNotFoundError, match="build of this folder is not finished"):
        wf.open_index(path)
    with pytest.raises(ValueError, match="gives other vectors than in the run before, in rows 0"):
        wf.scale.build(ray.data.from_numpy(vectors + 1), path, **options)
    with pytest.raises(ValueError, match="gives fewer vectors than in the run before"):
        wf.scale.build(ray.data.from_numpy(vectors[:SHARD_ROWS]), path, **options)
    # The same rows in other blocks.
    built = wf.scale.build(ray.data.from_numpy(np.array_split(vectors, 3)), path, **options)
    assert built.resumed >= 1
    assert contents(path) == undisturbed


def test_rows_that_cannot_be_used(ray, vectors, codec_64, tmp_path):
    bad = vectors.copy()
    bad[[3, 900]] = np.nan
    dataset = ray.data.from_numpy(np.array_split(bad, 2))
    path = tmp_path / "a.wfx"
    with pytest.raises(ValueError, match="rows 0 to 999 of the dataset, column data: row 3 has a"):
        wf.scale.build(dataset, path, codec_64, shard_rows=1000)
    with pytest.warns(RuntimeWarning, match="2 of 3000 rows are left out"):
        built = wf.scale.build(dataset, path, codec_64, policy="drop", shard_rows=1000)
    assert (built.vectors, built.left_out) == (2998, 2)
    ids = wf.open_index(tmp_path / "a.wfx").ids()
    np.testing.assert_array_equal(ids, np.delete(np.arange(3000), [3, 900]))


def test_a_lake_behind_http(ray, lake, vectors, codec_64, tmp_path):
    """Files are read through fsspec and pyarrow from a server, as from an object store."""
    fsspec, fs = load("fsspec", "pyarrow.fs")
    with serving(lake) as address:
        http = fs.PyFileSystem(fs.FSSpecHandler(fsspec.filesystem("http")))
        files = [f"{address}/{file.name}" for file in sorted(lake.iterdir())]
        dataset = ray.data.read_parquet(files, filesystem=http)
        wf.scale.build(dataset, tmp_path / "a.wfx", codec_64, ids="id")
    index = wf.open_index(tmp_path / "a.wfx")
    np.testing.assert_array_equal(index.ids(), 7 * np.arange(3000) + 3)
    np.testing.assert_array_equal(index.codes(), codec_64.encode(vectors))


def test_errors(ray, dataset, lake_dataset, vectors, codec_64, tmp_path):
    with pytest.raises(ValueError, match=r"out='s3://bucket/a\.wfx': expected a folder on"):
        wf.scale.build(dataset, "s3://bucket/a.wfx", codec_64)
    with pytest.raises(TypeError, match="ids must be the name of a column, got ndarray"):
        wf.scale.build(dataset, tmp_path / "a.wfx", codec_64, ids=np.arange(3000))
    with pytest.raises(ValueError, match="no column 'key'; available: id, vector, text"):
        wf.scale.build(lake_dataset, tmp_path / "a.wfx", codec_64, ids="key")
    doubled = ray.data.from_arrow([ray.get(dataset.to_arrow_refs()[1])] * 2)
    twice = doubled.map_batches(lambda batch: {**batch, "id": np.arange(len(batch["data"]))})
    with pytest.raises(ValueError, match="expected each id once, got 0"):
        wf.scale.build(twice.materialize(), tmp_path / "b.wfx", codec_64, ids="id", column="data")
    assert not (tmp_path / "a.wfx").exists()
