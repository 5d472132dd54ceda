"""Columns of pandas and Arrow as vectors."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import waterfill as wf
from waterfill.data.rows import Rows

torch = pytest.importorskip("torch")  # Macs with Intel processors have none

X = np.random.default_rng(0).standard_normal((40, 6)).astype(np.float32)


def fixed(x: np.ndarray) -> pa.Array:
    return pa.FixedSizeListArray.from_arrays(pa.array(x.ravel()), x.shape[1])


def arrow_series(column: pa.Array) -> pd.Series:
    return pd.Series(column, dtype=pd.ArrowDtype(column.type))


def numeric_frame(x: np.ndarray, dtype: str) -> pd.DataFrame:
    columns = {f"d{i}": pd.Series(column, dtype=dtype) for i, column in enumerate(x.T)}
    return pd.DataFrame(columns).set_index(np.arange(len(x)) * 7)


COLUMNS = {
    "Series of arrays": lambda x: pd.Series(list(x)),
    "Series of lists": lambda x: pd.Series(x.tolist(), index=np.arange(len(x))[::-1]),
    "Series of tensors": lambda x: pd.Series(list(torch.from_numpy(x).requires_grad_())),
    "array of objects": lambda x: pd.Series(list(x)).to_numpy(),
    "frame of one column": lambda x: pd.DataFrame({"emb": list(x)}),
    "its values": lambda x: pd.DataFrame({"emb": list(x)}).to_numpy(),
    "ArrowDtype, fixed": lambda x: arrow_series(fixed(x)),
    "ArrowDtype, list": lambda x: arrow_series(pa.array(x.tolist(), pa.list_(pa.float32()))),
    "frame of one ArrowDtype": lambda x: pd.DataFrame({"emb": arrow_series(fixed(x))}),
    "frame of numbers": lambda x: pd.DataFrame(x),
    "frame of nullable numbers": lambda x: numeric_frame(x, "Float32"),
    "frame of Arrow numbers": lambda x: numeric_frame(x, "float[pyarrow]"),
    "FixedSizeList": fixed,
    "List": lambda x: pa.array(x.tolist(), pa.list_(pa.float32())),
    "LargeList": lambda x: pa.array(list(x), pa.large_list(pa.float32())),
    "list_view": lambda x: pa.array(x.tolist(), pa.list_view(pa.float32())),
    "large_list_view": lambda x: pa.array(x.tolist(), pa.large_list_view(pa.float32())),
    "slice of a list_view": lambda x: pa.array(
        [[9.0] * 6, *x.tolist()], pa.list_view(pa.float32())
    )[1:],
    "tensor": pa.FixedShapeTensorArray.from_numpy_ndarray,
    "slice of a FixedSizeList": lambda x: fixed(np.concatenate([x[:2], x, x]))[2 : 2 + len(x)],
    "ChunkedArray": lambda x: pa.chunked_array([fixed(x[:3]), fixed(x[3:3]), fixed(x[3:])]),
    "Table": lambda x: pa.table({"emb": fixed(x)}),
    "RecordBatch": lambda x: pa.record_batch({"emb": fixed(x)}),
    "Table of numbers": lambda x: pa.table({str(i): column for i, column in enumerate(x.T)}),
    "struct": lambda x: pa.StructArray.from_arrays(
        [fixed(x), pa.array(range(len(x)))], names=["vec", "id"]
    ),
    "list of Arrow scalars": lambda x: list(fixed(x)),
    "list of arrays": list,
    "tuple of tensors": lambda x: tuple(torch.from_numpy(x)),
    "list of lists": np.ndarray.tolist,
}


@pytest.mark.parametrize("kind", COLUMNS)
def test_columns_have_the_values_of_the_array(kind):
    rows = Rows(COLUMNS[kind](X))
    assert (rows.n, rows.d) == X.shape
    whole = np.concatenate([block for _, block in rows.blocks()])
    np.testing.assert_array_equal(whole, X)
    for numbers in ([0], [0, 1, 5, 39], list(range(10, 30)), []):
        np.testing.assert_array_equal(rows.take(np.array(numbers, dtype=np.int64)), X[numbers])
    without = rows.without(np.array([0, 7]))
    kept = np.concatenate([block for _, block in without.blocks()])
    np.testing.assert_array_equal(kept, np.delete(X, [0, 7], axis=0))


@pytest.mark.parametrize("dtype", ["f2", "f8", "i1", "u1", "i8", "?"])
def test_lists_of_all_numbers(dtype):
    x = (X * 20).astype(dtype)
    kind = pa.from_numpy_dtype(x.dtype)
    for column in (fixed(x), pa.array(list(x), pa.list_(kind)), pd.Series(list(x))):
        np.testing.assert_array_equal(next(Rows(column).blocks())[1], x.astype("f4"))


# What a row may be instead of a vector, and what the error says of it.
BAD_ROWS = {
    "null": (None, "expected 6 numbers, got null"),
    "empty": ([], "expected 6 numbers, got 0"),
    "short": ([1.0, 2.0], "expected 6 numbers, got 2"),
    "long": ([1.0] * 7, "expected 6 numbers, got 7"),
    "null inside": ([1.0, None, 2.0, 3.0, 4.0, 5.0], "expected 6 numbers, got a null"),
}
MAKERS = {
    "Series": lambda rows: pd.Series(rows),
    "list": lambda rows: rows,
    "ArrowDtype": lambda rows: arrow_series(pa.array(rows, pa.list_(pa.float32()))),
    "List": lambda rows: pa.array(rows, pa.list_(pa.float32())),
    "list of int8": lambda rows: pa.array(
        [row and [number and int(number) for number in row] for row in rows],
        pa.list_(pa.int8()),
    ),
    "list_view": lambda rows: pa.array(rows, pa.list_view(pa.float32())),
    "chunks": lambda rows: pa.chunked_array(
        [pa.array([row], pa.list_(pa.float32())) for row in rows]
    ),
    "struct": lambda rows: pa.array(
        [{"vec": row} for row in rows], pa.struct([("vec", pa.list_(pa.float32()))])
    ),
}


@pytest.fixture(scope="module")
def codec() -> wf.Codec:
    return wf.Recipe(6, 3, effort="fast").train(np.round(X * 10), "l2")


@pytest.mark.parametrize("maker", MAKERS)
@pytest.mark.parametrize("bad", BAD_ROWS)
@settings(max_examples=8)
@given(st.sets(st.integers(0, 19), min_size=1, max_size=6))
def test_a_row_that_is_no_vector_is_named_or_left_out(codec, maker, bad, numbers):
    value, words = BAD_ROWS[bad]
    x = np.round(X[:20] * 10)
    rows = [value if i in numbers else row for i, row in enumerate(x.tolist())]
    column = MAKERS[maker](rows)
    index = wf.IndexFlat(codec, "l2")
    with pytest.raises(ValueError, match=f"x: row {min(numbers)}: {words}"):
        index.add(column)
    assert index.ntotal == 0
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        index.add(column, policy="drop")
    assert f"{len(numbers)} of 20 rows are left out: row {min(numbers)}" in str(caught[0].message)
    expected = wf.IndexFlat(codec, "l2")
    expected.add(np.delete(x, sorted(numbers), axis=0))
    np.testing.assert_array_equal(index.codes(), expected.codes())
    assert wf.check(column, refuse=()).found["nan"].tolist() == sorted(numbers)


def test_nulls_of_structs_and_of_numbers_are_nulls(codec):
    kind = pa.struct([("vec", pa.list_(pa.float32()))])
    rows = [{"vec": row} for row in X.tolist()]
    rows[4] = None
    index = wf.IndexFlat(codec, "l2")
    with pytest.raises(ValueError, match="x: row 4: expected 6 numbers, got null"):
        index.add(pa.array(rows, kind))
    for frame in (numeric_frame(X, "Float32"), numeric_frame(X, "float[pyarrow]")):
        frame.iloc[3, 2] = None
        with pytest.raises(ValueError, match="x: row 3 has a NaN"):
            index.add(frame)
        with pytest.raises(ValueError, match="x: row 3 has a NaN"):
            index.add(pa.Table.from_pandas(frame, preserve_index=False))
    assert index.ntotal == 0


@pytest.mark.parametrize(
    ("x", "error", "message"),
    [
        (
            pd.DataFrame({"id": [1, 2], "emb": [[1.0], [2.0]]}),
            TypeError,
            r"must have one column of vectors, or .*'emb' \(object\); choose .*, x\[\.\.\.\]",
        ),
        (
            pa.table({"id": [1, 2], "emb": fixed(X[:2])}),
            TypeError,
            r"one column of vectors, .*'emb' \(fixed_size_list.*x\.column\(\.\.\.\)",
        ),
        (pd.DataFrame({"a": [1.0], "day": pd.to_datetime(["2020-01-01"])}), TypeError, "'day'"),
        (pd.DataFrame({"a": [1.0], "b": ["1.5"]}), TypeError, r"'b' \("),
        (pd.Series([1.0, 2.0]), ValueError, r"x must have shape \(n, d\), got shape \(2,\)"),
        (pa.array([1.0, 2.0]), ValueError, r"x must have shape \(n, d\), got shape \(2,\)"),
        (pd.Series(["[1, 2]", "[3, 4]"], dtype=object), TypeError, "row 0 is a str, .* json.loads"),
        (pd.Series([{"a": 1}]), TypeError, "x: row 0 is a dict"),
        (pd.Series([None, None], dtype=object), ValueError, "got only nulls and empty rows"),
        (pd.Series([[], []]), ValueError, "got only nulls and empty rows"),
        (pa.array([[], []], pa.list_(pa.float32())), ValueError, "x: row 0: .* an empty list"),
        (pa.array([], pa.list_(pa.float32())), ValueError, "x: the column is empty"),
        (pa.array([["a"]]), ValueError, "x: expected one column of vectors, got 0; .*string"),
        (pa.array([[[1.0]], [[2.0]]]), ValueError, "got 0; .*list<"),
        (
            pa.FixedShapeTensorArray.from_numpy_ndarray(np.zeros((3, 2, 2), np.float32)),
            ValueError,
            "got 0; .*shape=.2,2",
        ),
        (
            pa.array([{"a": [1.0], "b": [2.0]}]),
            ValueError,
            r"x: expected one column of vectors, got 2",
        ),
        (pa.nulls(3), ValueError, "got only nulls"),
        (pa.array([b"ab"]), TypeError, "x: expected lists of numbers, got binary"),
        (pa.array([1, None]).dictionary_encode(), ValueError, "got 0; .*dictionary"),
        (pd.Series(["a"], dtype="category"), TypeError, "x: row 0 is a str"),
    ],
)
def test_other_columns_are_refused_with_words(x, error, message):
    with pytest.raises(error, match=message):
        Rows(x)


def test_the_whole_library_takes_columns(clustered):
    x = clustered[:600]
    column = pd.Series(list(x))
    assert wf.analyze(column) == wf.analyze(x)
    recipe = wf.Recipe(20, 6, effort="fast")
    index, other = wf.IndexIVF(recipe, 4, metric="l2"), wf.IndexIVF(recipe, 4, metric="l2")
    index.train(column)
    other.train(x)
    assert index.codec.fingerprint == other.codec.fingerprint
    index.add_with_ids(column, pd.Series(np.arange(600), dtype="Int64"))
    other.add_with_ids(x, np.arange(600))
    for query in (column[:5], pd.DataFrame({"q": list(x[:5])}), pa.array(list(x[:5]))):
        for a, b in zip(index.search(query, 3), other.search(x[:5], 3), strict=True):
            np.testing.assert_array_equal(a, b)
