from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import waterfill as wf
from waterfill import _core

variances = arrays(
    np.float64, st.integers(1, 60), elements=st.floats(1e-12, 1e6, allow_subnormal=False)
)


@given(v=variances, share=st.floats(0.01, 1))
def test_rates_spend_the_budget_by_one_water_level(v, share):
    bits = 8 * len(v) * share
    rates = _core.reverse_waterfill(v, bits)
    assert rates.sum() == pytest.approx(bits, rel=1e-6)
    assert (rates >= 0).all()
    assert (rates <= 16).all()
    order = np.argsort(v, kind="stable")
    assert (np.diff(rates[order]) >= -1e-9).all()
    between = (rates > 1e-9) & (rates < 8 - 1e-9)
    if between.any():
        level = v[between] * 4.0 ** -rates[between]
        np.testing.assert_allclose(level, level[0], rtol=1e-6)
        assert (v[rates == 0] <= level[0] * (1 + 1e-6)).all()


@given(v=variances, share=st.floats(0.02, 1))
def test_groups_share_out_the_active_dimensions_evenly(v, share):
    code_bytes = max(1, int(len(v) * share))
    rates = _core.reverse_waterfill(v, 8.0 * code_bytes)
    groups = _core.waterfill_groups(rates, code_bytes)
    dims = [dim for _, members in groups for dim in members]
    assert len(groups) == code_bytes
    assert all(members for _, members in groups)
    twice = np.flatnonzero(rates >= 8.25)  # beyond a byte of its own
    assert sorted(dims) == sorted([*set(dims), *twice])
    assert set(np.flatnonzero(rates > 1e-9)) <= set(dims)  # a rate of 1e-14 is rounding
    shares = np.minimum(rates, 8)
    sums = np.array([shares[members].sum() for _, members in groups])
    for dim in twice:
        later = [g for g, (_, members) in enumerate(groups) if dim in members][1]
        sums[later] += rates[dim] - 8 - shares[dim]
    widest = max((rates[members].min() for _, members in groups if len(members) > 1), default=8)
    # Greedy filling: no group is ahead of another by more than the dimension put in last.
    assert sums.max() - sums.min() <= max(widest, 8) + 1e-6


@given(v=variances, share=st.floats(0.02, 1))
def test_no_group_got_a_dimension_while_another_had_less(v, share):
    code_bytes = max(1, int(len(v) * share))
    rates = _core.reverse_waterfill(v, 8.0 * code_bytes)
    members = [dims for _, dims in _core.waterfill_groups(rates, code_bytes)]
    shares, seen = [], set()
    for dims in members:  # a second byte has what is beyond eight bits
        shares.append(np.array([rates[i] - 8 if i in seen else min(rates[i], 8) for i in dims]))
        seen.update(dims)
    smallest = min(share.sum() for share in shares)
    for share in shares:
        assert (np.diff(share) <= 0).all()  # by falling rate
        assert share[:-1].sum() <= smallest + 1e-9


def test_a_dimension_of_more_than_eight_bits_has_two_bytes():
    rates = np.array([11.0, 9.5, 8.1, 2.4, 1.0])
    groups = [dims for _, dims in _core.waterfill_groups(rates, 4)]
    assert groups == [[0], [1], [2], [0, 3, 1, 4]]


@pytest.mark.parametrize(
    "groups",
    [[(0,), (0,), (0,), (1, 2)], [(0, 1), (0,), (2,)], [(0, 0), (1,), (2,)], [(0,), (1,)]],
)
def test_groups_that_no_plan_has_are_refused(groups):
    x = np.random.default_rng(0).standard_normal((100, 3)).astype("f4")
    plan = wf.Plan.waterfill(wf.analyze(x), code_bytes=3)
    with pytest.raises(ValueError, match="groups"):
        dataclasses.replace(plan, groups=tuple(wf.plan.Group(dims) for dims in groups))


@given(
    values=arrays(np.float64, st.integers(2, 40), elements=st.floats(0, 10)),
    rows=st.integers(1, 10**6),
)
def test_shrinking_keeps_the_sum_and_lifts_zeros(values, rows):
    assume(values.sum() > 1e-3)
    shrunk = _core.shrink(values, rows)
    assert shrunk.sum() == pytest.approx(values.sum(), rel=1e-9)
    assert (shrunk > 0).all()
    assert shrunk.std() <= values.std() + 1e-12


@pytest.mark.parametrize(("code_bytes", "weighting"), [(1, 0.2), (24, 0), (48, 0.5), (384, 0.2)])
def test_waterfill_plans_hold_together(base, code_bytes, weighting):
    plan = wf.Plan.waterfill(wf.analyze(base), code_bytes=code_bytes, weighting=weighting)
    assert plan.d == 384
    assert plan.code_size == code_bytes + 1
    assert sum(plan.classes.values()) == 384
    assert plan.classes["high"] == len(plan.basis) == len(plan.weights)
    np.testing.assert_allclose(plan.basis @ plan.basis.T, np.eye(len(plan.basis)), atol=1e-5)
    assert 0 < plan.shannon_bound < plan.predicted_distortion < 1


def test_more_bytes_predict_less_distortion(base):
    a = wf.analyze(base)
    plans = [wf.Plan.waterfill(a, code_bytes=b) for b in (8, 16, 32, 64, 128, 256)]
    assert (np.diff([p.predicted_distortion for p in plans]) < 0).all()
    assert (np.diff([p.shannon_bound for p in plans]) < 0).all()


def test_json_is_the_identity(base, clustered):
    a = wf.analyze(clustered, normalize=True)
    for plan in (
        wf.Plan.waterfill(wf.analyze(base), code_bytes=24),
        wf.Plan.classic(a, 0.1, 0.6, by="dimensions", pq_multiplier=3.5),
    ):
        text = plan.to_json()
        again = wf.Plan.from_json(text)
        assert again == plan
        assert hash(again) == hash(plan)
        assert again.to_json() == text
        for field in ("mean", "basis", "variances"):
            np.testing.assert_array_equal(getattr(again, field), getattr(plan, field))
        assert again.groups == plan.groups
    assert plan.normalize
    assert plan.pq_multiplier == 3.5


@pytest.mark.parametrize(
    "change",
    [
        {"format": "other"},
        {"version": 2},
        {"groups": [{"kind": "vector", "dims": [0]}]},
        {"groups": [{"kind": "ternary", "dims": [0]}]},
        {"mean": {"dtype": "<f4", "shape": [20], "base64": "!"}},
        {"variances": None},
        {"basis": {"dtype": "<f8", "shape": [1, 1], "base64": "AAAAAAAAAAA="}},
    ],
)
def test_other_json_is_refused(small_codec, change):
    data = json.loads(small_codec.plan.to_json())
    with pytest.raises(ValueError, match="not the JSON of a waterfill plan"):
        wf.Plan.from_json(json.dumps({**data, **change}))
    with pytest.raises(ValueError, match="not the JSON"):
        wf.Plan.from_json("[]")
    with pytest.raises(ValueError, match="not the JSON"):
        wf.Plan.from_json("{")


def test_plans_are_immutable(small_codec):
    plan = small_codec.plan
    with pytest.raises(dataclasses.FrozenInstanceError):
        plan.weighting = 0.5
    with pytest.raises(ValueError, match="read-only"):
        plan.mean[0] = 1
    with pytest.raises(dataclasses.FrozenInstanceError):
        plan.groups[0].dims = (1,)


def test_print_shows_classes_and_bits(base):
    text = str(wf.Plan.waterfill(wf.analyze(base), code_bytes=48))
    for part in ("384 dimensions in codes of 49 bytes", "high", "medium", "low", "384", "Shannon"):
        assert part in text
    text = str(wf.Plan.classic(wf.analyze(base), 0.1, 0.5, by="dimensions"))
    assert "153" in text  # medium dimensions, a bit each
    assert "one bit each" in text


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"code_bytes": 0}, ValueError, "code_bytes=0 must be from 1 to .* 20"),
        ({"code_bytes": 21}, ValueError, "code_bytes=21"),
        ({"code_bytes": 4.0}, TypeError, "code_bytes must be an int"),
        ({"code_bytes": True}, TypeError, "code_bytes"),
        ({"code_bytes": 4, "weighting": -0.1}, ValueError, r"weighting=-0\.1"),
        ({"code_bytes": 4, "weighting": float("nan")}, ValueError, "weighting=nan"),
    ],
)
def test_wrong_arguments_are_named(clustered, arguments, error, message):
    with pytest.raises(error, match=message):
        wf.Plan.waterfill(wf.analyze(clustered), **arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0.1, 0.2), "th_high must be at least th_mid"),
        ((0.5, 0.2, "variance"), "th_high and th_mid must satisfy"),
        ((0.5, 1.2, "dimensions"), "th_high and th_mid must satisfy"),
        ((1e9, 1e9), "th_mid drops every dimension"),
        ((float("nan"), 0.1), "finite"),
        ((0.2, 0.1, "colour"), "by='colour'"),
    ],
)
def test_wrong_thresholds_are_named(clustered, arguments, message):
    high, mid, *by = arguments
    with pytest.raises(ValueError, match=message):
        wf.Plan.classic(wf.analyze(clustered), high, mid, by=by[0] if by else "eigenvalue")
    with pytest.raises(ValueError, match="pq_multiplier"):
        wf.Plan.classic(wf.analyze(clustered), 0.1, 0.5, by="variance", pq_multiplier=-1)
