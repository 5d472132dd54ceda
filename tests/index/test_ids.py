"""No id is given twice: by additions after removals, by merging, after a restart."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

import waterfill as wf

LARGEST = 2**63 - 1
Make = Callable[..., Any]


@pytest.fixture(scope="module")
def make(clustered: NDArray[np.float32]) -> Make:
    empty: dict[str, Any] = {}
    recipe = wf.Recipe(20, 6)
    for kind, cells in (("flat", 0), ("ivf", 4)):
        codec = recipe.train(clustered, "l2", cells=cells)
        empty[kind] = wf.IndexFlat(codec, "l2") if kind == "flat" else wf.IndexIVF(codec, 4)
        if kind == "ivf":
            empty[kind] = wf.IndexIVF(codec, 4, metric="l2")

    def make(kind: str, n: int = 0) -> Any:
        index = copy.deepcopy(empty[kind])
        index.add(clustered[:n])
        return index

    return make


def test_lists_number_on_after_a_removal(make: Make, clustered: NDArray[np.float32]) -> None:
    index = make("ivf", 10)
    index.remove_ids([3, 9])
    index.add(clustered[10:12])
    np.testing.assert_array_equal(index.ids(), [0, 1, 2, 4, 5, 6, 7, 8, 10, 11])
    np.testing.assert_array_equal(index.search(clustered[10:12], 1)[1][:, 0], [10, 11])
    again = pickle.loads(pickle.dumps(index))
    again.remove_ids([11])
    again.add(clustered[12:13])
    assert len(np.unique(again.ids())) == again.ntotal


def test_positions_stay_positions(make: Make, clustered: NDArray[np.float32]) -> None:
    index = make("flat", 10)
    index.remove_ids([3])
    index.add(clustered[10:11])
    np.testing.assert_array_equal(index.ids(), np.arange(10))


def test_a_merge_numbers_on_or_refuses(make: Make, clustered: NDArray[np.float32]) -> None:
    index, shard = make("ivf", 10), make("ivf", 5)
    index.remove_ids([3])
    index.merge_from(shard)
    np.testing.assert_array_equal(index.ids(), [0, 1, 2, *range(4, 10), *range(10, 15)])
    explicit = make("ivf")
    explicit.add_with_ids(clustered[:2], [4, 70])
    before = index.ids()
    with pytest.raises(ValueError, match=r"id 4 is already in this index.*add_id=15"):
        index.merge_from(explicit)
    np.testing.assert_array_equal(index.ids(), before)
    assert explicit.ntotal == 2
    index.merge_from(explicit, 15)
    np.testing.assert_array_equal(index.ids(), [*before, 19, 85])
    index.add(clustered[:1])
    assert index.ids()[-1] == 86


def test_an_index_with_an_id_map_asks_for_ids(clustered: NDArray[np.float32]) -> None:
    index = wf.index_factory(20, "IDMap2,WF6")
    index.train(clustered)
    with pytest.raises(RuntimeError, match=r"call add_with_ids\(x, ids\)"):
        index.add(clustered[:1])
    assert index.ntotal == 0


def test_no_id_follows_the_largest(make: Make, clustered: NDArray[np.float32]) -> None:
    index = make("ivf")
    index.add_with_ids(clustered[:1], [LARGEST - 1])
    index.add(clustered[:0])
    with pytest.raises(ValueError, match="call add_with_ids"):
        index.add(clustered[:1])
    assert index.ntotal == 1
    index.add_with_ids(clustered[:1], [5])
    assert index.ntotal == 2


@given(
    st.lists(
        st.tuples(st.sampled_from(["add", "ids", "remove", "merge", "copy"]), st.integers(0, 30)),
        max_size=12,
    ),
    st.sampled_from(["flat", "ivf"]),
)
def test_ids_are_unique_after_any_calls(
    make: Make, clustered: NDArray[np.float32], calls: list[tuple[str, int]], kind: str
) -> None:
    index, fresh = make(kind), 1000
    for call, n in calls:
        if call == "add":
            index.add(clustered[: n % 4])
        elif call == "ids":
            index.add_with_ids(clustered[: n % 4], fresh + np.arange(n % 4))
            fresh += 1000
        elif call == "remove":
            index.remove_ids([n, int(index.ids()[-1]) if index.ntotal else 0])
        elif call == "merge":
            index.merge_from(make(kind, n % 4))
        else:
            index = pickle.loads(pickle.dumps(index))
        assert len(np.unique(index.ids())) == index.ntotal
