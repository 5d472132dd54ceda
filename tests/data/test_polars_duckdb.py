"""Vectors from Polars and DuckDB, in memory and from the files that they write."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.store_checks import load

import waterfill as wf
from waterfill.data.rows import Rows

X = np.random.default_rng(0).standard_normal((40, 6)).astype(np.float32)


@pytest.fixture(scope="module")
def pl():
    return load("polars")[0]


@pytest.fixture
def duck():
    """A connection with a table `t` of ids and vectors."""
    connection = load("duckdb")[0].connect()
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(X.ravel()), 6)
    arrow = pa.table({"id": range(40), "e": vectors})
    connection.register("arrow", arrow)
    connection.execute("create table t as select id, e::FLOAT[6] as e from arrow")
    yield connection
    connection.close()


def whole(x):
    return np.concatenate([block for _, block in Rows(x).blocks()])


POLARS = {
    "Array": lambda pl: pl.Series(X.tolist(), dtype=pl.Array(pl.Float32, 6)),
    "List": lambda pl: pl.Series(X.tolist(), dtype=pl.List(pl.Float32)),
    "List of doubles": lambda pl: pl.Series(X.tolist()),
    "objects": lambda pl: pl.Series(list(X), dtype=pl.Object),
    "chunks": lambda pl: pl.concat([pl.Series(X[:9]), pl.Series(X[9:])], rechunk=False),
    "slice": lambda pl: pl.Series(np.concatenate([X[:3], X]))[3:],
    "frame of one column": lambda pl: pl.DataFrame({"e": X.tolist()}),
    "frame of numbers": lambda pl: pl.DataFrame(X),
    "collected": lambda pl: pl.DataFrame({"e": X.tolist()}).lazy().collect(),
    "struct": lambda pl: pl.DataFrame({"e": X.tolist()}).to_struct(),
    "list of series": lambda pl: [pl.Series(row) for row in X],
}
DUCKDB = {
    "ARRAY": "select e from t order by id",
    "LIST": "select e::FLOAT[] as e from t order by id",
    "LIST of doubles": "select e::DOUBLE[] as e from t order by id",
    "columns of numbers": "select e[1], e[2], e[3], e[4], e[5], e[6] from t order by id",
    "struct": "select {'id': id, 'e': e} as s from t order by id",
}


@pytest.mark.parametrize("kind", POLARS)
def test_polars(pl, kind):
    np.testing.assert_array_equal(whole(POLARS[kind](pl)), X)


@pytest.mark.parametrize("kind", DUCKDB)
def test_duckdb(duck, kind):
    relation = duck.sql(DUCKDB[kind])
    np.testing.assert_array_equal(whole(relation), X)
    np.testing.assert_array_equal(whole(relation.to_arrow_table()), X)
    np.testing.assert_array_equal(whole(relation.to_arrow_reader()), X)
    np.testing.assert_array_equal(whole(relation.df() if "struct" not in kind else relation), X)


def test_all_of_an_index_takes_them(pl, duck):
    series = pl.Series(X.tolist(), dtype=pl.List(pl.Float32))
    index = wf.IndexFlat(wf.Recipe(6, 3, effort="fast"), "l2")
    index.train(duck.sql("select e from t"))
    index.add_with_ids(series, pl.Series(range(100, 140)))
    found = index.search(series[:5], 2)
    same = index.search(X[:5], 2)
    for a, b in zip(found, same, strict=True):
        np.testing.assert_array_equal(a, b)
    assert found[1].min() >= 100


@pytest.mark.parametrize("null", [[None], [[1.0] * 5]], ids=["null", "short"])
def test_a_row_that_is_no_vector_is_named_or_left_out(pl, duck, null):
    rows = [*X.tolist(), *null]
    series = pl.Series(rows, dtype=pl.List(pl.Float32))
    duck.register("more", series.to_frame("e").to_arrow())
    codec = wf.Recipe(6, 3, effort="fast").train(X, "ip")
    for column in (series, duck.sql("select e from more"), duck.sql("select e from more").pl()):
        with pytest.raises(ValueError, match=r"row 40: expected 6 numbers, got (null|5)"):
            codec.encode(column)
        with pytest.warns(RuntimeWarning, match="1 of 41 rows are left out"):
            codes = codec.encode(column, policy="drop")
        np.testing.assert_array_equal(codes, codec.encode(X))


def test_what_cannot_be_read_says_what_to_do(pl, duck):
    frame = pl.DataFrame({"id": range(40), "e": X.tolist()})
    for x, error, message in [
        (frame, TypeError, r"choose the column, x\[\.\.\.\]"),
        (duck.sql("select * from t"), TypeError, r"choose the column, x\.select\(\.\.\.\)"),
        (frame.lazy(), TypeError, r"no rows yet; pass x\.collect\(\)"),
        (duck, TypeError, r"no rows yet; pass the relation, x\.sql\(\.\.\.\)"),
        (pl.Series(["[1, 2]"]), TypeError, "got string.*; parse the text first"),
        (pl.Series([b"ab"]), TypeError, r"as_codes\(column, codec\)"),
        (pl.Series(X.reshape(40, 2, 3)), ValueError, "flatten each row to one list"),
        (duck.sql("select e::DECIMAL(8, 4)[6] as e from t"), ValueError, "cast decimals"),
    ]:
        with pytest.raises(error, match=message):
            Rows(x)


def test_files_that_they_write(pl, duck, tmp_path):
    frame = pl.DataFrame({"id": range(40), "e": pl.Series(X, dtype=pl.Array(pl.Float32, 6))})
    frame.write_parquet(tmp_path / "polars.parquet", row_group_size=16)
    frame.write_ipc(tmp_path / "polars.arrow")
    lists = frame.with_columns(pl.col("e").arr.to_list())
    lists.write_parquet(tmp_path / "lists.parquet")
    target = str(tmp_path / "duckdb.parquet")
    duck.sql("select * from t order by id").write_parquet(target)
    for name in ("polars.parquet", "polars.arrow", "lists.parquet", "duckdb.parquet"):
        np.testing.assert_array_equal(whole(wf.open_vectors(tmp_path / name, key="e")), X)
    wf.build(
        [tmp_path / "polars.parquet"],
        tmp_path / "corpus.wfx",
        key="e",
        ids="id",
        codec=wf.Recipe(6, 3, effort="fast").train(X, "ip"),
    )
    assert wf.open_index(tmp_path / "corpus.wfx").ntotal == 40


def test_polars_needs_no_import_of_pyarrow_first(pl):
    code = (
        "import sys, polars as pl, waterfill as wf\n"
        "from waterfill.data.rows import Rows\n"
        "assert 'pyarrow' not in sys.modules\n"
        "rows = Rows(pl.Series([[1.0, 2.0], [3.0, 4.0]]))\n"
        "print(rows.n, rows.d, next(rows.blocks())[1].tolist())\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["2", "2", "[[1.0,", "2.0],", "[3.0,", "4.0]]"]


def test_codes_come_back_from_engines_that_do_not_know_their_type(pl, duck, tmp_path):
    codec = wf.Recipe(6, 3, effort="fast").train(X, "ip")
    column = wf.columns.encode_column(X, codec)
    pq.write_table(pa.table({"id": range(40), "code": column}), tmp_path / "codes.parquet")
    want = codec.encode(X)
    path = Path(tmp_path / "codes.parquet").as_posix()
    plain = pl.read_parquet(path)["code"]
    if plain.dtype != pl.Binary:  # an extension type of its own
        plain = plain.ext.storage()
    found = duck.sql(f"select code from '{path}' where id >= 5 order by id")
    for given, first in (
        (plain, 0),
        (found.to_arrow_table()["code"], 5),
        (pa.array([each.tobytes() for each in want]), 0),
        (pa.array([each.tobytes() for each in want], pa.binary(4)), 0),
        (column, 0),
    ):
        codes = wf.columns.as_codes(given, codec)
        assert codes.type == wf.columns.CodesType.of(codec)
        np.testing.assert_array_equal(codec.decode(codes), codec.decode(want[first:]))


@pytest.mark.parametrize(
    ("column", "error", "message"),
    [
        (pa.array([b"abcd", b"abc"]), ValueError, "row 1: expected a code of 4 bytes, got 3"),
        (pa.array([b"abc"], pa.binary(3)), ValueError, "row 0: expected a code of 4 bytes, got 3"),
        (pa.array(["abcd"]), TypeError, "column: expected codes as bytes, got string"),
        ([b"abcd"], TypeError, "column must be a column of bytes, got list"),
    ],
)
def test_what_is_no_column_of_codes_is_refused(column, error, message):
    codec = wf.Recipe(6, 3, effort="fast").train(X, "ip")
    with pytest.raises(error, match=message):
        wf.columns.as_codes(column, codec)
    other = wf.Recipe(6, 3, seed=5, effort="fast").train(X[:30], "ip")
    with pytest.raises(ValueError, match="expected codes of codec"):
        wf.columns.as_codes(wf.columns.encode_column(X, other), codec)
