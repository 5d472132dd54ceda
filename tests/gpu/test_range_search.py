"""Range searches on a GPU, emulated or real: what they find is what those on the CPU find."""

from __future__ import annotations

import numpy as np
import pytest
from support import trained
from support.gpu_devices import REAL, DeviceArray

import waterfill as wf
from waterfill.device import range_search


def assert_equal_ranges(index, x, thresh, **options) -> int:
    """Compare with the twin on the CPU; return how much was found."""
    found = index.range_search(x, thresh, **options)
    expected = index.to_cpu().range_search(x, thresh, **options)
    for own, other in zip(found, expected, strict=True):
        assert own.dtype == other.dtype
        np.testing.assert_array_equal(own, other)
    return int(found[0][-1])


def radius_of(index, x, share: float) -> float:
    """A radius within which about so large a share of the vectors lies."""
    distances = index.to_cpu().search(x, max(1, int(share * index.ntotal)))[0]
    return float(np.median(distances[:, -1]))


def filled(codec, x, metric, **options):
    index = wf.gpu.IndexFlat(codec, metric, **options)
    index.to_cpu().add(x)
    return index


@pytest.mark.parametrize("metric", ["ip", "l2"])
def test_real_vectors(codec, base, queries, metric, devices):
    index = filled(codec, base[:3000], metric)
    assert assert_equal_ranges(index, queries[:12], radius_of(index, queries, 0.02)) > 12
    assert "range_scores" in devices[0].launches
    none, everything = (np.inf, -np.inf) if metric == "ip" else (0.0, np.inf)
    assert assert_equal_ranges(index, queries[:3], everything) == 3 * index.ntotal
    assert assert_equal_ranges(index, queries[:3], none) == 0
    assert assert_equal_ranges(index, queries[:0], 1.0) == 0


@pytest.mark.parametrize("metric", ["ip", "l2"])
def test_cells_and_extreme_queries(small_codec, clustered, metric, devices):
    index = filled(small_codec, clustered, metric)
    x = clustered[:40].copy()
    assert assert_equal_ranges(index, x, radius_of(index, x, 0.01)) > 40
    x[:5] *= np.float32(1e30)
    x[5:9] *= np.float32(1e-30)
    for thresh in (radius_of(index, x[9:], 0.1), 0.0, -1.0, 1e30, -1e30):
        assert_equal_ranges(index, x, thresh)


@pytest.mark.parametrize("metric", ["ip", "l2", "cosine"])
def test_lists(base_64, queries_64, metric, devices):
    codec = trained.trained(base_64, 16, cells=96, normalize=metric == "cosine")
    index = wf.gpu.IndexIVF(codec, 96, metric=metric)
    index.to_cpu().add(base_64)
    thresh = radius_of(index, queries_64[:20], 0.02)
    found = []
    for nprobe in (1, 8, 96):
        index.nprobe = nprobe
        found.append(assert_equal_ranges(index, queries_64[:20], thresh))
    assert found[0] < found[1] < found[2]
    lists = np.array([[3, -1], [90, 4]])
    own = index.range_search_preassigned(queries_64[:2], thresh, lists, None)
    expected = index.to_cpu().range_search_preassigned(queries_64[:2], thresh, lists, None)
    for a, b in zip(own, expected, strict=True):
        np.testing.assert_array_equal(a, b)


def test_published_scores(base_64, queries_64, devices):
    plan = wf.Plan.classic(wf.analyze(base_64), 0.5, 0.9, by="variance", pq_multiplier=2.5)
    index = filled(trained.train(base_64, plan), base_64[:2000], "ip")
    assert assert_equal_ranges(index, queries_64[:9], radius_of(index, queries_64, 0.05)) > 9


def test_selectors_and_removed_vectors(small_codec, clustered, devices):
    index = filled(small_codec, clustered, "l2")
    thresh = radius_of(index, clustered[:20], 0.05)
    everything = assert_equal_ranges(index, clustered[:20], thresh)
    chosen = wf.SearchParameters(sel=wf.IDSelectorRange(100, 1700))
    assert 0 < assert_equal_ranges(index, clustered[:20], thresh, params=chosen) < everything
    index.remove_ids(np.arange(0, 3000, 2))
    assert 0 < assert_equal_ranges(index, clustered[:20], thresh) < everything


def test_more_than_the_memory_holds(small_codec, clustered, devices, monkeypatch):
    """Codes in pieces, more results than there is room for, and more queries than a batch has."""
    monkeypatch.setattr(range_search, "_ROOM", 10)
    monkeypatch.setattr(range_search, "_BATCH_QUERIES", 7)
    index = filled(small_codec, clustered, "l2", memory=9_000)
    assert assert_equal_ranges(index, clustered[:30], radius_of(index, clustered, 0.1)) > 3000
    assert not index._search_state[1].codes.resident


def test_rows_decide_on_the_cpu(codec_64, base_64, queries_64, devices):
    index = filled(codec_64, base_64[:1000], "l2", refine="float16")
    assert_equal_ranges(index, queries_64[:5], radius_of(index, queries_64, 0.02))
    assert "range_scores" not in devices[0].launches


def test_results_in_kind(codec_64, base_64, queries_64, devices):
    index = filled(codec_64, base_64[:1000], "l2")
    thresh = radius_of(index, queries_64, 0.02)
    found = index.range_search(DeviceArray(queries_64), thresh)
    expected = index.to_cpu().range_search(queries_64, thresh)
    assert found[0].dtype == np.int64
    for own, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(own, other)


@pytest.mark.skipif(REAL, reason="the memory of a real GPU has no limit that a test can set")
def test_too_little_memory_leaves_the_index_as_it_was(codec_64, base_64, queries_64, devices):
    index = filled(codec_64, base_64, "l2")
    devices[-1]._memory = 400_000
    with pytest.raises(MemoryError):
        index.range_search(queries_64, 5.0)
    assert index.ntotal == len(base_64)
    devices[-1]._memory = 1 << 30
    assert_equal_ranges(index, queries_64[:5], radius_of(index, queries_64, 0.02))
