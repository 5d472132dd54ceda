"""Cells, joint codes and real queries: what training can find beyond a plan."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.numpy_reference import Reference

import waterfill as wf
from waterfill import _core


def train(x: np.ndarray, code_bytes: int = 7, **kwargs) -> wf.Codec:
    return wf.Codec.train(x, wf.Plan.waterfill(wf.analyze(x), code_bytes=code_bytes), **kwargs)


def index_of(codec: wf.Codec, x: np.ndarray, metric: str = "ip") -> wf.IndexFlat:
    index = wf.IndexFlat(codec, metric)
    index.add(x)
    return index


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.mean([len(set(p) & set(q)) / len(p) for p, q in zip(a, b, strict=True)]))


def nearest(x: np.ndarray, q: np.ndarray, metric: str = "ip") -> np.ndarray:
    scores = q @ x.T if metric == "ip" else 2 * q @ x.T - (x**2).sum(axis=1)
    return np.argsort(-scores, axis=1)[:, :10]


@pytest.fixture(scope="module")
def celled(base: np.ndarray) -> wf.Codec:
    """64 cells of MiniLM, 24 bytes."""
    return train(base, 24, cells=64)


def clumps(far: float) -> np.ndarray:
    """24 clumps of 200 vectors."""
    rng = np.random.default_rng(3)
    around, centres = rng.standard_normal((4800, 24)), rng.standard_normal((24, 24))
    x = around + far * np.repeat(centres, 200, axis=0)
    return x[rng.permutation(4800)].astype("f4")


@pytest.fixture(scope="module")
def patchy() -> np.ndarray:
    """Clumps that overlap."""
    return clumps(1.5)


def test_cells_are_taken_where_they_pay(patchy):
    assert train(patchy).cells == 64  # 48 rows each
    assert train(patchy[:700]).cells == 0  # too few rows
    assert train(patchy, cells=0).cells == 0
    assert train(patchy, cells=5).cells == 5
    assert wf.Codec.train(patchy, wf.Plan.classic(wf.analyze(patchy), 4, 1)).cells == 0
    noise = np.random.default_rng(0).standard_normal((4800, 200)).astype("f4")
    assert train(noise, 20).cells == 0


def test_cells_are_not_taken_where_one_metric_loses():
    """With clumps far from the mean inner products rank by lengths, which cells do not keep."""
    x = clumps(4)
    plan = wf.Plan.waterfill(wf.analyze(x), code_bytes=4)
    taken = {m: wf.Codec.train(x, plan, metric=m).cells for m in (None, "ip", "l2")}
    assert taken == {None: 0, "ip": 0, "l2": 64}


@pytest.mark.parametrize("kwargs", [{"alpha": 1}, {"queries": 5}, {"effort": "best"}])
def test_what_else_is_asked_for_does_not_spare_the_trial(kwargs):
    x = clumps(4)
    if "queries" in kwargs:
        kwargs = {"queries": x[: kwargs["queries"]]}
    assert train(x, 4, **kwargs).cells == 0


def test_a_vector_belongs_to_the_nearest_centroid(patchy):
    codec = train(patchy, cells=40)
    ref = Reference.of(codec)
    numbers = ref.numbers(codec.encode(patchy))
    gaps = ((patchy[:, None].astype("f8") - ref.centroids[None]) ** 2).sum(axis=2)
    chosen = gaps[np.arange(len(patchy)), numbers]
    # Short integers decide: hardly ever wrong, and then between two that are nearly as near.
    assert (chosen > gaps.min(axis=1)).mean() < 0.02
    assert chosen.sum() <= gaps.min(axis=1).sum() * 1.001
    assert (np.bincount(numbers, minlength=40) > 0).all()


@pytest.mark.parametrize("metric", ["ip", "l2"])
def test_cells_find_more_at_the_same_bytes(patchy, metric):
    x, q = patchy[:4500], patchy[4500:]
    recalls = []
    for cells in (0, 64):
        index = index_of(train(x, 4, cells=cells), x, metric)
        assert index.code_size == 5 + (metric == "l2")
        recalls.append(overlap(index.search(q, 10)[1], nearest(x, q, metric)))
    assert recalls[1] > recalls[0] + (0.1 if metric == "l2" else 0.01)


@pytest.mark.parametrize("metric", ["ip", "l2"])
def test_a_short_reach_loses_next_to_nothing(base, queries, celled, metric):
    index = index_of(celled, base, metric)
    assert np.isfinite(index.prune_sigma)
    found = index.search(queries, 10)[1]
    index.prune_sigma = float("inf")
    assert overlap(found, index.search(queries, 10)[1]) > 0.985
    index.prune_sigma = 0.0
    assert 0.5 < overlap(found, index.search(queries, 10)[1]) <= 1


def test_reach_grows_with_the_index(base, celled):
    index = wf.IndexFlat(celled)
    measured, rows = celled.prune_sigma["ip"], celled._core.calibration_rows
    assert 4000 < rows < 4800
    index.add(base[:1000])
    assert index.prune_sigma == measured  # among fewer it is enough, too
    for _ in range(4):
        index.add(base)
    beyond = np.log(index.ntotal / rows)
    assert index.prune_sigma == pytest.approx(np.sqrt(measured**2 + 1.5 * beyond))
    assert wf.Codec.from_bytes(celled.to_bytes())._core.calibration_rows == rows
    index.prune_sigma = 2.25
    assert index.prune_sigma == 2.25


@pytest.mark.parametrize("prune_sigma", [0.5, 3.0, float("inf")])
def test_prune_sigma_and_threads_do_not_depend_on_each_other(base, queries, celled, prune_sigma):
    index = index_of(celled, np.tile(base, (3, 1)))
    index.prune_sigma = prune_sigma
    expected = index.search(queries[:9], 10)
    for threads in (1, 3, 16):
        wf.set_num_threads(threads)
        for q in (queries[:9], queries[:1]):
            for got, want in zip(index.search(q, 10), expected, strict=True):
                np.testing.assert_array_equal(got, want[: len(q)])


@given(
    sizes=st.lists(st.integers(0, 90), min_size=1, max_size=6),
    gone=st.lists(st.integers(0, 500), max_size=60),
)
def test_labels_are_the_order_of_arrival(patchy, sizes, gone):
    codec = _codec_of(patchy)
    index, kept = wf.IndexFlat(codec), np.empty((0, codec.code_size), "u1")
    at = 0
    for size in sizes:
        x = patchy[at : at + size]
        at += size
        index.add(x)
        kept = np.vstack([kept, codec.encode(x)])
    index.remove_ids(np.array(gone, dtype=np.int64))
    kept = np.delete(kept, [i for i in set(gone) if i < len(kept)], axis=0)
    index.add(patchy[-3:])
    kept = np.vstack([kept, codec.encode(patchy[-3:])])
    np.testing.assert_array_equal(index._core.codes(0, index.ntotal), kept)
    first, n = index.ntotal // 3, index.ntotal // 2
    np.testing.assert_array_equal(index._core.codes(first, n), kept[first : first + n])


_CODECS: dict[int, wf.Codec] = {}


def _codec_of(x: np.ndarray) -> wf.Codec:
    return _CODECS.setdefault(id(x), train(x, cells=50))


def test_the_order_takes_little_memory(patchy):
    x = np.tile(patchy, (40, 1))
    flat, celled = (index_of(train(patchy, cells=cells), x) for cells in (0, 256))
    assert flat.nbytes < 9.1 * len(x)  # 7 groups take the room of 8
    # 10 bits for the order, blocks that are not full, room for growth.
    assert celled.nbytes < (9.1 + 1.4 + 0.6) * len(x)


def test_a_code_that_names_no_cell_is_refused(patchy):
    codec = train(patchy, cells=50)
    codes = codec.encode(patchy[:3])
    codes[1, -1] = 50
    with pytest.raises(ValueError, match="row 1 names cell 50 of 50"):
        codec.decode(codes)
    with pytest.raises(ValueError, match="row 1 names cell 50 of 50"):
        wf.IndexFlat(codec)._core.append(codes)


def objective(ref: Reference, u: np.ndarray, codes: np.ndarray, exponent: float) -> np.ndarray:
    hat = ref.decoded(codes) / ref.weights
    gap = u - hat / np.linalg.norm(hat, axis=1, keepdims=True)
    return ((ref.weights**exponent * gap) ** 2).sum(axis=1)


def test_joint_codes_are_better_than_the_nearest(base_64):
    base = base_64[:2400]
    codec = train(base, 12, effort="best", cells=0)
    ref, codes = Reference.of(codec), codec.encode(base[:400])
    y, _ = ref.directions(base[:400], ref.origins(codes))
    alone = codes.copy()
    alone[:, :12] = ref.errors(y).argmin(axis=2)
    exponent = ref.settings["joint"]
    assert exponent == pytest.approx(0.35 / 0.2)
    together, apart = (objective(ref, y / ref.weights, c, exponent) for c in (codes, alone))
    assert (together <= apart * 1.01).mean() > 0.97
    assert together.mean() < 0.995 * apart.mean()
    copy = wf.Codec.from_bytes(codec.to_bytes())
    for isa in _core.available_isas():
        _core.select_isa(isa)
        np.testing.assert_array_equal(copy.encode(base[:400]), codes)


def test_queries_turn_the_basis_to_where_they_look():
    """Queries differ in directions that the data hardly vary in."""
    rng = np.random.default_rng(1)
    spread = np.array([3.0] * 8 + [1.0] * 24)
    mixer = np.linalg.qr(rng.standard_normal((32, 32)))[0]
    x = ((rng.standard_normal((6000, 32)) * spread) @ mixer).astype("f4")
    q = ((rng.standard_normal((700, 32)) * spread[::-1] ** 2) @ mixer).astype("f4")
    truth = nearest(x, q[500:])
    recalls = []
    for some in (None, q[:500], q[:5]):
        codec = train(x, 8, queries=some)
        recalls.append(overlap(index_of(codec, x).search(q[500:], 10)[1], truth))
    assert recalls[1] > recalls[0] + 0.05
    assert recalls[2] > recalls[0] - 0.03
    again = wf.Plan.from_json(codec.plan.to_json())
    np.testing.assert_array_equal(again.query_variances, codec.plan.query_variances)


def test_queries_like_the_data_do_no_harm(base, queries, codec):
    asked = wf.Codec.train(base, wf.Plan.waterfill(wf.analyze(base), 48), queries=queries[:100])
    truth = nearest(base, queries[100:])
    plain, fitted = (
        overlap(index_of(c, base).search(queries[100:], 10)[1], truth) for c in (codec, asked)
    )
    assert fitted > plain - 0.03


def test_queries_for_rows_that_are_all_the_same(patchy):
    x = np.repeat(patchy[:1], 300, axis=0)
    codec = train(x, 4, queries=patchy[:50])
    np.testing.assert_allclose(codec.decode(codec.encode(x)), x, atol=1e-5)
    assert codec.report(x).gap_db == -np.inf


def test_queries_of_any_size(patchy):
    codec = train(patchy, queries=np.full((40, 24), 3e38, "f4"))
    assert np.isfinite(codec.plan.basis).all()


def test_a_user_may_fix_alpha(patchy):
    codec = train(patchy, alpha=0.5)
    assert codec.alpha == {"ip": 0.5, "l2": 0.5}


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"cells": -1}, ValueError, "cells=-1 must be from 0 to 65536"),
        ({"cells": 1.5}, TypeError, "cells must be an int, 'auto' or"),
        ({"cells": True}, TypeError, "cells must be an int, 'auto' or"),
        ({"effort": "most"}, ValueError, "effort='most' must be"),
        ({"metric": "l1"}, ValueError, "metric='l1' must be"),
        ({"alpha": 0.3}, ValueError, "alpha=0.3 must be"),
        ({"queries": np.zeros((3, 7), "f4")}, ValueError, "queries has 7 dimensions, expected 24"),
        ({"queries": np.full((3, 24), np.nan, "f4")}, ValueError, "queries: row 0 has a NaN"),
        ({"queries": np.zeros((0, 24), "f4")}, ValueError, "queries has no rows"),
    ],
)
def test_what_training_refuses(patchy, given, error, message):
    with pytest.raises(error, match=message):
        train(patchy, **given)


def test_classic_plans_have_no_cells(patchy):
    with pytest.raises(ValueError, match=r"cells=\d+ must be 0 for a classic plan"):
        wf.Codec.train(patchy, wf.Plan.classic(wf.analyze(patchy), 4, 1), cells=8)


def test_reach_must_be_a_number_from_0(patchy):
    index = wf.IndexFlat(train(patchy))
    for value, error in ((-1, ValueError), (float("nan"), ValueError), ("far", TypeError)):
        with pytest.raises(error, match="prune_sigma"):
            index.prune_sigma = value


def test_report_is_near_what_can_be(base, queries, celled):
    codec = celled
    told = codec.report()
    assert told.bits == 0.5
    assert told.cells == 64
    assert 0 < told.bound < told.distortion < 1.4 * told.expected
    assert told.gap_db == pytest.approx(10 * np.log10(told.distortion / told.bound))
    assert codec.report(queries).distortion == pytest.approx(told.distortion, rel=0.15)
    assert wf.Codec.from_bytes(codec.to_bytes()).report() == told
    assert "gap" in str(told)
    with pytest.raises(ValueError, match="x: training held no rows out"):
        train(base[:5], 2).report()
