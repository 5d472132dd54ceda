"""An index of mapped segments, own vectors and removals answers as one index of the survivors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from numpy.typing import NDArray
from support import trained
from support.core_answers import require_same

import waterfill as wf
from waterfill import _core

MARK = bytes(range(16))
LARGEST, SMALLEST = 2**63 - 1, -(2**63)
POOL = 700
METRICS = {
    "ip": _core.Metric.inner_product,
    "l2": _core.Metric.l2,
    "cosine": _core.Metric.cosine,
}
KINDS = (None, _core.RowKind.float16, _core.RowKind.int8, _core.RowKind.float32)

Ids = NDArray[np.int64]


class Pool:
    """Vectors, and their codes by a codec with some cells."""

    def __init__(self, x: NDArray[np.float32], cells: int) -> None:
        self.x = np.ascontiguousarray(x[:POOL])
        self.queries = np.ascontiguousarray(x[POOL : POOL + 4])
        # Few lists for many vectors, and many for few; an odd number of groups.
        self.codec = trained.trained(x[:1500], 5, cells=cells)
        self.codes = self.codec.encode(self.x)

    def new(self, metric: str, kind: _core.RowKind | None) -> _core.Index:
        core = _core.Index(self.codec._core, METRICS[metric])
        if kind is not None:
            core.keep_refine_rows(kind)
        return core

    def append(
        self, core: _core.Index, rows: NDArray[np.int64], ids: Ids | None, replaced: Any = None
    ) -> None:
        kept = None
        if core.refine_row_kind is not None:
            kept = _core.RefineRows(core.refine_row_kind, self.x.shape[1])
            kept.append(self.x[rows], 0)
        core.append(self.codes[rows], ids, kept, replaced)


@pytest.fixture(scope="module")
def pools(base_64: NDArray[np.float32]) -> dict[int, Pool]:
    x = np.ascontiguousarray(base_64[:, :24])
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    return {cells: Pool(x, cells) for cells in (0, 1, 16, 300)}


class Model:
    """Which vectors an index should have, in order: row of the pool and id."""

    def __init__(self) -> None:
        self.rows, self.ids = np.empty(0, np.int64), np.empty(0, np.int64)

    def append(self, rows: NDArray[np.int64], ids: Ids) -> None:
        self.rows, self.ids = np.append(self.rows, rows), np.append(self.ids, ids)

    def remove(self, ids: Ids) -> int:
        drop = np.isin(self.ids, ids)
        self.rows, self.ids = self.rows[~drop], self.ids[~drop]
        return int(drop.sum())

    def plain(self, pool: Pool, metric: str, kind: _core.RowKind | None) -> _core.Index:
        core = pool.new(metric, kind)
        pool.append(core, self.rows, self.ids)
        return core


def write_segment(core: _core.Index, path: Path, *, own: bool = False) -> int:
    with open(path, "wb") as file:
        return core.write_segment(file.fileno(), bytes(path), MARK, own)


def attach(core: _core.Index, paths: list[Path], removed: list[Any], *, verify: bool) -> None:
    labels = [np.asarray(each, dtype=np.uint32) for each in removed]
    core.attach_segments([bytes(path) for path in paths], MARK, labels, verify)


def new_ids(form: str, n: int, rng: np.random.Generator, start: int) -> Ids | None:
    """Draw ids of n vectors; None for those that an index gives."""
    if form == "none":
        return None
    if form == "consecutive":
        return np.arange(start, start + n, dtype=np.int64)
    if form == "ascending":
        return np.cumsum(rng.integers(0, 4, n)) + start
    if form == "few":
        return rng.integers(0, 60, n)
    edges = [SMALLEST, SMALLEST + 1, -2, 0, LARGEST - 1, LARGEST]
    wide = rng.integers(SMALLEST, LARGEST, n)
    drawn = np.where(rng.random(n) < 0.3, rng.choice(edges, n), wide)
    return np.where(drawn == -1, 5, drawn)


class Composite:
    """An index of parts beside its model; folders work as it does."""

    def __init__(self, pool: Pool, metric: str, kind: Any, folder: Path, seed: int) -> None:
        self.pool, self.metric, self.kind, self.folder = pool, metric, kind, folder
        self.rng = np.random.default_rng(seed)
        self.model = Model()
        self.paths: list[Path] = []
        self.sizes: list[int] = []
        self.core = pool.new(metric, kind)

    def path(self) -> Path:
        return self.folder / f"{len(list(self.folder.iterdir()))}.wf"

    def rows(self, n: int) -> NDArray[np.int64]:
        return self.rng.integers(0, POOL, n)

    def start(self, parts: list[tuple[int, str]], removed: float) -> None:
        """Attach parts of some sizes and forms of ids, with a share of their vectors removed."""
        drops = []
        for n, form in parts:
            rows, ids = self.rows(n), new_ids(form, n, self.rng, int(self.rng.integers(500)))
            part = self.pool.new(self.metric, self.kind)
            self.pool.append(part, rows, ids)
            path = self.path()
            assert write_segment(part, path) == n
            self.paths.append(path)
            self.sizes.append(n)
            drop = self.rng.random(n) < removed
            drops.append(np.flatnonzero(drop))
            self.model.append(rows[~drop], part.ids(0, n)[~drop])
        attach(self.core, self.paths, drops, verify=bool(self.rng.integers(2)))

    def append(self, n: int, form: str, *, replacing: bool) -> None:
        rows, ids = self.rows(n), new_ids(form, n, self.rng, int(self.rng.integers(500)))
        if ids is None and self.core.next_id > LARGEST - n:
            with pytest.raises(ValueError, match="none is left"):
                self.pool.append(self.core, rows, None)
            return
        given = ids if ids is not None else np.arange(n) + self.core.next_id
        if ids is None:
            assert not np.isin(given, self.model.ids).any()
        if replacing:
            old = np.unique(given)
            self.pool.append(self.core, rows, ids, [("set", old)])
            self.model.remove(old)
        else:
            self.pool.append(self.core, rows, ids)
        self.model.append(rows, given)

    def remove(self, share: float) -> None:
        chosen = self.model.ids[self.rng.random(len(self.model.ids)) < share]
        ids = np.unique(np.append(chosen, [3, 444]))
        if self.rng.integers(2):
            found = self.core.remove([("set", ids)])
        else:
            found = self.core.remove([("set", ids), ("not",), ("not",)])
        assert found == self.model.remove(ids)

    def removed(self) -> NDArray[np.uint32]:
        labels = self.core.removed_labels()
        assert (np.diff(labels.astype(np.int64)) > 0).all()
        return labels

    def flush(self) -> None:
        """Write the own vectors as one more segment, and map all of them anew."""
        path, labels, mapped = self.path(), self.removed(), sum(self.sizes)
        own = write_segment(self.core, path, own=True)
        ends = np.cumsum(self.sizes)
        old = [
            labels[(labels >= end - n) & (labels < end)] - (end - n)
            for n, end in zip(self.sizes, ends, strict=True)
        ]
        assert own == self.core.size - (mapped - sum(len(each) for each in old))
        self.paths.append(path)
        self.sizes.append(own)
        self.map_again([*old, np.empty(0, np.uint32)])

    def compact(self) -> None:
        """Write all vectors as one segment, and map it."""
        path = self.path()
        assert write_segment(self.core, path) == len(self.model.ids)
        self.paths, self.sizes = [path], [len(self.model.ids)]
        self.map_again([np.empty(0, np.uint32)])

    def map_again(self, removed: list[Any]) -> None:
        next_id = self.core.next_id
        self.core = self.pool.new(self.metric, self.kind)
        attach(self.core, self.paths, removed, verify=bool(self.rng.integers(2)))
        self.core.raise_next_id(next_id)

    def check(self) -> None:
        plain = self.model.plain(self.pool, self.metric, self.kind)
        seed = int(self.rng.integers(2**32))
        require_same(self.core, plain, self.pool.queries, self.model.ids, seed)


forms = st.sampled_from(["none", "consecutive", "ascending", "few", "wide"])
sizes = st.sampled_from([0, 1, 2, 31, 32, 33, 64, 90, 150])
steps = st.one_of(
    st.tuples(st.just("append"), sizes, forms),
    st.tuples(st.just("upsert"), sizes, forms),
    st.tuples(st.just("remove"), st.sampled_from([0.0, 0.05, 0.5, 0.97, 1.0])),
    st.tuples(st.just("flush")),
    st.tuples(st.just("compact")),
    st.tuples(st.just("check")),
)
shares = st.sampled_from([0.0, 0.02, 0.4, 0.95, 1.0])
whole = st.fixed_dictionaries(
    {
        "cells": st.sampled_from([0, 1, 16, 300]),
        "metric": st.sampled_from(sorted(METRICS)),
        "kind": st.sampled_from(KINDS),
        "parts": st.lists(st.tuples(sizes, forms), max_size=4),
        "share": shares,
        "steps": st.lists(steps, max_size=7),
        "seed": st.integers(0, 2**32),
    }
)


def run(pools: dict[int, Pool], folder: Path, case: dict[str, Any]) -> Composite:
    one = Composite(pools[case["cells"]], case["metric"], case["kind"], folder, case["seed"])
    one.start(case["parts"], case["share"])
    for name, *arguments in case["steps"]:
        if name in ("append", "upsert"):
            one.append(*arguments, replacing=name == "upsert")
        else:
            getattr(one, name)(*arguments)
    one.check()
    return one


# Labels are ids until vectors of the end are removed and the rest is written.
@example(
    case={
        **{"cells": 16, "metric": "l2", "kind": None, "parts": [(33, "none")], "share": 0.0},
        "steps": [("remove", 0.5), ("compact",), ("append", 2, "none"), ("remove", 1.0)],
        "seed": 1,
    }
)
@given(case=whole)
def test_parts_answer_as_one_index_of_the_survivors(
    pools: dict[int, Pool], tmp_path_factory: pytest.TempPathFactory, case: dict[str, Any]
) -> None:
    one = run(pools, tmp_path_factory.mktemp("parts"), case)
    one.flush()
    one.check()
    one.compact()
    one.check()
    one.append(3, "none", replacing=False)
    one.check()


@given(case=whole)
def test_files_of_parts_have_the_survivors(
    pools: dict[int, Pool], tmp_path_factory: pytest.TempPathFactory, case: dict[str, Any]
) -> None:
    """Whether read or mapped, and written as the plain index is."""
    one = run(pools, tmp_path_factory.mktemp("parts"), case)
    plain = one.model.plain(one.pool, one.metric, one.kind)
    settings = {
        "inverted": False,
        "nprobe": 0,
        "target_recall": None,
        "k_factor": 1.0,
        "quantizer": b"",
    }
    path = one.path()
    with open(path, "wb") as file:
        one.core.write(file.fileno(), bytes(path), **settings)
    assert one.core.to_bytes(**settings).tobytes() == path.read_bytes()
    read = _core.read_index(bytes(path))[0]
    for core in (read, *(_core.map_index(bytes(path), verify)[0] for verify in (False, True))):
        require_same(core, plain, one.pool.queries, one.model.ids, case["seed"])
        assert core.to_bytes(**settings).tobytes() == path.read_bytes()
    if one.core.has_ids:
        assert read.next_id == one.core.next_id
        plain.raise_next_id(read.next_id)
        assert plain.to_bytes(**settings).tobytes() == path.read_bytes()


@pytest.mark.parametrize("cells", [0, 16])
@pytest.mark.parametrize("kind", [None, _core.RowKind.int8])
def test_an_append_that_fails_leaves_all_as_it_was(
    pools: dict[int, Pool], tmp_path: Path, cells: int, kind: Any
) -> None:
    one = Composite(pools[cells], "l2", kind, tmp_path, 5)
    one.start([(40, "few"), (33, "ascending")], 0.2)
    one.append(70, "few", replacing=False)
    one.append(1, "wide", replacing=False)
    one.remove(0.1)
    one.core.raise_next_id(LARGEST - 2)
    version, labels = one.core.version, one.removed()
    one.check()  # the caches are filled
    rows, replaced = one.rows(50), [("set", np.unique(one.model.ids))]
    with pytest.raises(ValueError, match="none is left"):
        one.pool.append(one.core, rows, None, replaced)
    few = _core.RefineRows(kind or KINDS[1], one.pool.x.shape[1])
    with pytest.raises(ValueError, match="refine row"):
        one.core.append(one.pool.codes[rows], None, few, replaced)
    if cells:
        codes = one.pool.codes[rows].copy()
        codes[-1, -1] = cells
        with pytest.raises(ValueError, match=r"row 49 names cell 16 of 16"):
            one.core.append(codes, None, None, replaced)
    assert one.core.version == version
    np.testing.assert_array_equal(one.removed(), labels)
    one.check()
    one.append(2, "none", replacing=False)
    one.flush()
    one.check()


@pytest.mark.parametrize(
    ("metric", "parts", "own"), [("ip", [40_000, 9], 9_000), ("l2", [150_000], 270_000)]
)
def test_long_lists(
    pools: dict[int, Pool], tmp_path: Path, metric: str, parts: list[int], own: int
) -> None:
    """Long enough for a sample of blocks that gives a threshold, and for several segments."""
    one = Composite(pools[0], metric, None, tmp_path, 1)
    one.start([(n, "ascending") for n in parts], 0.01)
    one.append(own, "ascending", replacing=True)
    assert one.core.size == len(one.model.ids)
    plain = one.model.plain(one.pool, metric, None)
    for k, candidates in ((10, 40), (100, 1000)):
        for selector in (None, [("range", 0, 100_000)]):
            found, same = (
                core.search(one.pool.queries, k, candidates, 0, float("inf"), None, selector)
                for core in (one.core, plain)
            )
            np.testing.assert_array_equal(found[0], same[0])
            np.testing.assert_array_equal(found[1], same[1])


def test_the_largest_ids_are_written_and_mapped(pools: dict[int, Pool], tmp_path: Path) -> None:
    """They end at the largest number, where a sum would go beyond it."""
    pool = pools[0]
    for ids in ([LARGEST], [LARGEST - 1, LARGEST], [LARGEST, SMALLEST], [SMALLEST], [-3, -2]):
        core, again = pool.new("l2", None), pool.new("l2", None)
        pool.append(core, np.arange(len(ids)), np.array(ids))
        path = tmp_path / "one.wf"
        write_segment(core, path)
        attach(again, [path], [[]], verify=True)
        assert again.ids(0, len(ids)).tolist() == ids
        assert again.next_id == core.next_id


def test_segments_of_others_are_refused(pools: dict[int, Pool], tmp_path: Path) -> None:
    pool, path = pools[16], tmp_path / "one.wf"
    core = pool.new("l2", None)
    pool.append(core, np.arange(40), None)
    write_segment(core, path)
    fitting = (pool.new("l2", None), MARK)
    for (index, mark), words in (
        ((fitting[0], bytes(16)), "belongs to another codec"),
        ((pool.new("ip", None), MARK), "contradicts the settings"),
        ((pool.new("l2", KINDS[1]), MARK), "other refine rows"),
        ((pools[300].new("l2", None), MARK), "LISTS has"),
    ):
        with pytest.raises(wf.FormatError, match=words) as error:
            index.attach_segments([bytes(path)], mark, [np.empty(0, np.uint32)], False)
        assert str(path) in str(error.value)
        assert index.size == 0
    for removed in ([40], [3, 3], [5, 2]):
        with pytest.raises(ValueError, match="labels of removed vectors must ascend"):
            attach(pool.new("l2", None), [path], [removed], verify=False)
    for read in (wf.read_index, wf.read_codec):
        with pytest.raises(wf.FormatError, match="holds a segment of a folder"):
            read(path)
    with pytest.raises(wf.FormatError, match="holds a segment of a folder"):
        wf.read_index(path, mmap=True)
