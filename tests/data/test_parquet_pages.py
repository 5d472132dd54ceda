"""Vectors of Parquet files that are read without the library, beside the library."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import waterfill as wf
from waterfill.data.formats import parquet_pages
from waterfill.data.formats.parquet_pages import NotPlain, PlainPages, RawFile, plain_column
from waterfill.data.rows import Rows

arrow = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")


def pages_of(path):
    """Read all row groups; return the vectors, and how many rows were left to the library."""
    file = parquet.ParquetFile(path)
    field = file.schema_arrow.field(0)
    d = getattr(field.type, "list_size", 0) or len(file.read().column(0)[0].as_py())
    dtype = np.dtype(field.type.value_type.to_pandas_dtype())
    column = plain_column(file.schema, file.schema_arrow.field(0).name, dtype)
    raw, known = RawFile(path), set()
    found, left = [np.empty((0, d), dtype)], 0
    for group in range(file.metadata.num_row_groups):
        for each in PlainPages(raw, file.metadata.row_group(group).column(0), column, d, known):
            if isinstance(each, int):
                left += each
            else:
                found.append(each)
    return np.concatenate(found), left


FORMS = {
    "fixed": lambda x, item: arrow.FixedSizeListArray.from_arrays(
        arrow.array(x.reshape(-1)), type=arrow.list_(arrow.field("item", item), x.shape[1])
    ),
    "lists": lambda x, item: arrow.ListArray.from_arrays(
        np.arange(len(x) + 1, dtype=np.int32) * x.shape[1], arrow.array(x.reshape(-1))
    ),
    "no nulls": lambda x, item: arrow.FixedSizeListArray.from_arrays(
        arrow.array(x.reshape(-1)), type=arrow.list_(arrow.field("item", item, False), x.shape[1])
    ),
}


@given(
    n=st.integers(1, 400),
    d=st.integers(1, 70),
    form=st.sampled_from(list(FORMS)),
    dtype=st.sampled_from(["f4", "f8", "i4", "i8"]),
    compression=st.sampled_from(["none", "snappy", "zstd", "gzip", "lz4"]),
    version=st.sampled_from(["1.0", "2.0"]),
    page=st.integers(100, 20_000),
    group=st.integers(1, 500),
    dictionary=st.booleans(),
    seed=st.integers(0, 100),
)
def test_vectors_are_those_that_were_written(
    tmp_path_factory, n, d, form, dtype, compression, version, page, group, dictionary, seed
):
    rng = np.random.default_rng(seed)
    x = (rng.standard_normal((n, d)) * 1000).astype(dtype)
    path = tmp_path_factory.mktemp("pages") / "x.parquet"
    column = FORMS[form](x, arrow.from_numpy_dtype(np.dtype(dtype)))
    parquet.write_table(
        arrow.table({"vector": column}),
        path,
        compression=compression,
        use_dictionary=dictionary,
        data_page_version=version,
        data_page_size=page,
        row_group_size=group,
        write_batch_size=int(rng.integers(1, 2000)),
    )
    source = wf.open_vectors(path)
    np.testing.assert_array_equal(np.asarray(source), x)
    first, last = sorted(rng.integers(0, n + 1, 2).tolist())
    np.testing.assert_array_equal(source[first:last], x[first:last])
    for start, block in Rows(source).blocks(start=first, stop=last, step=37):
        np.testing.assert_array_equal(block, x[start : start + len(block)].astype("f4"))
    if not dictionary and compression != "lz4":
        found, left = pages_of(path)
        np.testing.assert_array_equal(found, x)
        assert left == 0


def test_a_dictionary_is_left_to_the_library_until_it_is_full(tmp_path):
    x = np.random.default_rng(0).standard_normal((5000, 64)).astype("f4")
    column = FORMS["fixed"](x, arrow.float32())
    options = {"dictionary_pagesize_limit": 100_000, "data_page_size": 50_000}
    parquet.write_table(arrow.table({"v": column}), tmp_path / "x.parquet", **options)
    found, left = pages_of(tmp_path / "x.parquet")
    assert 0 < left < 2000
    assert len(found) == 5000 - left
    np.testing.assert_array_equal(np.asarray(wf.open_vectors(tmp_path / "x.parquet")), x)


ODD = {
    "a null": [[1.0, 2.0], None, [3.0, 4.0]],
    "a null inside": [[1.0, 2.0], [None, 5.0], [3.0, 4.0]],
    "other lengths, the same number in all": [[1.0, 2.0], [3.0], [4.0, 5.0, 6.0]],
    "an empty list": [[1.0, 2.0], [], [3.0, 4.0]],
}


@pytest.mark.parametrize("version", ["1.0", "2.0"])
@pytest.mark.parametrize("case", ODD)
def test_what_is_no_vector_is_found(tmp_path, case, version):
    rows = [[0.5, 0.5]] * 100 + ODD[case]
    table = arrow.table({"v": arrow.array(rows, arrow.list_(arrow.float32()))})
    path = tmp_path / "x.parquet"
    parquet.write_table(table, path, use_dictionary=False, data_page_version=version)
    with pytest.raises(NotPlain):
        pages_of(path)
    source = wf.open_vectors(path)
    with pytest.raises(wf.FormatError, match="row 101: expected 2 numbers"):
        np.asarray(source)
    np.testing.assert_array_equal(source[:101], rows[:101])
    (block,) = (block for _, block in Rows(source).blocks(finite=False, missing=True))
    assert np.isnan(block[101]).any()
    assert len(block) == len(rows)


def test_every_flipped_bit_is_read_as_the_library_reads_it(tmp_path, monkeypatch):
    """Or refused; without a crash."""
    x = np.random.default_rng(0).standard_normal((20, 4)).astype("f4")
    path = tmp_path / "x.parquet"
    column = FORMS["fixed"](x, arrow.float32())
    parquet.write_table(
        arrow.table({"v": column}), path, use_dictionary=False, compression="none",
        write_statistics=False, store_schema=False, data_page_size=100,
    )  # fmt: skip
    data = path.read_bytes()
    end = parquet.ParquetFile(path).metadata.row_group(0).column(0)
    end = end.data_page_offset + end.total_compressed_size

    def read():
        try:
            return np.asarray(wf.open_vectors(path))
        except (ValueError, OSError) as error:
            return type(error)

    differ = 0
    for place in range(4, end):
        for flip in (1, 8, 128):
            path.write_bytes(data[:place] + bytes([data[place] ^ flip]) + data[place + 1 :])
            ours = read()
            with monkeypatch.context() as patch:
                patch.setattr(parquet_pages, "_TYPES", {})
                theirs = read()
            if isinstance(ours, type) or isinstance(theirs, type):
                differ += ours is not theirs
            else:
                np.testing.assert_array_equal(ours, theirs)
    assert differ <= 0.02 * 3 * (end - 4)  # headers have fields that only one of the two looks at
