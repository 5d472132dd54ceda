"""Readers of vector files, against files that other code wrote."""

from __future__ import annotations

import struct
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.feather as feather
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.vector_file_writers import FORMATS, fixed, lists, numbers, write_bin, write_hdf5

import waterfill as wf
from waterfill.data.block_source import FileSource
from waterfill.data.rows import BlockSource, Rows
from waterfill.data.vector_files import QUERY_DATASETS
from waterfill.data.vector_files import open_file as open_one

TABLES = ("parquet", "arrow", "feather")


@pytest.mark.parametrize("form", FORMATS)
@given(n=st.integers(1, 40), d=st.integers(1, 9), seed=st.integers(0, 99), data=st.data())
def test_reading_gives_what_was_written(tmp_path_factory, form, n, d, seed, data):
    name, dtypes, write = FORMATS[form]
    x = numbers(n, d, data.draw(st.sampled_from(dtypes)), seed)
    path = tmp_path_factory.mktemp("files") / name
    write(path, x)
    found = wf.open_vectors(path)
    assert (found.shape, found.dtype, len(found)) == (x.shape, x.dtype, n)
    np.testing.assert_array_equal(np.asarray(found), x)
    first, last = sorted(data.draw(st.tuples(st.integers(0, n), st.integers(0, n))))
    np.testing.assert_array_equal(found[first:last], x[first:last])
    step = data.draw(st.sampled_from([-3, -1, 2]))
    np.testing.assert_array_equal(found[::step], x[::step])

    rows = Rows(found)
    for start, block in rows.blocks():
        np.testing.assert_array_equal(block, x[start : start + len(block)].astype("f4"))
    chosen = np.sort(data.draw(st.lists(st.integers(0, n - 1), max_size=n)))
    chosen = np.array(chosen, dtype=np.int64)
    for _ in range(2):  # forward, and from the start again
        np.testing.assert_array_equal(rows.take(chosen), x[chosen].astype("f4"))


# A vecs file without rows has no dimensions, and HDF5 takes no chunk larger than its dataset.
WITHOUT_ROWS = [form for form in FORMATS if "vecs" not in form and form != "hdf5, chunked"]


@pytest.mark.parametrize("form", WITHOUT_ROWS)
def test_files_without_rows(tmp_path, form):
    name, dtypes, write = FORMATS[form]
    write(tmp_path / name, numbers(0, 3, dtypes[0]))
    if form in ("parquet, row groups", "feather"):
        with pytest.raises(ValueError, match="the column is empty, and its type does not fix"):
            wf.open_vectors(tmp_path / name)
        return
    assert np.asarray(wf.open_vectors(tmp_path / name)).shape == (0, 3)


@pytest.mark.parametrize("form", FORMATS)
def test_the_whole_library_takes_them(tmp_path, clustered, form):
    name, dtypes, write = FORMATS[form]
    x = clustered if dtypes[0][0] == "f" else numbers(600, 20, dtypes[0])
    x = x.astype(dtypes[0])
    write(tmp_path / name, x)
    opened = wf.open_vectors(tmp_path / name)
    assert wf.analyze(opened) == wf.analyze(x)
    plan = wf.Plan.waterfill(wf.analyze(x), 6)
    codec = wf.Codec.train(opened, plan, cells=0)
    assert codec.fingerprint == wf.Codec.train(x, plan, cells=0).fingerprint
    np.testing.assert_array_equal(codec.encode(opened), codec.encode(x))
    index, other = wf.IndexFlat(codec, "l2"), wf.IndexFlat(codec, "l2")
    index.add(opened)
    other.add(x)
    for a, b in zip(index.search(opened[:9], 5), other.search(x[:9], 5), strict=True):
        np.testing.assert_array_equal(a, b)


def test_many_rows_of_many_blocks(tmp_path):
    """More rows than a block of `Rows`, a batch of Parquet, or a run of HDF5."""
    x = numbers(150_000, 32, "f4")
    pq.write_table(fixed(x), tmp_path / "x.parquet", row_group_size=40_000)
    write_hdf5(tmp_path / "x.h5", x, chunks=(9_000, 32))
    feather.write_feather(fixed(x), str(tmp_path / "x.arrow"), "zstd")
    rng = np.random.default_rng(1)
    for name in ("x.parquet", "x.h5", "x.arrow"):
        rows = Rows(wf.open_vectors(tmp_path / name))
        assert sum(len(block) for _, block in rows.blocks()) == len(x)
        for first, block in rows.blocks():
            np.testing.assert_array_equal(block, x[first : first + len(block)])
        for count in (1, 20, 5_000):
            chosen = np.sort(rng.choice(len(x), count, replace=False))
            np.testing.assert_array_equal(rows.take(chosen), x[chosen])


def test_taking_reads_only_the_row_groups_that_are_wanted(tmp_path):
    """The others are not even decoded: their pages are broken here."""
    x = numbers(4_000, 16, "f4")
    path = tmp_path / "x.parquet"
    pq.write_table(fixed(x), path, row_group_size=1_000, use_dictionary=False, compression="zstd")
    metadata = pq.ParquetFile(path).metadata
    data = bytearray(path.read_bytes())
    for group in (1, 2):
        column = metadata.row_group(group).column(1)
        start = column.data_page_offset
        data[start : start + column.total_compressed_size] = bytes(column.total_compressed_size)
    path.write_bytes(data)
    opened = wf.open_vectors(path)
    chosen = np.array([5, 900, 3_000, 3_999])
    np.testing.assert_array_equal(opened.take(chosen), x[chosen])
    with pytest.raises(wf.FormatError, match=r"x\.parquet, column embedding: .*damaged"):
        opened.read(1_500, 10)
    np.testing.assert_array_equal(opened.read(0, 10), x[:10])


def test_several_files_are_one(tmp_path):
    x = numbers(900, 8, "f4")
    np.save(tmp_path / "a.npy", x[:200])
    write_bin(tmp_path / "b.fbin", x[200:201])
    pq.write_table(lists(x[201:]), tmp_path / "c.parquet")
    joined = wf.open_vectors([tmp_path / "a.npy", tmp_path / "b.fbin", tmp_path / "c.parquet"])
    assert joined.shape == (900, 8)
    np.testing.assert_array_equal(np.asarray(joined), x)
    np.testing.assert_array_equal(joined[150:600:3], x[150:600:3])
    assert wf.analyze(joined) == wf.analyze(x)
    np.save(tmp_path / "d.npy", x[:, :5])
    with pytest.raises(ValueError, match=r"d\.npy has 5 dimensions, but .*a\.npy has 8"):
        wf.open_vectors([tmp_path / "a.npy", tmp_path / "d.npy"])
    with pytest.raises(ValueError, match="at least 1 file"):
        wf.open_vectors([])


def test_arrays_are_chosen_by_key(tmp_path):
    x, y = numbers(9, 4, "f4"), numbers(5, 4, "f4", 1)
    np.savez(tmp_path / "x.npz", stored=x, asked=y)
    write_hdf5(tmp_path / "x.h5", x)
    table = fixed(x).append_column("other", fixed(y[[0] * 9]).column("embedding"))
    pq.write_table(table, tmp_path / "x.parquet")
    np.testing.assert_array_equal(wf.open_vectors(tmp_path / "x.npz", key="asked"), y)
    np.testing.assert_array_equal(wf.open_vectors(tmp_path / "x.h5", key="test")[:], x[:1] + 1)
    np.testing.assert_array_equal(open_one(tmp_path / "x.h5", None, QUERY_DATASETS)[:], x[:1] + 1)
    np.testing.assert_array_equal(wf.open_vectors(tmp_path / "x.parquet", key="embedding")[:], x)
    for name, listed in (("x.npz", r"stored \(9, 4\)"), ("x.parquet", "other")):
        with pytest.raises(
            ValueError, match=f"{name}: expected one .*, got 2; choose one by key; .*{listed}"
        ):
            wf.open_vectors(tmp_path / name)
    for name in ("x.npz", "x.h5", "x.parquet"):
        with pytest.raises(ValueError, match=f"{name}: no .* 'none'; available: "):
            wf.open_vectors(tmp_path / name, key="none")
    with pytest.raises(
        ValueError, match=r"column id: expected equal-length lists of numbers, got int64"
    ):
        wf.open_vectors(tmp_path / "x.parquet", key="id")
    np.save(tmp_path / "x.npy", x)
    with pytest.raises(
        ValueError, match=r"x\.npy: a \.npy .* one unnamed array; leave out key='none'"
    ):
        wf.open_vectors(tmp_path / "x.npy", key="none")


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("x.npy", b"", "not an array in NumPy's format"),
        ("x.npy", b"\x93NUMPY\x09\x00" + bytes(40), r"unknown version \(9, 0\)"),
        ("x.npz", b"PK\x03\x04" + bytes(60), "not a NumPy archive"),
        ("x.fvecs", b"", "the file is empty"),
        ("x.fvecs", b"\0\0", "at the start, got 0"),
        ("x.fvecs", struct.pack("<i", -3) + bytes(12), "at the start, got -3"),
        ("x.fvecs", struct.pack("<ifi", 1, 0.5, 1), "expected a multiple of 8 bytes, .*, got 12"),
        ("x.fvecs", struct.pack("<ifif", 1, 0.5, 2, 0.5), "row 1: expected 1 dimensions, got 2"),
        ("x.bvecs", struct.pack("<ib", 1, 5)[:-1], "expected a multiple of 5 bytes, .*, got 4"),
        ("x.fbin", b"\1\0", "expected a header of 8 bytes, got 2"),
        (
            "x.fbin",
            struct.pack("<II", 3, 2) + bytes(20),
            "expected 32 bytes for 3 rows of 2 dim.*, got 28",
        ),
        ("x.u8bin", struct.pack("<II", 3, 2) + bytes(7), "expected 14 bytes .*, got 15"),
        ("x.h5", b"no HDF5", "not an HDF5 file, or damaged"),
        ("x.parquet", b"no Parquet at all", "not a file of its format, or damaged"),
        ("x.parquet", b"", "not a file of its format, or damaged"),
        ("x.arrow", b"", "the file is empty"),
        ("x.arrow", b"ARROW1 and nothing else", "not a file of its format, or damaged"),
        ("x.feather", b"neither one nor the other", "not a file of its format, or damaged"),
    ],
)
def test_damaged_files_are_refused_in_one_line(tmp_path, name, data, message):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(wf.FormatError, match=message) as raised:
        wf.open_vectors(tmp_path / name)
    assert str(tmp_path / name) in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("form", FORMATS)
def test_what_is_cut_off_is_refused(tmp_path, form):
    name, dtypes, write = FORMATS[form]
    write(tmp_path / name, numbers(30, 6, dtypes[0]))
    data = (tmp_path / name).read_bytes()
    for length in range(0, len(data) - 1, max(1, len(data) // 40)):
        (tmp_path / name).write_bytes(data[:length])
        try:
            opened = wf.open_vectors(tmp_path / name)
        except wf.FormatError as error:
            assert str(tmp_path / name) in str(error)  # noqa: PT017
            continue
        # Rows that are all there, or a stream's first batches.
        assert "vecs" in form or "stream" in form
        assert len(opened) < 30 or length > len(data) - 50


@settings(max_examples=60)
@given(at=st.floats(0, 1, exclude_max=True), value=st.integers(0, 255), data=st.data())
def test_a_changed_byte_is_an_error_or_a_changed_number(tmp_path_factory, at, value, data):
    form = data.draw(st.sampled_from(sorted(FORMATS)))
    name, dtypes, write = FORMATS[form]
    path = tmp_path_factory.mktemp("changed") / name
    write(path, numbers(30, 6, dtypes[0]))
    content = bytearray(path.read_bytes())
    content[int(at * len(content))] = value
    path.write_bytes(content)
    try:
        x = np.asarray(wf.open_vectors(path))
    except ValueError as error:
        assert str(path) in str(error)  # noqa: PT017
        return
    assert x.ndim == 2


def test_other_contents_are_refused(tmp_path):
    np.save(tmp_path / "one.npy", np.ones(4))
    np.save(tmp_path / "text.npy", np.array([["a"]]))
    np.save(tmp_path / "objects.npy", np.array([[None]]), allow_pickle=True)
    with h5py.File(tmp_path / "one.h5", "w") as file:
        file["train"] = np.ones(4)
    with h5py.File(tmp_path / "none.h5", "w") as file:
        file["group/vectors"] = np.ones(4)
    for name, message in (
        ("one.npy", r"expected real numbers of shape \(n, d\), got float64 of shape \(4,\)"),
        ("text.npy", "expected real numbers .*, got <U1"),
        (
            "objects.npy",
            r"expected real numbers of shape \(n, d\), got object .*; objects are not unpickled",
        ),
        ("one.h5", r"dataset train: expected .*, got float64 of shape \(4,\)"),
        ("none.h5", r"array of shape \(n, d\), got 0; .*available: group/vectors \(4,\)"),
    ):
        with pytest.raises(ValueError, match=message):
            wf.open_vectors(tmp_path / name)
    (tmp_path / "x.csv").write_text("1,2")
    with pytest.raises(
        ValueError, match=r"x\.csv: unknown extension '\.csv'; expected one of npy.*: format="
    ):
        wf.open_vectors(tmp_path / "x.csv")
    with pytest.raises(FileNotFoundError, match=r"none\.parquet"):
        wf.open_vectors(tmp_path / "none.parquet")


@pytest.mark.parametrize("suffix", TABLES)
def test_lists_that_are_no_vectors_get_their_row(tmp_path, suffix):
    path = tmp_path / f"x.{suffix}"
    float32 = pa.float32()

    def write(values: list[object], kind: pa.DataType = float32) -> FileSource:
        table = pa.table({"v": pa.array(values, type=pa.list_(kind))})
        if suffix == "parquet":
            pq.write_table(table, path, row_group_size=3)
        else:
            feather.write_feather(table, str(path), "uncompressed", chunksize=3)
        return wf.open_vectors(path)

    with pytest.raises(wf.FormatError, match="column v: row 4: expected 2 numbers, got null"):
        np.asarray(write([[1, 2]] * 4 + [None]))
    with pytest.raises(wf.FormatError, match="column v: row 5: expected 2 numbers, got 3"):
        np.asarray(write([[1, 2]] * 5 + [[1, 2, 3]]))
    with pytest.raises(wf.FormatError, match="row 0: expected a list of numbers, got null"):
        write([None])
    for kind in (pa.float32(), pa.int8()):
        found = write([[1, 2]] * 4 + [[1, None]] * 2 + [[3, 4]] * 3, kind)
        with pytest.raises(wf.FormatError, match="column v: row 4: expected 2 numbers, got a null"):
            wf.IndexFlat(wf.Recipe(2, 1)).train(found)
        np.testing.assert_array_equal(found[6:9], [[3, 4]] * 3)  # what is whole is still read
        np.testing.assert_array_equal(found[0:3], [[1, 2]] * 3)


class Halves:
    """A block source of somebody's own."""

    def __init__(self, x: np.ndarray) -> None:
        self.x, self.shape, self.dtype = x, x.shape, x.dtype

    def read(self, first: int, n: int) -> np.ndarray:
        return self.x[first : first + n]

    def take(self, rows: np.ndarray) -> np.ndarray:
        return self.x[rows]


def test_block_sources_of_ones_own(clustered):
    source = Halves(clustered)
    assert isinstance(source, BlockSource)
    assert not isinstance(clustered, BlockSource)
    assert wf.analyze(source) == wf.analyze(clustered)
    source.read = lambda first, n: clustered[first : first + 1]
    with pytest.raises(
        ValueError, match=r"expected the source to return shape \(3000, 20\), got \(1, 20\)"
    ):
        wf.analyze(source)
    with pytest.raises(TypeError, match="x must hold real numbers, got dtype complex64"):
        wf.analyze(Halves(clustered.astype("c8")))


@pytest.mark.parametrize("module", ["h5py", "pyarrow"])
def test_a_missing_package_is_named(tmp_path, monkeypatch, module):
    name, extra = {"h5py": ("x.h5", "hdf5"), "pyarrow": ("x.parquet", "parquet")}[module]
    (tmp_path / name).write_bytes(b"anything")
    for loaded in [key for key in sys.modules if key.partition(".")[0] == module]:
        monkeypatch.setitem(sys.modules, loaded, None)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=rf'reading {name} needs .*"\.\[{extra}\]"'):
        wf.open_vectors(tmp_path / name)


PEAK = """
import re, sys
import numpy as np
import waterfill as wf
from waterfill.data.rows import Rows
opened = wf.open_vectors(sys.argv[1])
np.asarray(opened[:10])

def peak():
    return int(re.search(r"VmHWM:\\s*(\\d+) kB", open("/proc/self/status").read())[1])

before = peak()
rows = Rows(opened)
assert sum(len(block) for _, block in rows.blocks()) == rows.n
rows.take(np.linspace(0, rows.n - 1, 2000).astype(np.int64))
print(rows.n * rows.d * opened.dtype.itemsize // 1024, peak() - before)
"""


def write_big(path: Path) -> None:
    """Some 300 MB, sparse where the format allows it."""
    n, d = 600_000, 128
    if path.suffix == ".npy":
        np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=(n, d))
    elif path.suffix == ".fvecs":
        rows = np.memmap(path, dtype="<i4", mode="w+", shape=(n, d + 1))
        rows[:, 0] = d
    elif path.suffix == ".fbin":
        path.write_bytes(struct.pack("<II", n, d))
        with open(path, "r+b") as file:
            file.truncate(8 + 4 * n * d)
    elif path.suffix == ".h5":
        with h5py.File(path, "w") as file:
            file.create_dataset("train", (n, d), "f4", chunks=(1000, d))
    else:
        table = fixed(np.zeros((n, d), dtype=np.float32))
        if path.suffix == ".parquet":
            pq.write_table(table, path, compression="none", use_dictionary=False)  # one row group
        else:
            feather.write_feather(table, str(path), "uncompressed", chunksize=n)


@pytest.mark.memory
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("suffix", ["npy", "fvecs", "fbin", "h5", "parquet", "arrow"])
def test_big_files_take_little_memory(tmp_path, suffix):
    path = tmp_path / f"big.{suffix}"
    write_big(path)
    done = subprocess.run(
        [sys.executable, "-c", PEAK, path], capture_output=True, text=True, timeout=300, check=True
    )
    file_kib, grown_kib = map(int, done.stdout.split())
    assert file_kib == 300_000
    assert grown_kib < 100_000
