"""Sums over blocks of rows, compared with NumPy."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import waterfill as wf
from waterfill import _core
from waterfill.drift.block_statistics import BlockStatistics, slots_of
from waterfill.drift.feature_families import Features


def expected(codec, x, blocks, count, leading):
    """Return rows, sums, norms and outside energy as `BlockSums.add` should, in float64."""
    features = Features(codec)
    norms = np.linalg.norm(x.astype(np.float64), axis=1)
    if codec.plan.normalize:
        x = _core.normalize_rows(x)
    z = x.astype(np.float64) - codec.plan.mean
    y = z @ features.basis.T.astype(np.float64)
    squares = np.square(z).sum(axis=1)
    error = np.square(codec.decode(codec.encode(x)).astype(np.float64) - x).sum(axis=1)
    share = np.divide(error, squares, out=np.zeros_like(error), where=squares > 0)
    rows = np.column_stack([z, z**2, y**2, norms, norms**2, squares, share, error])
    sums = np.zeros((count, rows.shape[1]))
    np.add.at(sums, blocks, rows)
    inside = (np.square(y) * leading).sum(axis=1)
    outside = 1 - np.divide(inside, squares, out=np.ones_like(squares), where=squares > 0)
    return np.bincount(blocks, minlength=count), sums, norms, np.clip(outside, 0, 1)


@pytest.fixture(params=["flat", "cells", "normalized", "two bytes a dimension", "classic"])
def any_codec(request, clustered):
    """Codecs with different bases and origins."""
    normalize = request.param == "normalized"
    analysis = wf.analyze(clustered, normalize=normalize)
    if request.param == "classic":
        return wf.Codec.train(clustered, wf.Plan.classic(analysis, 0.2, 0.7, by="dimensions"))
    size = 20 if request.param == "two bytes a dimension" else 7
    cells = 16 if request.param == "cells" else 0
    return wf.Codec.train(clustered, wf.Plan.waterfill(analysis, size), cells=cells)


def test_sums_agree_with_numpy(any_codec, clustered):
    features = Features(any_codec)
    rng = np.random.default_rng(0)
    x = np.vstack([clustered[:600], np.zeros((1, 20)), any_codec.plan.mean[None]])
    x = x.astype(np.float32)
    blocks = rng.integers(0, 8, len(x)).astype(np.uint32)
    leading = rng.integers(0, 2, len(features.directions)).astype(np.uint8)
    rows, sums = np.zeros(8, np.float32), np.zeros((8, len(features)), np.float32)
    core = _core.BlockSums(any_codec._core, leading)
    norms, outside, codes = core.add(x, blocks, rows, sums, True)
    counts, true_sums, true_norms, true_outside = expected(any_codec, x, blocks, 8, leading)
    assert np.array_equal(rows, counts)
    scale = np.abs(true_sums).max(axis=0)
    assert np.allclose(sums, true_sums, atol=2e-4 * scale.max(), rtol=2e-4)
    assert np.allclose(norms, true_norms, rtol=1e-5)
    assert np.allclose(outside, true_outside, atol=1e-4)
    unit = _core.normalize_rows(x) if any_codec.plan.normalize else x
    assert np.array_equal(codes, any_codec._encode_block(unit))


def test_errors_are_optional(any_codec, clustered):
    features = Features(any_codec)
    core = _core.BlockSums(any_codec._core, np.ones(len(features.directions), np.uint8))
    blocks = np.zeros(50, np.uint32)
    sums = [np.zeros((1, len(features)), np.float32) for _ in range(2)]
    for errors, each in zip((True, False), sums, strict=True):
        codes = core.add(clustered[:50], blocks, np.zeros(1, np.float32), each, errors)[2]
        assert len(codes) == (50 if errors else 0)
    assert np.array_equal(sums[0][:, : features.errors.start], sums[1][:, : features.errors.start])
    assert not sums[1][:, features.errors].any()


@pytest.mark.parametrize("threads", [1, 3])
def test_sums_do_not_depend_on_threads(codec_64, base, threads):
    features = Features(codec_64)
    results = []
    for number in (1, threads):
        wf.set_num_threads(number)
        sums = np.zeros((4, len(features)), np.float32)
        blocks = (np.arange(999) % 4).astype(np.uint32)
        features.sums.add(base[:999], blocks, np.zeros(4, np.float32), sums, True)
        results.append(sums)
    assert np.array_equal(*results)


def test_arrays_of_wrong_shape_are_rejected(codec_64, base):
    features = Features(codec_64)
    rows, sums = np.zeros(4, np.float32), np.zeros((4, len(features)), np.float32)
    good = np.zeros(9, np.uint32)
    with pytest.raises(ValueError, match="blocks: block 4 of 4 does not exist"):
        features.sums.add(base[:9], good + 4, rows, sums, True)
    with pytest.raises(ValueError, match="blocks must have one value per row of x"):
        features.sums.add(base[:9], good[:8], rows, sums, True)
    with pytest.raises(ValueError, match="one column per feature"):
        features.sums.add(base[:9], good, rows, sums[:, :-1].copy(), True)
    with pytest.raises(ValueError, match="dimensions"):
        features.sums.add(base[:9, :-1].copy(), good, rows, sums, True)
    with pytest.raises(ValueError, match="leading"):
        _core.BlockSums(codec_64._core, np.ones(3, np.uint8))
    assert not rows.any()
    assert not sums.any()


@given(st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=300, unique=True))
def test_folding_keeps_each_block_in_one_slot(numbers):
    blocks = np.array(numbers, np.uint64)
    fine, coarse = slots_of(blocks, 256), slots_of(blocks, 64)
    assert np.array_equal(fine % 64, coarse), "slots of 64 are slots of 256 modulo 64"


def test_slots_are_filled_evenly():
    for blocks in (np.arange(64_000), 1000 * np.arange(64_000), np.arange(64_000) << 32):
        counts = np.bincount(slots_of(blocks.astype(np.uint64), 64), minlength=64)
        assert counts.min() > 800
        assert counts.max() < 1200


@settings(max_examples=10)
@given(st.integers(1, 3), st.integers(0, 2**32 - 1))
def test_folding_keeps_sums(halvings, seed):
    rng = np.random.default_rng(seed)
    bank = BlockStatistics.empty(64, 5, 2, 0)
    bank.rows[:] = rng.integers(0, 3, 64)
    bank.sums[:] = rng.integers(-9, 9, (64, 5)) * (bank.rows > 0)[:, None]
    folded = bank.folded(64 >> halvings)
    assert len(folded) <= 64 >> halvings
    assert folded.rows.sum() == bank.rows.sum()
    assert np.array_equal(folded.sums.sum(axis=0), bank.sums.sum(axis=0))
