"""Indexes on a GPU, emulated or real: what they find is what those on the CPU find, bit by bit."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
from support import trained
from support.gpu_devices import REAL, new_device

import waterfill as wf
from waterfill.device import search as device_search
from waterfill.device.search import DeviceSearch


def on_gpu(codec, x, metric="ip", **options):
    """An index that the CPU has filled."""
    index = wf.IndexFlat(codec, metric, **options)
    index.add(x)
    return index.to_gpu()


def assert_equal_results(index, x, k=10, **options) -> None:
    """Compare the search of an index on a GPU with that of its twin on the CPU."""
    distances, ids = index.search(x, k, **options)
    expected, expected_ids = index.to_cpu().search(x, k, **options)
    np.testing.assert_array_equal(ids, expected_ids)
    np.testing.assert_array_equal(distances, expected)


@pytest.mark.parametrize("metric", ["ip", "l2"])
def test_real_vectors(codec, base, queries, metric, devices):
    gpu = on_gpu(codec, base, metric)
    assert_equal_results(gpu, queries[:20])
    assert_equal_results(gpu, queries[:5], k=100)
    assert_equal_results(gpu, queries[:1], k=1)
    assert {"scan_few", "scan_many", "select_best", "full_scores"} <= set(devices[0].launches)


@pytest.mark.parametrize("metric", ["ip", "l2"])
def test_cells(small_codec, clustered, metric, devices):
    index = wf.gpu.IndexFlat(small_codec, metric)
    index.add(clustered)
    np.testing.assert_array_equal(index.codes(), small_codec.encode(clustered))
    assert_equal_results(index, clustered[:60], k=3)
    index.prune_sigma = np.inf
    assert_equal_results(index, clustered[:9], k=3)
    index.coarse_groups = 3
    assert_equal_results(index, clustered[:9] * np.float32(1e20), k=3)


@pytest.mark.parametrize("metric", ["ip", "l2", "cosine"])
def test_lists(base_64, queries_64, metric, devices):
    codec = trained.trained(base_64, 16, cells=96, normalize=metric == "cosine")
    index = wf.gpu.IndexIVF(codec, 96, metric=metric)
    index.add(base_64 * np.float32(1.5 if metric == "cosine" else 1))
    for nprobe in (1, 8, 96):
        index.nprobe = nprobe
        assert_equal_results(index, queries_64[:40], k=5)
    assert_equal_results(index, queries_64[:9], params=wf.SearchParametersIVF(nprobe=3))


def test_joint_and_classic_codecs(base_64, queries_64, devices):
    analysis = wf.analyze(base_64)
    plan = wf.Plan.classic(analysis, 0.5, 0.9, by="variance")
    published = wf.Plan.classic(analysis, 0.5, 0.9, by="variance", pq_multiplier=2.5)
    for codec in (
        trained.trained(base_64, 12, effort="best"),
        trained.train(base_64, plan),
        trained.train(base_64, published),
        wf.Codec.universal(64, 2),
    ):
        normalizes = codec._core.settings["normalize"]
        index = on_gpu(codec, base_64[:2000], "cosine" if normalizes else "ip")
        assert_equal_results(index, queries_64[:20], k=4)


@pytest.mark.parametrize("refine", ["float16", "int8"])
def test_refine_rows(codec_64, base_64, queries_64, refine, devices):
    index = on_gpu(codec_64, base_64, "l2", refine=refine)
    assert_equal_results(index, queries_64[:20])
    index.k_factor = 20
    assert_equal_results(index, queries_64[:20])


def test_selectors_and_removed_vectors(small_codec, clustered, devices):
    index = on_gpu(small_codec, clustered, "l2")
    chosen = wf.SearchParameters(sel=wf.IDSelectorRange(100, 1700))
    assert_equal_results(index, clustered[:20], k=2, params=chosen)
    few = wf.SearchParameters(sel=wf.IDSelectorArray(np.arange(0, 3000, 300)))
    assert_equal_results(index, clustered[:20], k=20, params=few)
    index.remove_ids(np.arange(0, 1000, 2))
    assert_equal_results(index, clustered[:20], k=2)


def test_changes_are_seen(codec_64, base_64, queries_64, devices):
    """An index and its twin share their vectors."""
    index = wf.IndexFlat(codec_64)
    index.add(base_64[:1000])
    gpu = index.to_gpu()
    assert_equal_results(gpu, queries_64[:5])
    index.add(base_64[1000:3000])
    assert gpu.ntotal == 3000
    assert_equal_results(gpu, queries_64[:5])
    gpu.add(base_64[3000:])
    assert index.ntotal == len(base_64)
    gpu.remove_ids(np.arange(10))
    assert_equal_results(gpu, queries_64[:5])
    np.testing.assert_array_equal(index.codes(), codec_64.encode(base_64[10:]))
    other = gpu.to_gpu(0, memory=1 << 20)
    other.prune_sigma = 1
    assert_equal_results(other, queries_64[:5])
    gpu.reset()
    assert (gpu.search(queries_64[:5], 3)[1] == -1).all()


def test_few_vectors_and_many_neighbours(codec_64, base_64, queries_64, devices):
    index = wf.gpu.IndexFlat(codec_64)
    assert (index.search(queries_64[:3], 2)[1] == -1).all()
    index.add(base_64[:70])
    assert_equal_results(index, queries_64[:3], k=90)
    index.to_cpu().add(base_64)
    assert_equal_results(index, queries_64[:3], k=1500)


def test_equal_vectors_and_sorted_ones(codec_64, base_64, queries_64, devices, monkeypatch):
    """More vectors reach a threshold than there is room for: scans are repeated."""
    monkeypatch.setattr(device_search, "_MOST_ROOM", 4096)
    order = np.argsort(base_64 @ queries_64[0])
    for x in (np.repeat(base_64[:2], 4_000, axis=0), np.repeat(base_64[order], 3, axis=0)):
        assert_equal_results(on_gpu(codec_64, x), queries_64[:4])
    scans = [kernel for kernel in devices[-1].launches if kernel.startswith("scan_")]
    assert len(scans) >= 3  # 2 in any other order


@pytest.mark.parametrize("metric", ["ip", "l2"])
def test_more_than_the_memory_holds(small_codec, clustered, metric, devices):
    index = wf.gpu.IndexFlat(small_codec, metric, memory=9_000)
    index.add(clustered)
    assert_equal_results(index, clustered[:30], k=4)
    assert 0 < index.device_bytes <= 9_000
    assert not index._search_state[1].codes.resident


@pytest.mark.skipif(REAL, reason="the memory of a real GPU has no limit that a test can set")
def test_too_little_memory_leaves_the_index_as_it_was(codec_64, base_64, queries_64, devices):
    index = wf.gpu.IndexFlat(codec_64, memory=100)
    index.to_cpu().add(base_64)
    with pytest.raises(MemoryError, match="100 bytes are too few"):
        index.search(queries_64, 5)
    assert index.ntotal == len(base_64)
    gpu = index.to_cpu().to_gpu()
    devices[-1]._memory = 2_000_000  # not enough for the tables of the queries
    with pytest.raises(MemoryError):
        gpu.search(queries_64, 5)
    assert gpu.ntotal == len(base_64)
    devices[-1]._memory = 1 << 30
    assert_equal_results(gpu, queries_64[:5])


def test_copies(codec_64, base_64, queries_64, devices):
    index = wf.gpu.IndexFlat(codec_64, memory=1 << 20, device=0)
    index.to_cpu().add(base_64)
    index.search(queries_64[:2], 3)
    for twin in (copy.deepcopy(index), pickle.loads(pickle.dumps(index))):
        assert type(twin) is wf.gpu.IndexFlat
        assert (twin.device, twin._memory) == (0, 1 << 20)
        twin.add(base_64[:100])
        assert index.ntotal == len(base_64)
        assert_equal_results(twin, queries_64[:5])


def test_what_the_cpu_does(codec_64, base_64, queries_64, devices):
    index = on_gpu(codec_64, base_64, "l2")
    cpu = index.to_cpu()
    for found, expected in zip(
        index.range_search(queries_64[:3], 0.9), cpu.range_search(queries_64[:3], 0.9), strict=True
    ):
        np.testing.assert_array_equal(found, expected)
    for found, expected in zip(
        index.search_and_reconstruct(queries_64[:3], 4),
        cpu.search_and_reconstruct(queries_64[:3], 4),
        strict=True,
    ):
        np.testing.assert_array_equal(found, expected)


def test_training_on_the_index(base_64, queries_64, devices):
    plan = wf.Plan.waterfill(wf.analyze(base_64), code_bytes=8)
    index = wf.gpu.IndexIVF(plan, 16)
    with pytest.raises(wf.NotTrainedError):
        index.search(queries_64, 3)
    with pytest.raises(wf.NotTrainedError):
        wf.IndexFlat(plan).to_gpu()
    index.train(base_64)
    index.add(base_64)
    assert_equal_results(index, queries_64[:20], k=3)


def test_mapped_files_and_folders(small_codec, clustered, tmp_path, devices):
    """Vectors of several parts, some of which are marked as removed."""
    index = wf.IndexFlat(small_codec, "l2")
    index.add_with_ids(clustered, np.arange(3000) + 7)
    wf.write_index(index, tmp_path / "index.wf")
    mapped = wf.read_index(tmp_path / "index.wf", mmap=True)
    assert_equal_results(mapped.to_gpu(), clustered[:20])
    with wf.open_index(
        tmp_path / "folder", "w", codec=small_codec, metric="l2", compaction="off"
    ) as folder:
        folder.add(clustered)
        folder.flush()
        folder.add(clustered[:100])
        folder.remove_ids(np.arange(500, 900))
        with pytest.raises(TypeError, match=r"to_gpu: expected .* got FolderIndex\w+; fill one"):
            folder.to_gpu()
        core = folder._core
        arguments = (clustered[:20], 4, 100, core.codec.groups, np.inf, None, None, 0)
        search = DeviceSearch(new_device(), core, 1 << 30)
        for found, expected in zip(
            search.search(*arguments), core.search(*arguments)[:2], strict=True
        ):
            np.testing.assert_array_equal(found, expected)


def test_batches_of_a_search(codec_64, small_codec, base_64, queries_64, clustered, monkeypatch):
    """More queries, or more of their lists, than are on the device together."""
    monkeypatch.setattr(device_search, "_BATCH_QUERIES", 256)
    monkeypatch.setattr(device_search, "_BATCH_LISTS", 64 * max(small_codec.cells, 1))
    for codec, stored, some in (
        (codec_64, base_64[:500], np.concatenate([queries_64] * 3)),
        (small_codec, clustered[:1000], clustered[:150]),
    ):
        index = wf.IndexFlat(codec)
        index.add(stored)
        search = DeviceSearch(new_device(), index._core, 1 << 30)
        arguments = (some, 2, 100, min(16, codec._core.groups), np.inf, None, None, 0)
        for found, expected in zip(
            search.search(*arguments), index._core.search(*arguments)[:2], strict=True
        ):
            np.testing.assert_array_equal(found, expected)


def test_tables_do_not_depend_on_other_queries(small_codec, clustered):
    """The core prepares queries in batches of its own."""
    index = wf.IndexFlat(small_codec)
    index.add(clustered)
    x = np.concatenate([clustered, clustered])[:2100]  # more than a batch has

    def tables(rows):
        return index._core.scan_tables(rows, 2, 100, small_codec._core.groups, 2.0, None, None, 0)

    together, parts = tables(x), [tables(x[:900]), tables(x[900:])]
    for name in ("luts", "units", "projected", "scaled", "bounds"):
        np.testing.assert_array_equal(together[name], np.concatenate([p[name] for p in parts]))
    for name in ("nearest", "others"):
        limits, lists, terms = zip(*(part[name] for part in parts), strict=True)
        joined = np.concatenate([limits[0], limits[0][-1] + limits[1][1:]])
        np.testing.assert_array_equal(together[name][0], joined)
        np.testing.assert_array_equal(together[name][1], np.concatenate(lists))
        np.testing.assert_array_equal(together[name][2], np.concatenate(terms))
