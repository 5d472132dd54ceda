"""Codes as a column of a Ray dataset."""

from __future__ import annotations

import numpy as np
import pytest
from support.store_checks import load

import waterfill as wf


def codes_of(rows) -> np.ndarray:
    return np.stack([np.frombuffer(row["codes"], np.uint8) for row in rows])


def test_codes_are_those_of_the_codec(dataset, codec_64, vectors):
    encoded = wf.scale.encode(dataset, codec_64, workers=1, batch_size=700)
    rows = sorted(encoded.take_all(), key=lambda row: row["data"].tobytes())
    order = sorted(range(len(vectors)), key=lambda i: vectors[i].tobytes())
    np.testing.assert_array_equal(codes_of(rows), codec_64.encode(vectors[order]))


def test_from_parquet_to_parquet(lake_dataset, codec_64, vectors, tmp_path):
    (parquet,) = load("pyarrow.parquet")
    encoded = wf.scale.encode(lake_dataset, codec_64, column="vector", workers=1)
    encoded = encoded.drop_columns(["vector", "text"])
    encoded.write_parquet(str(tmp_path / "codes"))
    table = parquet.read_table(tmp_path / "codes").sort_by("id")
    assert table.schema.field("codes").type.byte_width == codec_64.code_size
    np.testing.assert_array_equal(table["id"], 7 * np.arange(3000) + 3)
    np.testing.assert_array_equal(codes_of(table.to_pylist()), codec_64.encode(vectors))


def test_errors(dataset, ray, codec_64, codec):
    with pytest.raises(TypeError, match=r"codec must be a waterfill\.Codec, got NoneType"):
        wf.scale.encode(dataset, None)
    with pytest.raises(ValueError, match="the dataset has 64 dimensions, expected 384"):
        wf.scale.encode(dataset, codec)
    with pytest.raises(ValueError, match="workers=0"):
        wf.scale.encode(dataset, codec_64, workers=0)
    bad = ray.data.from_numpy(np.full((10, 64), np.nan, np.float32))
    with pytest.raises(ray.exceptions.RayTaskError, match="row 0"):
        wf.scale.encode(bad, codec_64, workers=1).take_all()
