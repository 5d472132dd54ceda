"""The monitor, on sentences that its codec was not trained on."""

from __future__ import annotations

import json
import pickle
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import waterfill as wf

REFERENCE, WINDOW = 1400, 400


@pytest.fixture(scope="module")
def fresh(base):
    """Sentences that `young` was not trained on, in random order."""
    return base[2000:][np.random.default_rng(0).permutation(2800)]


@pytest.fixture(scope="module")
def probes(base):
    return base[:64]


@pytest.fixture(scope="module")
def state(young, fresh, probes):
    """Bytes of a monitor: made once, as that measures recall."""
    return wf.DriftMonitor.from_codec(young, fresh[:REFERENCE], probes=probes).to_bytes()


@pytest.fixture
def monitor(state):
    return wf.DriftMonitor.from_bytes(state)


@pytest.fixture(scope="module")
def window(fresh):
    return fresh[REFERENCE : REFERENCE + WINDOW]


def judged(monitor, x, **blocks):
    monitor.reset()
    monitor.update(x, **blocks)
    return monitor.report()


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
    """Name, what moved first, and a family that must alarm."""
    mean, spread = x.mean(axis=0), x.std(axis=0)
    along = young.plan.basis[20]
    one = np.zeros(x.shape[1], np.float32)
    one[17] = 0.6 * spread[17]
    deviation = ((x - mean) @ along).std()
    gone = x * (np.arange(x.shape[1]) != 30)
    return {
        "dimension": (x + one, ("dimension", 17, "mean"), "dimensions"),
        "dead": (gone, ("dimension", 30, "dead"), "dimensions"),
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
def test_drift_is_found_and_named(monitor, window, young, rotation, name):
    x, first, family = changes(window, young, rotation)[name]
    report = judged(monitor, x.astype(np.float32))
    assert report.drift
    assert family in report.data.alarms
    if first:
        found = report.data.moved.first[0]
        assert (found.kind, found.number, found.change) == first
        assert f"{first[0]} {first[1]}" in report.summary()
    assert report.model.same == (name != "rotated")


def test_a_new_topic_is_found(monitor, window, fresh):
    """A fifth of the window is of sentences near one another."""
    other = fresh[REFERENCE + WINDOW :]
    topic = other[np.argsort(-other @ other[0])[:60]]
    mixed = np.vstack([window[: WINDOW * 4 // 5], topic])
    report = judged(monitor, mixed)
    assert "subspace" in report.data.alarms
    assert report.model.same


def test_null_windows_hardly_ever_alarm(young, fresh):
    monitor = wf.DriftMonitor.from_codec(young, fresh[:REFERENCE], alpha=0.05, permutations=199)
    rng = np.random.default_rng(1)
    alarms = 0
    for _ in range(40):  # 0.8 * 0.05 / 2 is spent on each as a first look
        monitor._data.looks = 0
        alarms += judged(monitor, rng.permutation(fresh[REFERENCE:])[:300]).drift
    assert alarms <= 4


def sessions(fresh, rng, count):
    """Rows near to one another, with the number of their session."""
    rows, numbers = [], []
    for number in range(count):
        own = rng.integers(len(fresh))
        near = np.argsort(-fresh @ fresh[own])[:24]
        rows.append(fresh[rng.permutation(near)[:12]])
        numbers += [f"session {rng.integers(1 << 40)} {number}"] * 12
    return np.concatenate(rows), numbers


def test_sessions_do_not_alarm_as_blocks_and_do_without(young, fresh):
    rng = np.random.default_rng(2)
    baseline, names = sessions(fresh, rng, 120)
    with_blocks = wf.DriftMonitor.from_codec(young, baseline, blocks=names)
    without = wf.DriftMonitor.from_codec(young, baseline)
    alarms = np.zeros(2)
    for _ in range(12):
        x, own = sessions(fresh, rng, 34)
        for i, (monitor, block) in enumerate(((with_blocks, own), (without, None))):
            monitor._data.looks = 0
            alarms[i] += judged(monitor, x, block=block).drift
    assert alarms[0] <= 1
    assert alarms[1] >= 6, "rows of a session are not independent"


def test_copies_are_one_block(monitor, fresh):
    """Each row four times on average: the same as many rows say less."""
    rng = np.random.default_rng(3)
    for _ in range(8):
        monitor._data.looks = 0
        rows = rng.permutation(fresh[REFERENCE:])
        x = np.repeat(rows, rng.geometric(0.25, len(rows)), axis=0)[:WINDOW]
        report = judged(monitor, rng.permutation(x))
        assert not report.drift
        assert report.quality["duplicates"] == WINDOW - len(np.unique(x, axis=0))


def test_rounding_is_no_drift(young, fresh):
    """Norms of 1, and of a little more: a hundred times what float32 rounds, in many rows."""
    rng = np.random.default_rng(4)
    rows = np.repeat(fresh, 6, axis=0) + rng.normal(0, 0.01, (6 * len(fresh), 384))
    rows = rng.permutation(rows / np.linalg.norm(rows, axis=1, keepdims=True))
    monitor = wf.DriftMonitor.from_codec(young, rows[:8000], permutations=199)
    assert "norm" not in judged(monitor, (1 + 1e-4) * rows[8000:]).data.alarms
    assert "norm" in judged(monitor, (1 + 5e-3) * rows[8000:]).data.alarms


def test_too_few_blocks_are_no_verdict(monitor, window):
    monitor.update(100 * window[:50], block="one session")
    report = monitor.report()
    assert not report.data.judged
    assert not report.drift
    assert "too few to tell" in report.summary()


# Parts, workers, copies.


@settings(max_examples=10)
@given(st.lists(st.integers(1, 150), min_size=1, max_size=4), st.integers(0, 99), st.booleans())
def test_parts_and_workers_make_one_window(state, window, sizes, seed, named):
    one = wf.DriftMonitor.from_bytes(state)
    many = [pickle.loads(pickle.dumps(one)) for _ in range(2)]
    rng = np.random.default_rng(seed)
    names = rng.integers(0, 60, len(window)) if named else None
    one.update(window, names)
    ends = np.cumsum(sizes)
    for i, (part, own) in enumerate(
        zip(
            np.split(window, ends),
            np.split(names, ends) if named else [None] * (len(ends) + 1),
            strict=True,
        )
    ):
        many[i % 2].update(part, own)
    many[0].merge(many[1])
    both = one._data.window, many[0]._data.window
    for name in ("rows", "minima", "maxima", "largest", "outside", "occupancy"):
        assert np.array_equal(getattr(both[0], name), getattr(both[1], name)), name
    assert np.array_equal(both[0].counts, both[1].counts)
    assert np.allclose(both[0].sums, both[1].sums, atol=1e-4, rtol=1e-4)
    reports = [each.report() for each in (one, many[0])]
    assert reports[0].data.alarms == reports[1].data.alarms


def test_copies_judge_alike(monitor, window, tmp_path):
    monitor.update(window + 0.01)
    monitor.update_queries(window[:100])
    monitor.save(tmp_path / "state")
    said = monitor.report().to_dict()
    for copy in (
        pickle.loads(pickle.dumps(monitor)),
        wf.DriftMonitor.load(tmp_path / "state"),
        wf.DriftMonitor.from_bytes(monitor.to_bytes()),
    ):
        assert copy.report().to_dict() == said
        assert repr(copy) == repr(monitor)


def test_threads_lose_nothing(monitor, window):
    def work():
        for part in np.array_split(window, 20):
            monitor.update(part, np.arange(len(part)))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert monitor._data.window.n == 4 * WINDOW
    assert monitor.report().quality["rows"] == 4 * WINDOW


@pytest.mark.parametrize("d", [24, 384, 768, 1536])
def test_the_state_is_small(d):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((700, d)).astype(np.float32)
    codec = wf.Codec.train(x, wf.Plan.waterfill(wf.analyze(x), 8), cells=0, effort="fast")
    monitor = wf.DriftMonitor.from_codec(codec, probes=x[:64])
    empty = monitor.nbytes
    for _ in range(3):
        monitor.update(x)
        monitor.update_queries(x)
    assert monitor.nbytes == empty < 2_000_000
    assert len(monitor.to_bytes()) < 2_000_000 + 2 * len(codec.to_bytes())


# Baselines.


def test_the_first_rows_become_the_baseline(young, fresh):
    monitor = wf.DriftMonitor.from_codec(young)
    rows = np.vstack([fresh, fresh[:400] + 0.001])
    for part in np.array_split(rows, 10):
        assert monitor.learning
        monitor.update(part)
    assert not monitor.learning
    assert monitor._data.reference.n >= 3000
    assert "become the baseline" in wf.DriftMonitor.from_codec(young).report().summary()


def test_rows_that_the_codec_was_trained_on_are_no_baseline(base, fresh):
    plan = wf.Plan.waterfill(wf.analyze(base), 24)
    codec = wf.Codec.train(base, plan)
    with pytest.raises(ValueError, match="reference is what the codec was trained on: 256 of 4800"):
        wf.DriftMonitor.from_codec(codec, base)
    monitor = wf.DriftMonitor.from_codec(codec, base[:-1])  # of other rows nothing can be told
    assert monitor._data.reference.n == 4799


def test_of_what_the_codec_was_drawn_from_the_rest_is_the_baseline(monkeypatch, base):
    monkeypatch.setattr("waterfill.training._SAMPLE_ROWS", 2000)
    codec = wf.Codec.train(base, wf.Plan.waterfill(wf.analyze(base), 24))
    monitor = wf.DriftMonitor.from_codec(codec, base, blocks=np.arange(len(base)))
    assert monitor._data.reference.n == 2800
    untouched = np.setdiff1d(np.arange(4800), wf.training.drawn_rows(4800, 384, 0)[0])
    assert np.allclose(
        monitor._data.reference.means[:384], (base[untouched] - codec.plan.mean).mean(axis=0),
        atol=1e-5,
    )  # fmt: skip


# Looks.


def test_a_look_without_new_rows_is_the_same(monitor, fresh, window):
    monitor.update(window)
    first = monitor.report()
    assert monitor.report().to_dict() == first.to_dict()
    assert first.data.look == 1
    monitor.update(fresh[-50:])
    assert monitor.report().data.look == 2
    monitor.reset()
    monitor.update(window[:50])
    assert monitor.report().data.look == 3


def test_later_looks_want_more(monitor, window):
    report = judged(monitor, window)
    p, first = report.data.verdicts[0].p, report.data.verdicts[0].corrected
    for _ in range(4):
        later = judged(monitor, window)
    assert later.data.verdicts[0].p == p
    assert later.data.verdicts[0].corrected == pytest.approx(min(1, first * 5 * 6 / 2))
    assert sum(1 / (k * (k + 1)) for k in range(1, 10_000)) <= 1


# Queries, models, quality.


def test_queries_are_judged_apart(monitor, young, fresh, window, queries):
    assert judged(monitor, window).queries is None
    own = wf.DriftMonitor.from_codec(young, fresh[:REFERENCE], queries=fresh[:700])
    own.update(window)
    own.update_queries(fresh[1000:1300])
    report = own.report()
    assert report.queries.alarms == ()
    assert "quantization" not in [verdict.family for verdict in report.queries.verdicts]
    own.reset()
    own.update_queries(fresh[1000:1300] + 0.02)
    report = own.report()
    assert report.drift
    assert report.queries.alarms
    assert report.data.rows == 0


def test_another_model_is_called_by_its_name(monitor, window, probes, rotation):
    report = judged(monitor, window @ rotation)
    assert report.model.verdict == "another"
    assert report.model.foreign_rows > 0.95
    assert report.occupancy.shift > 10 * report.occupancy.chance
    assert report.summary().startswith("another embedding model")
    monitor.update_probes(probes @ rotation)
    model = monitor.report().model
    assert model.probes_changed == 64
    assert "64 of 64 probes come out otherwise" in str(model)


@pytest.mark.parametrize("share", [0.1, 0.5])
def test_a_mixture_of_models_is_told(monitor, window, probes, rotation, share):
    foreign = int(share * WINDOW)
    mixed = np.vstack([window[foreign:], window[:foreign] @ rotation])
    model = judged(monitor, mixed).model
    assert model.verdict == "mixture"
    assert abs(model.foreign_rows - share) < 0.05
    monitor.update_probes(np.vstack([probes[:32], probes[32:] @ rotation]))
    assert monitor.report().model.probes_changed == 32


def test_probes_alone_tell_a_new_version(monitor, window, probes):
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
    report = judged(monitor, bad)
    assert report.quality == {
        "rows": WINDOW, "nonfinite": 2, "zero": 1, "outliers": 2, "duplicates": 0,
    }  # fmt: skip
    assert report.data.rows == WINDOW - 4
    assert report.data.alarms == ()
    assert "2 nonfinite, 1 zero, 2 outliers" in report.summary()


def test_a_canary_measures_the_cost(young, fresh, window, rotation, halves, baseline):
    monitor = wf.DriftMonitor.from_codec(young, fresh[:REFERENCE], canary=baseline)
    monitor.update(window @ rotation)
    turned = wf.Canary(halves[1].queries @ rotation, halves[1].vectors @ rotation)
    cost = monitor.report(turned).cost
    assert cost.measured
    assert cost.gap_low > 0.01
    policy = wf.RetrainPolicy(max_recall_loss=0.01, persist=1)
    assert policy.decide(cost).retrain
    assert not policy.decide(pickle.loads(pickle.dumps(monitor)).report(halves[1]).cost).retrain


# What cannot be.


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"alpha": 0}, ValueError, "alpha=0.0 must be above 0 and at most 0.2"),
        ({"alpha": 0.5}, ValueError, "alpha=0.5"),
        ({"alpha": "1 %"}, TypeError, "alpha must be a number"),
        ({"permutations": 50}, ValueError, "permutations=50 must be at least 99"),
        ({"metric": "hamming"}, ValueError, "metric='hamming'"),
        ({"canary": 3}, TypeError, "canary must be a Canary or CanaryRecall, got int"),
        ({"probes": np.zeros((3, 384))}, ValueError, "probes has 3 rows; at least 8"),
        ({"reference": np.zeros((10, 384))}, ValueError, "reference has 10 rows; at least 500"),
        ({"reference": np.zeros((600, 12))}, ValueError, "reference has 12 dimensions"),
        ({"queries": np.zeros((10, 384))}, ValueError, "queries has 10 rows; at least 100"),
    ],
)
def test_arguments_that_cannot_be(young, arguments, error, words):
    with pytest.raises(error, match=words):
        wf.DriftMonitor.from_codec(young, **arguments)


def test_updates_that_cannot_be(monitor, young, window, probes):
    with pytest.raises(TypeError, match="codec must be a waterfill"):
        wf.DriftMonitor.from_codec(None)
    with pytest.raises(ValueError, match="x has 12 dimensions, expected 384"):
        monitor.update(window[:, :12])
    with pytest.raises(ValueError, match=r"block must have shape \(400,\), got \(3,\)"):
        monitor.update(window, [1, 2, 3])
    with pytest.raises(TypeError, match="block must hold integers or strings"):
        monitor.update(window, 0.5)
    with pytest.raises(ValueError, match="probes has 9 rows; the baseline has 64"):
        monitor.update_probes(probes[:9])
    with pytest.raises(ValueError, match="probes: the baseline has none"):
        wf.DriftMonitor.from_codec(young).update_probes(probes)
    with pytest.raises(TypeError, match="canary must be a Canary, got list"):
        monitor.report([1])
    assert monitor._data.window.n == 0, "nothing is half-added"


def test_merges_that_cannot_be(monitor, young, codec, fresh):
    with pytest.raises(TypeError, match="other must be a DriftMonitor"):
        monitor.merge(None)
    with pytest.raises(ValueError, match="the monitor itself"):
        monitor.merge(monitor)
    with pytest.raises(ValueError, match="another codec"):
        monitor.merge(wf.DriftMonitor.from_codec(codec))
    with pytest.raises(ValueError, match="another baseline"):
        monitor.merge(wf.DriftMonitor.from_codec(young, fresh[1:REFERENCE]))
    with pytest.raises(ValueError, match="another `errors`"):
        monitor.merge(wf.DriftMonitor.from_codec(young, fresh[:REFERENCE], errors=False))


def test_bytes_that_are_no_monitor(monitor, tmp_path):
    data = monitor.to_bytes()
    rng = np.random.default_rng(0)
    for bad in (b"", b"PK\x03\x04", data[:-100], data[:5000], b"\x89WFL" + data):
        with pytest.raises(wf.FormatError):
            wf.DriftMonitor.from_bytes(bad)
    for _ in range(30):
        damaged = bytearray(data)
        for at in rng.integers(0, len(data), 5):
            damaged[at] ^= 1 << int(rng.integers(8))
        with pytest.raises(wf.FormatError):
            wf.DriftMonitor.from_bytes(bytes(damaged))
    (tmp_path / "text").write_text("not a monitor")
    with pytest.raises(wf.FormatError, match="text: not the state of a drift monitor"):
        wf.DriftMonitor.load(tmp_path / "text")
    with pytest.raises(FileNotFoundError):
        wf.DriftMonitor.load(tmp_path / "nothing")
