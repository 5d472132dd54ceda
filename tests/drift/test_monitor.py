"""Reports of a drift monitor on sentences that its codec was not trained on."""

from __future__ import annotations

import json
import pickle

import numpy as np
import pytest
from support.drift_windows import REFERENCE, WINDOW, report_on

import waterfill as wf


def test_no_drift(monitor, window, probes):
    monitor.update(window)
    monitor.update_probes(probes.astype(np.float16))
    report = monitor.report()
    assert not report.drift
    assert report.data.judged
    assert report.data.alarms == ()
    assert report.model.same
    assert report.data.moved.first == ()
    assert 0.95 < report.error_ratio < 1.05
    assert report.occupancy.shift < 2 * report.occupancy.chance
    assert "no drift" in report.summary()
    assert not report.cost.measured
    assert report.cost.gap < 0.02
    json.dumps(report.to_dict(), allow_nan=False)


def changes(x, young, rotation):
    """Return, by name: changed vectors, the first cause, and a family that must raise an alarm."""
    mean, spread = x.mean(axis=0), x.std(axis=0)
    along = young.plan.basis[20]
    shift = np.zeros(x.shape[1], np.float32)
    shift[17] = 0.6 * spread[17]
    deviation = ((x - mean) @ along).std()
    dead = x * (np.arange(x.shape[1]) != 30)
    return {
        "dimension": (x + shift, ("dimension", 17, "mean"), "dimensions"),
        "dead": (dead, ("dimension", 30, "dead"), "dimensions"),
        "direction": (x + 0.6 * deviation * along, ("direction", 20, "mean"), "mean"),
        "wider": (
            x + np.outer((x - mean) @ along, along),
            ("direction", 20, "spread"),
            "variance",
        ),
        "spread": (mean + 1.3 * (x - mean), None, "quantization"),
        "norm": (1.02 * x, None, "norm"),
        "rotated": (x @ rotation, None, "subspace"),
    }


@pytest.mark.parametrize(
    "name", ["dimension", "dead", "direction", "wider", "spread", "norm", "rotated"]
)
def test_drift_is_detected_and_attributed(monitor, window, young, rotation, name):
    x, first, family = changes(window, young, rotation)[name]
    report = report_on(monitor, x.astype(np.float32))
    assert report.drift
    assert family in report.data.alarms
    if first:
        cause = report.data.moved.first[0]
        assert (cause.kind, cause.number, cause.change) == first
        assert f"{first[0]} {first[1]}" in report.summary()
    assert report.model.same == (name != "rotated")


def test_a_new_topic_is_detected(monitor, window, fresh):
    """A fifth of the window is one cluster of similar sentences."""
    other = fresh[REFERENCE + WINDOW :]
    topic = other[np.argsort(-other @ other[0])[:60]]
    mixed = np.vstack([window[: WINDOW * 4 // 5], topic])
    report = report_on(monitor, mixed)
    assert "subspace" in report.data.alarms
    assert report.model.same


def test_false_alarms_are_rare(young, fresh):
    monitor = wf.DriftMonitor.from_codec(young, fresh[:REFERENCE], alpha=0.05, permutations=199)
    rng = np.random.default_rng(1)
    alarms = 0
    for _ in range(40):  # 0.8 * 0.05 / 2 is spent on each as a first look
        monitor._data.looks = 0
        alarms += report_on(monitor, rng.permutation(fresh[REFERENCE:])[:300]).drift
    assert alarms <= 4


def sessions(fresh, rng, count):
    """Return sessions of 12 similar rows each, and the session label of each row."""
    rows, labels = [], []
    for number in range(count):
        centre = rng.integers(len(fresh))
        nearest = np.argsort(-fresh @ fresh[centre])[:24]
        rows.append(fresh[rng.permutation(nearest)[:12]])
        labels += [f"session {rng.integers(1 << 40)} {number}"] * 12
    return np.concatenate(rows), labels


def test_sessions_raise_false_alarms_only_without_blocks(young, fresh):
    rng = np.random.default_rng(2)
    baseline, labels = sessions(fresh, rng, 120)
    with_blocks = wf.DriftMonitor.from_codec(young, baseline, blocks=labels, permutations=199)
    without = wf.DriftMonitor.from_codec(young, baseline, permutations=199)
    alarms = np.zeros(2)
    for _ in range(12):
        x, labels = sessions(fresh, rng, 34)
        for i, (monitor, block) in enumerate(((with_blocks, labels), (without, None))):
            monitor._data.looks = 0
            alarms[i] += report_on(monitor, x, block=block).drift
    assert alarms[0] <= 1
    assert alarms[1] >= 6, "rows of a session are not independent"


def test_duplicates_count_once(monitor, fresh):
    """Each row is repeated four times on average."""
    rng = np.random.default_rng(3)
    for _ in range(8):
        monitor._data.looks = 0
        rows = rng.permutation(fresh[REFERENCE:])
        x = np.repeat(rows, rng.geometric(0.25, len(rows)), axis=0)[:WINDOW]
        report = report_on(monitor, rng.permutation(x))
        assert not report.drift
        assert report.quality["duplicates"] == WINDOW - len(np.unique(x, axis=0))


def test_rounding_raises_no_alarm(young, fresh):
    """Norms that differ by 1e-4 in many rows raise no alarm, norms that differ by 5e-3 do."""
    rng = np.random.default_rng(4)
    rows = np.repeat(fresh, 6, axis=0)
    rows = rows + rng.normal(0, 0.2 / np.sqrt(fresh.shape[1]), rows.shape)
    rows = rng.permutation(rows / np.linalg.norm(rows, axis=1, keepdims=True))
    monitor = wf.DriftMonitor.from_codec(young, rows[:8000], permutations=199)
    assert "norm" not in report_on(monitor, (1 + 1e-4) * rows[8000:]).data.alarms
    assert "norm" in report_on(monitor, (1 + 5e-3) * rows[8000:]).data.alarms


def test_too_few_blocks_are_not_tested(monitor, window):
    monitor.update(100 * window[:50], block="one session")
    report = monitor.report()
    assert not report.data.judged
    assert not report.drift
    assert "too few to test" in report.summary()


def test_queries_are_tested_separately(monitor, young, fresh, window, queries):
    assert report_on(monitor, window).queries is None
    with_queries = wf.DriftMonitor.from_codec(young, fresh[:REFERENCE], queries=fresh[:700])
    with_queries.update(window)
    with_queries.update_queries(fresh[1000:1300])
    report = with_queries.report()
    assert report.queries.alarms == ()
    assert "quantization" not in [verdict.family for verdict in report.queries.verdicts]
    with_queries.reset()
    with_queries.update_queries(fresh[1000:1300] + 0.02)
    report = with_queries.report()
    assert report.drift
    assert report.queries.alarms
    assert report.data.rows == 0


def test_another_model_is_reported(monitor, window, probes, rotation):
    report = report_on(monitor, window @ rotation)
    assert report.model.verdict == "another"
    assert report.model.foreign_rows > 0.95
    assert report.occupancy.shift > 10 * report.occupancy.chance
    assert report.summary().startswith("another embedding model")
    monitor.update_probes(probes @ rotation)
    model = monitor.report().model
    assert model.probes_changed == 64
    assert "64 of 64 probes changed" in str(model)


@pytest.mark.parametrize("share", [0.1, 0.5])
def test_a_mixture_of_models_is_reported(monitor, window, probes, rotation, share):
    foreign = int(share * WINDOW)
    mixed = np.vstack([window[foreign:], window[:foreign] @ rotation])
    model = report_on(monitor, mixed).model
    assert model.verdict == "mixture"
    assert abs(model.foreign_rows - share) < 0.05
    monitor.update_probes(np.vstack([probes[:32], probes[32:] @ rotation]))
    assert monitor.report().model.probes_changed == 32


def test_probes_alone_detect_a_new_version(monitor, window, probes):
    rng = np.random.default_rng(0)
    noise = rng.standard_normal(probes.shape) * np.linalg.norm(probes) / np.sqrt(probes.size)
    monitor.update(window)
    monitor.update_probes((probes + 0.1 * noise).astype(np.float32))
    report = monitor.report()
    assert report.model.verdict == "another"
    assert report.drift
    assert report.data.alarms == ()


def test_bad_rows_are_counted_and_left_out(monitor, window):
    bad = window.copy()
    bad[3, 7], bad[4, 0], bad[5], bad[6] = np.nan, np.inf, 0, 1e6 * bad[6]
    bad[7] *= 1e30
    report = report_on(monitor, bad)
    assert report.quality == {
        "rows": WINDOW, "nonfinite": 2, "zero": 1, "outliers": 2, "duplicates": 0,
    }  # fmt: skip
    assert report.data.rows == WINDOW - 4
    assert report.data.alarms == ()
    assert "2 nonfinite, 1 zero, 2 outliers" in report.summary()


def test_a_canary_measures_the_cost(young, fresh, window, rotation, halves, baseline):
    monitor = wf.DriftMonitor.from_codec(young, fresh[:REFERENCE], canary=baseline)
    monitor.update(window @ rotation)
    rotated = wf.drift.Canary(halves[1].queries @ rotation, halves[1].vectors @ rotation)
    cost = monitor.report(rotated).cost
    assert cost.measured
    assert cost.gap_low > 0.01
    policy = wf.drift.RetrainPolicy(max_recall_loss=0.01, persist=1)
    assert policy.decide(cost).retrain
    assert not policy.decide(pickle.loads(pickle.dumps(monitor)).report(halves[1]).cost).retrain
