"""A folder goes on with another codec, and codes what it has anew, piece by piece."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from support.folder_model import KINDS, D, codec_of, later_codec, options_of, some_vectors
from support.trained import trained

import waterfill as wf
from waterfill.folder import compaction

FEW = wf.SearchParameters(sel=wf.IDSelectorRange(50, 180))


def in_memory(
    kind: str, codec: wf.Codec, ids: NDArray[np.int64], x: NDArray[np.float32]
) -> wf.IndexFlat | wf.IndexIVF:
    options = options_of(kind) | {"codec": codec}
    nprobe = options.pop("nprobe")
    index: Any = wf.IndexFlat(**options)
    if nprobe is not None:
        index = wf.IndexIVF(nlist=codec.cells, **options)
        index.nprobe = nprobe
    index.add_with_ids(x, ids)
    return index


class Changed:
    """A folder that changed its codec, and indexes in memory for each of the two."""

    def __init__(self, path: Path, kind: str, **options: Any) -> None:
        self.kind, self.path = kind, path
        old, new = some_vectors(150, seed=3), some_vectors(90, seed=4)
        if kind == "rows":  # codes are made anew from the rows, which are float16
            old, new = (part.astype(np.float16).astype(np.float32) for part in (old, new))
        index = wf.open_index(path, "w", compaction="off", **(options_of(kind) | options))
        index.add(old[:100])
        index.flush()
        index.remove_ids(np.arange(10))
        index.add(old[100:])
        index.change_codec(later_codec(kind))
        index.add(new)  # ids 150 to 239
        index.upsert(np.arange(20, 30), new[:10])
        index.remove_ids(np.array([15, 200]))
        self.index = index
        gone = {*range(10), *range(20, 30), 15}
        self.old_ids = np.array([i for i in range(150) if i not in gone])
        self.new_ids = np.array([*(i for i in range(150, 240) if i != 200), *range(20, 30)])
        self.all = np.zeros((240, D), np.float32)
        self.all[:150], self.all[150:], self.all[20:30] = old, new, new[:10]
        self.ids = np.concatenate([self.old_ids, self.new_ids])
        self.parts = [
            in_memory(kind, codec_of(kind), self.old_ids, self.all[self.old_ids]),
            in_memory(kind, later_codec(kind), self.new_ids, self.all[self.new_ids]),
        ]

    def check_mixed(self, index: Any) -> None:
        """Results are the best of both parts."""
        assert index.ntotal == len(self.ids)
        assert list(index.codecs.values()) == [len(self.old_ids), len(self.new_ids)]
        np.testing.assert_array_equal(index.ids(), self.ids)
        np.testing.assert_array_equal(index.ids(100, 50), self.ids[100:150])
        q = some_vectors(9, seed=5)
        sign = 1 if index.metric == "l2" else -1
        for options in ({}, {"params": FEW}):
            found = [part.search(q, 7, **options) for part in self.parts]
            distances = np.concatenate([d for d, _ in found], axis=1)
            ids = np.concatenate([i for _, i in found], axis=1)
            best = np.argsort(sign * distances, axis=1, kind="stable")[:, :7]
            got = index.search(q, 7, **options)
            np.testing.assert_array_equal(got[0], np.take_along_axis(distances, best, 1))
            np.testing.assert_array_equal(got[1], np.take_along_axis(ids, best, 1))
        self._check_range(index, q)
        self._check_vectors(index, q)

    def _check_range(self, index: Any, q: NDArray[np.float32]) -> None:
        radius = 30.0 if index.metric == "l2" else 10.0
        limits, distances, ids = index.range_search(q, radius)
        found = [part.range_search(q, radius) for part in self.parts]
        assert limits[-1] > 0
        for i in range(len(q)):
            spans = [(part, slice(int(part[0][i]), int(part[0][i + 1]))) for part in found]
            own = slice(int(limits[i]), int(limits[i + 1]))
            np.testing.assert_array_equal(
                ids[own], np.concatenate([part[2][at] for part, at in spans])
            )
            np.testing.assert_array_equal(
                distances[own], np.concatenate([part[1][at] for part, at in spans])
            )

    def _check_vectors(self, index: Any, q: NDArray[np.float32]) -> None:
        expected = np.concatenate([part.reconstruct_n() for part in self.parts])
        np.testing.assert_array_equal(index.reconstruct_n(), expected)
        np.testing.assert_array_equal(index.reconstruct_n(100, 60), expected[100:160])
        some = np.array([3, 17, 150, 210])
        np.testing.assert_array_equal(index.reconstruct_batch(self.ids[some]), expected[some])
        _, ids, vectors = index.search_and_reconstruct(q, 4)
        places = {int(id): place for place, id in enumerate(self.ids)}
        np.testing.assert_array_equal(
            vectors, expected[[[places[int(id)] for id in row] for row in ids]]
        )

    def check_new(self, index: Any) -> None:
        """All is coded by the later codec, as in an index that never had another one."""
        expected = in_memory(self.kind, later_codec(self.kind), self.ids, self.all[self.ids])
        assert list(index.codecs.values()) == [len(self.ids)]
        np.testing.assert_array_equal(index.ids(), self.ids)
        np.testing.assert_array_equal(index.codes(), expected.codes())
        q = some_vectors(9, seed=5)
        for options in ({}, {"params": FEW}):
            for got, wanted in zip(
                index.search(q, 7, **options), expected.search(q, 7, **options), strict=True
            ):
                np.testing.assert_array_equal(got, wanted)

    def vectors(self) -> Any:
        """Return what `recode` needs."""
        return None if self.kind == "rows" else lambda ids: self.all[ids]


@pytest.mark.parametrize("kind", KINDS)
def test_a_folder_answers_from_both_codecs_until_all_is_coded_anew(
    tmp_path: Path, kind: str
) -> None:
    changed = Changed(tmp_path / "a.wfx", kind)
    reader = wf.open_index(changed.path)
    changed.check_mixed(changed.index)
    changed.check_mixed(reader)
    changed.index.flush()
    reader.refresh()
    changed.check_mixed(reader)
    changed.index.close()
    index: Any = wf.open_index(changed.path, "a", verify="full", compaction="off")
    changed.check_mixed(index)
    index.recode(changed.vectors())
    changed.check_new(index)
    changed.check_mixed(reader)  # of before
    assert reader.refresh()
    changed.check_new(reader)
    assert [name for name in os.listdir(changed.path) if name.startswith("codec")] == [
        f"codec-{next(iter(index.codecs)):06}.wf"
    ]
    index.compact()
    changed.check_new(index)
    index.close()
    changed.check_new(wf.open_index(changed.path, verify="full"))


def test_a_reader_takes_the_codec_over(tmp_path: Path) -> None:
    index: Any = wf.open_index(tmp_path / "a.wfx", "w", **options_of("lists"))
    index.add(some_vectors(50, seed=1))
    reader: Any = wf.open_index(tmp_path / "a.wfx")
    reader.coarse_groups = 7
    index.change_codec(later_codec("lists"))
    assert index.codec.fingerprint == later_codec("lists").fingerprint
    assert index.nlist == 9
    assert reader.nlist == 12
    reader.refresh()
    assert reader.nlist == 9
    assert reader.codec.fingerprint == later_codec("lists").fingerprint
    assert reader.coarse_groups <= 6  # 7 are more than the later codec has
    np.testing.assert_array_equal(
        reader.search(some_vectors(3, seed=2), 5)[1], index.search(some_vectors(3, seed=2), 5)[1]
    )


def test_compaction_codes_anew_what_it_has_rows_of(tmp_path: Path) -> None:
    changed = Changed(tmp_path / "a.wfx", "rows")
    changed.index.compact()
    changed.check_new(changed.index)
    assert len(changed.index.segments) == 1
    kept = Changed(tmp_path / "b.wfx", "cells")
    kept.index.compact()
    kept.check_mixed(kept.index)
    assert len(kept.index.segments) == 2
    assert sum(segment["removed"] for segment in kept.index.segments) == 0


def test_the_background_codes_anew_what_it_has_rows_of(tmp_path: Path) -> None:
    changed = Changed(tmp_path / "a.wfx", "rows")
    changed.index.close()
    index: Any = wf.open_index(changed.path, "a", compaction="background")
    index.flush()
    index._merger.join()
    changed.check_new(index)
    index.close()


@pytest.mark.parametrize("kind", ["cells", "rows"])
def test_a_second_change_before_the_first_is_complete(tmp_path: Path, kind: str) -> None:
    changed = Changed(tmp_path / "a.wfx", kind)
    third = trained(some_vectors(1000, seed=8), 7, cells=5)
    changed.index.change_codec(third)
    extra = some_vectors(30, seed=9).astype(np.float16).astype(np.float32)
    changed.index.add(extra)
    assert list(changed.index.codecs.values()) == [len(changed.old_ids), len(changed.new_ids), 30]
    np.testing.assert_array_equal(changed.index.ids()[-30:], np.arange(240, 270))
    changed.all = np.concatenate([changed.all, extra])
    changed.index.recode(changed.vectors())
    ids = np.concatenate([changed.ids, np.arange(240, 270)])
    expected = in_memory(kind, third, ids, changed.all[ids])
    np.testing.assert_array_equal(changed.index.codes(), expected.codes())
    np.testing.assert_array_equal(changed.index.ids(), ids)


@pytest.mark.parametrize("refine", ["float32", "float16", "int8"])
def test_rows_stay_as_they_are(tmp_path: Path, refine: str) -> None:
    changed = Changed(tmp_path / "a.wfx", "rows", refine=refine)
    before = changed.index.reconstruct_n()
    changed.index.recode()
    np.testing.assert_array_equal(changed.index.reconstruct_n(), before)


@pytest.mark.parametrize("kind", ["lists", "rows"])
def test_a_large_segment_is_coded_in_parts(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    changed = Changed(tmp_path / "a.wfx", kind)
    monkeypatch.setattr(compaction, "_BLOCK", 16)
    monkeypatch.setattr(compaction, "_PART_BYTES", 1)
    changed.index.recode(changed.vectors())
    changed.check_new(changed.index)
    changed.index.close()
    index = wf.open_index(changed.path, "a", verify="full")
    changed.check_new(index)
    assert len(os.listdir(changed.path)) == 4 + len(index.segments)  # no part is left


def test_changes_during_a_recoding_are_kept(tmp_path: Path) -> None:
    changed = Changed(tmp_path / "a.wfx", "cells")
    index, calls = changed.index, []

    def vectors(ids: NDArray[np.int64]) -> NDArray[np.float32]:
        if not calls:
            assert index.remove_ids(np.array([100, 101, 160])) == 3
            index.upsert([110], changed.all[:1])
            index.flush()
        calls.append(len(ids))
        return changed.all[ids]

    index.recode(vectors)
    gone = {100, 101, 160, 110}
    changed.ids = np.array([*(i for i in changed.ids.tolist() if i not in gone), 110])
    changed.all[110] = changed.all[0]
    changed.check_new(index)


def test_another_change_of_the_codec_during_a_recoding(tmp_path: Path) -> None:
    index: Any = wf.open_index(tmp_path / "a.wfx", "w", **options_of("cells"))
    x = some_vectors(50, seed=1)
    index.add(x)
    index.change_codec(later_codec("cells"))
    third = trained(some_vectors(1000, seed=8), 7, cells=5)

    def vectors(ids: NDArray[np.int64]) -> NDArray[np.float32]:
        index.change_codec(third)
        return x[ids]

    index.recode(vectors)
    assert list(index.codecs.values()) == [50]
    expected = in_memory("cells", third, np.arange(50), x)
    np.testing.assert_array_equal(index.codes(), expected.codes())
    index.close()
    assert wf.open_index(tmp_path / "a.wfx", verify="full").ntotal == 50


def test_what_shows_codes_of_two_codecs_raises(tmp_path: Path) -> None:
    pytest.importorskip("faiss")
    changed = Changed(tmp_path / "a.wfx", "lists")
    index, q = changed.index, some_vectors(3, seed=1)
    lists = np.zeros((3, 1), np.int64)
    for call in (
        index.codes,
        index.list_sizes,
        lambda: index.get_list_size(0),
        lambda: index.search_preassigned(q, 3, lists),
        lambda: index.search_and_return_codes(q, 3),
        lambda: wf.write_index(index, tmp_path / "a.wf"),
        lambda: wf.to_faiss(index),
    ):
        with pytest.raises(ValueError, match=r"of \d+ vectors have codes of an older codec"):
            call()
    newer = len(changed.old_ids)
    assert index.codes(newer).shape == (len(changed.new_ids), later_codec("lists").code_size)


def test_bad_arguments_change_nothing(tmp_path: Path) -> None:
    index: Any = wf.open_index(tmp_path / "a.wfx", "w", **options_of("lists"))
    index.add(some_vectors(20, seed=1))
    x = some_vectors(500, seed=1)
    cases = [
        (codec_of("flat"), ValueError, "expected one with cells"),
        (trained(x[:, :8], 4, cells=3), ValueError, "expected 16 dimensions, got 8"),
        (codec_of("lists").plan, TypeError, "must be a waterfill.Codec, got Plan"),
    ]
    for codec, error, message in cases:
        with pytest.raises(error, match=message):
            index.change_codec(codec)
    index.change_codec(codec_of("lists"))  # the one that it has
    assert list(index.codecs) == [1]
    index.change_codec(later_codec("lists"))
    with pytest.raises(ValueError, match="expected a function that returns the vectors of ids"):
        index.recode()
    with pytest.raises(ValueError, match="expected 20 vectors, one per id, got 19"):
        index.recode(lambda ids: x[:19])
    with pytest.raises(ValueError, match="vectors has 8 dimensions, expected 16"):
        index.recode(lambda ids: x[:20, :8])
    assert list(index.codecs.values()) == [20, 0]
    reader = wf.open_index(tmp_path / "a.wfx")
    for call in (lambda: reader.change_codec(codec_of("lists")), reader.recode):
        with pytest.raises(ValueError, match="open it with mode='a'"):
            call()
    index.close()
    with pytest.raises(ValueError, match=r"call change_codec\(codec\)"):
        wf.open_index(tmp_path / "a.wfx", "a", codec=codec_of("lists"))
    rows: Any = wf.open_index(tmp_path / "b.wfx", "w", **options_of("rows"))
    with pytest.raises(ValueError, match="the folder keeps rows"):
        rows.recode(lambda ids: x)


def test_searches_go_on_while_the_codec_changes(tmp_path: Path) -> None:
    x = some_vectors(300, seed=1).astype(np.float16).astype(np.float32)
    index: Any = wf.open_index(
        tmp_path / "a.wfx", "w", codec=codec_of("flat"), refine="float16", k_factor=300, metric="l2"
    )
    index.add(x)
    reader: Any = wf.open_index(tmp_path / "a.wfx")
    wrong: list[str] = []
    done = threading.Event()

    def search(target: Any, seed: int) -> None:
        rng = np.random.default_rng(seed)
        while not done.is_set():
            id = int(rng.integers(300))
            distances, ids, vectors = target.search_and_reconstruct(x[id : id + 1], 1)
            if ids[0, 0] != id or distances[0, 0] != 0 or (vectors[0, 0] != x[id]).any():
                wrong.append(f"{id}: {ids} {distances}")
            if target is reader:
                reader.refresh()

    threads = [
        threading.Thread(target=search, args=(target, i))
        for i, target in enumerate((index, index, reader))
    ]
    for thread in threads:
        thread.start()
    try:
        for n in range(6):
            index.change_codec((later_codec if n % 2 == 0 else codec_of)("flat"))
            index.upsert([5], x[5:6])
            index.recode()
    finally:
        done.set()
        for thread in threads:
            thread.join()
    assert wrong == []
    index.close()


def test_a_fork_during_a_change_leaves_an_index_that_answers(tmp_path: Path) -> None:
    index: Any = wf.open_index(tmp_path / "a.wfx", "w", **options_of("lists"))
    index.add(some_vectors(50, seed=1))
    index.flush()
    before = index._snapshot
    index.change_codec(later_codec("lists"))
    q = some_vectors(3, seed=2)
    expected = index.search(q, 5)
    # What a child has whose parent was between the two halves of the change.
    index._core, index._codec = before.core, before.codec
    index._codec_changes += 1
    for got, wanted in zip(index.search(q, 5), expected, strict=True):
        np.testing.assert_array_equal(got, wanted)
    assert index.nlist == 9
    index.close()


def test_a_recoding_ends_when_the_folder_is_closed(tmp_path: Path) -> None:
    index: Any = wf.open_index(tmp_path / "a.wfx", "w", **options_of("cells"))
    x = some_vectors(50, seed=1)
    index.add(x)
    index.change_codec(later_codec("cells"))

    def vectors(ids: NDArray[np.int64]) -> NDArray[np.float32]:
        index.close()
        return x[ids]

    with pytest.raises(ValueError, match="is closed; call open_index"):
        index.recode(vectors)
    again: Any = wf.open_index(tmp_path / "a.wfx", verify="full")
    assert list(again.codecs.values()) == [50, 0]
