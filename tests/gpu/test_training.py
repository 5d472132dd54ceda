"""Training by the CUDA kernels, on an emulated device or a GPU: the codecs of the CPU."""

from __future__ import annotations

import numpy as np
import pytest
from support.gpu_devices import REAL, DeviceArray, new_device

import waterfill as wf
from waterfill import _core
from waterfill.device.backend import u32, upload
from waterfill.device.cell_training import train_cells
from waterfill.device.codebook_settings import CodebookSettings
from waterfill.device.codebook_training import coordinates


def plan_of(x: np.ndarray, code_bytes: int, **options) -> wf.Plan:
    return wf.Plan.waterfill(wf.analyze(x, **options), code_bytes=code_bytes)


def assert_equal_codecs(devices: list, x: np.ndarray, plan: wf.Plan, **options) -> set[str]:
    """Train on both; return the kernels that ran."""
    options.setdefault("effort", "fast")
    before = len(devices)
    on_gpu = wf.Codec.train(DeviceArray(x), plan, **options)
    assert on_gpu.fingerprint == wf.Codec.train(x, plan, **options).fingerprint
    return {kernel for device in devices[before:] for kernel in device.launches}


def test_real_vectors(base_64, devices):
    launched = assert_equal_codecs(devices, base_64[:3000], plan_of(base_64, 12), cells=0)
    assert {"take_rows", "unit_directions", "project_rows", "centroid_sums"} <= launched
    assert "cell_sums" not in launched


def test_cells(base_64, devices):
    launched = assert_equal_codecs(devices, base_64[:2500], plan_of(base_64, 6), cells=20)
    assert {"cell_sums", "best_cells"} <= launched
    centroids = base_64[:30]
    assert_equal_codecs(devices, base_64[:1500], plan_of(base_64, 4), cells=centroids)


def test_cells_by_direction_and_queries(base_64, queries_64, devices):
    x = base_64 / np.linalg.norm(base_64, axis=1, keepdims=True) * np.float32(2)
    options = {"cells": 12, "queries": queries_64}
    assert_equal_codecs(devices, x[:2000], plan_of(base_64, 5), **options)
    plan = plan_of(x, 5, normalize=True)
    assert_equal_codecs(devices, x[:2000], plan, cells=12)


def test_cells_if_they_help(clustered, devices):
    plan = plan_of(clustered, 5)
    launched = assert_equal_codecs(devices, clustered, plan, effort="balanced")
    assert "cell_sums" in launched


def test_second_bytes_and_groups_of_one_dimension(clustered, devices):
    uneven = clustered * np.geomspace(1000, 1, 20, dtype=np.float32)
    launched = assert_equal_codecs(devices, uneven, plan_of(uneven, 16), cells=0)
    assert {"subtract_centroids", "column_histogram"} <= launched


def test_wide_groups(devices):
    """Groups of more columns than a block adds up, and of an odd number."""
    x = np.random.default_rng(3).standard_normal((1500, 101)).astype(np.float32)
    plan = plan_of(x, 3)
    assert max(len(group.dims) for group in plan.groups) > 24
    assert_equal_codecs(devices, x, plan, cells=0)


def test_few_distinct_rows(devices):
    """Centroids without rows."""
    rng = np.random.default_rng(5)
    x = rng.standard_normal((90, 8)).astype(np.float32)[rng.integers(0, 90, 700)]
    launched = assert_equal_codecs(devices, x, plan_of(x, 2), cells=0)
    assert "row_errors" in launched
    assert_equal_codecs(devices, np.ones((40, 8), np.float32), plan_of(x, 2), cells=0)


def test_more_rows_than_the_first_iterations_take(devices):
    x = np.random.default_rng(6).standard_normal((33_100, 4)).astype(np.float32)
    assert_equal_codecs(devices, x, plan_of(x, 1), cells=0)


def test_classic_plans_have_their_codebooks_from_the_cpu(base_64, devices):
    plan = wf.Plan.classic(wf.analyze(base_64), 0.5, 0.9, by="variance")
    launched = assert_equal_codecs(devices, base_64[:2000], plan)
    assert "centroid_sums" not in launched


def test_an_index_trains_on_its_gpu(base_64, queries_64, devices):
    plan = plan_of(base_64, 6)
    expected = wf.IndexIVF(plan, 8)
    expected.train(base_64[:2000], xq_train=queries_64)
    for x, queries in (
        (base_64[:2000], queries_64),
        (DeviceArray(base_64[:2000]), DeviceArray(queries_64)),
    ):
        index = wf.gpu.IndexIVF(plan, 8)
        index.train(x, xq_train=queries)
        assert index.codec.fingerprint == expected.codec.fingerprint
        index.add(x)
        np.testing.assert_array_equal(index.codes(), index.codec.encode(base_64[:2000]))
    assert any("cell_sums" in device.launches for device in devices)
    flat = wf.gpu.IndexFlat(plan)
    bad = np.where(np.arange(64) == 5, np.nan, base_64[:99]).astype(np.float32)
    with pytest.raises(ValueError, match="x: row 0 has a NaN or an infinity"):
        flat.train(DeviceArray(bad))
    with pytest.raises(ValueError, match="dimensions"):
        flat.train(DeviceArray(base_64[:, :60].copy()))
    assert flat.codec is None


@pytest.mark.skipif(REAL, reason="the memory of a real GPU has no limit that a test can set")
def test_too_little_memory_leaves_an_index_untrained(base_64, devices):
    index = wf.gpu.IndexFlat(plan_of(base_64, 4))
    devices[-1]._memory = 500_000
    with pytest.raises(MemoryError):
        index.train(base_64[:2000])
    assert not index.is_trained
    devices[-1]._memory = 1 << 30
    index.train(base_64[:2000])
    assert index.is_trained


def test_rows_are_drawn_at_once(base_64, devices):
    """However many blocks the drawn rows lie in."""
    x = np.tile(base_64, (12, 1))
    plan = plan_of(base_64, 2)
    from waterfill.data.rows import Rows
    from waterfill.device.arrays import DeviceRows

    rows = Rows(DeviceRows.of(DeviceArray(x)), "x", plan.d)
    numbers = np.sort(np.random.default_rng(1).choice(len(x), 5000, replace=False))
    assert len(np.unique(numbers // rows.block_rows)) > 1
    np.testing.assert_array_equal(rows.take(numbers), x[numbers])
    assert devices[-1].launches.count("take_rows") == 1


def test_cells_without_rows_split_others():
    rng = np.random.default_rng(7)
    x = rng.standard_normal((90, 10)).astype(np.float32)[rng.integers(0, 90, 900)]
    mean, device = x.mean(axis=0), new_device()
    for by_direction in (False, True):
        found = train_cells(device, upload(device, x), len(x), mean, 200, by_direction, 3)
        expected = _core.train_partition(x, mean, 200, by_direction, 3)
        np.testing.assert_array_equal(found, expected)


def test_coordinates(base):
    """Of rows beyond the range of squares in float32, too."""
    rng = np.random.default_rng(8)
    x = base[:70].copy()
    d = x.shape[1]
    mean = x.mean(axis=0)
    x[:5] *= np.float32(1e25)
    x[5] = mean
    x[6:8] = mean + np.float32(1e-22)
    basis = np.linalg.qr(rng.standard_normal((d, d)))[0].astype(np.float32)[:101]
    weights = rng.uniform(0.5, 2, 101).astype(np.float32)
    expected, _, columns = _core.project_directions(mean, basis, weights, x)
    device = new_device()
    settings = CodebookSettings(mean, basis, weights, [], [], x[:0], False, 0, 0)
    y = coordinates(device, upload(device, x), len(x), settings)
    found = device.read(y.memory, np.float32, len(x) * columns).reshape(-1, columns)
    np.testing.assert_array_equal(found, expected[:, :columns])


def test_sums_do_not_overflow():
    """All rows of a block in one centroid, with the largest values that there are."""
    n, width = 5000, 3
    y = np.full((n, width), np.nextafter(np.float32(1), np.float32(0)))
    y[:, 1] *= -1
    device = new_device()
    sums, counts = device.allocate(width * 256 * 8), device.allocate(256 * 4)
    squares = device.allocate(16)
    for memory in (sums, counts, squares):
        device.fill(memory, 0)
    strips = np.array([[0, 0, width, 0, width]], np.uint32)
    device.launch(
        "centroid_sums", (3, 1), 256, upload(device, y), u32(n), u32(1), u32(width),
        upload(device, strips), upload(device, np.float32([2**19])),
        upload(device, np.full(n, 7, np.uint8)), u32(1), sums, counts, squares,
    )  # fmt: skip
    expected = np.zeros((256, width), np.int64)
    expected[7] = np.int64(n << 19) * np.array([1, -1, 1])
    found = device.read(sums, np.int64, 256 * width)
    np.testing.assert_array_equal(found, expected.ravel())
    assert device.read(counts, np.uint32, 256)[7] == n
    low, high = map(int, device.read(squares, np.uint64, 2))
    assert high * 2**32 + low == 3 * n * 2**38
