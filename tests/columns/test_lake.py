"""Codes and their codec in a folder of Parquet files, and an index of them."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.dataset
import pyarrow.parquet as pq
import pytest
from support import trained

import waterfill as wf
from waterfill.columns import encode_column, find_codec, index_codes, keep_codec


def table_of(vectors, codec, first=0):
    ids = np.arange(first, first + len(vectors)) * 2 + 5
    return pa.table({"id": ids, "code": encode_column(vectors, codec)})


@pytest.fixture
def lake(tmp_path, codec_64, vectors):
    """Six files, of which one is empty, and the codec."""
    folder = tmp_path / "lake"
    keep_codec(codec_64, folder)
    for i in range(5):
        table = table_of(vectors[120 * i : 120 * (i + 1)], codec_64, 120 * i)
        pq.write_table(table, folder / f"part-{i}.parquet", row_group_size=50)
    pq.write_table(table_of(vectors[:0], codec_64), folder / "part-9.parquet")
    return folder


def same_answers(index, codec, vectors, ids):
    expected = wf.IndexFlat(codec)
    expected.add_with_ids(vectors, ids) if ids is not None else expected.add(vectors)
    for mine, theirs in zip(
        index.search(vectors[:20], 10), expected.search(vectors[:20], 10), strict=True
    ):
        np.testing.assert_array_equal(mine, theirs)


def test_a_folder_is_searched_with_the_codec_in_it(lake, codec_64, vectors):
    same_answers(index_codes(lake), codec_64, vectors, None)
    same_answers(index_codes(lake, ids="id"), codec_64, vectors, np.arange(600) * 2 + 5)
    same_answers(index_codes(f"file://{lake}"), codec_64, vectors, None)


def test_sources_of_other_kinds(lake, codec_64, vectors):
    files = sorted(str(each) for each in lake.glob("*.parquet"))
    table = pq.read_table(lake)
    for source in (files, table, pa.dataset.dataset(lake, format="parquet")):
        same_answers(index_codes(source, codec_64), codec_64, vectors, None)
    same_answers(index_codes(files[0]), codec_64, vectors[:120], None)
    assert index_codes(table.slice(0, 0), codec_64).ntotal == 0


def test_lists(clustered, tmp_path):
    codec = trained.trained(clustered, 7, cells=16)
    keep_codec(codec, tmp_path)
    pq.write_table(table_of(clustered, codec), tmp_path / "a.parquet")
    index = index_codes(tmp_path, metric="l2", nprobe=3)
    assert (type(index), index.nprobe, index.ntotal) == (wf.IndexIVF, 3, len(clustered))
    assert index_codes(tmp_path, metric="l2", target_recall=0.8).target_recall == 0.8


def test_a_codec_is_found_by_its_fingerprint(lake, codec_64, other_codec):
    keep_codec(other_codec, lake)
    for codec in (codec_64, other_codec):
        assert find_codec(codec.fingerprint, lake).fingerprint == codec.fingerprint
    assert find_codec(index_codes(lake).codec.fingerprint, lake) is not None
    kind = pq.read_schema(lake / "part-0.parquet").field("code").type
    assert find_codec(kind, lake).to_bytes() == codec_64.to_bytes()
    with pytest.raises(FileNotFoundError, match="keep_codec"):
        find_codec("0" * 64, lake)
    with pytest.raises(TypeError, match="CodesType or a fingerprint"):
        find_codec(pa.int32(), lake)


def test_a_codec_under_a_false_name_is_refused(lake, codec_64, other_codec):
    name = keep_codec(codec_64, lake)
    wf.write_codec(other_codec, name)
    with pytest.raises(wf.FormatError, match="expected codec"):
        index_codes(lake)


def test_a_file_of_another_codec_is_refused(lake, codec_64, other_codec, vectors):
    pq.write_table(table_of(vectors[:9], other_codec), lake / "part-7.parquet")
    with pytest.raises(ValueError, match=r"part-7.parquet: expected codes of codec"):
        index_codes(lake)
    with pytest.raises(ValueError, match=r"part-0.parquet: expected codes of codec"):
        index_codes(lake, other_codec)


def test_nulls_are_refused_with_their_row(lake, codec_64, vectors):
    table = table_of(vectors[:30], codec_64)
    pq.write_table(table.take(pa.array([0, 1, None])), lake / "part-9.parquet")
    with pytest.raises(ValueError, match="column code: row 602: expected a code, got null"):
        index_codes(lake)
    with pytest.raises(ValueError, match="column id: row 602: expected an id, got null"):
        index_codes(lake, ids="id")


def test_what_is_not_there_is_named(lake, codec_64, vectors):
    with pytest.raises(ValueError, match=r"expected column 'codes', got 0.*available: id"):
        index_codes(lake, column="codes")
    with pytest.raises(ValueError, match="no column 'key' for ids"):
        index_codes(lake, ids="key")
    with pytest.raises(TypeError, match=r"part-0.parquet: expected a column"):
        index_codes(lake, codec_64, column="id")
    two = table_of(vectors, codec_64).append_column("more", encode_column(vectors, codec_64))
    with pytest.raises(ValueError, match=r"one column of waterfill\.codes, got 2"):
        index_codes(two, codec_64)
    with pytest.raises(ValueError, match="codec is needed"):
        index_codes(two, column="more")
    with pytest.raises(FileNotFoundError):
        index_codes(lake / "none.parquet")


def test_a_file_without_the_column_is_named(lake):
    pq.write_table(pa.table({"id": [1, 2]}), lake / "part-8.parquet")
    with pytest.raises(ValueError, match=r"part-8\.parquet: no column 'code'"):
        index_codes(lake)


@pytest.mark.parametrize("size", [0, 100, 3000])
def test_a_file_that_is_cut_off_is_a_format_error(lake, size):
    file = lake / "part-2.parquet"
    file.write_bytes(file.read_bytes()[:size])
    with pytest.raises(wf.FormatError, match="source: not Parquet, or damaged"):
        index_codes(lake)


def test_checksums_of_pages_are_verified(lake, codec_64, vectors):
    file = lake / "part-2.parquet"
    table = table_of(vectors, codec_64)
    pq.write_table(table, file, compression="none", use_dictionary=False, write_page_checksum=True)
    content = bytearray(file.read_bytes())
    content[content.find(table["code"][300].as_py())] ^= 1
    file.write_bytes(content)
    with pytest.raises(OSError, match="checksum"):
        index_codes(lake)


def test_other_file_systems(codec_64, tmp_path):
    name = keep_codec(codec_64, f"file://{tmp_path}/lake")
    assert wf.read_codec(name).fingerprint == codec_64.fingerprint
    assert find_codec(codec_64.fingerprint, f"file://{tmp_path}/lake").d == 64
