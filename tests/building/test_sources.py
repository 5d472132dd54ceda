"""Everything that can be built from, beside the same vectors in memory."""

from __future__ import annotations

import numpy as np
import pytest
from support.build_files import ids_of, table_of

import waterfill as wf


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("name", ["all.npy", "all.fbin", "lake", "lake/part-*.parquet"])
def test_files(files, tmp_path, check, codec_64, name, workers):
    built = wf.build(
        files / name, tmp_path / "a.wfx", codec_64, shard_rows=700, workers=workers, key=None
    )
    segments = check(tmp_path / "a.wfx")
    assert built.vectors == 3000
    assert built.segments == len(segments) >= 5
    assert max(segment["vectors"] for segment in segments) <= 700
    assert built.skipped == ((str(files / "lake" / "part-9.parquet"),) if "lake" in name else ())
    assert not built.finished_before


def test_workers_do_not_change_the_files(files, tmp_path, codec_64, contents):
    for workers in (1, 4):
        wf.build(
            files / "lake", tmp_path / f"{workers}.wfx", codec_64, shard_rows=300, workers=workers
        )
    assert contents(tmp_path / "1.wfx") == contents(tmp_path / "4.wfx")


def test_a_sequence_of_files_keeps_its_order(files, tmp_path, codec_64, vectors, expected):
    names = [files / "lake" / f"part-{i}.parquet" for i in (4, 0)]
    wf.build(names, tmp_path / "a.wfx", codec_64, key="vector")
    index = wf.open_index(tmp_path / "a.wfx")
    np.testing.assert_array_equal(
        index.codes(), np.concatenate([expected[2000:2500], expected[:500]])
    )


def test_hdf5_npz_and_arrow_files(files, tmp_path, check, codec_64, vectors):
    h5py = pytest.importorskip("h5py")
    arrow = pytest.importorskip("pyarrow")
    ids = ids_of(0, 3000)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["train"], file["key"] = vectors, ids
    np.savez(tmp_path / "a.npz", base=vectors, key=ids)
    table = table_of(arrow, vectors, 0).rename_columns(["key", "vector", "text"])
    for name, kind in {"a.arrow": arrow.ipc.new_stream, "a.feather": arrow.ipc.new_file}.items():
        with kind(tmp_path / name, table.schema) as writer:
            writer.write_table(table, max_chunksize=100)
    for name in ("a.h5", "a.npz", "a.arrow", "a.feather"):
        out = tmp_path / f"{name}.wfx"
        key = "base" if name == "a.npz" else None
        wf.build(tmp_path / name, out, codec_64, ids="key", key=key, shard_rows=1100, workers=2)
        assert len(check(out, ids=ids)) == 3


def test_a_dataset_of_arrow(files, tmp_path, check, codec_64):
    dataset = pytest.importorskip("pyarrow.dataset")
    fs = pytest.importorskip("pyarrow.fs")
    local = dataset.dataset(files / "lake", format="parquet")
    other = dataset.dataset(
        "lake", format="parquet", filesystem=fs.SubTreeFileSystem(str(files), fs.LocalFileSystem())
    )
    for name, source in {
        "local": local,
        "elsewhere": other,
        "memory": dataset.dataset(local.to_table()),
    }.items():
        out = tmp_path / f"{name}.wfx"
        wf.build(source, out, codec_64, key="vector", ids="id", shard_rows=700, workers=2)
        check(out, ids=ids_of(0, 3000))
    filtered = local.filter(dataset.field("id") > ids_of(1000, 1)[0])
    with pytest.raises(ValueError, match="the dataset is filtered; write the rows that are left"):
        wf.build(filtered, tmp_path / "f.wfx", codec_64, key="vector")


def test_vectors_in_memory(files, tmp_path, check, codec_64, vectors):
    arrow = pytest.importorskip("pyarrow")
    pandas = pytest.importorskip("pandas")
    table = table_of(arrow, vectors, 0)
    frame = pandas.DataFrame({"id": ids_of(0, 3000), "vector": list(vectors)})
    sources = {
        "array": (vectors, {}),
        "list": ([vectors[:1000], vectors[1000:1001], vectors[1001:]], {}),
        "file": (wf.open_vectors(files / "all.npy"), {}),
        "table": (table, {"key": "vector", "ids": "id"}),
        "tables": ([table.slice(0, 10), table.slice(10)], {"key": "vector", "ids": "id"}),
        "frame": (frame, {"key": "vector", "ids": "id"}),
    }
    for name, (source, options) in sources.items():
        out = tmp_path / f"{name}.wfx"
        for again in (False, True):
            built = wf.build(source, out, codec_64, shard_rows=900, **options)
            assert built.finished_before == again
        check(out, ids=ids_of(0, 3000) if "ids" in options else None)


def test_batches_of_an_iterator(tmp_path, check, codec_64, vectors):
    def batches():
        for first in range(0, 3000, 64):
            yield vectors[first : first + 64]

    wf.build(batches(), tmp_path / "a.wfx", codec_64, shard_rows=1000)
    assert [segment["vectors"] for segment in check(tmp_path / "a.wfx")] == [1000] * 3
    wf.build(batches, tmp_path / "b.wfx", codec_64, shard_rows=1000)
    check(tmp_path / "b.wfx")

    def rows():
        for first in range(0, 3000, 500):
            yield {"v": vectors[first : first + 500], "id": ids_of(first, 500)}

    wf.build(rows(), tmp_path / "c.wfx", codec_64, key="v", ids="id", shard_rows=1000)
    check(tmp_path / "c.wfx", ids=ids_of(0, 3000))


def test_an_iterator_that_is_read_twice_trains_a_codec(tmp_path, vectors):
    def batches():
        return iter([vectors[:1000], vectors[1000:]])

    wf.build(batches, tmp_path / "a.wfx", wf.Recipe(64, 16, effort="fast"), seed=3)
    wf.build(vectors, tmp_path / "b.wfx", wf.Recipe(64, 16, effort="fast"), seed=3)
    a, b = (wf.open_index(tmp_path / name) for name in ("a.wfx", "b.wfx"))
    np.testing.assert_array_equal(a.codes(), b.codes())
    with pytest.raises(ValueError, match="an iterator is read once, and training reads it before"):
        wf.build(batches(), tmp_path / "c.wfx")


BAD = {
    "nothing": (lambda files: files / "none.npy", FileNotFoundError, "No such file"),
    "no pattern": (lambda files: files / "n*.npy", FileNotFoundError, "no file has a name like"),
    "a number": (lambda files: 3, ValueError, r"source must have shape \(n, d\)"),
    "no rows": (lambda files: np.empty((0, 64), "f4"), ValueError, "expected at least 1 row"),
    "an iterator of nothing": (lambda files: iter([]), ValueError, "expected at least 1 batch"),
    "an iterator of None": (
        lambda files: iter([None]),
        TypeError,
        "batch 0 of the iterator must be an array, got NoneType",
    ),
    "a function of nothing": (
        lambda files: lambda: None,
        TypeError,
        "expected a function that returns an iterator of batches, got one that returns NoneType",
    ),
    "dimensions": (
        lambda files: [np.ones((3, 64), "f4"), np.ones((3, 65), "f4")],
        ValueError,
        r"source\[1\] has 65 dimensions, but source\[0\] has 64",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_be_built_from(files, tmp_path, codec_64, case):
    source, error, words = BAD[case]
    with pytest.raises(error, match=words):
        wf.build(source(files), tmp_path / "a.wfx", codec_64)
    assert not (tmp_path / "a.wfx").exists()


def test_a_folder_without_vectors(tmp_path, codec_64):
    (tmp_path / "lake").mkdir()
    (tmp_path / "lake" / "_SUCCESS").touch()
    with pytest.raises(ValueError, match="no files of vectors in this folder"):
        wf.build(tmp_path / "lake", tmp_path / "a.wfx", codec_64)
