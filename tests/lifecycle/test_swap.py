"""Swaps during searches and additions, gates, rollback and history."""

from __future__ import annotations

import pickle
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import pytest

import waterfill as wf

SHIFT = 10_000
THREADS = 4
SWAPS = 200


@pytest.fixture
def live(old: wf.IndexFlat) -> wf.SwapIndex:
    return wf.SwapIndex(old)


@pytest.fixture(scope="session")
def truth(stored: np.ndarray, queries: np.ndarray) -> np.ndarray:
    return np.argsort(-queries @ stored.T, axis=1)[:, :10]


@contextmanager
def threads(functions: list[Callable[[], None]]) -> Iterator[list[BaseException]]:
    """Run functions repeatedly, each in its own thread; collect their errors."""
    errors: list[BaseException] = []
    stop = threading.Event()

    def run(function: Callable[[], None]) -> None:
        try:
            while not stop.is_set():
                function()
        except BaseException as error:
            errors.append(error)

    workers = [threading.Thread(target=run, args=(function,)) for function in functions]
    for thread in workers:
        thread.start()
    try:
        yield errors
    finally:
        stop.set()
        for thread in workers:
            thread.join()


def shifted(codec: wf.Codec, x: np.ndarray, number: int) -> wf.IndexFlat:
    index = wf.IndexFlat(codec)
    index.add_with_ids(x, np.arange(len(x)) + number * SHIFT)
    return index


def test_results_never_mix_generations(old_codec, good, stored, queries):
    # Codes, ids and scores differ between the indexes, so a mixed result is detected.
    codecs = [old_codec, good.codec]
    indexes = [shifted(codecs[i % 2], (1 - i / 50) * stored, i) for i in range(6)]
    answers = [index.search(queries[:8], 10) for index in indexes]
    live = wf.SwapIndex(indexes[0])
    searches = [0]

    def search() -> None:
        distances, ids, rows = live.search_and_reconstruct(queries[:8], 10)
        number = int(ids[0, 0]) // SHIFT
        assert ((ids // SHIFT) == number).all()
        np.testing.assert_array_equal(ids, answers[number][1])
        np.testing.assert_array_equal(distances, answers[number][0])
        products = np.einsum("qd,qkd->qk", queries[:8], rows)
        np.testing.assert_allclose(products, distances, atol=1e-4)
        pinned = live.current()
        a, b = pinned.index.search(queries[:1], 3), pinned.index.search(queries[:1], 3)
        np.testing.assert_array_equal(a, b)
        searches[0] += 1

    with threads([search] * THREADS) as errors:
        for i in range(SWAPS):
            report = live.swap(indexes[(i + 1) % 6], same_ids=False)
            assert report.generation == i + 2
        while searches[0] < 50 and not errors:
            time.sleep(0.001)
    assert errors == []
    assert live.generation == SWAPS + 1
    assert [event.generation for event in live.history] == list(range(1, SWAPS + 2))


def test_swap_index_forwards_the_methods_of_an_index(live, old, queries):
    np.testing.assert_array_equal(live.search(queries, 5)[1], old.search(queries, 5)[1])
    np.testing.assert_array_equal(live.assign(queries, 5), old.assign(queries, 5))
    for a, b in zip(live.range_search(queries, 0.6), old.range_search(queries, 0.6), strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(live.reconstruct(3), old.reconstruct(3))
    np.testing.assert_array_equal(live.reconstruct_batch([3, 5]), old.reconstruct_batch([3, 5]))
    np.testing.assert_array_equal(live.reconstruct_n(2, 4), old.reconstruct_n(2, 4))
    np.testing.assert_array_equal(live.ids(2, 4), old.ids(2, 4))
    for name in ("d", "ntotal", "metric", "metric_type", "is_trained", "codec", "nbytes"):
        assert getattr(live, name) == getattr(old, name)
    assert len(live) == old.ntotal
    assert live
    assert live.manifest == old.manifest
    assert "generation 1" in repr(live)


def test_swap_and_rollback(live, old, good, queries, truth):
    report = live.swap(good, gate=wf.lifecycle.Gate(canary=(queries, truth)))
    assert report.passed
    assert report.comparison.recall_change.value > 0
    assert set(report.seconds) == {"verify and warm", "shadow"}
    assert live.index is good
    assert str(report) == "generation 2 is in use"
    back = live.rollback()
    assert live.index is old
    assert (back.number, live.generation) == (3, 3)
    assert [event.what for event in live.history] == ["start", "swap", "rollback"]
    assert live.history[0].sha256 == live.history[2].sha256 != live.history[1].sha256
    with pytest.raises(RuntimeError, match="no previous generation is kept"):
        live.rollback()


def test_rejected_swap_changes_nothing(live, old, good, queries, truth, stored):
    live.swap(good)
    state, history = live._state, live.history
    events: list[object] = []
    live.on_swap(events.append)
    gate = wf.lifecycle.Gate(recall_drop=0.005, canary=queries, vectors=stored)
    with pytest.raises(
        wf.lifecycle.GateError, match=r"recall@10 falls by 0\.\d+ .* recall_drop=0.005"
    ) as it:
        live.swap(old, gate=gate)
    report = it.value.report
    assert not report.passed
    assert report.generation == 2
    assert report.comparison.recall_change.high < 0
    assert isinstance(it.value, RuntimeError)
    assert live._state is state
    assert live.history == history
    assert events == []
    assert live.swap(
        old, gate=wf.lifecycle.Gate(recall_drop=0.9, canary=queries, vectors=stored)
    ).passed
    assert len(events) == 1


def test_each_limit_is_checked(live, good, queries, truth):
    for gate, words in (
        (wf.lifecycle.Gate(queries), "recall is not known"),
        (wf.lifecycle.Gate(queries, None, overlap=0.999), "overlap@10 is"),
        (wf.lifecycle.Gate(queries, None, latency=1e-6), "times as long"),
    ):
        with pytest.raises(wf.lifecycle.GateError, match=words):
            live.swap(good, gate=gate)
    assert live.swap(good, gate=wf.lifecycle.Gate(queries, None, overlap=0.1, latency=1e6)).passed


def test_certain_gate_needs_enough_queries(old, good, queries, truth):
    live = wf.SwapIndex(good)
    few = slice(0, 3)
    gate = wf.lifecycle.Gate((queries[few], truth[few]), 0.5, certain=True)
    found = gate.shadow(good, old)
    drop, most = -found.recall_change.value, -found.recall_change.low
    assert drop < most
    between = (drop + most) / 2
    assert wf.lifecycle.Gate((queries[few], truth[few]), max(between, 0)).reasons(found) == ()
    strict = wf.lifecycle.Gate((queries[few], truth[few]), max(between, 0), certain=True)
    with pytest.raises(
        wf.lifecycle.GateError, match=r"interval over 3 queries reaches 0\.\d+, more than"
    ):
        live.swap(old, gate=strict)


def test_incompatible_indexes_are_rejected(live, old, old_codec, stored, good):
    other = wf.IndexFlat(old_codec, "l2")
    other.add(stored)
    with pytest.raises(
        wf.lifecycle.GateError, match="metric='ip' as in the current index, got 'l2'"
    ):
        live.swap(other)
    fewer = wf.IndexFlat(old_codec)
    fewer.add(stored[:-1])
    with pytest.raises(wf.lifecycle.GateError, match="other ids"):
        live.swap(fewer)
    with pytest.raises(wf.lifecycle.GateError, match="other ids"):
        live.swap(shifted(old_codec, stored, 1))
    assert live.index is old
    assert live.swap(shifted(old_codec, stored, 1), same_ids=False).passed
    for wrong in (stored, live, None):
        with pytest.raises(TypeError, match="must be an IndexFlat or IndexIVF"):
            live.swap(wrong)
    with pytest.raises(TypeError, match="gate must be"):
        live.swap(good, gate=0.005)
    with pytest.raises(ValueError, match="keep=-1"):
        live.swap(good, keep=-1)
    with pytest.raises(wf.NotTrainedError):
        wf.SwapIndex(wf.IndexFlat(wf.Recipe(64, 8)))


def test_changes_since_retraining_are_detected(live, stored, fresh):
    retrained = wf.retrain(live.index, fresh, vectors=stored)
    live.add(fresh[:1])
    live.remove_ids([live.ntotal - 1])  # the same ids, and maybe another vector
    with pytest.raises(wf.lifecycle.GateError, match="after new was retrained from it"):
        live.swap(retrained)
    with live.writes_held():
        assert live.swap(wf.retrain(live.index, fresh, vectors=stored)).passed


def test_concurrent_additions_are_not_lost(live, stored, fresh):
    added = [0]

    def add() -> None:
        if added[0] == len(fresh):  # a stall outside the lock
            time.sleep(0.01)
            return
        live.add(fresh[added[0] : added[0] + 1])
        added[0] += 1

    with threads([add]) as errors:
        for _ in range(2):
            with live.writes_held():
                kept = np.concatenate([stored, fresh[: live.ntotal - len(stored)]])
                live.swap(wf.retrain(live.index, fresh, vectors=kept))
    assert errors == []
    assert added[0] > 0
    assert live.ntotal == len(stored) + added[0]
    expected = live.codec.encode(np.concatenate([stored, fresh[: added[0]]]))
    np.testing.assert_array_equal(live.index.codes(), expected)


def test_rollback_loses_vectors_only_with_force(live, good, stored):
    second = wf.IndexFlat(good.codec)
    second.add(stored)
    live.swap(second)
    live.add(stored[:3])
    with pytest.raises(RuntimeError, match="1,500 vectors then, 1,503 now"):
        live.rollback()
    assert live.rollback(force=True).index.ntotal == len(stored)


@pytest.mark.parametrize("keep", [0, 1, 3])
def test_keep_limits_the_generations(keep, old_codec, stored):
    indexes = [shifted(old_codec, stored[:50], i) for i in range(5)]
    live = wf.SwapIndex(indexes[0])
    for index in indexes[1:]:
        live.swap(index, keep=keep, same_ids=False)
    for index in indexes[-2 : -2 - keep : -1]:
        live.rollback()
        assert live.index is index
    with pytest.raises(RuntimeError, match="no previous generation is kept"):
        live.rollback()


def test_history_has_parents_and_contents(live, old, stored, fresh):
    retrained = wf.retrain(old, fresh, vectors=stored)
    live.swap(retrained)
    first, second = live.history
    assert first.fingerprint == old.codec.fingerprint == second.parent
    assert second.fingerprint == retrained.codec.fingerprint
    assert second.data_sha256 == retrained.manifest.data_sha256
    assert live.verify() == second.sha256
    live.add(stored[:1])
    assert live.verify() != second.sha256
    copy = wf.SwapIndex(pickle.loads(pickle.dumps(old)))
    assert copy.history[0].sha256 == first.sha256


def test_callbacks_are_called_for_each_swap(live, old, good):
    events: list[wf.SwapIndex] = []
    numbers: list[int] = []

    def fails(event: object) -> None:
        raise OSError("no cache")

    end = live.on_swap(lambda event: numbers.append(event.generation))
    end_failing = live.on_swap(fails)
    live.on_swap(events.append)
    with pytest.warns(RuntimeWarning, match="generation 2 is in use, but .*no cache"):
        live.swap(good)
    end_failing()
    live.rollback()
    end()
    live.swap(good)
    assert numbers == [2, 3]
    assert list(live.history[1:]) == events
    with pytest.raises(TypeError, match="callback must be callable"):
        live.on_swap(None)


def test_swaps_are_serialised(old_codec, stored):
    indexes = [shifted(old_codec, stored[:50], i) for i in range(THREADS)]
    live = wf.SwapIndex(indexes[0])

    def swap(index: wf.IndexFlat) -> None:
        for _ in range(20):
            live.swap(index, same_ids=False)

    workers = [threading.Thread(target=swap, args=(index,)) for index in indexes]
    for thread in workers:
        thread.start()
    for thread in workers:
        thread.join()
    assert [event.generation for event in live.history] == list(range(1, 20 * THREADS + 2))


def test_pickle_holds_the_current_index(live, good, queries):
    live.swap(good)
    copy = pickle.loads(pickle.dumps(live))
    np.testing.assert_array_equal(copy.search(queries, 5), live.search(queries, 5))
    assert copy.generation == 1


def test_invalid_gates_raise(queries, truth):
    for options, error, words in (
        ({"recall_drop": -0.1}, ValueError, "recall_drop=-0.1"),
        ({"recall_drop": "little"}, TypeError, "recall_drop must be a number"),
        ({"k": 0}, ValueError, "k=0"),
        ({"recall_drop": None}, ValueError, "set at least one limit"),
    ):
        with pytest.raises(error, match=words):
            wf.lifecycle.Gate(queries, **options)
    with pytest.raises(ValueError, match="canary: expected at least 1 query, got 0"):
        wf.lifecycle.Gate(queries[:0])
    with pytest.raises(ValueError, match=r"canary: expected a tuple \(queries, ids\), got 3 items"):
        wf.lifecycle.Gate((queries, truth, truth))


def test_bad_rows_are_quarantined(live, fresh):
    before = live.ntotal
    bad = np.array(fresh[:5])
    bad[2, 0] = np.nan
    with pytest.warns(RuntimeWarning, match="1 of 5 rows are left out: row 2"):
        live.add(bad, policy="quarantine")
    assert live.ntotal == before + 4
    assert list(live.quarantine[0].rows) == [2]
    with pytest.raises(ValueError, match="row 2"):
        live.add(bad)


def test_gate_uses_the_queries_of_a_canary(live, stored, fresh, queries):
    canary = wf.drift.Canary(queries, stored[:1000], k=10)
    gate = wf.lifecycle.Gate(canary, vectors=stored)
    report = live.swap(wf.retrain(live.index, stored, vectors=stored), gate=gate)
    assert report.comparison.queries == len(queries)
