"""Searches in shares: what one search finds, to the bit, in all kinds of indexes."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import waterfill as wf
from waterfill import _core
from waterfill.scale.scattered_core import ScatteredCore, scattered

SEARCHES = {
    "all": None,
    "range": wf.SearchParameters(sel=wf.IDSelectorRange(300, 2500)),
    "few": wf.SearchParameters(sel=wf.IDSelectorBatch(np.arange(0, 3000, 97))),
}
KINDS = [
    (metric, cells, refine, options)
    for metric, cells, refine in itertools.product(
        ("ip", "l2", "cosine"), (0, 32), (None, "float16")
    )
    for options in ({}, {"nprobe": 6})
    if cells or not options
]


class InProcess:
    """Shares that are searched here, in the place of `Replicas`."""

    def __init__(self, core):
        self._core = core

    def search(self, _generation, shares, thresholds, arguments, _deadline):
        return {
            share: self._core.search_share(*arguments, parts, thresholds)
            for share, parts in enumerate(shares)
        }


@pytest.fixture(scope="module", params=KINDS, ids=lambda kind: "-".join(map(str, kind)))
def folder(request, base_64, tmp_path_factory):
    """An index of ten parts, of which one is the log, with equal vectors and removed ones."""
    metric, cells, refine, options = request.param
    plan = wf.Plan.waterfill(wf.analyze(base_64, normalize=metric == "cosine"), 16)
    codec = wf.Codec.train(base_64, plan, cells=cells, effort="fast")
    path = tmp_path_factory.mktemp("folder") / "a.wfx"
    with wf.open_index(
        path, "a", codec=codec, metric=metric, refine=refine, compaction="off", **options
    ) as index:
        for first in range(0, 4000, 500):
            index.add(base_64[first : first + 500])
            index.flush()
        index.add(base_64[100:200])
        index.flush()
        index.add(base_64[4000:4500])
        index.remove_ids(np.arange(50, 3000, 7))
    return path


def in_shares(path, cuts):
    """Open an index whose searches are made of those of ranges of its parts."""
    index = wf.open_index(path)
    core = index._core
    bounds = np.unique([0, *cuts, core.parts]).tolist()
    index._core = ScatteredCore(core, None, list(itertools.pairwise(bounds)))
    return index, InProcess(core)


@pytest.mark.parametrize("search", SEARCHES)
@pytest.mark.parametrize("k", [1, 10, 60, 5000])
def test_the_answers_are_those_of_one_search(folder, queries_64, search, k):
    queries = queries_64[:3] if k == 5000 else queries_64[:40]
    expected = wf.open_index(folder).search(queries, k, params=SEARCHES[search])
    for cuts in ([], [3, 7], range(10)):
        index, shares = in_shares(folder, cuts)
        with scattered(shares, None) as call:
            found = index.search(queries, k, params=SEARCHES[search])
        assert len(call.answered) == len(list(cuts)) + (cuts != range(10))
        for ours, theirs in zip(found, expected, strict=True):
            np.testing.assert_array_equal(ours, theirs)


@given(
    cuts=st.lists(st.integers(0, 10), max_size=4),
    k=st.integers(1, 300),
    factor=st.integers(1, 40),
    query=st.integers(0, 190),
    sigma=st.sampled_from([0.0, 1.0, 3.0, float("inf")]),
)
def test_any_shares_and_settings(folder, queries_64, cuts, k, factor, query, sigma):
    queries = queries_64[query : query + 5]
    index, shares = in_shares(folder, cuts)
    one = wf.open_index(folder)
    for each in (index, one):
        each.refine_factor, each.prune_sigma = factor, sigma
    with scattered(shares, None):
        found = index.search(queries, k)
    for ours, theirs in zip(found, one.search(queries, k), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_what_does_not_fit_is_refused(base_64, codec_64):
    core = _core.Index(codec_64._core, _core.Metric.inner_product)
    core.append(codec_64.encode(base_64[:100]))
    found = core.search_share(base_64[:2], 5, 50, 8, 3.0, None, None, 0, (0, 1), None)
    with pytest.raises(ValueError, match="arrays of different sizes"):
        core.merge_shares(base_64[:1], 5, 50, 8, None, 0, found)
    moved = (*found[:3], found[3] + np.uint32(100), *found[4:])
    with pytest.raises(ValueError, match="candidates of another state of the index"):
        core.merge_shares(base_64[:2], 5, 50, 8, None, 0, moved)
    backwards = (np.array([0, 150, 100], np.uint64), *(part[:100] for part in found[1:]))
    with pytest.raises(ValueError, match="limits must ascend"):
        core.merge_shares(base_64[:2], 5, 50, 8, None, 0, backwards)
    thresholds = np.zeros(3, np.float32)
    with pytest.raises(ValueError, match="one value per query"):
        core.search_share(base_64[:2], 5, 50, 8, 3.0, None, None, 0, (0, 1), thresholds)
