"""The extension type: what it keeps, through files and processes, and what it refuses."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from waterfill.columns import CodesType, encode_column

READ = """
import sys, pyarrow.parquet as pq
{imports}
column = pq.read_table(sys.argv[1], use_threads=False)["code"]
print(column.type)
print(column.chunk(0)[3].as_py().hex())
"""


@pytest.fixture
def file(tmp_path, codec_64, vectors):
    path = tmp_path / "codes.parquet"
    table = pa.table({"id": np.arange(600), "code": encode_column(vectors, codec_64)})
    pq.write_table(table, path)
    return path


# Without threads: a thread of pyarrow that lets go of a type defined in Python while the
# interpreter ends aborts the process, after its work is done (4 % of runs on busy cores).
def read_in_a_new_process(file, imports):
    done = subprocess.run(
        [sys.executable, "-c", READ.format(imports=imports), str(file)],
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.splitlines()


def test_a_process_that_imports_it_reads_the_type(file, codec_64, codes):
    kind, code = read_in_a_new_process(file, "import waterfill.columns")
    assert kind == str(CodesType.of(codec_64))
    assert codec_64.fingerprint[:16] in kind
    assert bytes.fromhex(code) == codes[3].tobytes()


def test_without_it_the_file_is_plain_binary(file, codec_64, codes):
    kind, code = read_in_a_new_process(file, "")
    assert kind == f"fixed_size_binary[{codec_64.code_size}]"
    assert bytes.fromhex(code) == codes[3].tobytes()


def test_files_keep_codes_and_type(file, tmp_path, codec_64, codes):
    table = pq.read_table(file)
    pyarrow.feather.write_feather(table, tmp_path / "codes.feather")
    for column in (
        table["code"],
        pyarrow.feather.read_table(tmp_path / "codes.feather")["code"],
    ):
        assert column.type == CodesType.of(codec_64)
        assert (column.type.fingerprint, column.type.d) == (codec_64.fingerprint, 64)
        np.testing.assert_array_equal(np.stack([list(x.as_py()) for x in column]), codes)


def test_types_of_two_codecs_differ(codec_64, other_codec, vectors):
    assert CodesType.of(codec_64) == CodesType.of(codec_64)
    assert CodesType.of(codec_64) != CodesType.of(other_codec)
    tables = [pa.table({"code": encode_column(vectors, c)}) for c in (codec_64, other_codec)]
    with pytest.raises(pa.ArrowInvalid, match=r"[Ss]chema"):
        pa.concat_tables(tables)


def test_it_is_pickled_with_its_columns(codec_64, vectors):
    column = encode_column(vectors, codec_64)
    again = pickle.loads(pickle.dumps(column))
    assert again.equals(column)
    assert again.type.fingerprint == codec_64.fingerprint


def test_pandas_reads_bytes(codec_64, vectors, codes):
    pytest.importorskip("pandas")
    frame = pa.table({"code": encode_column(vectors, codec_64)}).to_pandas()
    assert frame["code"][5] == codes[5].tobytes()


FACTS = {"version": 1, "codec": "a" * 64, "d": 8}


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"codec": "../../etc"}, "damaged"),
        ({"codec": 7}, "damaged"),
        ({"d": 0}, "damaged"),
        ({"d": "64"}, "damaged"),
        ({"version": 2}, "later waterfill"),
    ],
)
def test_damaged_metadata_is_refused(changed, expected):
    serialized = json.dumps(FACTS | changed).encode()
    with pytest.raises(ValueError, match=expected):
        CodesType.__arrow_ext_deserialize__(pa.binary(8), serialized)


@pytest.mark.parametrize("serialized", [b"", b"{}", b"[]", b"\xff", b"7"])
def test_metadata_of_another_kind_is_refused(serialized):
    with pytest.raises(ValueError, match="damaged"):
        CodesType.__arrow_ext_deserialize__(pa.binary(8), serialized)


def test_another_storage_is_refused():
    with pytest.raises(ValueError, match="expected fixed-size binary, got int32"):
        CodesType.__arrow_ext_deserialize__(pa.int32(), json.dumps(FACTS).encode())


@given(st.text("0123456789abcdef", min_size=64, max_size=64), st.integers(1, 1 << 17))
def test_metadata_is_read_as_it_is_written(fingerprint, d):
    kind = CodesType(fingerprint, d, 17)
    serialized = kind.__arrow_ext_serialize__()
    assert CodesType.__arrow_ext_deserialize__(kind.storage_type, serialized) == kind
