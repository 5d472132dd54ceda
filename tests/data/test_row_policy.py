"""Policies: leaving bad rows out is as giving the clean ones by hand."""

from __future__ import annotations

import copy
import pickle
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.bad_rows import rows_with_flaws

import waterfill as wf

WORST = np.finfo(np.float32).max
KINDS = ["plain", "nan", "infinite", "both", "zero", "far", "near", "copy"]
BAD = ["nan", "infinite", "both", "zero"]
ANY_FIXTURE = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])

MAKERS: dict[str, Callable[[], Any]] = {
    "flat": lambda: wf.IndexFlat(wf.Recipe(20, 7), "l2"),
    "inner product": lambda: wf.IndexFlat(wf.Recipe(20, 7), "ip"),
    "cosine": lambda: wf.IndexFlat(wf.Recipe(20, 7), "cosine"),
    "lists": lambda: wf.IndexIVF(wf.Recipe(20, 7), 16, metric="l2"),
    "refined": lambda: wf.IndexFlat(wf.Recipe(20, 7), "l2", refine="float16"),
    "refined lists": lambda: wf.IndexIVF(wf.Recipe(20, 7), 16, metric="l2", refine="int8"),
}


@contextmanager
def left_out(text: str) -> Iterator[None]:
    """The one warning of this says so and points here."""
    with pytest.warns(RuntimeWarning, match="left out") as seen:
        yield
    assert text in str(seen[0].message)
    assert Path(seen[0].filename) == Path(__file__)


@pytest.fixture(scope="module")
def trained(clustered) -> dict[str, Any]:
    made = {kind: make() for kind, make in MAKERS.items()}
    for index in made.values():
        index.train(clustered)
    cells = wf.Codec.train(clustered, wf.Plan.waterfill(wf.analyze(clustered), 7), cells=16)
    return made | {"cells": wf.IndexFlat(cells, "l2")}


def same(index: Any, expected: Any, queries: np.ndarray) -> None:
    assert index.ntotal == expected.ntotal
    np.testing.assert_array_equal(index.codes(), expected.codes())
    np.testing.assert_array_equal(index.ids(), expected.ids())
    for got, wanted in zip(index.search(queries, 5), expected.search(queries, 5), strict=True):
        np.testing.assert_array_equal(got, wanted)


@pytest.mark.parametrize("kind", [*MAKERS, "cells"])
@pytest.mark.parametrize("policy", ["drop", "quarantine"])
@pytest.mark.parametrize("with_ids", [False, True], ids=["positions", "ids"])
@ANY_FIXTURE
@given(
    st.lists(st.sampled_from(["nan", "infinite", "both", "zero"]), max_size=6), st.integers(0, 9)
)
def test_adding_is_adding_the_clean_rows(trained, clustered, kind, policy, with_ids, flaws, seed):
    bad = rows_with_flaws(flaws, 20, seed)
    rng = np.random.default_rng(seed)
    order = rng.permutation(60 + len(bad))
    x = np.concatenate([clustered[:60], bad])[order]
    ids = 1000 + 7 * np.arange(len(x))
    keep = np.isfinite(x).all(axis=1)
    index, expected = copy.deepcopy(trained[kind]), copy.deepcopy(trained[kind])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of zeros, too, whose distance is clipped
        if with_ids:
            index.add_with_ids(x, ids, policy=policy)
            expected.add_with_ids(x[keep], ids[keep])
        else:
            index.add(x, policy=policy)
            expected.add(x[keep])
    same(index, expected, clustered[60:70])
    assert index.quarantine.n == (0 if policy == "drop" else np.sum(~keep))
    for held in index.quarantine:
        assert held.rows.tolist() == np.flatnonzero(~keep).tolist()
        np.testing.assert_array_equal(held.vectors, x[~keep])
        assert (held.ids is not None) == with_ids
        if with_ids:
            assert held.ids.tolist() == ids[~keep].tolist()


@pytest.mark.parametrize("kind", [*MAKERS, "cells"])
@pytest.mark.parametrize("policy", ["drop", "quarantine"])
def test_bad_queries_find_nothing(trained, clustered, kind, policy):
    index = copy.deepcopy(trained[kind])
    index.add(clustered[:500])
    queries = clustered[500:520].copy()
    queries[[0, 7, 19], [3, 4, 5]] = np.nan, np.inf, -np.inf
    keep = np.delete(np.arange(20), [0, 7, 19])
    distances, labels = np.empty((20, 3), "f4"), np.empty((20, 3), "i8")
    with left_out("x: 3 of 20 rows are left out: row 0 (nan), row 7 (infinite), row 19 (infinite)"):
        index.search(queries, 3, D=distances, I=labels, policy=policy)
    expected = index.search(queries[keep], 3)
    np.testing.assert_array_equal(distances[keep], expected[0])
    np.testing.assert_array_equal(labels[keep], expected[1])
    assert (labels[[0, 7, 19]] == -1).all()
    worst = WORST if index.metric == "l2" else -WORST
    assert (distances[[0, 7, 19]] == worst).all()

    radius = float(np.median(expected[0]))
    with left_out("3 of 20 rows"):
        limits, near, ids = index.range_search(queries, radius, policy=policy)
    wanted = index.range_search(queries[keep], radius)
    np.testing.assert_array_equal(np.diff(limits)[keep], np.diff(wanted[0]))
    assert np.diff(limits)[[0, 7, 19]].tolist() == [0, 0, 0]
    assert limits.dtype == np.uint64
    np.testing.assert_array_equal(near, wanted[1])
    np.testing.assert_array_equal(ids, wanted[2])
    calls = [held.call for held in index.quarantine]
    assert calls == ([] if policy == "drop" else ["search", "range_search"])


def test_no_query_is_left(trained, clustered):
    index = copy.deepcopy(trained["lists"])
    index.add(clustered[:50])
    nothing = np.full((3, 20), np.nan, "f4")
    with left_out("3 of 3 rows"):
        labels = index.search(nothing, 2, policy="drop")[1]
    assert (labels == -1).all()
    with left_out("3 of 3 rows"):
        assert index.range_search(nothing, 1.0, policy="drop")[0].tolist() == [0, 0, 0, 0]
    with left_out("3 of 3 rows"):
        index.add(nothing, policy="drop")
    assert index.ntotal == 50


def test_numbers_are_those_of_what_was_given(trained, clustered):
    """A view of clean rows has its own."""
    index = copy.deepcopy(trained["flat"])
    index.add(clustered[:100])
    queries = clustered[:30].copy()
    queries[4], queries[9, 0] = 0, np.nan
    view = wf.check(queries, refuse="zero", policy="drop").clean
    with left_out("1 of 29 rows are left out: row 8 (nan)"):
        labels = index.search(view, 1, policy="drop")[1]
    assert labels[8] == -1
    np.testing.assert_array_equal(labels[9:], index.search(queries[10:], 1)[1])


@pytest.mark.parametrize("kind", MAKERS)
def test_training_is_training_with_the_clean_rows(clustered, kind):
    x, asked = clustered.copy(), clustered[:300].copy()
    x[[2, 1000], 4] = np.nan, np.inf
    asked[5, 5] = np.nan
    index, expected = MAKERS[kind](), MAKERS[kind]()
    with pytest.warns(RuntimeWarning, match="left out") as seen:
        index.train(x, xq_train=asked, policy="quarantine")
    assert [str(w.message).partition(":")[0] for w in seen] == ["x", "queries"]
    expected.train(np.delete(x, [2, 1000], axis=0), xq_train=np.delete(asked, 5, axis=0))
    assert index.codec.fingerprint == expected.codec.fingerprint
    assert [(q.call, q.argument, q.rows.tolist()) for q in index.quarantine] == [
        ("train", "x", [2, 1000]),
        ("train", "queries", [5]),
    ]
    with pytest.raises(ValueError, match="x has no rows"), left_out("9 of 9 rows"):
        MAKERS[kind]().train(np.full((9, 20), np.inf), policy="drop")


def test_a_codec_drops_or_raises(clustered):
    x = clustered.copy()
    x[[2, 1000], 4] = np.nan, np.inf
    clean = np.delete(x, [2, 1000], axis=0)
    plan = wf.Plan.waterfill(wf.analyze(clean), 7)
    with left_out("x: 2 of 3000 rows are left out: row 2 (nan), row 1000 (infinite)"):
        codec = wf.Codec.train(x, plan, policy="drop")
    assert codec.fingerprint == wf.Codec.train(clean, plan).fingerprint
    with left_out("x: 2 of 3000 rows"):
        codes = codec.encode(x, policy="drop")
    np.testing.assert_array_equal(codes, codec.encode(clean))
    for call in (
        lambda: codec.encode(x, policy="quarantine"),
        lambda: wf.Codec.train(x, plan, policy="quarantine"),
    ):
        with pytest.raises(ValueError, match="must be 'raise' or 'drop'; only an index has"):
            call()
    with pytest.raises(ValueError, match="x: row 2 has a NaN or an infinity"):
        codec.encode(x)


def test_float16_rows_are_refused_with_what_they_do_not_hold(trained, clustered):
    x = clustered[:20].copy()
    x[4, 3], x[5, 3], x[6, 3] = 65519, 65520, np.nan
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*clipped")
        for kind, n in (("refined", 18), ("refined lists", 19), ("flat", 19)):
            index = copy.deepcopy(trained[kind])
            with pytest.warns(RuntimeWarning, match="left out"):
                index.add(x, policy="quarantine")
            assert index.ntotal == n
            reasons = [("beyond float16",)] if kind == "refined" else []
            assert index.quarantine[0].reasons == [*reasons, ("nan",)]


class Torn:
    """Rows that can be read for some time."""

    shape, dtype = (40, 20), np.dtype("f4")

    def __init__(self, x: np.ndarray, reads: int) -> None:
        self.x, self.reads = x, reads

    def read(self, first: int, n: int) -> np.ndarray:
        self.reads -= 1
        if self.reads < 0:
            raise OSError("torn")
        return self.x[first : first + n]

    def take(self, rows: np.ndarray) -> np.ndarray:
        return self.read(0, len(self.x))[rows]


@pytest.mark.parametrize("kind", [*MAKERS, "cells"])
def test_all_or_nothing(trained, clustered, kind):
    index = copy.deepcopy(trained[kind])
    index.add_with_ids(clustered[:30], np.arange(30))
    before = index.codes(), index.ids(), index.nbytes
    x = clustered[30:70].copy()
    x[9, 9] = np.nan

    def unchanged() -> None:
        np.testing.assert_array_equal(index.codes(), before[0])
        np.testing.assert_array_equal(index.ids(), before[1])
        assert index.quarantine.n == 0

    for policy in ("raise", "drop", "quarantine"):
        with pytest.raises(ValueError, match="ids: expected 40 ids, one per vector, got 39"):
            index.add_with_ids(x, np.arange(39), policy=policy)
        unchanged()
    for policy, reads in (("drop", 1), ("quarantine", 2)):
        with pytest.raises(OSError, match="torn"), left_out("row 9 (nan)"):
            index.add(Torn(x, reads), policy=policy)
        unchanged()
    with pytest.raises(RuntimeWarning, match="left out"):  # warnings are errors here
        index.add(x, policy="quarantine")
    unchanged()
    with pytest.raises(ValueError, match="policy=None must be 'raise', 'drop' or 'quarantine'"):
        index.add(x, policy=None)
    with pytest.raises(ValueError, match="x: row 9 has a NaN or an infinity in float32"):
        index.add(x)
    unchanged()
    index.add(clustered[30:70])
    expected = copy.deepcopy(trained[kind])
    expected.add_with_ids(clustered[:30], np.arange(30))
    expected.add(clustered[30:70])
    same(index, expected, clustered[:9])


def test_the_quarantine_is_the_users(trained, clustered, tmp_path):
    index = copy.deepcopy(trained["flat"])
    x = clustered[:9].copy()
    x[[2, 5], 1] = np.inf
    with left_out("2 of 9 rows"):
        index.add_with_ids(x, np.arange(9) * 10, policy="quarantine")
    (held,) = index.quarantine
    assert (held.call, held.argument, len(held)) == ("add_with_ids", "x", 2)
    assert held.ids.tolist() == [20, 50]
    assert held.reasons == [("infinite",), ("infinite",)]
    assert repr(index.quarantine).splitlines() == [
        "Quarantine, rows: 2, calls: 1",
        "  Quarantined: row 2, row 5 of x in add_with_ids",
    ]
    for again in (pickle.loads(pickle.dumps(index)), copy.copy(index), copy.deepcopy(index)):
        np.testing.assert_array_equal(again.quarantine[0].vectors, held.vectors)
        again.quarantine.clear()
        assert index.quarantine.n == 2
    wf.write_index(index, tmp_path / "index.wf")
    assert wf.read_index(tmp_path / "index.wf").quarantine.n == 0
    index.add(np.where(np.isfinite(held.vectors), held.vectors, 0))
    index.quarantine.clear()
    assert (len(index.quarantine), index.ntotal) == (0, 9)


def test_an_untrained_copy_has_a_quarantine_of_its_own(clustered):
    index = MAKERS["flat"]()
    other = copy.copy(index)
    x = clustered.copy()
    x[0, 0] = np.nan
    with left_out("1 of 3000 rows"):
        other.train(x, policy="quarantine")
    assert (index.quarantine.n, other.quarantine.n) == (0, 1)


def test_clean_rows_are_not_looked_at_twice_over(trained, clustered):
    """A policy changes nothing where nothing is wrong, and warns of nothing."""
    for policy in ("drop", "quarantine"):
        index = copy.deepcopy(trained["refined lists"])
        index.add(clustered[:100], policy=policy)
        expected = copy.deepcopy(trained["refined lists"])
        expected.add(clustered[:100])
        same(index, expected, clustered[:5])
        assert index.quarantine.n == 0
