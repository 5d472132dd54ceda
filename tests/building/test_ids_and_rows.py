"""Ids and rows that cannot be used: errors name the file and the row."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.build_files import ids_of, table_of

import waterfill as wf
from waterfill.building.duplicates import first_duplicate


@pytest.fixture
def lake(tmp_path, vectors):
    """Write tables of 100 vectors each, after a change."""
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")

    def write(change=lambda i, columns: None):
        (tmp_path / "lake").mkdir()
        for i in range(4):
            table = table_of(arrow, vectors[100 * i : 100 * (i + 1)], 100 * i)
            columns = {name: table.column(name).to_pylist() for name in table.column_names}
            change(i, columns)
            parquet.write_table(arrow.table(columns), tmp_path / "lake" / f"{i}.parquet")
        return tmp_path / "lake"

    return write


def test_ids_in_an_array(files, tmp_path, check, codec_64, vectors):
    ids = np.random.default_rng(0).permutation(10**6)[:3000] - 500_000
    ids[ids == -1] = 10**6
    wf.build(files / "lake", tmp_path / "a.wfx", codec_64, ids=ids, key="vector", shard_rows=700)
    check(tmp_path / "a.wfx", ids=ids)
    with pytest.raises(ValueError, match="ids: expected 3000 ids, one per vector, got 2999"):
        wf.build(files / "all.npy", tmp_path / "b.wfx", codec_64, ids=ids[1:])
    with wf.open_index(tmp_path / "a.wfx", "a") as index:  # numbers go on behind the largest one
        index.add(vectors[:1])
        assert index.ids(3000).tolist() == [max(ids) + 1]


def set_id(part, row, value):
    def change(i, columns):
        if i == part:
            columns["id"][row] = value

    return change


BAD_IDS = {
    "a null": (set_id(2, 7, None), r"2\.parquet, column id: row 7: expected an id, got null"),
    "minus one": (set_id(1, 0, -1), r"1\.parquet, column id: row 0: id -1 stands for a missing"),
    "twice": (
        set_id(3, 5, int(ids_of(120, 1)[0])),
        r"3\.parquet, column vector, row 5: id 9999160 is also that of "
        r".*1\.parquet, column vector, row 20",
    ),
    "text": (
        lambda i, columns: columns.update(id=["a"] * 100),
        "column id: expected ids, one-dimensional integers",
    ),
    "none": (
        lambda i, columns: columns.pop("id"),
        r"0\.parquet: no column 'id' for ids; available: vector .*, text \(string\)",
    ),
}


@pytest.mark.parametrize("case", BAD_IDS)
def test_bad_ids(lake, tmp_path, codec_64, case):
    change, words = BAD_IDS[case]
    with pytest.raises((ValueError, TypeError), match=words):
        wf.build(lake(change), tmp_path / "a.wfx", codec_64, ids="id", workers=2)
    assert not list(tmp_path.glob("a.wfx/segment-*"))


def test_an_id_that_occurs_twice_in_an_array(tmp_path, codec_64, vectors):
    with pytest.raises(ValueError, match="source, row 9: id 4 is also that of source, row 2"):
        wf.build(vectors[:10], tmp_path / "a.wfx", codec_64, ids=[0, 1, 4, 5, 6, 7, 8, 9, 10, 4])


@given(
    ids=st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=60)
    | st.lists(st.integers(0, 50), min_size=1, max_size=60),
    size=st.integers(1, 20),
    memory=st.integers(24, 2000),
)
def test_duplicates_are_found_within_memory(ids, size, memory):
    array = np.array(ids, np.int64)

    def batches():
        for first in range(0, len(array), size):
            yield first, array[first : first + size]

    found = first_duplicate(batches, len(array), memory)
    assert (found is None) == (len(set(ids)) == len(ids))
    if found is not None:
        id, first, second = found
        assert first < second
        assert ids[first] == ids[second] == id


def spoil(i, columns):
    if i == 1:
        columns["vector"][3] = None
        columns["vector"][8] = [1.0, 2.0]
        columns["vector"][20] = [float("nan")] * 64


@pytest.mark.parametrize("codec", ["trained", "recipe"])
def test_rows_that_cannot_be_used(lake, tmp_path, codec_64, vectors, codec):
    folder = lake(spoil)
    how = codec_64 if codec == "trained" else wf.Recipe(64, 16, effort="fast")
    with pytest.raises(ValueError, match=r"1\.parquet, column vector: row 3: expected 64 numbers"):
        wf.build(folder, tmp_path / "a.wfx", how, ids="id", shard_rows=90)
    with pytest.warns(RuntimeWarning, match="3 of 400 rows are left out") as warned:
        built = wf.build(
            folder, tmp_path / "a.wfx", how, ids="id", shard_rows=90, policy="drop", workers=2
        )
    text = next(str(one.message) for one in warned if "left out" in str(one.message))
    assert all(f"1.parquet, column vector: row {row} (nan)" in text for row in (3, 8, 20))
    assert (built.vectors, built.left_out) == (397, 3)
    index = wf.open_index(tmp_path / "a.wfx", verify="full")
    kept = np.delete(np.arange(400), [103, 108, 120])
    np.testing.assert_array_equal(index.ids(), ids_of(0, 400)[kept])
    np.testing.assert_array_equal(index.codes(), index.codec.encode(vectors[kept]))
    with pytest.raises(ValueError, match="policy='raise' instead of 'drop'"):
        wf.build(folder, tmp_path / "a.wfx", how, ids="id")


def test_a_value_beyond_float16(tmp_path, codec_64, vectors):
    x = vectors[:200].copy()
    x[150, 3] = 1e6
    np.save(tmp_path / "x.npy", x)
    options = {"refine": "float16", "shard_rows": 80}
    with pytest.raises(ValueError, match=r"x\.npy: row 150 has a value of size 1e\+06"):
        wf.build(tmp_path / "x.npy", tmp_path / "a.wfx", codec_64, **options)
    with pytest.warns(RuntimeWarning, match=r"row 150 \(beyond float16\)"):
        wf.build(tmp_path / "x.npy", tmp_path / "a.wfx", codec_64, policy="drop", **options)
    assert wf.open_index(tmp_path / "a.wfx").ids().tolist() == [*range(150), *range(151, 200)]


def test_a_shard_without_usable_rows(tmp_path, codec_64, vectors):
    x = vectors[:300].copy()
    x[100:200] = np.nan
    with pytest.warns(RuntimeWarning, match="100 of 300 rows are left out"):
        built = wf.build(x, tmp_path / "a.wfx", codec_64, policy="drop", shard_rows=100)
    assert (built.vectors, built.segments) == (200, 2)
    assert wf.open_index(tmp_path / "a.wfx").ids().tolist() == [*range(100), *range(200, 300)]


def test_distances_that_are_clipped(tmp_path, codec_64, vectors):
    with pytest.warns(RuntimeWarning, match="3000 of 3000 vectors are so far from the rows"):
        built = wf.build(vectors * 1000, tmp_path / "a.wfx", codec_64)
    assert built.clipped == 3000


def batches_of(vectors, ids, size=50):
    """Yield mappings of vectors with ids."""
    for first in range(0, len(ids), size):
        part = slice(first, min(first + size, len(ids)))
        yield {"v": vectors[part], "id": np.asarray(ids[part])}


STREAMS = {"iterator": lambda start: start(), "function": lambda start: start}


@pytest.mark.parametrize("kind", STREAMS)
@pytest.mark.parametrize(
    ("first", "second"), [(3, 4), (17, 61), (120, 299)], ids=["neighbours", "batches", "shards"]
)
def test_an_id_that_occurs_twice_in_an_iterator(tmp_path, codec_64, vectors, kind, first, second):
    ids = np.random.default_rng(0).permutation(10**6)[:300]
    ids[second] = ids[first]
    source = STREAMS[kind](lambda: batches_of(vectors, ids))
    out = tmp_path / "a.wfx"
    words = f"ids: expected each id once, got {ids[first]} for vectors {first} and {second} of the"
    with pytest.raises(ValueError, match=words):
        wf.build(source, out, codec_64, key="v", ids="id", shard_rows=100)
    with pytest.raises(FileNotFoundError, match="the build of this folder is not finished"):
        wf.open_index(out)
    with pytest.raises(ValueError, match=words):  # the same call goes on to the same error
        wf.build(batches_of(vectors, ids), out, codec_64, key="v", ids="id", shard_rows=100)


@pytest.mark.parametrize("order", ["rising", "falling", "mixed"])
def test_distinct_ids_of_an_iterator(tmp_path, codec_64, vectors, order):
    ids = np.random.default_rng(0).permutation(10**6)[:300]
    ids = {"rising": np.sort(ids), "falling": np.sort(ids)[::-1], "mixed": ids}[order]
    x = vectors[:300].copy()
    x[150] = np.nan
    with pytest.warns(RuntimeWarning, match="1 of 300 rows are left out"):
        wf.build(
            batches_of(x, ids), tmp_path / "a.wfx", codec_64, key="v", ids="id", shard_rows=100,
            policy="drop",
        )  # fmt: skip
    index = wf.open_index(tmp_path / "a.wfx", verify="full")
    np.testing.assert_array_equal(index.ids(), np.delete(ids, 150))


BAD_BATCHES = {
    "another width": (
        lambda x: {"v": x[:, :63], "id": np.arange(50) + 50},
        "batch 1 of the iterator has 63 dimensions, expected 64",
    ),
    "minus one": (
        lambda x: {"v": x, "id": np.arange(-1, 49)},
        "batch 1 of the iterator, column id: row 0: id -1 stands for a missing result",
    ),
    "fewer ids": (
        lambda x: {"v": x, "id": np.arange(49) + 50},
        "batch 1 of the iterator, column id: expected 50 ids, one per vector, got 49",
    ),
    "more ids": (
        lambda x: {"v": x, "id": np.arange(51) + 50},
        "batch 1 of the iterator, column id: expected 50 ids, one per vector, got 51",
    ),
    "a single id": (
        lambda x: {"v": x, "id": np.int64(7)},
        r"column id: expected ids, one-dimensional integers, got shape \(\)",
    ),
    "no column": (lambda x: {"v": x}, "batch 1 of the iterator: no column 'id'; available: v"),
    "no mapping": (lambda x: x, "batch 1 of the iterator: expected columns, got ndarray"),
    "nothing": (lambda x: None, "batch 1 of the iterator: expected columns, got NoneType"),
    "a NaN": (
        lambda x: {"v": np.where(np.arange(50)[:, None] == 7, np.nan, x), "id": np.arange(50)},
        "batch 1 of the iterator: row 7",
    ),
}


@pytest.mark.parametrize("case", BAD_BATCHES)
def test_bad_batches_of_an_iterator(tmp_path, codec_64, vectors, case):
    make, words = BAD_BATCHES[case]

    def batches():
        yield {"v": vectors[:50], "id": np.arange(50)}
        yield make(vectors[50:100])

    out = tmp_path / "a.wfx"
    with pytest.raises((ValueError, TypeError), match=words):
        wf.build(batches(), out, codec_64, key="v", ids="id", shard_rows=40)
    with pytest.raises(FileNotFoundError, match="the build of this folder is not finished"):
        wf.open_index(out)


def test_batches_without_rows(tmp_path, codec_64, vectors):
    with pytest.raises(ValueError, match="the iterator: expected at least 1 row, got 0"):
        wf.build(iter([vectors[:0], vectors[:0]]), tmp_path / "a.wfx", codec_64)
    with pytest.raises(FileNotFoundError, match="the build of this folder is not finished"):
        wf.open_index(tmp_path / "a.wfx")
    built = wf.build(iter([vectors[:0], vectors[:5]]), tmp_path / "a.wfx", codec_64)
    assert built.vectors == 5


def test_more_ids_than_vectors_beside_them_in_a_file(tmp_path, codec_64, vectors):
    np.savez(tmp_path / "a.npz", v=vectors[:50], id=np.arange(51))
    words = "array id: expected 50 ids, one per vector, got 51"
    with pytest.raises(ValueError, match=words):
        wf.build(tmp_path / "a.npz", tmp_path / "a.wfx", codec_64, key="v", ids="id")
    assert not list(tmp_path.glob("a.wfx/segment-*"))


BAD_ARGUMENTS = {
    "memory": ({"memory": "lots"}, ValueError, "memory='lots': expected bytes, such as '1GB'"),
    "little memory": ({"memory": 10**6}, ValueError, "memory=1000000: expected at least"),
    "out": ({"out": 3}, TypeError, "out must be a str or path-like, got int"),
    "null in out": ({"out": "a\0b"}, ValueError, "out='a.*b' contains a null character"),
    "workers": ({"workers": 0}, ValueError, "workers=0 must be at least 1"),
    "shard_rows": ({"shard_rows": 0}, ValueError, "shard_rows=0 must be at least 1"),
    "progress": ({"progress": 3}, TypeError, "progress: expected True, .* or a callable, got int"),
    "nlist": ({"nlist": 10**6}, ValueError, "nlist=1000000 must be at most"),
    "nprobe": ({"nprobe": 4}, ValueError, "nprobe needs lists: give nlist"),
    "metric": ({"metric": "cos"}, ValueError, "metric='cos' must be 'ip', 'l2' or 'cosine'"),
    "refine": ({"refine": "float8"}, ValueError, "refine='float8' must be"),
    "k_factor": ({"k_factor": 0}, ValueError, "k_factor=0 must be at least 1"),
    "policy": ({"policy": "quarantine"}, ValueError, "policy"),
    "seed": ({"seed": -1}, ValueError, "seed"),
    "codec": ({"codec": None}, ValueError, "an iterator is read once"),
    "ids": ({"ids": [1, 2]}, ValueError, "an iterator gives ids in a column; pass its name"),
    "format": ({"format": "npy"}, ValueError, "only files have a format"),
}


@pytest.mark.parametrize("case", BAD_ARGUMENTS)
def test_an_argument_that_is_refused_costs_no_batch(tmp_path, codec_64, vectors, case):
    changed, error, words = BAD_ARGUMENTS[case]
    batches = iter([vectors[:50], vectors[50:100]])
    options = {"out": tmp_path / "a.wfx", "codec": codec_64} | changed
    with pytest.raises(error, match=words):
        wf.build(batches, **options)
    assert not (tmp_path / "a.wfx").exists()
    if case == "little memory":  # what is too little depends on the codec and the vectors
        return
    assert wf.build(batches, tmp_path / "a.wfx", codec_64).vectors == 100
