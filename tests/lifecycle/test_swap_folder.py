"""A `SwapIndex` and a cache over an index in a folder, whose flushes replace the core."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from support.folder_model import codec_of, options_of, some_vectors

import waterfill as wf

X = some_vectors(40, seed=3)


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[wf.folder.FolderIndex]:
    with wf.open_index(tmp_path / "a.wfx", "w", compaction="off", **options_of("flat")) as index:
        index.add(X[:20])
        yield index


def test_changes_reach_the_folder_and_are_seen(folder: wf.folder.FolderIndex) -> None:
    live = wf.SwapIndex(folder)
    live.add(X[20:22])
    live.add_with_ids(X[22:23], [77])
    live.upsert([77, 5], X[30:32])
    assert live.remove_ids([0, 1, 900]) == 2
    with wf.open_index(folder.path) as reader:
        assert sorted(reader.ids().tolist()) == [*range(2, 22), 77]
        for k in (1, 5):
            for found, same in zip(live.search(X[:4], k), reader.search(X[:4], k), strict=True):
                np.testing.assert_array_equal(found, same)
    assert live.generation == 1


def test_a_flush_hides_no_change(folder: wf.folder.FolderIndex) -> None:
    """The new core counts changes from the start: it may have as many as at publication."""
    live = wf.SwapIndex(folder)
    folder.flush()
    while folder._trained().version < live.current().version[1]:
        live.add(X[20:21])
    live.upsert([3], X[21:22])
    assert live.current().changed
    assert live.verify() != live.history[0].sha256
    folder.flush()
    assert live.current().changed


def test_a_cache_forgets_what_was_found_before_a_flush(folder: wf.folder.FolderIndex) -> None:
    for source in (folder, wf.SwapIndex(folder)):
        cached = wf.CachedSearch(source)
        for number in range(20, 24):
            query = X[number : number + 1]
            cached.search(query, 1)
            folder.flush()
            source.upsert([number % 3], query)
            assert cached.search(query, 1)[1].tolist() == folder.search(query, 1)[1].tolist()


def test_an_index_in_memory_has_no_upsert() -> None:
    index = wf.IndexFlat(codec_of("flat"))
    with pytest.raises(AttributeError, match="upsert"):
        wf.SwapIndex(index).upsert([1], X[:1])
