"""State of a drift monitor: merging, copies, files, baselines, looks and invalid arguments."""

from __future__ import annotations

import pickle
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.drift_windows import REFERENCE, WINDOW, report_on
from support.trained import trained

import waterfill as wf
from waterfill.data.rows import Rows
from waterfill.drift.baseline import training_rows
from waterfill.drift.monitored_stream import slots_for
from waterfill.training.sampling import cell_rows, drawn_rows


@settings(max_examples=10)
@given(st.lists(st.integers(1, 150), min_size=1, max_size=4), st.integers(0, 99), st.booleans())
def test_merged_workers_have_the_window_of_one(state, window, sizes, seed, named):
    one = wf.DriftMonitor.from_bytes(state)
    workers = [pickle.loads(pickle.dumps(one)) for _ in range(2)]
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 60, len(window)) if named else None
    one.update(window, labels)
    ends = np.cumsum(sizes)
    for i, (rows, block) in enumerate(
        zip(
            np.split(window, ends),
            np.split(labels, ends) if named else [None] * (len(ends) + 1),
            strict=True,
        )
    ):
        workers[i % 2].update(rows, block)
    workers[0].merge(workers[1])
    both = one._data.window, workers[0]._data.window
    for name in ("rows", "minima", "maxima", "largest", "outside", "occupancy"):
        assert np.array_equal(getattr(both[0], name), getattr(both[1], name)), name
    assert np.array_equal(both[0].counts, both[1].counts)
    assert np.allclose(both[0].sums, both[1].sums, atol=1e-4, rtol=1e-4)
    reports = [each.report() for each in (one, workers[0])]
    assert reports[0].data.alarms == reports[1].data.alarms


def test_copies_give_the_same_report(monitor, window, tmp_path):
    monitor.update(window + 0.01)
    monitor.update_queries(window[:100])
    monitor.save(tmp_path / "state")
    report = monitor.report().to_dict()
    for copy in (
        pickle.loads(pickle.dumps(monitor)),
        wf.DriftMonitor.load(tmp_path / "state"),
        wf.DriftMonitor.from_bytes(monitor.to_bytes()),
    ):
        assert copy.report().to_dict() == report
        assert repr(copy) == repr(monitor)


def test_updates_from_threads_are_complete(monitor, window):
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


@pytest.mark.parametrize("d", [24, 384, 1536])
def test_state_is_small(d):
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


@pytest.mark.parametrize("d", [1, 24, 64, 384, 768, 1024, 1536, 2048])
def test_slots_fit_two_megabytes(d):
    features = 3 * d + 5  # the codec keeps all directions
    slots = slots_for(features, d)
    assert all(count & (count - 1) == 0 for count in slots), "powers of two"
    assert 4 * features * sum(slots) < 2_000_000


def test_first_rows_become_the_baseline(young, fresh):
    monitor = wf.DriftMonitor.from_codec(young)
    rows = np.vstack([fresh, fresh[:400] + 0.001])
    for part in np.array_split(rows, 10):
        assert monitor.learning
        monitor.update(part)
    assert not monitor.learning
    assert monitor._data.reference.n >= 3000
    assert (
        "0 vectors so far, added to the baseline"
        in wf.DriftMonitor.from_codec(young).report().summary()
    )


def test_training_rows_are_rejected_as_baseline(base, fresh):
    codec = trained(base, 8, effort="fast")
    with pytest.raises(
        ValueError,
        match=r"reference: expected at least 500 rows .* not trained on, got 256 of 4800",
    ):
        wf.DriftMonitor.from_codec(codec, base)
    monitor = wf.DriftMonitor.from_codec(codec, base[:-1])  # another array: not recognised
    assert monitor._data.reference.n == 4799


def test_training_rows_are_left_out_of_the_baseline(monkeypatch, base):
    monkeypatch.setattr("waterfill.training.sampling._SAMPLE_ROWS", 2000)
    codec = wf.Codec.train(base, wf.Plan.waterfill(wf.analyze(base), 8), effort="fast")
    monitor = wf.DriftMonitor.from_codec(codec, base, blocks=np.arange(len(base)))
    assert monitor._data.reference.n == 2800
    unused = np.setdiff1d(np.arange(4800), drawn_rows(4800, 64, 0)[0])
    assert np.allclose(
        monitor._data.reference.means[:64], (base[unused] - codec.plan.mean).mean(axis=0),
        atol=1e-5,
    )  # fmt: skip


def test_rows_that_only_the_cells_were_trained_on_are_no_baseline(monkeypatch, base):
    """With many cells, k-means draws more rows than the codebooks."""
    monkeypatch.setattr("waterfill.training.sampling._SAMPLE_ROWS", 1100)
    plan = wf.Plan.waterfill(wf.analyze(base), 8)
    codebooks, clustered = drawn_rows(4800, 64, 0)[0], cell_rows(4800, 64, 24, 0)
    both = np.union1d(codebooks, clustered)
    assert (len(codebooks), len(clustered)) == (1100, 2400)
    for cells, drawn in ((0, codebooks), (10, codebooks), (24, both)):
        codec = wf.Codec.train(base, plan, effort="fast", cells=cells)
        np.testing.assert_array_equal(training_rows(codec, Rows(base)), drawn)
        monitor = wf.DriftMonitor.from_codec(codec, base, blocks=np.arange(len(base)))
        assert monitor._data.reference.n == 4800 - len(drawn)


def test_a_look_without_new_rows_is_not_counted(monitor, fresh, window):
    monitor.update(window)
    first = monitor.report()
    assert monitor.report().to_dict() == first.to_dict()
    assert first.data.look == 1
    monitor.update(fresh[-50:])
    assert monitor.report().data.look == 2
    monitor.reset()
    monitor.update(window[:50])
    assert monitor.report().data.look == 3


def test_later_looks_are_corrected_more(monitor, window):
    report = report_on(monitor, window)
    p, first = report.data.verdicts[0].p, report.data.verdicts[0].corrected
    for _ in range(4):
        later = report_on(monitor, window)
    assert later.data.verdicts[0].p == p
    assert later.data.verdicts[0].corrected == pytest.approx(min(1, first * 5 * 6 / 2))
    assert sum(1 / (k * (k + 1)) for k in range(1, 10_000)) <= 1


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"alpha": 0}, ValueError, "alpha=0.0 must be above 0 and at most 0.2"),
        ({"alpha": 0.5}, ValueError, "alpha=0.5"),
        ({"alpha": "1 %"}, TypeError, "alpha must be a number"),
        ({"permutations": 50}, ValueError, "permutations=50 must be at least 99"),
        ({"metric": "hamming"}, ValueError, "metric='hamming'"),
        ({"canary": 3}, TypeError, "canary must be a Canary or CanaryRecall, got int"),
        ({"probes": np.zeros((3, 64))}, ValueError, "probes: expected at least 8 rows, got 3"),
        (
            {"reference": np.zeros((10, 64))},
            ValueError,
            "reference: expected at least 500 rows, got 10",
        ),
        ({"reference": np.zeros((600, 12))}, ValueError, "reference has 12 dimensions"),
        (
            {"queries": np.zeros((10, 64))},
            ValueError,
            "queries: expected at least 100 rows, got 10",
        ),
    ],
)
def test_invalid_arguments_raise(young, arguments, error, words):
    with pytest.raises(error, match=words):
        wf.DriftMonitor.from_codec(young, **arguments)


def test_invalid_updates_raise(monitor, young, window, probes):
    with pytest.raises(TypeError, match="codec must be a waterfill"):
        wf.DriftMonitor.from_codec(None)
    with pytest.raises(ValueError, match="x has 12 dimensions, expected 64"):
        monitor.update(window[:, :12])
    with pytest.raises(
        ValueError, match=r"block: expected one label or shape \(400,\), .*, got \(3,\)"
    ):
        monitor.update(window, [1, 2, 3])
    with pytest.raises(TypeError, match="block: expected integers or strings, got dtype float64"):
        monitor.update(window, 0.5)
    with pytest.raises(ValueError, match="probes: expected 64 rows as in the baseline, got 9"):
        monitor.update_probes(probes[:9])
    with pytest.raises(
        ValueError, match="probes: the baseline has none to compare with; pass probes="
    ):
        wf.DriftMonitor.from_codec(young).update_probes(probes)
    with pytest.raises(TypeError, match="canary must be a Canary, got list"):
        monitor.report([1])
    assert monitor._data.window.n == 0, "a rejected call adds no rows"


def test_invalid_merges_raise(monitor, young, codec, fresh):
    with pytest.raises(TypeError, match="other must be a DriftMonitor"):
        monitor.merge(None)
    with pytest.raises(
        ValueError, match="other: expected another monitor, got this monitor itself"
    ):
        monitor.merge(monitor)
    with pytest.raises(
        ValueError, match=r"other: expected codec [0-9a-f]{12} as in this monitor, got [0-9a-f]{12}"
    ):
        monitor.merge(wf.DriftMonitor.from_codec(codec))
    with pytest.raises(
        ValueError, match="other: expected the baseline of this monitor, got another one"
    ):
        monitor.merge(wf.DriftMonitor.from_codec(young, fresh[1:REFERENCE]))
    with pytest.raises(
        ValueError, match="other: expected errors=True as in this monitor, got errors=False"
    ):
        monitor.merge(wf.DriftMonitor.from_codec(young, fresh[:REFERENCE], errors=False))


def test_damaged_states_raise_format_error(monitor, tmp_path):
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
