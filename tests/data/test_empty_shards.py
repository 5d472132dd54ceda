"""Files without rows among others, in every format."""

from __future__ import annotations

import logging

import h5py
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.feather as feather
import pyarrow.parquet as pq
import pytest
from support.vector_file_writers import FORMATS, write_hdf5

import waterfill as wf
from waterfill.cli import app

D = 16
ROWS = np.random.default_rng(0).standard_normal((700, D)).astype("f4")


def write_flat_hdf5(path):
    with h5py.File(path, "w") as file:
        file.create_dataset("train", data=np.empty(0, "f4"))


# Files without rows that do not tell their width, as libraries write them.
UNKNOWN = {
    "npy, (0,)": ("e.npy", lambda path: np.save(path, np.empty(0, "f4"))),
    "npy, list": ("e.npy", lambda path: np.save(path, np.array([]))),
    "npy, objects": ("e.npy", lambda path: np.save(path, np.array([], dtype=object))),
    "npy, (0, 0)": ("e.npy", lambda path: np.save(path, np.empty((0, 0), "f4"))),
    "npz": ("e.npz", lambda path: np.savez(path, vectors=np.empty(0, "f4"))),
    "npz, two": ("e.npz", lambda path: np.savez(path, vectors=np.array([]), ids=np.arange(0))),
    "fvecs": ("e.fvecs", lambda path: path.write_bytes(b"")),
    "fbin": ("e.fbin", lambda path: path.write_bytes(bytes(8))),
    "hdf5": ("e.h5", write_flat_hdf5),
    "parquet, lists": (
        "e.parquet",
        lambda path: pq.write_table(pa.table({"v": pa.array([], pa.list_(pa.float32()))}), path),
    ),
    "parquet, pandas": (
        "e.parquet",
        lambda path: pd.DataFrame({"id": [], "v": []}).to_parquet(path),
    ),
    "parquet, no columns": ("e.parquet", lambda path: pd.DataFrame().to_parquet(path)),
    "feather": (
        "e.feather",
        lambda path: feather.write_feather(pa.table({"v": pa.array([], pa.null())}), path),
    ),
}


@pytest.fixture
def full(tmp_path):
    path = tmp_path / "full.npy"
    np.save(path, ROWS)
    return path


@pytest.mark.parametrize("name", UNKNOWN)
def test_a_file_of_unknown_width_is_skipped(name, tmp_path, full, caplog):
    file, write = UNKNOWN[name]
    write(tmp_path / file)
    for paths in ([tmp_path / file, full], [full, tmp_path / file, full]):
        with caplog.at_level(logging.INFO, "waterfill.data"):
            vectors = wf.open_vectors(paths)
        expected = np.concatenate([ROWS] * (len(paths) - 1))
        np.testing.assert_array_equal(np.asarray(vectors), expected)
        assert f"{tmp_path / file} has no rows, and is skipped" in caplog.text
        caplog.clear()


@pytest.mark.parametrize("name", UNKNOWN)
def test_files_without_rows_alone_are_refused(name, tmp_path):
    file, write = UNKNOWN[name]
    write(tmp_path / file)
    with pytest.raises(ValueError, match=r"expected at least 1 row, got 0"):
        wf.open_vectors([tmp_path / file, tmp_path / file])
    if name not in ("npy, (0, 0)", "fbin"):  # which have a shape (n, d)
        with pytest.raises(ValueError, match=file):
            wf.open_vectors(tmp_path / file)


@pytest.mark.parametrize(
    "name", [name for name in FORMATS if "vecs" not in name and "chunked" not in name]
)
def test_a_file_of_zero_rows_is_skipped(name, tmp_path, full):
    file, dtypes, write = FORMATS[name]
    path = tmp_path / f"empty-{file}"
    write(path, np.empty((0, D), dtypes[0]))
    vectors = wf.open_vectors([path, full, path])
    np.testing.assert_array_equal(np.asarray(vectors), ROWS)


def test_different_widths_are_refused(tmp_path, full):
    np.save(tmp_path / "empty.npy", np.empty(0))
    np.save(tmp_path / "narrow.npy", ROWS[:, :5])
    np.save(tmp_path / "wide.npy", np.empty((0, 20), "f4"))
    for other, d in (("narrow.npy", 5), ("wide.npy", 20)):
        message = rf"{other} has {d} dimensions, but .*full.npy has {D}"
        with pytest.raises(ValueError, match=message):
            wf.open_vectors([tmp_path / "empty.npy", full, tmp_path / other])


def test_a_damaged_file_is_not_skipped(tmp_path, full):
    for file, content in (("x.npy", b""), ("x.npz", b""), ("x.parquet", b""), ("x.fbin", b"")):
        (tmp_path / file).write_bytes(content)
        with pytest.raises(wf.FormatError):
            wf.open_vectors([full, tmp_path / file])
    np.save(tmp_path / "scalars.npy", np.arange(5.0))
    write_hdf5(tmp_path / "flat.h5", np.arange(5.0))
    for file in ("scalars.npy", "flat.h5"):
        with pytest.raises(ValueError, match=r"\(n, d\)"):
            wf.open_vectors([full, tmp_path / file])
    with pytest.raises(ValueError, match="empty sequence"):
        wf.open_vectors([])


def test_build_skips_files_without_rows_with_a_note(tmp_path, full, capsys):
    np.save(tmp_path / "empty.npy", np.empty(0))
    np.save(tmp_path / "zero.npy", np.empty((0, D), "f4"))
    empty = [str(tmp_path / name) for name in ("empty.npy", "zero.npy")]
    options = ["--code-bytes", "8", "--effort", "fast", "-o", str(tmp_path / "o.wf")]
    assert app.run(["build", empty[0], str(full), empty[1], *options]) == 0
    said = capsys.readouterr().err
    for name in empty:
        assert f"waterfill: note: {name} has no rows, and is skipped" in said
    assert wf.read_index(tmp_path / "o.wf").ntotal == len(ROWS)
    assert app.run(["build", *empty, *options]) == 1
    assert "expected at least 1 row, got 0" in capsys.readouterr().err


def test_adding_no_rows_changes_nothing(full):
    index = wf.IndexFlat(wf.Recipe(D, 8, effort="fast").train(ROWS, "ip"))
    index.add(ROWS[:0])
    index.add_with_ids(ROWS[:0], np.arange(0))
    assert index.ntotal == 0
    assert index.search(ROWS[:2], 3)[1].tolist() == [[-1] * 3] * 2
