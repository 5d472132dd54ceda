"""The index for txtai, in its Embeddings, with real vectors."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from support.store_checks import load

if sys.version_info < (3, 11):
    pytest.skip("txtai needs Python 3.11", allow_module_level=True)

txtai, factory = load("txtai", "txtai.ann.dense.factory")

import waterfill as wf  # noqa: E402

BACKEND = "waterfill.integrations.txtai.Waterfill"
ROWS = 1500


@pytest.fixture
def transform(base: NDArray[np.float32], queries: NDArray[np.float32]) -> Any:
    """The embedding model: "text 17" is row 17 of the sample, "query 3" a held-out one."""

    def call(texts: list[str]) -> NDArray[np.float32]:
        pairs = [text.split() for text in texts]
        return np.stack([{"text": base, "query": queries}[kind][int(n)] for kind, n in pairs])

    return call


def made(transform: Any, backend: str = BACKEND, **settings: Any) -> Any:
    options = {backend: settings} if settings else {}
    return txtai.Embeddings(
        method="external", transform=transform, backend=backend, content=True, **options
    )


def saved_and_loaded(embeddings: Any, path: Path) -> Any:
    """The host does not load functions; it is given ours again."""
    transform, embeddings.config["transform"] = embeddings.config["transform"], None
    embeddings.save(str(path))
    again = txtai.Embeddings()
    again.load(str(path))
    again.model.transform = embeddings.config["transform"] = transform
    return again


def texts(first: int, last: int) -> list[tuple[int, str, None]]:
    return [(n, f"text {n}", None) for n in range(first, last)]


def found(embeddings: Any, query: str, limit: int = 10) -> dict[int, float]:
    return {int(one["id"]): one["score"] for one in embeddings.search(query, limit)}


def test_it_answers_as_the_exact_backend(transform: Any) -> None:
    ours, theirs = made(transform), made(transform, "numpy")
    for one in (ours, theirs):
        one.index(texts(0, ROWS))
    assert isinstance(ours.ann.backend, wf.IndexFlat)
    assert ours.ann.backend.codec.code_size == 49
    assert ours.config["build"]["settings"] == {"code_bytes": 49}
    same = []
    for n in range(40):
        got, expected = found(ours, f"query {n}"), found(theirs, f"query {n}")
        same.append(len({*got} & {*expected}) / 10)
        for id in {*got} & {*expected}:
            assert got[id] == pytest.approx(expected[id], abs=2e-3)
        assert [*got.values()] == sorted(got.values(), reverse=True)
    assert np.mean(same) > 0.97
    (one,) = ours.search("select id, text, score from txtai where similar('text 7')", 1)
    assert one["text"] == "text 7"
    assert one["score"] == pytest.approx(1, abs=2e-3)


def test_rows_are_added_removed_and_kept(transform: Any, tmp_path: Path) -> None:
    embeddings = made(transform)
    embeddings.index(texts(0, 100))
    embeddings.upsert(texts(90, 150))
    assert embeddings.count() == 150
    assert {*embeddings.delete([7, 8, 9999])} == {"7", "8"}
    assert embeddings.count() == 148
    expected = [found(embeddings, f"query {n}", 200) for n in range(10)]
    assert all(len(one) > 50 for one in expected)  # the host keeps positive scores
    assert not {7, 8} & {id for one in expected for id in one}
    again = saved_and_loaded(embeddings, tmp_path / "saved")
    assert [found(again, f"query {n}", 200) for n in range(10)] == expected
    again.upsert([(7, "text 7", None)])
    assert [*found(again, "text 7", 1)] == [7]
    assert again.count() == 149
    again.close()


def test_a_codec_of_few_rows_is_trained_again(transform: Any, base: NDArray[np.float32]) -> None:
    embeddings = made(transform, code_bytes=24)
    embeddings.index(texts(0, 2))
    small = embeddings.ann.backend.codec
    for first in range(2, 700, 100):
        embeddings.upsert(texts(first, first + 100))
    index = embeddings.ann.backend
    assert index.codec.fingerprint != small.fingerprint
    assert index.codec.manifest.rows > 300
    assert index.codec.code_size == 25
    assert index.ntotal == 702
    assert [found(embeddings, f"text {n}", 1) for n in range(0, 700, 50)] == [
        {n: pytest.approx(1, abs=2e-3)} for n in range(0, 700, 50)
    ]
    kept = made(transform, refine=None)
    kept.index(texts(0, 300))
    kept.upsert(texts(300, 700))
    assert kept.ann.backend.codec.manifest.rows == 300
    assert kept.ann.backend.refine is None


def test_a_saved_index_is_used_where_it_lies(transform: Any, base: Any, tmp_path: Path) -> None:
    embeddings = made(transform, mmap=True)
    embeddings.index(texts(0, 300))
    expected = found(embeddings, "query 1")
    again = saved_and_loaded(embeddings, tmp_path / "saved")
    assert found(again, "query 1") == expected
    with pytest.raises(ValueError, match="it lies in a mapped file"):
        again.ann.append(base[:1])
    again.close()


def test_the_backend_by_itself(base: NDArray[np.float32]) -> None:
    ann = factory.ANNFactory.create({"backend": BACKEND})
    ann.index(base[:20])
    assert ann.count() == 20
    (near,) = ann.search(base[3:4], 100)
    assert len(near) == 20
    assert near[0] == (3, pytest.approx(1, abs=2e-3))
    ann.delete([3])
    assert ann.search(base[3:4], 1)[0][0][0] != 3
    ann.close()
    assert ann.backend is None


def test_bad_settings(transform: Any) -> None:
    with pytest.raises(ImportError) as caught:  # as the host says it
        factory.ANNFactory.create({"backend": BACKEND, "quantize": 1})
    assert "code_bytes is the setting of this backend" in str(caught.value.__cause__)
    with pytest.raises(ValueError, match="code_bytes=400 must be from 1"):
        made(transform, code_bytes=400).index(texts(0, 5))
