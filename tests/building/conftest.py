"""Fixtures: real vectors in files of several kinds, and what an index of them holds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.build_files import table_of

import waterfill as wf

N = 3000


@pytest.fixture(scope="session")
def vectors(base_64):
    """3,000 vectors of 64 dimensions."""
    return base_64[:N]


@pytest.fixture(scope="session")
def expected(codec_64, vectors):
    """The codes of the vectors."""
    return codec_64.encode(vectors)


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory, vectors) -> Path:
    """The vectors in files: whole, and in a folder of Parquet files with a column of ids."""
    directory = tmp_path_factory.mktemp("files")
    np.save(directory / "all.npy", vectors)
    with open(directory / "all.fbin", "wb") as file:
        np.array(vectors.shape, "<u4").tofile(file)
        vectors.tofile(file)
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    (directory / "lake").mkdir()
    for i in range(6):
        first = 500 * i
        table = table_of(arrow, vectors[first : first + 500], first)
        parquet.write_table(table, directory / "lake" / f"part-{i}.parquet", row_group_size=128)
    parquet.write_table(table_of(arrow, vectors[:0], 0), directory / "lake" / "part-9.parquet")
    return directory


@pytest.fixture
def check(expected):
    """Compare what a folder holds with the vectors in memory."""

    def compare(path, *, ids=None, metric="ip"):
        with wf.open_index(path, verify="full") as index:
            assert index.metric == metric
            assert index.log_bytes == 0
            np.testing.assert_array_equal(index.codes(), expected)
            numbers = np.arange(len(expected)) if ids is None else ids
            np.testing.assert_array_equal(index.ids(), numbers)
            return index.segments

    return compare


@pytest.fixture
def contents():
    """Read the files of a folder, except for its lock, which holds the number of a process."""

    def read(path):
        return {
            file.name: file.read_bytes() for file in sorted(path.iterdir()) if file.name != "LOCK"
        }

    return read
