"""A managed folder that keeps no rows: a sample of them trains later codecs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.managed import ENOUGH, D, open_managed, recall, some_vectors, true_ids

import waterfill as wf
from waterfill.data.rows import Rows
from waterfill.layout import order_bytes
from waterfill.managed.reservoir import RESERVOIR, Reservoir

QUERIES = some_vectors(50, seed=5)


def test_rows_go_with_the_first_codec(tmp_path: Path) -> None:
    x = some_vectors(ENOUGH + 300)
    with open_managed(tmp_path / "a", keep_rows="none", code_bytes=12) as index:
        index.upsert(np.arange(ENOUGH), x[:ENOUGH])
        exact = index.search(QUERIES, 10)[1]
        assert recall(exact, true_ids(x[:ENOUGH], QUERIES, "ip")) == 1
        before = index.health()
        reader = open_managed(tmp_path / "a", "r")
        assert [event.what for event in index.maintain()] == ["trained", "measured"]
        assert index.refine is None
        index.upsert(np.arange(ENOUGH, len(x)), x[ENOUGH:])
        found = index.search(QUERIES, 10)[1]
        assert recall(found, true_ids(x, QUERIES, "ip")) > 0.75
        health = index.health()
        assert health.bytes_per_vector == index.bytes_per_vector
        order = order_bytes(index.codec.cells)
        assert health.bytes_per_vector == pytest.approx(13 + order + index._core.id_bytes / len(x))
        assert health.row_bytes == 0
        assert before.row_bytes == 2 * D
        assert before.bytes_per_vector > before.row_bytes
        assert reader.refine == "float16"
        assert reader.refresh()
        assert reader.refine is None
        np.testing.assert_array_equal(reader.search(QUERIES, 10)[1], found)
    assert (tmp_path / "a" / RESERVOIR).exists()
    with open_managed(tmp_path / "a", code_bytes=12) as again:
        np.testing.assert_array_equal(again.search(QUERIES, 10)[1], found)
        assert again.maintain() == []


def test_the_sample_keeps_removed_vectors_until_it_is_deleted(tmp_path: Path) -> None:
    x = some_vectors(ENOUGH + 300)
    sample = tmp_path / "a" / RESERVOIR
    row = x[7].astype(np.float16).tobytes()
    with open_managed(tmp_path / "a", keep_rows="none", code_bytes=12) as index:
        index.upsert(np.arange(ENOUGH), x[:ENOUGH])
        index.maintain()
        index.remove_ids([7])
        index.compact()
    assert {file for file in sample.parent.iterdir() if row in file.read_bytes()} == {sample}
    sample.unlink()
    with open_managed(tmp_path / "a") as index:
        index.upsert(np.arange(ENOUGH, len(x)), x[ENOUGH:])
        assert recall(index.search(QUERIES, 10)[1], true_ids(x, QUERIES, "ip")) > 0.75
        assert index.ntotal == len(x) - 1
    assert len(Reservoir(str(sample.parent), D).rows) == 300


def test_later_codecs_are_for_new_vectors(tmp_path: Path) -> None:
    x = some_vectors(5 * ENOUGH)
    with open_managed(tmp_path / "a", keep_rows="none", code_bytes=12) as index:
        for first in range(0, len(x), ENOUGH):
            index.upsert(np.arange(first, first + ENOUGH), x[first : first + ENOUGH])
            index.maintain()
        trained = [event for event in index.history if event.what == "trained"]
        assert len(trained) == 2
        assert list(index.codecs.values()) == [4 * ENOUGH, ENOUGH]
        health = index.health()
        assert (health.phase, health.older_codes) == ("coded", 4 * ENOUGH)
        assert "keep codes of earlier codecs" in str(health)
        found = index.search(QUERIES, 10)[1]
        assert recall(found, true_ids(x, QUERIES, "ip")) > 0.7
        index.recode(lambda ids: x[ids])  # the user has the vectors
        assert len(index.codecs) == 1
        assert index.maintain() == []


def test_a_reservoir_is_a_sample_of_all_that_came(tmp_path: Path) -> None:
    reservoir = Reservoir(str(tmp_path), 1)
    reservoir._size = 1000
    reservoir.start(np.arange(500, dtype=np.float32)[:, None], 500)
    for first in range(500, 60_000, 700):
        reservoir.note(Rows(np.arange(first, first + 700, dtype=np.float32)[:, None] % 65_000))
    rows = reservoir.rows[:, 0]
    assert len(rows) == 1000
    # A quarter of the stream in each quarter, with five deviations.
    counts = np.histogram(rows, 4, (0, 60_000))[0]
    assert np.abs(counts - 250).max() < 5 * np.sqrt(1000 * 0.25 * 0.75)
    assert len(reservoir.latest) == 3000
    reservoir.save()
    again = Reservoir(str(tmp_path), 1)
    assert again._seen == reservoir._seen
    np.testing.assert_array_equal(again.rows, reservoir.rows)


def test_rows_that_are_not_finite_stay_out(tmp_path: Path) -> None:
    reservoir = Reservoir(str(tmp_path), 2)
    reservoir.start(np.zeros((3, 2), np.float32), 3)
    reservoir.note(Rows(np.array([[1, np.nan], [1e30, 0], [4, 5]], np.float32)))
    assert np.isfinite(reservoir.rows).all()
    assert reservoir.rows[-1].tolist() == [4, 5]
    reservoir.note(Rows(np.empty((0, 2), np.float32)))
    assert len(reservoir.rows) == 4


def test_a_damaged_sample_is_refused(tmp_path: Path) -> None:
    reservoir = Reservoir(str(tmp_path), 2)
    reservoir.start(np.ones((3, 2), np.float32), 3)
    reservoir.save()
    name = tmp_path / RESERVOIR
    good = name.read_bytes()
    for bad in (b"", good[:20], good[:-1], good[:-1] + b"x", good + b"x"):
        name.write_bytes(bad)
        with pytest.raises(wf.FormatError, match=r"MANAGED\.rows: damaged"):
            Reservoir(str(tmp_path), 2)
    name.write_bytes(good)
    with pytest.raises(wf.FormatError, match="3 dimensions"):
        Reservoir(str(tmp_path), 3)
