"""Arrays in the memory of a GPU, emulated or real, and results of the same kind."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from support import trained
from support.gpu_devices import STREAM, DeviceArray, fetched

import waterfill as wf
from waterfill._util.tensors import is_device_array
from waterfill.device.arrays import DeviceRows


class DlpackArray:
    """An array that only says where it is."""

    def __init__(self, device: int) -> None:
        self._device = device

    def __dlpack_device__(self) -> tuple[int, int]:
        return self._device, 0


def test_which_arrays_are_on_a_gpu(base_64):
    torch = pytest.importorskip("torch")
    assert is_device_array(DeviceArray(base_64))
    assert is_device_array(DlpackArray(2))
    for x in (base_64, base_64[0, 0], torch.zeros(2, 3), DlpackArray(1), [[1.0]], None):
        assert not is_device_array(x)


def test_codes_of_an_array(codec_64, queries_64, devices):
    codes = codec_64.encode(DeviceArray(queries_64))
    assert codes.shape == (len(queries_64), codec_64.code_size)
    np.testing.assert_array_equal(fetched(codes), codec_64.encode(queries_64))
    assert devices[0].stream == STREAM  # the caller's
    again = codec_64.encode(DeviceArray(queries_64[:3]))
    np.testing.assert_array_equal(fetched(again), codec_64.encode(queries_64[:3]))


def test_arrays_that_cannot_be_encoded(codec_64, queries_64, devices):
    for x, error, message in (
        (queries_64.astype(np.float16), TypeError, "expected float32 on a GPU, got float16"),
        (queries_64[:, :60], ValueError, r"strides \(256, 4\); copy it there"),
        (queries_64[0], ValueError, r"shape \(n, d\), got shape \(64,\)"),
        (queries_64[:, :60].copy(), ValueError, "x has 60 dimensions, expected 64"),
        (np.where(np.arange(200)[:, None] == 8, np.nan, queries_64), ValueError, "x: row 8 has a"),
    ):
        with pytest.raises(error, match=message):
            codec_64.encode(DeviceArray(x))
    with pytest.raises(ValueError, match="policy='drop': expected 'raise' for an array on a GPU"):
        codec_64.encode(DeviceArray(queries_64), policy="drop")
    assert codec_64.encode(DeviceArray(queries_64[:0])).shape == (0, codec_64.code_size)


def test_clipped_distances_are_counted_on_the_gpu(clustered, devices):
    codec = trained.trained(clustered, 7, cells=0)
    x = clustered[:40].copy()
    x[:7] *= 1000
    with warnings.catch_warnings(record=True) as on_cpu:
        warnings.simplefilter("always")
        codec.encode(x)
    with warnings.catch_warnings(record=True) as on_gpu:
        warnings.simplefilter("always")
        codec.encode(DeviceArray(x))
    assert [str(w.message) for w in on_gpu] == [str(w.message) for w in on_cpu]
    assert "7 of 40 vectors" in str(on_gpu[0].message)
    assert on_gpu[0].filename == on_cpu[0].filename == __file__


def test_training_reads_the_rows_that_it_draws(base_64, devices):
    plan = wf.Plan.waterfill(wf.analyze(base_64), code_bytes=8)
    twin = wf.Codec.train(base_64, plan, cells=0)
    assert wf.Codec.train(DeviceArray(base_64), plan, cells=0).fingerprint == twin.fingerprint
    rows = DeviceRows.of(DeviceArray(base_64))
    chosen = np.array([0, 1, 2, 90, 91, 4799])
    np.testing.assert_array_equal(rows.take(chosen), base_64[chosen])
    np.testing.assert_array_equal(rows.read(10, 3), base_64[10:13])


def test_an_index_takes_arrays(codec_64, base_64, queries_64, devices):
    index = wf.gpu.IndexFlat(codec_64, "l2")
    index.add(DeviceArray(base_64[:1000]))
    index.add_with_ids(DeviceArray(base_64[1000:1500]), np.arange(500) + 5000)
    np.testing.assert_array_equal(index.codes(), codec_64.encode(base_64[:1500]))
    found = index.search(DeviceArray(queries_64[:9]), 4)
    for own, expected in zip(found, index.to_cpu().search(queries_64[:9], 4), strict=True):
        np.testing.assert_array_equal(own, expected)
    codes = index.sa_encode(DeviceArray(queries_64))
    np.testing.assert_array_equal(codes, codec_64.encode(queries_64))
    bad = np.where(np.arange(64) == 5, np.inf, base_64[:8]).astype(np.float32)
    with pytest.raises(ValueError, match="x: row 0 has a NaN or an infinity"):
        index.add(DeviceArray(bad))
    assert index.ntotal == 1500


def test_rows_for_reranking_are_copied(codec_64, base_64, queries_64, devices):
    index = wf.gpu.IndexFlat(codec_64, refine="float16")
    index.add(DeviceArray(base_64[:500]))
    twin = wf.IndexFlat(codec_64, refine="float16")
    twin.add(base_64[:500])
    for own, expected in zip(
        index.search(queries_64[:5], 3), twin.search(queries_64[:5], 3), strict=True
    ):
        np.testing.assert_array_equal(own, expected)


def test_an_index_on_the_cpu_refuses_arrays_on_a_gpu(codec_64, base_64):
    with pytest.raises(TypeError):
        wf.IndexFlat(codec_64).add(DlpackArray(2))
