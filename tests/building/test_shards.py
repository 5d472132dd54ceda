"""Shards are all rows of a source, in order, each once."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from waterfill.building.parts import Part
from waterfill.building.shards import Span, in_one_go, split


def part(n: int, groups: list[int] | None) -> Part:
    starts = None if groups is None else np.cumsum([0, *groups])[:-1]
    return Part("a", n, 4, starts, 16, list, list, lambda column: None)


@st.composite
def parts(draw: st.DrawFn) -> list[Part]:
    made = []
    for _ in range(draw(st.integers(1, 6))):
        groups = draw(st.none() | st.lists(st.integers(0, 40), min_size=1, max_size=8))
        n = draw(st.integers(1, 200)) if groups is None else sum(groups)
        if n:
            made.append(part(n, groups))
    return made or [part(1, None)]


@given(parts=parts(), most=st.integers(1, 90))
def test_the_laws_of_splitting(parts, most):
    shards = split(parts, most)
    rows = [
        (span.part, row, span.position + row - span.start)
        for shard in shards
        for span in shard.spans
        for row in range(span.start, span.stop)
    ]
    expected, position = [], 0
    for number, each in enumerate(parts):
        for row in range(each.n):
            expected.append((number, row, position))
            position += 1
    assert rows == expected
    assert [shard.number for shard in shards] == list(range(len(shards)))
    assert all(1 <= len(shard) <= most for shard in shards)
    assert split(parts, most) == shards
    for shard in shards:  # neighbouring spans are of different parts
        assert all(a.part < b.part for a, b in zip(shard.spans, shard.spans[1:], strict=False))


@given(parts=parts(), most=st.integers(40, 90))
def test_row_groups_that_fit_are_not_divided(parts, most):
    cuts = {
        (span.part, row)
        for shard in split(parts, most)
        for span in shard.spans
        for row in [span.start]
    }
    for number, row in cuts:
        starts = parts[number].starts
        if starts is not None:
            assert row in starts.tolist()


@given(n=st.integers(1, 10**12), most=st.integers(10**9, 10**11))
def test_a_single_file_is_divided_into_the_fewest_equal_shards(n, most):
    sizes = [len(shard) for shard in split([part(n, None)], most)]
    assert len(sizes) == -(-n // most)
    assert max(sizes) - min(sizes) < len(sizes)


@pytest.mark.parametrize("groups", [None, [5, 5, 10]])
def test_blocks_end_with_row_groups(groups):
    ranges = list(in_one_go(Span(0, 3, 18, 3), part(20, groups)))
    assert ranges == ([(3, 18)] if groups is None else [(3, 5), (5, 10), (10, 18)])
