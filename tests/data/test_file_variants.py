"""Variants of the file formats, as other libraries and benchmarks write and name them."""

from __future__ import annotations

import io
import struct
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.feather as feather
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.vector_file_writers import numbers, write_bin, write_hdf5

import waterfill as wf
from waterfill.data.rows import Rows

X = numbers(50, 8, "f4")


def texts(n: int) -> np.ndarray:
    return np.array([f"text {i}" for i in range(n)], dtype=object)


def header(n: int, d: int) -> bytes:
    return struct.pack("<II", n, d)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_members_beside_the_vectors(tmp_path, save):
    path = tmp_path / "x.npz"
    names = np.array([["a", "b"]] * 50)
    save(path, embeddings=X, texts=texts(50), names=names, n=np.array(3), times=names.astype("O"))
    for key in (None, "embeddings"):
        np.testing.assert_array_equal(wf.open_vectors(path, key=key), X)
    for key, words in (
        ("texts", r"array texts: expected real numbers of shape .*object .*not unpickled"),
        ("names", "array names: expected real numbers of shape .*<U1"),
        ("n", r"array n: expected .*, got int64 of shape \(\)"),
        ("none", "no array 'none'; available: embeddings, texts"),
    ):
        with pytest.raises(ValueError, match=words):
            wf.open_vectors(path, key=key)
    save(path, texts=texts(50), a=X, b=X)
    with pytest.raises(
        ValueError, match=r"got 2; choose one by key; available: texts \(50,\) of object, a \(50, 8"
    ):
        wf.open_vectors(path)


def test_a_damaged_member_beside_the_vectors(tmp_path):
    np.savez(tmp_path / "x.npz", a=X)
    with zipfile.ZipFile(tmp_path / "x.npz", "a") as archive:
        archive.writestr("b.npy", b"no array")
    np.testing.assert_array_equal(wf.open_vectors(tmp_path / "x.npz", key="a"), X)
    with pytest.raises(wf.FormatError, match="array b: not an array in NumPy's format"):
        wf.open_vectors(tmp_path / "x.npz")


@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
@pytest.mark.parametrize("dtype", ["<f4", ">f4", "<f2", ">f8", "|b1", ">i2"])
def test_versions_and_byte_orders_of_npy(tmp_path, version, dtype):
    x = (X * 9).astype(dtype)
    data = io.BytesIO()
    np.lib.format.write_array(data, x, version=version)
    (tmp_path / "x.npy").write_bytes(data.getvalue())
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        archive.writestr("x.npy", data.getvalue())
    for name in ("x.npy", "x.npz"):
        found = wf.open_vectors(tmp_path / name)
        assert found.dtype == x.dtype
        np.testing.assert_array_equal(next(Rows(found).blocks())[1], x.astype("f4"))


def test_names_of_fields_need_version_3(tmp_path):
    with open(tmp_path / "x.npy", "wb") as file:
        table = np.zeros(3, dtype=[("Größe", "f4"), ("長さ", "f4")])
        np.lib.format.write_array(file, table, version=(3, 0))
    with pytest.raises(ValueError, match=r"x\.npy: expected real numbers of shape"):
        wf.open_vectors(tmp_path / "x.npy")


def test_bits_are_zeros_and_ones(tmp_path):
    bits = X > 0
    np.save(tmp_path / "x.npy", bits)
    write_hdf5(tmp_path / "sift-256-hamming.hdf5", bits)
    column = pa.array(bits.tolist(), pa.list_(pa.bool_()))
    pq.write_table(pa.table({"v": column}), tmp_path / "x.parquet")
    for name in ("x.npy", "sift-256-hamming.hdf5", "x.parquet"):
        found = wf.open_vectors(tmp_path / name)
        assert found.dtype == bool
        np.testing.assert_array_equal(next(Rows(found).blocks())[1], bits.astype("f4"))


BIN = {"fbin": "f4", "u8bin": "u1", "i8bin": "i1", "ibin": "i4", "f16bin": "f2", "hbin": "f2"}


@pytest.mark.parametrize("form", [*BIN, "dbin"])
@given(n=st.integers(1, 9), more=st.integers(0, 9), d=st.integers(1, 5))
def test_crops_have_the_rows_that_are_there(tmp_path_factory, form, n, more, d):
    folder = tmp_path_factory.mktemp("crops")
    x = numbers(n, d, {**BIN, "dbin": "f8"}[form])
    path = folder / f"base.1B.{form}.crop_nb_{n}"
    path.write_bytes(header(n + more, d) + x.tobytes())
    np.testing.assert_array_equal(wf.open_vectors(path), x)
    np.testing.assert_array_equal(wf.open_vectors(path, format=form), x)
    if more:
        whole = folder / f"base.{form}"
        whole.write_bytes(path.read_bytes())
        words = f"got {path.stat().st_size}.*({n} rows; the file is truncated|format=)"
        with pytest.raises(wf.FormatError, match=words):
            wf.open_vectors(whole)
    if n > 1:  # a download that ended early
        path.write_bytes(path.read_bytes()[: -x[0].nbytes])
        with pytest.raises(wf.FormatError, match=f"expected .* for {n + more} rows"):
            wf.open_vectors(path)


@pytest.mark.parametrize(
    "name", ["x.npy.old", "x.NPY.0", "a.b.fbin.part", "x.fvecs.v2", "x.parquet.1", "dir.npy/x.fbin"]
)
def test_the_last_extension_that_is_known_counts(tmp_path, name):
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    if "npy" in name.lower() and "/" not in name:
        path.write_bytes((np.save(tmp_path / "y.npy", X), (tmp_path / "y.npy").read_bytes())[1])
    elif "fvecs" in name:
        path.write_bytes(b"".join(struct.pack("<i", 8) + row.tobytes() for row in X))
    elif "parquet" in name:
        pq.write_table(pa.table({"v": list(X)}), path)
    else:
        write_bin(path, X)
    np.testing.assert_array_equal(wf.open_vectors(path)[:], X)


def test_the_format_can_be_named(tmp_path):
    write_bin(tmp_path / "vectors", X)
    write_bin(tmp_path / "learn.bin", X)
    for name in ("fbin", ".fbin", "FBIN"):
        for file in ("vectors", "learn.bin"):
            np.testing.assert_array_equal(wf.open_vectors(tmp_path / file, format=name), X)
    both = wf.open_vectors([tmp_path / "vectors", tmp_path / "learn.bin"], format="fbin")
    assert both.shape == (100, 8)
    write_hdf5(tmp_path / "x.bin", X)
    np.testing.assert_array_equal(
        wf.open_vectors(tmp_path / "x.bin", format="hdf5", key="test")[:], X[:1] + 1
    )
    pq.write_table(pa.table({"v": list(X)}), tmp_path / "part-0")
    np.testing.assert_array_equal(wf.open_vectors(tmp_path / "part-0", format="parquet")[:], X)
    for format_, error, words in (
        ("csv", ValueError, "format='csv' is not readable: expected one of npy, "),
        ("bbin", ValueError, "format='bbin' is not readable: .*packed bits; .*format='u8bin'"),
        (3, TypeError, "format must be a str, got int"),
        ("npy", wf.FormatError, "not an array in NumPy's format"),
        ("u8bin", wf.FormatError, "expected 408 bytes .* got 1608; the size is that of format='fb"),
    ):
        with pytest.raises(error, match=words):
            wf.open_vectors(tmp_path / "vectors", format=format_)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("x.bbin", "packed bits; its bytes as numbers: format='u8bin'"),
        ("x.fbin.gz", "compressed; decompress it first"),
        ("x.npy.zst", "compressed; decompress it first"),
        ("x.bin", "unknown extension '.bin'; .*format="),
        ("x", "unknown extension ''; .*format="),
    ],
)
def test_other_names_get_the_way_out(tmp_path, name, words):
    write_bin(tmp_path / name, X)
    with pytest.raises(ValueError, match=words):
        wf.open_vectors(tmp_path / name)


def test_a_ground_truth_is_no_vectors(tmp_path):
    ids = np.arange(50, dtype="<i4").reshape(5, 10)
    data = header(5, 10) + ids.tobytes() + ids.astype("<f4").tobytes()
    (tmp_path / "gt.ibin").write_bytes(data)
    with pytest.raises(wf.FormatError, match="ids followed by distances are a ground truth"):
        wf.open_vectors(tmp_path / "gt.ibin")


def test_other_datasets_of_hdf5_are_refused_with_their_type(tmp_path):
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["train"] = np.zeros((3, 2), "c8")
        file.create_dataset("ragged", (3,), h5py.vlen_dtype(np.float32))
        file["big"] = X.astype(">f4")
    found = wf.open_vectors(tmp_path / "x.h5", key="big")
    np.testing.assert_array_equal(next(Rows(found).blocks())[1], X)
    for key, words in (
        (None, "dataset train: .*complex64"),
        ("ragged", "dataset ragged: .*object"),
    ):
        with pytest.raises(ValueError, match=words):
            wf.open_vectors(tmp_path / "x.h5", key=key)


def write_table(path: Path, column: pa.Array, name: str = "emb") -> None:
    table = pa.table({"id": np.arange(len(column)), name: column})
    if path.suffix == ".parquet":
        pq.write_table(table, path, row_group_size=20)
    else:
        feather.write_feather(table, str(path), "uncompressed", chunksize=20)


def struct_of(lists: list[object]) -> pa.Array:
    kind = pa.struct([("vec", pa.list_(pa.float32())), ("model", pa.string())])
    return pa.array([None if row is None else {"vec": row, "model": "m"} for row in lists], kind)


TYPES = {
    "tensor": lambda: pa.FixedShapeTensorArray.from_numpy_ndarray(X),
    "tensor of one row": lambda: pa.FixedShapeTensorArray.from_numpy_ndarray(X[:, None]),
    "list_view": lambda: pa.array(X.tolist(), pa.list_view(pa.float32())),
    "large_list": lambda: pa.array(X.tolist(), pa.large_list(pa.float32())),
    "struct": lambda: struct_of(X.tolist()),
    "float16": lambda: pa.array(list(X.astype("f2")), pa.list_(pa.float16())),
}


@pytest.mark.parametrize("suffix", [".parquet", ".arrow"])
@pytest.mark.parametrize("kind", TYPES)
def test_types_of_columns(tmp_path, kind, suffix):
    path = tmp_path / f"x{suffix}"
    write_table(path, TYPES[kind]())
    expected = X.astype("f2") if kind == "float16" else X
    for key in (None, "emb", *(["emb.vec"] if kind == "struct" else [])):
        found = wf.open_vectors(path, key=key)
        assert found.shape == X.shape
        np.testing.assert_array_equal(found[:], expected)
        np.testing.assert_array_equal(
            Rows(found).take(np.array([3, 25, 49])), expected[[3, 25, 49]]
        )


def test_structs_of_several_vectors_need_a_path(tmp_path):
    pair = pa.StructArray.from_arrays([pa.array(list(X)), pa.array(list(X + 1))], ["a", "b"])
    write_table(tmp_path / "x.parquet", pair)
    np.testing.assert_array_equal(wf.open_vectors(tmp_path / "x.parquet", key="emb.b")[:], X + 1)
    with pytest.raises(ValueError, match=r"several vectors; choose one by key: emb\.a, emb\.b"):
        wf.open_vectors(tmp_path / "x.parquet", key="emb")
    with pytest.raises(ValueError, match="expected one column of vectors, got 2"):
        wf.open_vectors(tmp_path / "x.parquet")
    write_table(
        tmp_path / "m.parquet", pa.FixedShapeTensorArray.from_numpy_ndarray(X.reshape(50, 2, 4))
    )
    with pytest.raises(ValueError, match="column emb: expected equal-length lists of numbers"):
        wf.open_vectors(tmp_path / "m.parquet", key="emb")


@pytest.mark.parametrize("suffix", [".parquet", ".arrow"])
@pytest.mark.parametrize("make", [lambda rows: pa.array(rows, pa.list_(pa.float32())), struct_of])
@pytest.mark.parametrize(
    "bad", [None, [], [1.0], [1.0] * 9], ids=["null", "empty", "short", "long"]
)
@settings(max_examples=4)
@given(st.sets(st.integers(0, 49), min_size=1, max_size=5))
def test_rows_that_are_no_vectors(tmp_path_factory, suffix, make, bad, numbers_):
    path = tmp_path_factory.mktemp("rows") / f"x{suffix}"
    rows = [bad if i in numbers_ else row for i, row in enumerate(X.tolist())]
    write_table(path, make(rows))
    opened = wf.open_vectors(path)
    assert opened.shape == X.shape
    row = min(numbers_)
    got = "null" if bad is None else len(bad)
    with pytest.raises(wf.FormatError, match=f"row {row}: expected 8 numbers, got {got}"):
        opened[:]
    np.testing.assert_array_equal(opened[:row], X[:row])
    index = wf.IndexFlat(wf.Recipe(8, 2, effort="fast").train(X, "l2"), "l2")
    expected = wf.IndexFlat(index.codec, "l2")
    expected.add(np.delete(X, sorted(numbers_), axis=0))
    for source in (opened, wf.open_vectors([path, path])):
        index.reset()
        with pytest.warns(RuntimeWarning, match=f"left out: row {row}"):
            index.add(source, policy="drop")
        np.testing.assert_array_equal(index.codes()[: expected.ntotal], expected.codes())


def test_a_column_without_numbers(tmp_path):
    for value, words in (([], "an empty list"), (None, "null")):
        write_table(tmp_path / "x.parquet", pa.array([value] * 5, pa.list_(pa.float32())))
        with pytest.raises(wf.FormatError, match=f"row 0: .* got {words}, and no row has numbers"):
            wf.open_vectors(tmp_path / "x.parquet")
