"""A managed folder that keeps no rows: a sample of them trains later codecs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.managed import ENOUGH, D, open_managed, recall, some_vectors, true_ids

import waterfill as wf
from waterfill.layout import order_bytes
from waterfill.managed.reservoir import RESERVOIR

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


def files_with(folder: Path, row: np.ndarray) -> set[str]:
    """Return the names of the files that hold a row of float16."""
    data = row.astype(np.float16).tobytes()
    return {file.name for file in folder.iterdir() if data in file.read_bytes()}


def test_removed_vectors_leave_the_sample(tmp_path: Path) -> None:
    x = some_vectors(ENOUGH + 300)
    folder = tmp_path / "a"
    with open_managed(folder, keep_rows="none", code_bytes=12) as index:
        index.upsert(np.arange(ENOUGH), x[:ENOUGH])
        index.maintain()
        assert files_with(folder, x[7]) == files_with(folder, x[8]) == {RESERVOIR}
        index.remove_ids([7])
        index.upsert([8], x[ENOUGH : ENOUGH + 1])
        index.remove_ids(wf.IDSelectorRange(20, 30))
        index.compact()
        for row in (*x[7:9], *x[20:30]):
            assert not files_with(folder, row)
        assert files_with(folder, x[9]) == files_with(folder, x[ENOUGH]) == {RESERVOIR}
        index.remove_ids([9])
        index.snapshot(tmp_path / "copy")
        assert not files_with(tmp_path / "copy", x[9])
        index.upsert(np.arange(ENOUGH, len(x)), x[ENOUGH:])
        assert len(index._reservoir.rows) == index.ntotal
        index.reset()
        assert not files_with(folder, x[10])
        index.upsert([1], x[:1])
        assert len(index._reservoir.rows) == 1


def test_a_sample_that_was_not_saved_loses_removed_ids(tmp_path: Path) -> None:
    x = some_vectors(ENOUGH)
    folder = tmp_path / "a"
    with open_managed(folder, keep_rows="none", code_bytes=12) as index:
        index.upsert(np.arange(ENOUGH), x)
        index.maintain()
        saved = (folder / RESERVOIR).read_bytes()
        index.remove_ids([7])
    (folder / RESERVOIR).write_bytes(saved)  # as after a kill
    with open_managed(folder) as index:
        index.compact()
        assert index.ntotal == len(index._reservoir.rows) == ENOUGH - 1
        assert not files_with(folder, x[7])


def test_the_sample_may_be_deleted(tmp_path: Path) -> None:
    x = some_vectors(ENOUGH + 300)
    folder = tmp_path / "a"
    with open_managed(folder, keep_rows="none", code_bytes=12) as index:
        index.upsert(np.arange(ENOUGH), x[:ENOUGH])
        index.maintain()
    (folder / RESERVOIR).unlink()
    with open_managed(folder, code_bytes=14) as index:  # for which a training is due
        assert index.maintain() == []
        assert "the sample of their rows is too small" in index.health().next
        index.remove_ids(np.arange(500))
        index.upsert(np.arange(ENOUGH, len(x)), x[ENOUGH:])
        assert len(index._reservoir.rows) == 300
        assert index.maintain() == []
        index.upsert(np.arange(1000), x[:1000])
        assert [event.what for event in index.maintain()] in (["trained"], ["trained", "measured"])


def test_a_sample_of_fewer_vectors_is_measured_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("waterfill.managed.reservoir._MOST_ROWS", 2000)
    with open_managed(tmp_path / "a", keep_rows="none", code_bytes=12) as index:
        index.upsert(np.arange(ENOUGH), some_vectors(ENOUGH))
        for _ in range(2):  # training, and a measurement
            index._maintenance.next().work(lambda: None)
        assert index._state.measured.vectors == 2000
        assert index._maintenance.next() is None


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
