"""The two stages of a search: what the scan reads, keeps and throws away."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import trained

import waterfill as wf
from waterfill import _core

METRICS = ["ip", "l2"]


def gaussian(rng: np.random.Generator, n: int, spread: np.ndarray) -> np.ndarray:
    return (rng.standard_normal((n, len(spread))) * spread).astype("f4")


def recall(found: np.ndarray, truth: np.ndarray) -> float:
    pairs = zip(found, truth, strict=True)
    return float(np.mean([len(set(a) & set(b)) / len(b) for a, b in pairs]))


def full_score_alone(index: wf.IndexFlat, q: np.ndarray, k: int) -> np.ndarray:
    kept, index.refine_factor = index.refine_factor, index.ntotal
    labels = index.search(q, k)[1]
    index.refine_factor = kept
    return labels


@pytest.fixture(scope="module")
def codecs():
    """One to 33 code bytes, odd and even: pairs of groups that fill a scan's step, and others."""
    rng = np.random.default_rng(3)
    x = gaussian(rng, 2500, np.geomspace(2, 0.2, 40)) + 0.2
    analysis = wf.analyze(x)
    plans = [wf.Plan.waterfill(analysis, code_bytes=m) for m in (1, 2, 3, 8, 9, 16, 33)]
    return [trained.train(x, plan) for plan in plans]


@pytest.mark.filterwarnings("ignore:x. .* clipped")
@settings(max_examples=40)
@given(
    seed=st.integers(0, 2**16),
    which=st.integers(0, 6),
    n=st.sampled_from([101, 127, 128, 129, 1023, 1024, 1025, 1500, 2080]),
    queries=st.integers(1, 35),  # one, some and several passes of a scan
    metric=st.sampled_from(METRICS),
    data=st.data(),
)
def test_every_isa_scans_as_the_scalar_one(codecs, seed, which, n, queries, metric, data):
    codec = codecs[which]
    rng = np.random.default_rng(seed)
    x = gaussian(rng, n + queries, np.geomspace(2, 0.2, 40)) + 0.2
    index = wf.IndexFlat(codec, metric)
    index.add(x[:n])
    index.refine_factor = 1
    index.coarse_groups = data.draw(st.integers(1, len(codec.plan.groups)))
    results = set()
    for isa in _core.available_isas():
        _core.select_isa(isa)
        assert _core.isa() == isa
        distances, labels = index.search(x[n:], 7)
        results.add(distances.tobytes() + labels.tobytes())
    assert len(results) == 1


@pytest.mark.parametrize("metric", METRICS)
def test_what_is_found_does_not_depend_on_the_order_of_vectors(codecs, metric):
    """Thresholds rise at other moments then: none may reject what belongs to the candidates."""
    rng = np.random.default_rng(0)
    x = gaussian(rng, 5000, np.geomspace(2, 0.2, 40)) + 0.2
    x *= rng.uniform(0.5, 2, (5000, 1)).astype("f4")
    q = gaussian(rng, 30, np.geomspace(2, 0.2, 40))
    for codec in codecs[-2:]:  # with fewer bytes many coarse scores are equal
        distances = []
        for _ in range(4):
            index = wf.IndexFlat(codec, metric)
            index.add(rng.permutation(x))
            index.refine_factor = 1
            distances.append(index.search(q, 50)[0])
        for other in distances[1:]:
            np.testing.assert_array_equal(other, distances[0])


@pytest.mark.parametrize("lead", [1, 10, 30])
@pytest.mark.parametrize("metric", METRICS)
def test_one_wide_dimension_does_not_blur_the_others(lead, metric):
    """The classic plan gives it a group of its own, with tables ten times as wide as theirs."""
    rng = np.random.default_rng(1)
    spread = np.r_[lead, np.geomspace(1, 0.4, 31)]
    x, q = gaussian(rng, 6000, spread), gaussian(rng, 100, spread)
    index = wf.IndexFlat(
        wf.Codec.train(x, wf.Plan.classic(wf.analyze(x), 1, 1, by="dimensions")), metric
    )
    index.add(x)
    index.coarse_groups = 32
    index.refine_factor = 10
    # The coarse score of L2 knows distances as the side bytes round them, a percent of the widest.
    least = 0.92 if metric == "l2" and lead == 30 else 0.97
    assert recall(index.search(q, 10)[1], full_score_alone(index, q, 10)) >= least


@pytest.mark.parametrize("metric", METRICS)
def test_the_codecs_depth_finds_nearly_all(codec, base, queries, metric):
    index = wf.IndexFlat(codec, metric)
    index.add(base)
    assert index.refine_factor == codec.refine_factor[metric]
    assert index.coarse_groups == codec.coarse_groups[metric]
    assert recall(index.search(queries, 10)[1], full_score_alone(index, queries, 10)) >= 0.99


def test_a_refine_factor_that_was_set_holds_for_one_neighbour(codec, base, queries):
    """The default has a floor of 100 candidates, because a few say little."""
    index = wf.IndexFlat(codec)
    index.add(base)
    default = index.search(queries, 1)[1]
    index.refine_factor = 100
    np.testing.assert_array_equal(index.search(queries, 1)[1], default)
    index.refine_factor = 1
    assert recall(index.search(queries, 1)[1], default) < 0.95


def test_fewer_planes_find_less_with_as_many_candidates(codec, base, queries):
    index = wf.IndexFlat(codec)
    index.add(base)
    index.refine_factor = 10
    full = full_score_alone(index, queries, 10)
    found = []
    for groups in (2, 12, 24, 48):
        index.coarse_groups = groups
        found.append(recall(index.search(queries, 10)[1], full))
    assert found == sorted(found)
    assert found[0] < 0.8
    assert found[-1] > 0.99


@pytest.fixture(scope="module")
def long_codes():
    """Vectors with codes of 96 bytes, queries, and codecs without and with cells."""
    rng = np.random.default_rng(2)
    spread = np.geomspace(3, 0.3, 96)
    x, q = gaussian(rng, 8000, spread), gaussian(rng, 100, spread)
    plan = wf.Plan.waterfill(wf.analyze(x), code_bytes=96)
    return x, q, {cells: wf.Codec.train(x, plan, cells=cells) for cells in (0, 16)}


def check_groups(index, q, found, groups):
    """Compare results with those of an index that reads so many groups; all others differ."""
    chosen = index.coarse_groups
    assert chosen < 96
    for number in (chosen, 96):
        index.coarse_groups = number
        same = (index.search(q, 10)[0] == found[0]).all()
        assert same == (number == groups)


@pytest.mark.parametrize("copies", [1, 16])
def test_planes_of_many_bytes_are_all_scanned_for_few_vectors_only(long_codes, copies):
    """Where codes are long, half of the high nibbles tell which vectors deserve a look."""
    x, q, codecs = long_codes
    index = wf.IndexFlat(codecs[0])
    for _ in range(copies):
        index.add(x)
    if copies == 1:
        assert recall(index.search(q, 10)[1], full_score_alone(index, q, 10)) >= 0.99
    index.refine_factor = 1
    groups = 96 if copies == 1 else index.coarse_groups
    check_groups(index, q, index.search(q, 10), groups)


@pytest.mark.parametrize("nprobe", [2, 16])
def test_few_lists_are_scanned_with_all_planes(long_codes, nprobe):
    x, q, codecs = long_codes
    index = wf.IndexIVF(codecs[16], 16)
    for _ in range(16):
        index.add(x)
    index.nprobe, index.refine_factor = nprobe, 1
    groups = 96 if nprobe == 2 else index.coarse_groups
    check_groups(index, q, index.search(q, 10), groups)


def test_few_rows_cost_less_than_all_planes(long_codes):
    x, q, codecs = long_codes
    index = wf.IndexIVF(codecs[16], 16, refine="float16")
    index.add(x)
    index.nprobe, index.refine_factor = 2, 1
    check_groups(index, q, index.search(q, 10), index.coarse_groups)


def test_scores_do_not_depend_on_the_number_of_candidates(long_codes):
    """Few candidates are scored by their centroids, many by tables."""
    x, q, codecs = long_codes
    for metric, cells in itertools.product(METRICS, codecs):
        index = wf.IndexFlat(codecs[cells], metric)
        index.add(x)
        index.coarse_groups, scores = 96, []
        for factor in (8, 50, 400):
            index.refine_factor = factor
            scores.append(index.search(q, 5))
        for distances, ids in scores[:-1]:
            same = ids == scores[-1][1]
            assert same.mean() > 0.95
            np.testing.assert_array_equal(distances[same], scores[-1][0][same])


@pytest.mark.parametrize(
    ("value", "error", "message"),
    [
        (0, ValueError, "coarse_groups=0 must be at least 1"),
        (8, ValueError, "coarse_groups=8 must be at most the 7 groups"),
        (2.0, TypeError, "coarse_groups must be an int"),
    ],
)
def test_invalid_coarse_groups_are_refused(small_codec, value, error, message):
    index = wf.IndexFlat(small_codec)
    before = index.coarse_groups
    with pytest.raises(error, match=message):
        index.coarse_groups = value
    assert index.coarse_groups == before


def test_removal_keeps_the_range_of_cell_lengths(clustered):
    """Vectors of the last segment, the only ones with short cells, move into the one before."""
    plan = wf.Plan.waterfill(wf.analyze(clustered), code_bytes=7)
    small_codec = wf.Codec.train(clustered, plan, cells=0)
    pool = np.unique(small_codec.encode(clustered), axis=0)
    trained = small_codec._core.arrays
    cells = trained["cells"] / trained["weights"][:, None]
    widths = [width for width, _ in trained["shapes"]]
    groups = np.repeat(np.arange(7), widths)
    lengths = (cells[np.arange(20), pool[:, groups] >> 4] ** 2).sum(axis=1)
    pool = pool[lengths.argsort()]
    pool[:, -1] = 128  # the scale byte: none but the cells tell how far a vector is
    head, tail = np.resize(pool[-200:], (262_144, 8)), pool[:200]
    moved, fresh = (wf.IndexFlat(small_codec, "l2") for _ in range(2))
    moved._core.append(np.vstack([head, tail]))
    assert moved.remove_ids(np.arange(500)) == 500
    fresh._core.append(np.vstack([head[500:], tail]))
    for index in (moved, fresh):
        index.refine_factor = 1
    for got, want in zip(*(i.search(clustered[:200], 100) for i in (moved, fresh)), strict=True):
        np.testing.assert_array_equal(got, want)


@pytest.fixture(scope="module")
def many(base_64):
    """39,936 vectors without cells: enough for a scan that starts with a sample of the blocks."""
    rng = np.random.default_rng(8)
    x = np.repeat(base_64, 8, axis=0) + 0.05 * rng.standard_normal((38_400, 64))
    x = np.concatenate([x, np.repeat(base_64[:64], 24, axis=0)]).astype(np.float32)  # and ties
    return trained.trained(base_64, 16, cells=0), x


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("order", ["random", "nearest first", "in the sample", "not in the sample"])
def test_a_sample_of_the_blocks_loses_nothing(many, queries_64, order, metric):
    codec, x = many
    place = np.random.default_rng(9).permutation(len(x))
    if order != "random":
        nearest = np.argsort(-(x @ queries_64[0]), kind="stable")
        sampled = np.arange(len(x)) // 32 % 128 < 8  # the first 8 of each 128 blocks of 32
        first = {"nearest first": np.zeros(len(x)), "in the sample": ~sampled}.get(order, sampled)
        place = np.empty(len(x), np.int64)
        place[np.argsort(first, kind="stable")] = nearest
    index = wf.IndexFlat(codec, metric)
    index.add(x[place])
    everything = wf.SearchParameters(sel=wf.IDSelectorRange(0, len(x)))  # a filter takes no sample
    for k in (1, 10, 300):
        found = index.search(queries_64[:6], k)
        expected = index.search(queries_64[:6], k, params=everything)
        single = index.search(queries_64[:1], k)
        np.testing.assert_array_equal(found[0], expected[0])
        np.testing.assert_array_equal(found[1], expected[1])
        np.testing.assert_array_equal(single[1][0], found[1][0])


@pytest.mark.parametrize("metric", ["ip", "l2", "cosine"])
def test_plain_arrays_are_searched_as_any_other_input(base_64, queries_64, metric):
    index = wf.IndexIVF(wf.Recipe(64, 16), 16, metric=metric)
    index.train(base_64)
    index.add(base_64)
    q = queries_64[:20].copy()
    expected = index.search(q, 7)
    others = [q.astype("f8"), q.astype(">f4"), np.asfortranarray(q), q[::-1][::-1], q.tolist()]
    outputs = {"D": np.empty((20, 7), np.float32), "I": np.empty((20, 7), np.int64)}
    for found in [*(index.search(x, 7) for x in others), index.search(q, 7, **outputs)]:
        np.testing.assert_array_equal(found[0], expected[0])
        np.testing.assert_array_equal(found[1], expected[1])
    q[11, 3] = np.nan
    for x in (q, q.astype(np.float64)):
        with pytest.raises(ValueError, match="x: row 11 has a NaN or an infinity"):
            index.search(x, 7)
