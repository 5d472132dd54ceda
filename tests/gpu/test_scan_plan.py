"""The plan of a scan: every query reads each block of its lists once, whatever the stages."""

from __future__ import annotations

from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from waterfill.device.scan_plan import ITEM_BLOCKS, QUERIES, Runs


@st.composite
def plans(draw):
    sizes = draw(st.lists(st.integers(0, 700), min_size=1, max_size=12))
    starts = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    chosen = draw(st.lists(st.sets(st.integers(0, len(sizes) - 1)), min_size=1, max_size=9))
    lists = np.array([n for own in chosen for n in sorted(own)], np.uint32)
    limits = np.cumsum([0, *map(len, chosen)]).astype(np.uint64)
    terms = np.arange(len(lists), dtype=np.float32)
    return starts, chosen, Runs.of((limits, lists, terms), starts), terms


def blocks_of(items) -> Counter:
    """How often each query reads each block, with the list and the term."""
    read: Counter = Counter()
    for item in items:
        assert 0 < item["count"] <= ITEM_BLOCKS
        for query, term in zip(item["queries"], item["terms"], strict=True):
            for block in range(item["first"], item["first"] + item["count"]) if query >= 0 else ():
                read[int(query), int(block), int(item["list"]), float(term)] += 1
    return read


@given(plans(), st.integers(1, 30_000), st.integers(1, 300), st.integers(1, 3000))
def test_every_block_is_read_once(plan, room, kept, split):
    starts, chosen, runs, terms = plan
    expected: Counter = Counter()
    number = 0
    for query, own in enumerate(chosen):
        for one in sorted(own):
            for block in range(starts[one], starts[one + 1]):
                expected[query, block, one, float(terms[number])] += 1
            number += 1
    read: Counter = Counter()
    for first, end in ((0, split), (split, int(starts[-1]))):
        for stage in runs.within(first, end).stages(room, kept):
            read += blocks_of(stage.items())
    assert read == expected


@given(plans(), st.integers(1, 300))
def test_the_first_stage_fits_the_room(plan, kept):
    runs, room = plan[2], 4096
    for stage in runs.within(0, 1 << 30).stages(room, kept):
        vectors = np.bincount(stage.queries, stage.count * 32)
        assert vectors.max() <= room
        break


@given(plans())
def test_some_queries(plan):
    runs = plan[2]
    chosen = np.arange(len(plan[1])) % 2 == 0
    own = runs.of_queries(chosen)
    assert set(own.queries) <= set(np.flatnonzero(chosen))
    assert own.count.sum() == runs.count[runs.queries % 2 == 0].sum()


def test_runs_above_their_bounds():
    limits, lists = np.array([0, 2, 4], np.uint64), np.array([0, 1, 0, 1], np.uint32)
    runs = Runs.of((limits, lists, np.zeros(4, np.float32)), np.array([0, 3, 9]))
    own = runs.above(np.float32([1, 2, 3, 4]), np.float32([1, 3.5]))
    assert [*zip(own.queries, own.first, own.count, strict=True)] == [(0, 3, 6), (1, 3, 6)]


def test_queries_share_an_item():
    """Of the same blocks, four at a time."""
    limits, lists = np.arange(11).astype(np.uint64), np.zeros(10, np.uint32)
    runs = Runs.of((limits, lists, np.zeros(10, np.float32)), np.array([0, 300]))
    items = runs.items()
    assert len(items) == 2 * -(-10 // QUERIES)
    assert (np.diff(items["first"].astype(int)) >= 0).all()
