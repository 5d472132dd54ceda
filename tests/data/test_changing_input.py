"""Arrays that another thread writes to during a call, and arrays that lie about themselves."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

import waterfill as wf
from waterfill import _core


@contextmanager
def flickering(x: np.ndarray) -> Iterator[None]:
    """Let another thread write NaN, infinity and a number to the first row, over and over."""
    stop = threading.Event()

    def write() -> None:
        while not stop.is_set():
            for value in (np.nan, np.inf, 1.0):
                x[0, :] = value

    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def unless_refused(call: Callable[[], Any]) -> Any:
    """Return the result of a call, or None if it found a value that is not finite."""
    try:
        return call()
    except ValueError as error:
        if "NaN or an infinity" not in str(error):
            raise
        return None


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_the_core_encodes_no_row_that_is_not_finite(small_codec, clustered, value):
    x = clustered[:70].copy()
    codes = np.zeros((70, small_codec.code_size), dtype=np.uint8)
    for row in (0, 69):
        x[row, 3], kept = value, x[row, 3]
        with pytest.raises(ValueError, match="changed while it was read"):
            small_codec._core.encode(x, codes)
        x[row, 3] = kept
    small_codec._core.encode(x, codes)
    np.testing.assert_array_equal(codes, small_codec.encode(x))


@pytest.mark.parametrize("metric", ["ip", "l2"])
def test_the_core_searches_for_no_query_that_is_not_finite(small_codec, clustered, metric):
    index = wf.IndexFlat(small_codec, metric)
    index.add(clustered[:100])
    queries = clustered[:3].copy()
    queries[1, 0] = np.nan
    with pytest.raises(ValueError, match="x: row 1 has a NaN"):
        index._core.search(queries, 3, 10, 0, 1.0)
    with pytest.raises(ValueError, match="x: row 1 has a NaN"):
        index._core.range_search(queries, 1.0)


def test_codes_of_rows_that_change_name_a_cell(small_codec, clustered):
    x = clustered[:64].copy()
    encoded = 0
    with flickering(x):
        for _ in range(100):
            codes = unless_refused(lambda: small_codec.encode(x))
            if codes is None:
                continue
            encoded += 1
            assert np.isfinite(small_codec.decode(codes)).all()  # refuses other cells
    x[0] = 1
    assert encoded <= 100
    assert np.isfinite(small_codec.decode(small_codec.encode(x))).all()


@pytest.mark.parametrize("refine", ["float32", "float16", "int8"])
def test_rows_and_queries_that_change_give_finite_results(small_codec, clustered, refine):
    index = wf.IndexFlat(small_codec, "l2", refine=refine)
    x = clustered[:64].copy()
    with flickering(x):
        for _ in range(40):
            unless_refused(lambda: index.add(x))
        if index.ntotal == 0:
            index.add(clustered[:64])
        for _ in range(40):
            found = unless_refused(lambda: index.search(x[:2], 5))
            if found is not None:
                assert np.isfinite(found[0]).all()
                assert (found[0] >= 0).all()
    assert np.isfinite(index._core.refine_rows(0, index.ntotal)).all()
    restored = _core.index_from_bytes(index._core.to_bytes(**index._settings()))[0]
    assert restored.size == index.ntotal


class Liar(np.ndarray):
    """An array that claims a million rows of 20 dimensions."""

    @property
    def shape(self):
        return (1_000_000, 20)

    @property
    def ndim(self):
        return 2

    @property
    def size(self):
        return 20_000_000

    @property
    def strides(self):
        return (4, 4)

    def __len__(self):
        return 1_000_000

    def __array__(self, *args, **kwargs):
        return np.zeros((1_000_000, 20), dtype="f4")


class LyingSource:
    """A block source that returns arrays that lie."""

    shape, dtype = (64, 20), np.dtype("f4")

    def __init__(self, x):
        self._x = x

    def read(self, first, n):
        return self._x[:3].view(Liar)

    def take(self, rows):
        return self._x[:3].view(Liar)


def test_arrays_are_read_as_the_memory_that_they_have(small_codec, clustered):
    x = clustered[:64].copy()
    index = wf.IndexFlat(small_codec, "l2")
    index.add(x.view(Liar))
    assert index.ntotal == 64
    np.testing.assert_array_equal(small_codec.encode(x.view(Liar)), small_codec.encode(x))
    found, expected = index.search(x[:5].view(Liar), 3), index.search(x[:5], 3)
    np.testing.assert_array_equal(found[1], expected[1])
    with pytest.raises(ValueError, match="expected 20"):
        index.add(clustered[:9, :7].copy().view(Liar))
    with pytest.raises(ValueError, match=r"expected the source to return shape \(64, 20\)"):
        index.add(LyingSource(x))
    assert index.ntotal == 64


def test_the_core_reads_the_memory_that_an_array_has(small_codec, clustered):
    core = small_codec._core
    narrow = clustered[:9, :7].copy().view(Liar)
    codes = np.zeros((9, small_codec.code_size), dtype=np.uint8)
    with pytest.raises(ValueError, match="7 dimensions, expected 20"):
        core.encode(narrow, codes)
    with pytest.raises(ValueError, match="one row per row"):
        core.encode(clustered[:64].copy().view(Liar), codes)
    with pytest.raises(TypeError, match=r"shape \(20,\)"):
        core.encode(clustered[0].copy().view(Liar), codes)
    index = wf.IndexFlat(small_codec, "l2")
    index.add(clustered[:9])
    with pytest.raises(ValueError, match="has no row in refine, an array of 3"):
        index._core.borrow_refine_rows(clustered[:3].copy().view(Liar))
