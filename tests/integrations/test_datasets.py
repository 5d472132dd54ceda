"""Hugging Face datasets: our index in theirs, and their datasets as the source of a build."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from support.store_checks import load

import waterfill as wf

datasets, _ = load("datasets", "faiss")

ROWS = 1000


@pytest.fixture(scope="module", autouse=True)
def _quiet() -> None:
    datasets.disable_progress_bars()


@pytest.fixture(scope="module")
def vectors(base: NDArray[np.float32]) -> NDArray[np.float32]:
    return base[:ROWS]


@pytest.fixture(scope="module")
def rows(vectors: NDArray[np.float32]) -> Any:
    """A dataset in memory."""
    return datasets.Dataset.from_dict(
        {
            "id": [5000 + n for n in range(ROWS)],
            "text": [f"text {n}" for n in range(ROWS)],
            "vector": vectors,
        }
    )


@pytest.fixture(scope="module")
def saved(rows: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The same in three files."""
    path = tmp_path_factory.mktemp("saved")
    rows.save_to_disk(path, num_shards=3)
    return datasets.load_from_disk(path)


@pytest.fixture(scope="module")
def own_codec(vectors: NDArray[np.float32]) -> wf.Codec:
    return wf.Recipe(384, 48).train(vectors, "ip")


# Our index in a dataset.


@pytest.mark.parametrize(("words", "options"), [
    ("WF48", {}), ("IVF16,WF48", {}), ("WF48", {"refine": "float16"}), ("WFHNSW16", {}),
])  # fmt: skip
@pytest.mark.parametrize("format_", [None, "numpy"])
def test_an_index_is_kept_without_loss(
    rows: Any, queries: NDArray[np.float32], tmp_path: Path, words: str, options: Any, format_: Any
) -> None:
    dataset = rows.with_format(format_)
    index = wf.index_factory(384, words)
    if options:
        index = wf.IndexFlat(wf.Recipe(384, 48), "l2", **options)
    dataset.add_faiss_index("vector", custom_index=index, train_size=ROWS)
    assert index.ntotal == ROWS
    scores, found = dataset.get_nearest_examples("vector", queries[0], 5)
    expected = index.search(queries[:3], 5)
    np.testing.assert_array_equal(scores, expected[0][0])
    assert [*found["text"]] == [f"text {n}" for n in expected[1][0]]
    dataset.save_faiss_index("vector", tmp_path / "index")
    dataset.drop_index("vector")
    dataset.load_faiss_index("vector", tmp_path / "index")
    loaded = dataset.get_index("vector").faiss_index
    assert type(loaded) is type(index)
    for one, other in zip(expected, loaded.search(queries[:3], 5), strict=True):
        np.testing.assert_array_equal(one, other)
    batch = dataset.search_batch("vector", queries[:3], 5)
    np.testing.assert_array_equal(batch.total_indices, expected[1])


def test_another_process_loads_it(saved: Any, queries: NDArray[np.float32], tmp_path: Path) -> None:
    dataset = saved.with_format("numpy")
    index = wf.index_factory(384, "WF48")
    dataset.add_faiss_index("vector", custom_index=index, train_size=ROWS)
    dataset.save_faiss_index("vector", tmp_path / "index")
    np.save(tmp_path / "query.npy", queries[0])
    folder = Path(saved.cache_files[0]["filename"]).parent
    program = (
        "import sys, datasets, numpy as np, waterfill as wf\n"
        "wf.register_faiss()\n"
        "dataset = datasets.load_from_disk(sys.argv[1])\n"
        "dataset.load_faiss_index('vector', sys.argv[2] + '/index')\n"
        "query = np.load(sys.argv[2] + '/query.npy')\n"
        "print(dataset.get_nearest_examples('vector', query, 3)[1]['id'])\n"
    )
    command = [sys.executable, "-c", program, str(folder), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str([5000 + int(n) for n in index.search(queries[:1], 3)[1][0]])


def test_vectors_beside_a_dataset(rows: Any, vectors: Any, queries: Any) -> None:
    index = wf.index_factory(384, "WF48")
    rows.add_faiss_index_from_external_arrays(vectors, "apart", custom_index=index, train_size=ROWS)
    assert rows.search("apart", queries[0], 3).indices.tolist() == (
        index.search(queries[:1], 3)[1][0].tolist()
    )
    rows.drop_index("apart")


# A dataset as the source of a build.


def check_build(source: Any, expected: Any, codec: wf.Codec, out: Path, **options: Any) -> None:
    wf.build(source, out, codec, **{"key": "vector", **options})
    index = wf.open_index(out)
    np.testing.assert_array_equal(index.codes(), codec.encode(np.ascontiguousarray(expected)))


@pytest.mark.parametrize("format_", [None, "numpy", "torch", "arrow"])
def test_a_dataset_is_built(
    rows: Any, saved: Any, vectors: Any, own_codec: wf.Codec, tmp_path: Path, format_: Any
) -> None:
    for number, dataset in enumerate((rows, saved)):
        out = tmp_path / f"{number}.wfx"
        check_build(dataset.with_format(format_), vectors, own_codec, out, ids="id", shard_rows=300)
        assert wf.open_index(out).ids().tolist() == [5000 + n for n in range(ROWS)]
    wf.build(saved, tmp_path / "trained.wfx", key="vector")
    assert wf.open_index(tmp_path / "trained.wfx").ntotal == ROWS


def test_what_has_been_done_to_files_counts(
    saved: Any, rows: Any, vectors: Any, own_codec: wf.Codec, tmp_path: Path
) -> None:
    """Their names say nothing about it."""
    first = int(datasets.Dataset.from_file(saved.cache_files[0]["filename"]).num_rows)
    half = first // 2
    part, reverse = saved.select(range(half)), vectors[::-1]
    added = saved.add_column("other", [*reverse]).rename_column("vector", "old")
    cases: list[tuple[Any, Any, dict[str, Any]]] = [
        (saved.rename_column("vector", "v"), vectors, {"key": "v"}),
        (added.rename_column("other", "vector"), reverse, {}),
        (saved.select_columns(["vector"]), vectors, {}),
        (saved.select(range(100, 900)), vectors[100:900], {}),
        (datasets.concatenate_datasets([part, part]), vectors[[*range(half)] * 2], {}),
        (
            datasets.concatenate_datasets([part, rows.select(range(500, 500 + first - half))]),
            np.concatenate([vectors[:half], vectors[500 : 500 + first - half]]),
            {},
        ),
        (datasets.concatenate_datasets([saved, rows]), np.concatenate([vectors, vectors]), {}),
    ]
    for number, (source, expected, options) in enumerate(cases):
        check_build(source, expected, own_codec, tmp_path / f"{number}.wfx", **options)


def test_selections_and_streams(
    rows: Any, vectors: Any, own_codec: wf.Codec, tmp_path: Path
) -> None:
    shuffled = rows.shuffle(seed=0)
    with pytest.raises(ValueError, match="call flatten_indices"):
        wf.build(shuffled, tmp_path / "a.wfx", own_codec, key="vector")
    flat = shuffled.flatten_indices()
    check_build(flat, vectors[np.array(flat["id"]) - 5000], own_codec, tmp_path / "b.wfx")
    stream = rows.to_iterable_dataset().with_format("arrow").iter(100)
    check_build(stream, vectors, own_codec, tmp_path / "c.wfx")
