"""Calibration and power of the permutation test."""

import numpy as np
import pytest

from waterfill.drift.permutation_test import Blocks, Group, _tail_probability, compare


def blocks(rng, count, rows, spread=1.0, shift=0.0, features=30):
    """Return blocks whose rows are correlated by a common component."""
    rows = rng.poisson(rows, count) + 1
    common = rng.standard_normal((count, features)) * spread + shift
    noise = rng.standard_normal((count, features)) * np.sqrt(rows)[:, None]
    return Blocks(rows.astype(np.float32), (rows[:, None] * common + noise).astype(np.float32))


GROUPS = {"all": Group(slice(0, 30)), "pooled": Group(slice(0, 1), (np.arange(30),))}
FLOORS = np.zeros(30, np.float32)


def p_values(reference, window, seed=0):
    differences = compare(reference, window, GROUPS, FLOORS, 199, seed)
    return [differences[name].p for name in GROUPS]


@pytest.mark.parametrize("spread", [0.0, 1.0])
def test_false_alarms_have_the_nominal_rate(spread):
    """With independent and with correlated rows in a block."""
    rng = np.random.default_rng(1)
    p = [
        p_values(blocks(rng, 120, 10, spread), blocks(rng, 40, 7, spread), seed)
        for seed in range(300)
    ]
    for level in (0.01, 0.05, 0.2):
        rate = (np.array(p) <= level).mean(axis=0)
        error = np.sqrt(level * (1 - level) / 300)
        assert (rate <= level + 4 * error).all(), (level, rate)
        assert level < 0.05 or (rate >= level - 4 * error).all(), "not far below the nominal rate"


def test_shift_of_one_feature_is_detected():
    rng = np.random.default_rng(2)
    shift = np.zeros(30)
    shift[7] = 0.6
    one, two = blocks(rng, 120, 10, 0.3), blocks(rng, 40, 10, 0.3, shift)
    found = compare(one, two, GROUPS, FLOORS, 199, 0)
    assert found["all"].p < 0.01
    t = found["all"].t
    assert np.argmax(np.abs(t)) == 7
    assert t[7] > 0


def test_small_shifts_of_all_features_are_detected_by_pooling():
    rng = np.random.default_rng(3)
    signs = np.sign(rng.standard_normal(30))
    window = blocks(rng, 40, 10, 0.0, 0.1 * signs)
    found = compare(blocks(rng, 120, 10, 0.0), window, GROUPS, FLOORS, 199, 0)
    assert found["pooled"].p < 1e-4
    assert found["pooled"].p < found["all"].p


def test_p_does_not_depend_on_units():
    rng = np.random.default_rng(4)
    one, two = blocks(rng, 60, 10), blocks(rng, 30, 10)
    scale = np.geomspace(1e-6, 1e6, 30).astype(np.float32)
    scaled = [Blocks(each.rows, each.sums * scale) for each in (one, two)]
    assert np.allclose(p_values(one, two), p_values(*scaled), rtol=0.05)


def test_constant_features_have_finite_differences():
    rng = np.random.default_rng(5)
    one, two = blocks(rng, 60, 10), blocks(rng, 30, 10)
    for each, value in ((one, 3.0), (two, 3.0)):
        each.sums[:, 4] = value * each.rows
    assert np.isfinite(compare(one, two, GROUPS, FLOORS, 99, 0)["all"].t).all()


def test_tail_is_extrapolated_beyond_the_permutations():
    """|t| of 30 normal features: the probability of the largest is known."""
    from math import erfc, sqrt

    rng = np.random.default_rng(6)
    for _ in range(5):
        null = np.abs(rng.standard_normal((999, 30))).max(axis=1)
        for value in (4.0, 4.5, 5.0, 6.0):
            exact = 1 - (1 - erfc(value / sqrt(2))) ** 30
            assert exact / 30 < _tail_probability(null, value) < max(30 * exact, 1e-4)
        tail = [_tail_probability(null, value) for value in np.linspace(0, 40, 300)]
        assert (np.diff(tail) <= 1e-3).all(), "monotonic, except for a step where the fit begins"
        assert 0 < tail[0] <= 1
