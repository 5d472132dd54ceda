"""Indexes in mapped files answer as indexes in memory, and cannot be changed."""

from __future__ import annotations

import copy
import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pytest
from numpy.typing import NDArray
from support import trained

import waterfill as wf
from waterfill import _core

N, D = 600, 24
ID_FORMS = ("positions", "ascending", "random", "duplicates")
GOLDEN = Path(__file__).parents[1] / "golden"

Index = wf.IndexFlat | wf.IndexIVF


@pytest.fixture(scope="module")
def x(base_64: NDArray[np.float32]) -> NDArray[np.float32]:
    part = np.ascontiguousarray(base_64[:1500, :D])
    return part / np.linalg.norm(part, axis=1, keepdims=True)


@pytest.fixture(scope="module")
def queries(queries_64: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.ascontiguousarray(queries_64[:5, :D])


@pytest.fixture(scope="module")
def make(x: NDArray[np.float32]) -> Callable[..., Index]:
    def make(
        kind: str, metric: str = "ip", refine: str | None = None, ids: str = "positions", n: int = N
    ) -> Index:
        cells = {"flat": 0, "one cell": 1, "cells": 16, "lists": 16, "many lists": 300}[kind]
        codec = trained.trained(x, 5, cells=cells)
        if kind.endswith("lists"):
            index: Index = wf.IndexIVF(codec, cells, metric=metric, refine=refine, k_factor=3)
            index.nprobe = 5
        else:
            index = wf.IndexFlat(codec, metric, refine=refine, k_factor=3)
        rng = np.random.default_rng(3)
        if ids == "positions":
            index.add(x[:n])
            return index
        numbers = {
            "ascending": np.arange(n) * 3 - 70,
            "random": rng.permutation(n) * 10_000_000_000 - 77,
            "duplicates": rng.integers(0, n // 3 + 1, n),
        }[ids]
        index.add_with_ids(x[:n], np.where(numbers == -1, 5, numbers))
        return index

    return make


def answers(index: Index, queries: NDArray[np.float32]) -> Iterator[tuple[str, Any]]:
    """Yield what all methods that read return."""
    ids = index.ids()
    yield "ids", ids
    yield "codes", index.codes()
    yield "some", (index.ids(7, 200), index.codes(7, 200), index.reconstruct_n(7, 200))
    yield "repr", (repr(index).split(",")[0], index.ntotal, index.metric, index.has_ids)
    yield "reconstruct", index.reconstruct_batch(np.r_[ids[::7], ids[3]])
    some = wf.IDSelectorBatch(ids[5:400:3])
    selectors = [None, some, wf.IDSelectorNot(some), wf.IDSelectorRange(0, 300)]
    probes: list[dict[str, Any]] = [{}]
    if isinstance(index, wf.IndexIVF):
        probes = [{}, {"nprobe": 1}, {"nprobe": index.nlist}]
        yield "list sizes", index.list_sizes()
        yield "sorted", index.check_ids_sorted()
        given = np.random.default_rng(1).integers(-1, index.nlist, (len(queries), 4))
        yield "preassigned", index.search_preassigned(queries, 9, given)
        yield "returned codes", index.search_and_return_codes(queries, 9, include_listnos=True)
    for sel in selectors:
        for options in probes:
            params = wf.SearchParameters(sel=sel, **options)
            for k in (1, 10, N + 40):
                yield f"search {k}", index.search(queries, k, params=params)
            found = index.search_and_reconstruct(queries, 10, params=params)
            yield "search and reconstruct", found
            for radius in (0.3, 0.7):
                yield f"range search {radius}", index.range_search(queries, radius, params=params)


def require_same(one: Index, other: Index, queries: NDArray[np.float32]) -> None:
    assert type(one) is type(other)
    for (name, first), (_, second) in zip(
        answers(one, queries), answers(other, queries), strict=True
    ):
        firsts = first if isinstance(first, tuple) else (first,)
        seconds = second if isinstance(second, tuple) else (second,)
        for a, b in zip(firsts, seconds, strict=True):
            np.testing.assert_array_equal(a, b, err_msg=name)


def written(index: Index, path: Path) -> bytes:
    wf.write_index(index, path)
    return path.read_bytes()


# Each kind of rows with each form of ids, in one of the kinds of indexes.
COMBINATIONS = [
    (kind, refine, ID_FORMS[(r + k) % 4])
    for r, refine in enumerate((None, "float16", "int8", "float32"))
    for k, kind in enumerate(("flat", "cells", "lists", "many lists"))
]


@pytest.mark.parametrize("metric", ["ip", "l2", "cosine"])
@pytest.mark.parametrize(("kind", "refine", "ids"), COMBINATIONS)
def test_mapped_answers_are_those_in_memory(
    make: Callable[..., Index],
    queries: NDArray[np.float32],
    tmp_path: Path,
    kind: str,
    metric: str,
    refine: str | None,
    ids: str,
) -> None:
    index, path = make(kind, metric, refine, ids), tmp_path / "index.wf"
    image = written(index, path)
    mapped = wf.read_index(path, mmap=True, verify="full" if ids == "random" else None)
    require_same(mapped, index, queries)
    assert index.nbytes - mapped.nbytes >= N * index.code_size  # none of them is loaded
    assert written(mapped, tmp_path / "again.wf") == image
    if refine:
        require_same(wf.read_index(path, rows="mmap"), index, queries)


@pytest.mark.parametrize("kind", ["flat", "one cell", "cells", "lists"])
@pytest.mark.parametrize("n", [0, 1, 31, 33])
@pytest.mark.parametrize("ids", ["positions", "random"])
def test_few_vectors(make: Callable[..., Index], tmp_path: Path, kind: str, n: int, ids: str):
    index, path = make(kind, "l2", "int8", ids, n), tmp_path / "index.wf"
    image = written(index, path)
    for options in ({"mmap": True}, {"mmap": True, "verify": "full"}, {"rows": "mmap"}):
        mapped = wf.read_index(path, **options)
        assert mapped.has_ids == index.has_ids
        np.testing.assert_array_equal(mapped.ids(), index.ids())
        np.testing.assert_array_equal(mapped.codes(), index.codes())
        found, same = (one.search(np.ones((2, D), "f4"), 4) for one in (mapped, index))
        np.testing.assert_array_equal(found[0], same[0])
        np.testing.assert_array_equal(found[1], same[1])
        assert written(mapped, tmp_path / "again.wf") == image


@pytest.mark.parametrize("kind", ["flat", "lists"])
def test_copies_are_in_memory_and_can_be_changed(
    make: Callable[..., Index],
    x: NDArray[np.float32],
    queries: NDArray[np.float32],
    tmp_path: Path,
    kind: str,
) -> None:
    index, path = make(kind, "l2", "float16", "random"), tmp_path / "index.wf"
    wf.write_index(index, path)
    mapped = wf.read_index(path, mmap=True)
    for made in (copy.copy(mapped), copy.deepcopy(mapped), pickle.loads(pickle.dumps(mapped))):
        require_same(made, index, queries)
        made.add_with_ids(x[:3], [1, 2, 3])
        assert (made.ntotal, mapped.ntotal) == (N + 3, N)


def test_an_export_is_that_of_the_index_in_memory(
    make: Callable[..., Index], queries: NDArray[np.float32], tmp_path: Path
) -> None:
    index, path = make("lists", "l2"), tmp_path / "index.wf"
    wf.write_index(index, path)
    exports = [wf.to_faiss(one) for one in (index, wf.read_index(path, mmap=True))]
    for a, b in zip(*(one.search(queries, 9) for one in exports), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("kind", ["flat", "lists"])
@pytest.mark.parametrize("options", [{"mmap": True}, {"rows": "mmap"}])
def test_changes_are_refused_and_change_nothing(
    make: Callable[..., Index],
    x: NDArray[np.float32],
    queries: NDArray[np.float32],
    tmp_path: Path,
    kind: str,
    options: dict[str, Any],
) -> None:
    index, path = make(kind, "l2", "float16"), tmp_path / "index.wf"
    image = written(index, path)
    mapped, other = wf.read_index(path, **options), make(kind, "l2", "float16", n=3)
    changes = {
        "add": lambda: mapped.add(x[:2]),
        "add of none": lambda: mapped.add(x[:0]),
        "add_with_ids": lambda: mapped.add_with_ids(x[:2], [5000, 5001]),
        "remove_ids": lambda: mapped.remove_ids([3]),
        "remove_ids by selector": lambda: mapped.remove_ids(wf.IDSelectorRange(0, 9)),
        "reset": mapped.reset,
        "merge_from": lambda: mapped.merge_from(other),
        "merge of it": lambda: other.merge_from(mapped, 7000),
    }
    if isinstance(mapped, wf.IndexIVF):
        changes |= {
            "update_vectors": lambda: mapped.update_vectors([3], x[:1]),
            "copy_subset_to": lambda: other.copy_subset_to(mapped, 0, 0, 9),
            "add_core": lambda: mapped.add_core(1, x[:1], None, np.array([2])),
        }
    own = other.has_ids
    for change in changes.values():
        with pytest.raises(ValueError, match="cannot be changed: it lies in a mapped file; call"):
            change()
    assert (mapped.ntotal, mapped.has_ids, other.ntotal, other.has_ids) == (N, False, 3, own)
    require_same(mapped, index, queries)
    assert path.read_bytes() == image


@pytest.mark.parametrize("options", [{"mmap": True}, {"rows": "mmap"}])
def test_an_index_stays_when_its_file_is_replaced_or_removed(
    make: Callable[..., Index], queries: NDArray[np.float32], tmp_path: Path, options: dict
) -> None:
    index, path = make("lists", "ip", "int8", "random"), tmp_path / "index.wf"
    image = written(index, path)
    mapped = wf.read_index(path, **options)
    assert written(mapped, path) == image  # over its own file
    require_same(mapped, index, queries)
    wf.write_index(make("flat", n=9), path)
    require_same(mapped, index, queries)
    assert wf.read_index(path, mmap=True).ntotal == 9
    path.unlink()
    require_same(mapped, index, queries)


READER = """
import sys
import numpy as np
import waterfill as wf
index = wf.read_index(sys.argv[1], mmap=True)
queries = np.load(sys.argv[2])
print("ready", flush=True)
sys.stdin.readline()
distances, ids = index.search(queries, 9)
np.savez(sys.argv[3], distances=distances, ids=ids)
"""


def test_processes_map_one_file_at_once(
    make: Callable[..., Index], queries: NDArray[np.float32], tmp_path: Path
) -> None:
    index, path = make("lists", "l2", "float16", "random"), tmp_path / "index.wf"
    wf.write_index(index, path)
    np.save(tmp_path / "queries.npy", queries)
    pipe = subprocess.PIPE
    readers = [
        subprocess.Popen(
            [sys.executable, "-c", READER, path, tmp_path / "queries.npy", tmp_path / f"{i}.npz"],
            stdin=pipe,
            stdout=pipe,
            text=True,
        )
        for i in range(2)
    ]
    for reader in readers:
        assert reader.stdout is not None
        assert reader.stdout.readline() == "ready\n"
    for i, reader in enumerate(readers):  # both have it mapped by now
        reader.communicate("go\n", timeout=60)
        found, same = np.load(tmp_path / f"{i}.npz"), index.search(queries, 9)
        np.testing.assert_array_equal(found["distances"], same[0])
        np.testing.assert_array_equal(found["ids"], same[1])


def test_a_child_that_is_forked_reads_the_map(
    make: Callable[..., Index], queries: NDArray[np.float32], tmp_path: Path
) -> None:
    wf.write_index(make("flat"), tmp_path / "index.wf")
    mapped = wf.read_index(tmp_path / "index.wf", mmap=True)
    expected = mapped.search(queries, 9)[1].tolist()
    child = os.fork()
    if child == 0:
        os._exit(0 if mapped.search(queries, 9)[1].tolist() == expected else 1)
    assert os.waitpid(child, 0)[1] == 0


def test_rows_of_yours_refine_a_mapped_index(
    make: Callable[..., Index],
    x: NDArray[np.float32],
    queries: NDArray[np.float32],
    tmp_path: Path,
) -> None:
    path = tmp_path / "index.wf"
    wf.write_index(make("lists"), path)
    mapped = wf.read_index(path, refine=x[:N], mmap=True)
    require_same(mapped, wf.read_index(path, refine=x[:N]), queries)
    with pytest.raises(ValueError, match="has no row in refine"):
        wf.read_index(path, refine=x[: N - 1], mmap=True)


def test_options_that_contradict_each_other(make: Callable[..., Index], tmp_path: Path) -> None:
    path = tmp_path / "index.wf"
    wf.write_index(make("flat", n=5), path)
    for options, words in (
        ({"mmap": True, "rows": "memory"}, "needs mmap=False"),
        ({"verify": "header"}, "needs mmap=True or rows='mmap'"),
        ({"verify": "all"}, "verify='all' must be 'full' or 'header'"),
        ({"rows": "disk"}, "rows='disk' must be 'memory' or 'mmap'"),
    ):
        with pytest.raises(ValueError, match=words):
            wf.read_index(path, **options)
    for options in ({"rows": "memory"}, {"verify": "full"}, {"rows": "memory", "verify": "full"}):
        wf.read_index(path, **options).add(np.ones((1, D), "f4") / 5)  # it can be changed


def test_a_pipe_cannot_be_mapped(make: Callable[..., Index], tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.close(writing)
    try:
        for options in ({"mmap": True}, {"rows": "mmap"}):
            with pytest.raises(ValueError, match="is a pipe, which cannot be mapped; read it inst"):
                wf.read_index(f"/dev/fd/{reading}", **options)
    finally:
        os.close(reading)
    os.mkfifo(tmp_path / "pipe")
    for path, error in (
        (tmp_path / "pipe", OSError),
        (tmp_path, IsADirectoryError),
        (tmp_path / "none.wf", FileNotFoundError),
        ("/dev/null", OSError),
    ):
        for options in ({"mmap": True}, {"rows": "mmap"}):
            with pytest.raises(error):
                wf.read_index(path, **options)


NO_MAP = Path("/sys/devices/system/cpu/online")  # a regular file of a file system without maps


@pytest.mark.skipif(not NO_MAP.exists(), reason="no sysfs")
def test_file_systems_without_maps_are_told() -> None:
    with pytest.raises(OSError, match="cannot map"):
        wf.read_index(NO_MAP, mmap=True)


@pytest.mark.parametrize("options", [{"mmap": True}, {"rows": "mmap"}])
def test_short_files_are_refused(
    make: Callable[..., Index], tmp_path: Path, options: dict[str, Any]
) -> None:
    path = tmp_path / "index.wf"
    image = written(make("lists", "l2", "int8", "random", 50), path)
    for length in [*range(0, 64, 9), *range(64, len(image), len(image) // 40), len(image) - 1]:
        path.write_bytes(image[:length])
        with pytest.raises(wf.FormatError, match=r"index\.wf: "):
            wf.read_index(path, **options)


@pytest.mark.parametrize("path", sorted(GOLDEN.glob("1.[0-4]*.wf")), ids=lambda path: path.stem)
def test_files_before_1_5_are_to_be_written_again(
    queries: NDArray[np.float32], tmp_path: Path, path: Path
) -> None:
    for verify in (None, "full"):
        with pytest.raises(ValueError, match="into memory and write it again") as error:
            wf.read_index(path, mmap=True, verify=verify)
        assert not isinstance(error.value, wf.FormatError)
    index = wf.read_index(path)
    vectors = np.load(path.with_suffix(".npz"))["queries"]
    if index.refine:  # rows alone can be mapped
        found = wf.read_index(path, rows="mmap").search(vectors, 5)
        np.testing.assert_array_equal(found[0], index.search(vectors, 5)[0])
    wf.write_index(index, tmp_path / "new.wf")
    found = wf.read_index(tmp_path / "new.wf", mmap=True, verify="full").search(vectors, 5)
    np.testing.assert_array_equal(found[1], index.search(vectors, 5)[1])


def test_a_quantizer_of_faiss_comes_with_the_map(
    x: NDArray[np.float32], queries: NDArray[np.float32], tmp_path: Path
) -> None:
    index = wf.IndexIVF(wf.Recipe(D, 5), 8, faiss.IndexFlatL2(D), metric="l2")
    index.train(x)
    index.add(x[:N])
    wf.write_index(index, tmp_path / "index.wf")
    mapped = wf.read_index(tmp_path / "index.wf", mmap=True, verify="full")
    np.testing.assert_array_equal(mapped.search(queries, 9)[1], index.search(queries, 9)[1])


def test_maps_are_released(make: Callable[..., Index], tmp_path: Path) -> None:
    path = tmp_path / "index.wf"
    wf.write_index(make("flat", refine="int8"), path)

    def mapped_here() -> bool:
        return str(path) in Path("/proc/self/maps").read_text()

    for options in ({"mmap": True}, {"rows": "mmap"}):
        mapped = wf.read_index(path, **options)
        assert mapped_here()
        del mapped
        assert not mapped_here()
    damaged = bytearray(path.read_bytes())
    damaged[-1] ^= 0x80
    path.write_bytes(damaged)
    with pytest.raises(wf.FormatError):
        wf.read_index(path, mmap=True, verify="full")
    assert not mapped_here()
    assert _core.map_index(bytes(path), False)[0].size == N
