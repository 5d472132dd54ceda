"""Estimated bytes beside those of files, folders and indexes."""

from __future__ import annotations

import numpy as np
import pytest
from support import trained

import waterfill as wf
from waterfill.sizing import storage


def folder_bytes(path):
    return sum(file.stat().st_size for file in path.iterdir())


def codec_bytes(codec):
    """Bytes without those of centroids, which `storage` counts."""
    return len(codec.to_bytes()) - 4 * codec.d * codec.cells


@pytest.fixture(scope="session")
def many(clustered):
    """30,000 vectors of 20 dimensions."""
    rng = np.random.default_rng(0)
    rows = clustered[rng.integers(len(clustered), size=30_000)]
    return (rows + 0.2 * rng.standard_normal(rows.shape)).astype(np.float32)


@pytest.mark.parametrize("metric", ["ip", "l2"])
@pytest.mark.parametrize("refine", [None, "int8", "float16", "float32"])
def test_a_folder_of_several_segments(many, small_codec, tmp_path, metric, refine):
    path = tmp_path / "a.wfx"
    lists = small_codec.cells
    nlist = {"nlist": lists} if lists else {}
    built = wf.build(
        many, path, small_codec, metric=metric, refine=refine, shard_rows=10_000, **nlist
    )
    expected = storage(
        30_000,
        20,
        7,
        metric=metric,
        lists=lists,
        refine=refine,
        segments=built.segments,
        codec_bytes=codec_bytes(small_codec),
    )
    assert expected.file_bytes == pytest.approx(folder_bytes(path), rel=0.02)
    assert expected.file_bytes - expected.memory_bytes == expected.rows


IDS = {
    "positions": np.arange(30_000),
    "ascending": 5 + 3 * np.arange(30_000),
    "any": np.random.default_rng(0).permutation(30_000),
}


@pytest.mark.parametrize("ids", IDS)
def test_ids(many, small_codec, tmp_path, ids):
    path = tmp_path / "a.wfx"
    wf.build(many, path, small_codec, ids=IDS[ids])
    expected = storage(
        30_000, 20, 7, lists=small_codec.cells, ids=ids, codec_bytes=codec_bytes(small_codec)
    )
    assert expected.file_bytes == pytest.approx(folder_bytes(path), rel=0.02)


def test_an_index_in_a_file_and_in_memory(base, codec, tmp_path):
    rows = np.concatenate([base, base[::-1]])
    index = wf.IndexFlat(codec, "l2")
    index.add(rows)
    wf.write_index(index, tmp_path / "a.wf")
    expected = storage(
        len(rows), 384, 48, metric="l2", lists=codec.cells, codec_bytes=codec_bytes(codec)
    )
    assert expected.file_bytes == pytest.approx((tmp_path / "a.wf").stat().st_size, rel=0.02)
    assert expected.codes + expected.order == pytest.approx(index.nbytes, rel=0.02)


@pytest.mark.parametrize("n", [500, 3000, 30_000])
def test_lists_of_few_vectors(many, tmp_path, n):
    codec = trained.trained(many, 7, cells=2500)
    index = wf.IndexIVF(codec, 2500)
    index.add(many[:n])
    wf.write_index(index, tmp_path / "a.wf")
    expected = storage(n, 20, 7, lists=2500, codec_bytes=codec_bytes(codec))
    assert expected.file_bytes == pytest.approx((tmp_path / "a.wf").stat().st_size, rel=0.02)
