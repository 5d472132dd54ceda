"""An index that starts empty: exact at first, then coded, then following its size."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.managed import ENOUGH, D, open_managed, recall, some_vectors, true_ids

import waterfill as wf
from waterfill.managed.growth import lists_for, size_for
from waterfill.managed.index import ManagedIndex

QUERIES = some_vectors(50, seed=5)


@pytest.mark.parametrize("metric", ["ip", "l2", "cosine"])
@pytest.mark.parametrize("n", [1, 9, 100, 1500])
def test_few_vectors_are_searched_exactly(tmp_path: Path, metric: str, n: int) -> None:
    x = some_vectors(n) * np.geomspace(0.01, 100, n, dtype=np.float32)[:, None]
    with open_managed(tmp_path / "a", metric=metric) as index:
        index.upsert(np.arange(n), x)
        assert index.maintain() == []
        k = min(10, n)
        found = index.search(QUERIES, k)[1]
        assert recall(found, true_ids(x, QUERIES, metric, k)) == 1
        assert index.health().phase == "exact"
    reader = open_managed(tmp_path / "a", "r")
    np.testing.assert_array_equal(reader.search(QUERIES, k)[1], found)


@pytest.mark.parametrize("metric", ["ip", "l2", "cosine"])
def test_it_trains_when_there_is_enough_to_learn_from(tmp_path: Path, metric: str) -> None:
    x = some_vectors(ENOUGH + 500)
    with open_managed(tmp_path / "a", metric=metric) as index:
        index.upsert(np.arange(ENOUGH - 1), x[: ENOUGH - 1])
        assert index.maintain() == []
        index.upsert([ENOUGH - 1], x[ENOUGH - 1 : ENOUGH])
        done = [event.what for event in index.maintain()]
        assert done == ["trained", "measured"]
        index.upsert(np.arange(ENOUGH, len(x)), x[ENOUGH:])
        assert index.maintain() == []
        found = index.search(QUERIES, 10)[1]
        assert recall(found, true_ids(x, QUERIES, metric)) > 0.9
        health = index.health()
        assert (health.phase, health.older_codes) == ("coded", 0)
        assert (
            health.bytes_per_vector == index.bytes_per_vector > index.code_size + health.row_bytes
        )
        assert health.row_bytes == 2 * index.d
        assert health.recall is not None
        assert health.recall.low <= health.recall.recall <= health.recall.high
    again = open_managed(tmp_path / "a")
    np.testing.assert_array_equal(again.search(QUERIES, 10)[1], found)
    assert again.maintain() == []
    assert [event.what for event in again.history] == done
    again.close()


def test_it_follows_its_growth(tmp_path: Path) -> None:
    n = 36_000
    x = some_vectors(n)
    with open_managed(tmp_path / "a", flush_bytes=200_000) as index:
        for first in range(0, n, 6000):
            index.upsert(np.arange(first, first + 6000), x[first : first + 6000])
            index.remove_ids(np.arange(first, first + 100))
            index.maintain()
            assert len(index.codecs) == 1
        left = np.flatnonzero(np.arange(n) % 6000 >= 100)
        found = index.search(QUERIES, 10)[1]
        assert recall(found, left[true_ids(x[left], QUERIES, "ip")]) > 0.9
        assert index.ntotal == len(left)
        assert index.nlist == lists_for(23_600) == 512
        assert index.nprobe < index.nlist
        trained = [event for event in index.history if event.what == "trained"]
        assert len(trained) >= 2
        assert len(index.segments) < 12
        lists = index.nlist, index.nprobe
    reader = open_managed(tmp_path / "a", "r")
    assert (reader.nlist, reader.nprobe) == lists
    np.testing.assert_array_equal(reader.search(QUERIES, 10)[1], found)


def test_a_reader_follows_the_writer(tmp_path: Path) -> None:
    x = some_vectors(ENOUGH)
    with open_managed(tmp_path / "a") as index:
        index.upsert(np.arange(1000), x[:1000])
        reader = open_managed(tmp_path / "a", "r")
        index.upsert(np.arange(1000, ENOUGH), x[1000:])
        index.maintain()
        assert reader.ntotal == 1000
        assert reader.health().phase == "exact"
        assert reader.refresh()
        assert reader.health().phase == "coded"
        assert (reader.nlist, reader.nprobe) == (index.nlist, index.nprobe)
        np.testing.assert_array_equal(reader.search(QUERIES, 10)[1], index.search(QUERIES, 10)[1])
        with pytest.raises(ValueError, match="mode='r'"):
            reader.maintain()


def test_a_target_recall_is_kept(tmp_path: Path) -> None:
    x = some_vectors(ENOUGH)
    with open_managed(tmp_path / "a", target_recall=0.8, metric="l2") as index:
        index.upsert(np.arange(ENOUGH), x)
        event = index.maintain()[0]
        assert "recall@10 of 0.8 in the fewest bytes" in event.words
        assert recall(index.search(QUERIES, 10)[1], true_ids(x, QUERIES, "l2")) > 0.8
        state = index._state
        assert state.expected is not None
        assert state.expected >= 0.8
        few = index.health().bytes_per_vector
    with open_managed(tmp_path / "a", target_recall=0.97) as index:
        assert index.maintain()[0].what == "trained"
        assert index.health().bytes_per_vector > few


def test_rollback_goes_back_to_the_codec_before(tmp_path: Path) -> None:
    x = some_vectors(2 * ENOUGH)
    with open_managed(tmp_path / "a") as index:
        with pytest.raises(ValueError, match="only one has been trained"):
            index.rollback()
        index.upsert(np.arange(ENOUGH), x[:ENOUGH])
        index.maintain()
        first = index.codec.fingerprint
        index.upsert(np.arange(ENOUGH, len(x)), x[ENOUGH:])
        index.maintain()
        assert index.codec.fingerprint != first
        index.rollback()
        assert index.codec.fingerprint == first
        done = [event.what for event in index.maintain()]
        assert done == ["encoded", "measured"]
        assert len(index.codecs) == 1
        assert recall(index.search(QUERIES, 10)[1], true_ids(x, QUERIES, "ip")) > 0.9


def test_a_snapshot_is_managed_too(tmp_path: Path) -> None:
    with open_managed(tmp_path / "a") as index:
        index.upsert(np.arange(ENOUGH), some_vectors(ENOUGH))
        index.maintain()
        index.snapshot(tmp_path / "b")
        found = index.search(QUERIES, 10)[1]
    with open_managed(tmp_path / "b") as copy:
        assert isinstance(copy, ManagedIndex)
        np.testing.assert_array_equal(copy.search(QUERIES, 10)[1], found)
        assert len(copy.history) == 2


def test_health_is_said_in_words(tmp_path: Path) -> None:
    with open_managed(tmp_path / "a") as index:
        assert "all rows are compared: exact" in str(index.health())
        assert f"a first codec is trained at {ENOUGH:,} vectors" in str(index.health())
        index.upsert(np.arange(ENOUGH), some_vectors(ENOUGH))
        assert "next     train the first codec" in str(index.health())
        index.maintain()
        text = str(index.health())
        for words in ("all codes are searched", "bytes per vector", "stored vectors", "trained:"):
            assert words in text
        assert f"trained at {2 * ENOUGH:,} vectors" in text


def test_longer_vectors_are_truncated_if_asked_for(tmp_path: Path) -> None:
    x = some_vectors(200)
    longer = np.hstack([x, np.full((200, 5), 7, np.float32)])
    with open_managed(tmp_path / "a", metric="cosine", truncate=True) as index:
        index.upsert(np.arange(200), longer)
        expected = index.search(x[:5], 3)
        for queries in (longer[:5], longer[:5].tolist()):
            np.testing.assert_array_equal(index.search(queries, 3)[1], expected[1])
        assert len(index.range_search(longer[:1], 0.5)[2]) == len(index.range_search(x[:1], 0.5)[2])
        with pytest.raises(ValueError, match="16 or more dimensions"):
            index.search(x[:1, :7], 3)
    with (
        open_managed(tmp_path / "b") as index,
        pytest.raises(ValueError, match=f"expected {D} dimensions|dimensions"),
    ):
        index.upsert(np.arange(200), longer)


def test_sizes_grow_with_the_collection() -> None:
    assert lists_for(19_999) == 0
    assert [lists_for(n) for n in (20_000, 200_000, 1_000_000, 10**10)] == [
        512,
        2048,
        4096,
        65_536,
    ]
    for n in (ENOUGH, 50_000, 10**6):
        size = size_for(n, with_rows=True)
        assert n < size.aim < size.meant_for
        size = size_for(n, with_rows=False)
        assert size.aim == size.meant_for == 4 * n


def test_it_is_the_index_of_a_swap(tmp_path: Path) -> None:
    with open_managed(tmp_path / "a") as index:
        index.upsert(np.arange(100), some_vectors(100))
        live = wf.SwapIndex(index)
        np.testing.assert_array_equal(live.search(QUERIES, 3)[1], index.search(QUERIES, 3)[1])


def test_vectors_and_queries_with_nan_are_left_out_as_the_policy_says(tmp_path: Path) -> None:
    x = some_vectors(ENOUGH)
    bad = some_vectors(100, seed=8)
    bad[::2, 3] = np.nan
    with open_managed(tmp_path / "a") as index:
        index.upsert(np.arange(ENOUGH), x)
        index.maintain()
        with pytest.warns(RuntimeWarning, match="50 of 100"):
            index.upsert(ENOUGH + np.arange(100), bad, policy="drop")
        assert index.ntotal == ENOUGH + 50
        with pytest.raises(ValueError, match="NaN"):
            index.upsert(ENOUGH + np.arange(100), bad)
        with pytest.raises(ValueError, match="NaN"):
            index.search(bad, 10)
        index.search(QUERIES, 10)
        assert np.isfinite(index._watch.asked(D)).all()
        index.upsert(10**6 + np.arange(1500), some_vectors(1500, seed=9))
        assert [event.what for event in index.maintain()] == ["measured"]
        assert index.health().recall is not None
