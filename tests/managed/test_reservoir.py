"""The sample of rows of a managed folder that keeps none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import waterfill as wf
from waterfill import _core
from waterfill.data.rows import Rows
from waterfill.managed.reservoir import RESERVOIR, Reservoir


def numbers(first: int, n: int) -> tuple[np.ndarray, Rows]:
    """Return ids, and rows that say which id they have."""
    ids = np.arange(first, first + n)
    return ids, Rows((ids % 2048).astype(np.float32)[:, None])


def small(path: Path, size: int) -> Reservoir:
    reservoir = Reservoir(str(path), 1)
    reservoir._size = size
    reservoir._random = np.random.default_rng(0)
    return reservoir


def ids_of(reservoir: Reservoir) -> np.ndarray:
    return reservoir._ids[: len(reservoir.rows)]


def assert_rows_have_their_ids(reservoir: Reservoir) -> None:
    np.testing.assert_array_equal(reservoir.rows[:, 0], ids_of(reservoir) % 2048)


def assert_uniform(ids: np.ndarray, possible: np.ndarray) -> None:
    """Assert that a quarter of the sample is in each quarter, within five deviations."""
    assert np.isin(ids, possible).all()
    assert len(np.unique(ids)) == len(ids)
    places = np.searchsorted(possible, ids)
    counts = np.histogram(places, 4, (0, len(possible)))[0]
    assert np.abs(counts - len(ids) / 4).max() < 5 * np.sqrt(len(ids) * 0.25 * 0.75)


def test_a_sample_of_all_that_came(tmp_path: Path) -> None:
    reservoir = small(tmp_path, 1000)
    ids, rows = numbers(0, 500)
    reservoir.start(ids, rows.take(ids), 500)
    for first in range(500, 60_000, 700):
        reservoir.note(*numbers(first, 700))
    assert len(reservoir.rows) == 1000
    assert_rows_have_their_ids(reservoir)
    assert_uniform(ids_of(reservoir), np.arange(first + 700))
    assert len(reservoir.latest) == 3000
    reservoir.save()
    again = Reservoir(str(tmp_path), 1)
    assert again._vectors == reservoir._vectors
    np.testing.assert_array_equal(ids_of(again), ids_of(reservoir))
    np.testing.assert_array_equal(again.rows, reservoir.rows)


def test_a_sample_of_what_is_left(tmp_path: Path) -> None:
    reservoir = small(tmp_path, 1000)
    reservoir.note(*numbers(0, 20_000))
    reservoir.remove(np.arange(0, 20_000, 2), 10_000)
    assert 400 < len(reservoir.rows) < 600
    for first in range(20_000, 26_000, 1500):
        reservoir.note(*numbers(first, 1500))
    left = np.concatenate([np.arange(1, 20_000, 2), np.arange(20_000, 26_000)])
    assert_uniform(ids_of(reservoir), left)
    reservoir.note(*numbers(26_000, 4000))
    assert len(reservoir.rows) == 1000  # as many came as went
    reservoir.note(*numbers(30_000, 10_000))
    assert len(reservoir.rows) == 1000
    assert_uniform(ids_of(reservoir), np.concatenate([left, np.arange(26_000, 40_000)]))
    assert_rows_have_their_ids(reservoir)


def test_replacing_all_vectors_many_times_keeps_its_size(tmp_path: Path) -> None:
    reservoir = small(tmp_path, 300)
    for first in range(0, 100_000, 1000):
        reservoir.remove(np.arange(first - 1000, first), min(first, 1000))
        reservoir.note(*numbers(first, 1000))
        assert len(reservoir.rows) == 300
    assert_uniform(ids_of(reservoir), np.arange(first, first + 1000))


@given(
    st.lists(st.tuples(st.booleans(), st.integers(0, 60), st.integers(0, 400)), max_size=12),
    st.integers(1, 80),
)
def test_any_changes_leave_a_sample(
    tmp_path_factory: pytest.TempPathFactory, changes: list[tuple[bool, int, int]], size: int
) -> None:
    folder = tmp_path_factory.mktemp("reservoir")
    reservoir = small(folder, size)
    present = np.empty(0, np.int64)
    most = came = 0
    for adds, n, seed in changes:
        if adds:
            reservoir.note(*numbers(came, n))
            present = np.concatenate([present, np.arange(came, came + n)])
            came += n
        else:
            random = np.random.default_rng(seed)
            gone = random.choice(present, min(n, len(present)), replace=False)
            reservoir.remove(gone, len(gone))
            present = np.setdiff1d(present, gone)
        most = max(most, len(present))
        assert np.isin(ids_of(reservoir), present).all()
        assert (
            len(np.unique(ids_of(reservoir))) == len(ids_of(reservoir)) <= min(size, len(present))
        )
        if most <= size:
            assert len(ids_of(reservoir)) == len(present)
        if len(present) == most:
            assert len(ids_of(reservoir)) == min(size, most)
        assert_rows_have_their_ids(reservoir)
    reservoir.save()
    again = Reservoir(str(folder), 1)
    assert (again._vectors, again._gaps, again._gaps_outside) == (
        reservoir._vectors,
        reservoir._gaps,
        reservoir._gaps_outside,
    )


def test_rows_that_are_not_finite_stay_out(tmp_path: Path) -> None:
    reservoir = Reservoir(str(tmp_path), 2)
    reservoir.start(np.arange(3), np.zeros((3, 2), np.float32), 3)
    rows = Rows(np.array([[1, np.nan], [1e30, 0], [4, 5]], np.float32))
    reservoir.note(np.arange(3, 6), rows)
    assert np.isfinite(reservoir.rows).all()
    assert reservoir.rows[-1].tolist() == [4, 5]
    reservoir.note(np.empty(0, np.int64), Rows(np.empty((0, 2), np.float32)))
    assert ids_of(reservoir).tolist() == [0, 1, 2, 5]


def test_vectors_that_went_unnoticed_leave(tmp_path: Path) -> None:
    reservoir = small(tmp_path, 100)
    reservoir.note(*numbers(0, 1000))
    reservoir.keep(lambda ids: ids >= 400, 600, unknown=False)
    assert (ids_of(reservoir) >= 400).all()
    assert reservoir._vectors == 600
    assert reservoir._gaps + reservoir._gaps_outside == 400
    reservoir.note(*numbers(1000, 400))
    assert len(reservoir.rows) == 100


def test_a_file_without_ids_is_read(tmp_path: Path) -> None:
    rows = np.arange(6, dtype="<f2").tobytes()
    head = np.array([50, 3], "<u8").tobytes()
    check = _core.crc32c(rows).to_bytes(4, "little")
    (tmp_path / RESERVOIR).write_bytes(b"waterfill-rows-1" + head + check + rows)
    reservoir = Reservoir(str(tmp_path), 2)
    assert reservoir.rows.tolist() == [[0, 1], [2, 3], [4, 5]]
    reservoir.keep(lambda ids: ids >= 0, 50, unknown=True)
    assert len(reservoir.rows) == 3
    reservoir.keep(lambda ids: ids >= 0, 50, unknown=False)
    assert len(reservoir.rows) == 0


def test_a_damaged_sample_is_refused(tmp_path: Path) -> None:
    reservoir = Reservoir(str(tmp_path), 2)
    reservoir.start(np.arange(3), np.ones((3, 2), np.float32), 3)
    reservoir.save()
    name = tmp_path / RESERVOIR
    good = name.read_bytes()
    flipped = bytearray(good)
    flipped[17] ^= 1
    for bad in (b"", good[:20], good[:-1], good[:-1] + b"x", good + b"x", bytes(flipped)):
        name.write_bytes(bad)
        with pytest.raises(wf.FormatError, match=r"MANAGED\.rows: damaged"):
            Reservoir(str(tmp_path), 2)
    name.write_bytes(good)
    with pytest.raises(wf.FormatError, match="3 dimensions"):
        Reservoir(str(tmp_path), 3)
