"""One size of a vector: every surface says the same, and files grow by it."""

from __future__ import annotations

import re

import numpy as np
import pytest
from support import trained
from support.command_runner import Runner

import waterfill as wf
from waterfill.evaluation.answer_methods import of_index
from waterfill.sizing import index_size, storage

N = 12_000  # vectors of a file; another one has twice as many


@pytest.fixture(scope="module")
def rows(base_64):
    """24,000 vectors of 64 dimensions."""
    rng = np.random.default_rng(0)
    some = base_64[rng.integers(len(base_64), size=2 * N)]
    return (some + 0.05 * rng.standard_normal(some.shape)).astype(np.float32)


@pytest.fixture(scope="module")
def codecs(base_64):
    return {
        (bytes_, cells): trained.trained(base_64, bytes_, cells=cells)
        for bytes_, cells in [(12, 0), (7, 0), (12, 16), (12, 300)]
    }


def on_disk(path):
    if path.is_dir():
        return sum(file.stat().st_size for file in path.iterdir())
    return path.stat().st_size


IDS = {
    "positions": lambda n: None,
    "ascending": lambda n: 5 + 3 * np.arange(n),
    "any": lambda n: np.random.default_rng(0).permutation(n),
}


def check_surfaces(index, path, run):
    """Compare all that says what a vector takes."""
    each = index.bytes_per_vector
    assert each == pytest.approx(sum(index._vector_bytes().parts.values()))
    assert of_index(index).bytes_per_vector == each
    assert f"in {each:.4g} bytes each" in repr(index)
    said = run("info", path, "--json").document
    assert said["index"]["bytes_per_vector"] == each
    assert said["index"]["fixed_bytes"] + round(index.ntotal * each) == said["file_bytes"]
    assert said["file_bytes"] == on_disk(path)
    line = re.search(r"bytes per vector\s+([\d.,]+)", run("info", path).out)
    assert line is not None
    assert line[1].rstrip(",") == f"{each:.4g}"
    size = index_size(index, on_disk(path))
    assert size.fixed_bytes == said["index"]["fixed_bytes"]
    assert size.times_smaller == pytest.approx(4 * index.d / each)


def add(index, rows, ids):
    """Add rows with ids of a kind."""
    own = IDS[ids](len(rows))
    if own is None:
        index.add(rows)
    else:
        index.add_with_ids(rows, own)


@pytest.mark.parametrize("ids", IDS)
@pytest.mark.parametrize("refine", [None, "int8", "float16", "float32"])
@pytest.mark.parametrize("metric", ["ip", "l2"])
@pytest.mark.parametrize(
    ("kind", "code_bytes", "cells"),
    [("flat", 12, 0), ("flat", 7, 0), ("flat", 12, 16), ("lists", 12, 300)],
)
def test_a_file_grows_by_it(rows, codecs, tmp_path, kind, code_bytes, cells, metric, refine, ids):
    codec = codecs[code_bytes, cells]
    sizes = []
    for n in (N, 2 * N):
        index = (
            wf.IndexIVF(codec, cells, metric=metric, refine=refine)
            if kind == "lists"
            else wf.IndexFlat(codec, metric, refine=refine)
        )
        add(index, rows[:n], ids)
        wf.write_index(index, tmp_path / "x.wf")
        sizes.append(on_disk(tmp_path / "x.wf"))
        expected = storage(
            n,
            64,
            code_bytes,
            metric=metric,
            lists=cells,
            refine=refine,
            ids=ids,
            codec_bytes=len(codec.to_bytes()) - 4 * 64 * cells,
        )
        assert expected.bytes_per_vector == index.bytes_per_vector
        assert expected.file_bytes == pytest.approx(sizes[-1], rel=0.01)
        fixed = sizes[-1] - n * index.bytes_per_vector
        assert expected.fixed_bytes == pytest.approx(fixed, rel=0.02, abs=2000)
    assert (sizes[1] - sizes[0]) / N == pytest.approx(index.bytes_per_vector, rel=0.01)
    memory = index.nbytes / (2 * N)
    assert memory < 1.13 * index.bytes_per_vector + cells * 32 * code_bytes / (2 * N)
    if refine is None and ids != "any":
        check_surfaces(index, tmp_path / "x.wf", Runner(tmp_path))


@pytest.mark.parametrize("ids", ["positions", "any"])
def test_a_graph(rows, tmp_path, ids):
    sizes = []
    for n in (1000, 2000):
        index = wf.IndexHNSW(64, 16)
        index.train(rows[:n])
        add(index, rows[:n], ids)
        wf.write_index(index, tmp_path / "x.wf")
        sizes.append(on_disk(tmp_path / "x.wf"))
    assert (sizes[1] - sizes[0]) / 1000 == pytest.approx(index.bytes_per_vector, rel=0.002)
    check_surfaces(index, tmp_path / "x.wf", Runner(tmp_path))


@pytest.mark.parametrize("ids", IDS)
@pytest.mark.parametrize("cells", [0, 16])
def test_a_folder(rows, codecs, tmp_path, ids, cells):
    codec = codecs[12, cells]
    lists = {"nlist": cells} if cells else {}
    sizes = []
    for n in (N, 2 * N):
        path = tmp_path / f"{n}.wfx"
        wf.build(rows[:n], path, codec, ids=IDS[ids](n), refine="int8", **lists)
        sizes.append(on_disk(path))
    with wf.open_index(path) as index:
        expected = storage(N, 64, 12, lists=cells, refine="int8", ids=ids)
        assert index.bytes_per_vector == pytest.approx(expected.bytes_per_vector)
        assert (sizes[1] - sizes[0]) / N == pytest.approx(index.bytes_per_vector, rel=0.01)
        check_surfaces(index, path, Runner(tmp_path))


def test_removed_vectors_of_a_folder_stay_counted_until_it_is_compacted(rows, codecs, tmp_path):
    path = tmp_path / "a.wfx"
    wf.build(rows[:N], path, codecs[12, 0])
    before = on_disk(path)
    with wf.open_index(path, "a") as index:
        index.remove_ids(np.arange(1000))
        index.flush()
        size = index_size(index, on_disk(path))
        assert (size.vectors, size.stored) == (N - 1000, N)
        assert size.fixed_bytes == pytest.approx(before - N * index.bytes_per_vector, abs=10_000)


def test_the_commands_that_make_an_index_say_the_same(base_64, tmp_path):
    run = Runner(tmp_path)
    np.save(tmp_path / "x.npy", base_64)
    said = [
        run("build", "x.npy", "--code-bytes", 12, "--cells", 16, "-o", name, "--json").document
        for name in ("x.wf", "x.wfx")
    ]
    said.append(run("info", "x.wf", "--json").document["index"])
    found = {each["bytes_per_vector"] for each in said}
    codec = wf.read_codec(tmp_path / "x.wf")
    assert codec.cells == 16
    assert found == {codec.bytes_per_vector["ip"]}
    assert f"in an index {codec.bytes_per_vector['ip']:.4g} bytes per vector" in repr(codec)
    trained_ = run("train", "x.npy", "--code-bytes", 12, "--cells", 16, "-o", "c.wf", "--json")
    assert trained_.document["bytes_per_vector"] == codec.bytes_per_vector


def test_only_an_index_has_a_size(tmp_path):
    with pytest.raises(TypeError, match="index: expected an index of waterfill, got str"):
        index_size("x.wf", 5)
