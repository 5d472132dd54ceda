"""Encoding by the CUDA kernels, on an emulated device or a GPU: the bytes of the CPU."""

from __future__ import annotations

import numpy as np
import pytest
from support import trained
from support.gpu_devices import new_device

import waterfill as wf
from waterfill import _core
from waterfill.device.encoder import DeviceEncoder
from waterfill.device.row_pipeline import RowPipeline

ROWS = 40
"""Of a block, so that several are under way."""


def encoded(codec: wf.Codec, x: np.ndarray) -> tuple[np.ndarray, tuple[int, int]]:
    """Codes by the kernels, and how many rows have the lowest and the highest scale byte."""
    device = new_device()
    codes = np.zeros((len(x), codec.code_size), np.uint8)
    pipeline = RowPipeline(device, DeviceEncoder(device, codec._core), ROWS)
    blocks = ((i, np.float32(x[i : i + ROWS])) for i in range(0, len(x), ROWS))
    return codes, pipeline.encode(blocks, codes, name="these")


def assert_equal_codes(codec: wf.Codec, x: np.ndarray) -> None:
    codes, ends = encoded(codec, x)
    np.testing.assert_array_equal(codes, codec.encode(x))
    scales = codes[:, codec._core.groups]
    assert ends == ((scales == 1).sum(), (scales == 255).sum())


def test_real_vectors(codec, base, queries):
    assert DeviceEncoder(new_device(), codec._core)._uses_int8
    assert_equal_codes(codec, base[:300])
    assert_equal_codes(codec, queries)


def test_real_vectors_in_few_dimensions(codec_64, queries_64):
    assert_equal_codes(codec_64, queries_64)


def test_int16(base):
    codec = trained.trained(base, 128, cells=0)
    assert not DeviceEncoder(new_device(), codec._core)._uses_int8
    assert_equal_codes(codec, base[:100])


def test_wide_groups():
    """Groups whose coordinates do not fit the registers of a thread."""
    x = np.random.default_rng(3).standard_normal((3000, 100)).astype(np.float32)
    codec = trained.trained(x, 3, cells=0)
    assert max(width for _, width, *_ in _core.encoding_tables(codec._core)["books"]) > 24
    assert_equal_codes(codec, x[:60])


def test_second_bytes(clustered):
    """Dimensions of more than eight bits."""
    uneven = clustered * np.geomspace(1000, 1, 20, dtype=np.float32)
    codec = trained.trained(uneven, 16, cells=0)
    assert DeviceEncoder(new_device(), codec._core)._books.seconds
    assert_equal_codes(codec, uneven[:200])


def test_cells(small_codec, clustered):
    assert_equal_codes(small_codec, clustered[:400])


def test_cells_by_direction(base):
    codec = trained.trained(base, 24, normalize=True, cells=64)
    assert codec._core.settings["by_direction"]
    assert_equal_codes(codec, base[:200])


def test_joint_bytes(base_64):
    codec = trained.trained(base_64, 12, effort="best")
    assert codec._core.settings["joint"] > 0
    assert_equal_codes(codec, base_64[:100])


def test_alpha_of_zero_and_the_classic_plan(base, base_64):
    assert_equal_codes(trained.trained(base_64, 16, alpha=0), base_64[:100])
    plan = wf.Plan.classic(wf.analyze(base), 0.5, 0.9, by="variance")
    assert_equal_codes(trained.train(base, plan), base[:60])


def test_universal_codec(base_64):
    assert_equal_codes(wf.Codec.universal(64, 4), base_64[:100])


def test_extreme_rows(small_codec, clustered):
    """Squares beyond float32 or below it, rows equal to their center, and the scale's ends."""
    x = clustered[:24].copy()
    mean = small_codec.plan.mean.astype(np.float32)
    x[:4] *= np.float32(1e30)
    x[4:8] = np.float32(3e38) * np.sign(x[4:8])
    x[8] = mean
    x[9] = np.nextafter(mean, np.float32(9))
    x[10:12] = mean + np.float32(1e-20)
    x[12] = 0
    if small_codec.cells:
        x[13:16] = small_codec._core.arrays["centroids"][:3]
    x[16:20] *= np.float32(1e-30)
    with pytest.warns(RuntimeWarning, match="clipped"):
        expected = small_codec.encode(x)
    codes, (near, far) = encoded(small_codec, x)
    np.testing.assert_array_equal(codes, expected)
    scales = codes[:, small_codec._core.groups]
    assert (near, far) == ((scales == 1).sum(), (scales == 255).sum())
    assert far > 0


def test_a_row_that_is_not_finite_is_named(codec_64, queries_64):
    x = queries_64.copy()
    x[11, 3], x[90, 60] = np.inf, np.nan
    with pytest.raises(ValueError, match="these: row 11 has a NaN"):
        encoded(codec_64, x)
    with pytest.raises(ValueError, match="these: row 78 has a NaN"):
        encoded(codec_64, x[12:])
    encoded(codec_64, x[91:])


@pytest.mark.parametrize("size", [0, 1, 15, 63, 64, 200, (1 << 20) + 13])
def test_bytes_are_copied_from_and_to_any_address(size):
    source = np.random.default_rng(1).integers(0, 256, size + 40, np.uint8)
    for start in (0, 1, 9, 31):
        out = np.zeros(size + 40, np.uint8)
        _core.copy_bytes(source[5 : 5 + size], out[start : start + size])
        np.testing.assert_array_equal(out[start : start + size], source[5 : 5 + size])
        assert not out[:start].any()
        assert not out[start + size :].any()
    with pytest.raises(ValueError, match="out must have"):
        _core.copy_bytes(source, np.empty(size, np.uint8))
