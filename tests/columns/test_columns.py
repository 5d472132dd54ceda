"""Columns of codes: encoded, sliced, in chunks, decoded, and added to indexes."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import trained

import waterfill as wf
from waterfill.columns import CodesType, decode_column, encode_column
from waterfill.data.arrow_codes import read_codes


@pytest.fixture(scope="session")
def column(codec_64, vectors):
    """The codes as a column."""
    return encode_column(vectors, codec_64)


def lists(x):
    return pa.FixedSizeListArray.from_arrays(pa.array(x.reshape(-1)), x.shape[1])


def test_a_column_has_the_codes_of_the_codec(codec_64, vectors, column, codes):
    assert (column.type, len(column), column.null_count) == (CodesType.of(codec_64), 600, 0)
    np.testing.assert_array_equal(read_codes(column, codec_64), codes)
    table = pa.table({"embedding": lists(vectors)})
    assert encode_column(table["embedding"], codec_64).equals(column)


def test_codes_of_one_piece_are_not_copied(codec_64, column):
    whole = read_codes(column, codec_64)
    part = read_codes(column.slice(7, 20), codec_64)
    one = read_codes(pa.chunked_array([column.slice(0, 0), column]), codec_64)
    assert np.shares_memory(whole, part)
    assert np.shares_memory(whole, one)
    np.testing.assert_array_equal(part, whole[7:27])


spans = st.lists(st.tuples(st.integers(0, 600), st.integers(0, 40)), max_size=6)


@given(spans)
def test_slices_in_chunks_are_what_they_are_in_numpy(codec_64, column, codes, spans):
    chunks = [column.slice(first, n) for first, n in spans]
    expected = np.concatenate([codes[:0], *(codes[first : first + n] for first, n in spans)])
    chunked = pa.chunked_array(chunks, type=column.type)
    np.testing.assert_array_equal(read_codes(chunked, codec_64), expected)
    decoded = decode_column(chunked, codec_64)
    assert decoded.type == pa.list_(pa.float32(), 64)
    values = decoded.flatten().to_numpy().reshape(-1, 64)
    np.testing.assert_array_equal(values, codec_64.decode(expected))
    index = wf.IndexFlat(codec_64)
    index.add_sa_codes(chunked)
    np.testing.assert_array_equal(index.codes(), expected)


@pytest.mark.parametrize("cells", [16, 300])
def test_an_index_takes_a_column_as_it_takes_vectors(clustered, cells):
    codec = trained.trained(clustered, 7, cells=cells)
    column = encode_column(clustered, codec)
    ids = np.arange(len(clustered)) * 3
    for make in (
        lambda: wf.IndexFlat(codec, "l2"),
        lambda: wf.IndexIVF(codec, codec.cells, metric="l2"),
    ):
        given_vectors, given_codes = make(), make()
        given_vectors.add_with_ids(clustered, ids)
        given_codes.add_sa_codes(column, ids)
        for mine, theirs in zip(
            given_codes.search(clustered[:50], 5),
            given_vectors.search(clustered[:50], 5),
            strict=True,
        ):
            np.testing.assert_array_equal(mine, theirs)


def test_a_folder_takes_a_column(codec_64, column, codes, tmp_path):
    with wf.open_index(tmp_path / "a.wfx", "a", codec=codec_64) as index:
        index.add_sa_codes(column)
        np.testing.assert_array_equal(index.codes(), codes)


def test_cosine_needs_no_other_codes(base_64):
    codec = trained.trained(base_64, 16, normalize=True)
    scaled = base_64[:200] * np.linspace(0.5, 3, 200, dtype=np.float32)[:, None]
    index, expected = wf.IndexFlat(codec, "cosine"), wf.IndexFlat(codec, "cosine")
    index.add_sa_codes(encode_column(scaled, codec))
    expected.add(scaled)
    np.testing.assert_array_equal(index.codes(), expected.codes())


def test_codes_of_another_codec_are_refused(codec_64, other_codec, column):
    assert codec_64.code_size == other_codec.code_size
    index = wf.IndexFlat(other_codec)
    for use in (index.add_sa_codes, index.sa_decode, other_codec.decode):
        with pytest.raises(ValueError, match=f"got those of codec {codec_64.fingerprint[:16]}"):
            use(column)
    assert index.ntotal == 0


def test_a_null_is_refused_with_its_row(codec_64, column):
    rows = pa.chunked_array([column.slice(0, 4), column.take(pa.array([1, None]))])
    index = wf.IndexFlat(codec_64)
    with pytest.raises(ValueError, match="codes: row 5: expected a code, got null"):
        index.add_sa_codes(rows)
    assert index.ntotal == 0
    index.add_sa_codes(rows.drop_null())
    assert index.ntotal == 5


def test_plain_binary_does_not_say_its_codec(codec_64, column, codes):
    index = wf.IndexFlat(codec_64)
    with pytest.raises(TypeError, match=r"got fixed_size_binary.*wrap_array"):
        index.add_sa_codes(column.storage)
    index.add_sa_codes(CodesType.of(codec_64).wrap_array(column.storage))
    np.testing.assert_array_equal(index.codes(), codes)


@pytest.mark.parametrize("values", [[1, 2], ["a"], [None], [[1.0] * 64]])
def test_other_columns_are_refused(codec_64, values):
    with pytest.raises(TypeError, match=r"a column of waterfill\.codes"):
        codec_64.decode(pa.array(values))


def test_a_codec_is_needed(vectors):
    with pytest.raises(TypeError, match=r"codec must be a waterfill\.Codec, got str"):
        encode_column(vectors, "codec.wf")
