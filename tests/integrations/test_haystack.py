"""The document store for Haystack with real vectors, beside Haystack's own store in memory."""

from __future__ import annotations

import asyncio
import math
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from support.store_checks import QUERIES, TEXTS, load

if sys.version_info < (3, 11):
    pytest.skip("Haystack needs Python 3.11", allow_module_level=True)

haystack, types, errors, filters_errors, memory, writers, dataclasses = load(
    "haystack",
    "haystack.document_stores.types",
    "haystack.document_stores.errors",
    "haystack.errors",
    "haystack.document_stores.in_memory",
    "haystack.components.writers",
    "haystack.dataclasses",
)
Document, Policy = haystack.Document, types.DuplicatePolicy


def store_class() -> Any:
    from waterfill.integrations.haystack import WaterfillDocumentStore

    return WaterfillDocumentStore


def retriever_class() -> Any:
    from waterfill.integrations.haystack import WaterfillEmbeddingRetriever

    return WaterfillEmbeddingRetriever


@pytest.fixture(scope="module")
def documents(base: NDArray[np.float32]) -> list[Any]:
    return [
        Document(
            id=f"text {n}",
            content=f"text {n}",
            embedding=base[n].tolist(),
            meta={"n": n, "tag": "abc"[n % 3], "day": f"2024-01-{n % 28 + 1:02}"},
        )
        for n in range(TEXTS)
    ]


@pytest.fixture(scope="module", params=["managed", "compressed"])
def stores(request: Any, documents: list[Any], folder_options: Any) -> Iterator[tuple[Any, Any]]:
    """Our store and the one in memory, with the same documents."""
    ours = store_class()(**folder_options(request.param, "cosine"))
    theirs = memory.InMemoryDocumentStore(embedding_similarity_function="cosine", shared=False)
    for store in (ours, theirs):
        assert store.write_documents(documents) == TEXTS
    assert ours.index.ntotal == TEXTS
    yield ours, theirs
    ours.close()


@pytest.mark.parametrize("scale", [False, True])
def test_it_answers_as_the_store_in_memory(
    stores: tuple[Any, Any], queries: NDArray[np.float32], scale: bool
) -> None:
    same = []
    for query in queries[:QUERIES].tolist():
        got, expected = (s.embedding_retrieval(query, scale_score=scale) for s in stores)
        true = {one.id: one.score for one in expected}
        same.append(len({one.id for one in got} & {*true}) / 10)
        for one in got:
            assert one.content == one.id
            assert one.embedding is None
            assert one.score == pytest.approx(true.get(one.id, one.score), abs=2e-3)
        assert [one.score for one in got] == sorted((one.score for one in got), reverse=True)
    assert np.mean(same) > (0.97 if stores[0].index else 0.999)


@pytest.mark.parametrize(
    "filters",
    [
        {"field": "meta.tag", "operator": "==", "value": "a"},
        {"field": "meta.day", "operator": ">", "value": "2024-01-20"},
        {"field": "content", "operator": "in", "value": ["text 3", "text 4"]},
        {"field": "id", "operator": "!=", "value": "text 3"},
        {
            "operator": "AND",
            "conditions": [
                {"field": "meta.n", "operator": "<", "value": 100},
                {
                    "operator": "NOT",
                    "conditions": [{"field": "meta.tag", "operator": "==", "value": "b"}],
                },
            ],
        },
    ],
)
def test_filters_are_those_of_the_store_in_memory(
    stores: tuple[Any, Any], queries: NDArray[np.float32], filters: Any
) -> None:
    got, expected = (
        {one.id for one in s.embedding_retrieval(queries[0].tolist(), filters, top_k=TEXTS)}
        for s in stores
    )
    assert got == expected
    assert len(got) > 0
    assert {one.id for one in stores[0].filter_documents(filters)} == expected
    assert stores[0].count_documents_by_filter(filters) == len(expected)


@pytest.mark.parametrize("metric", ["l2", "ip", "cosine"])
@pytest.mark.parametrize("kind", ["managed", "compressed"])
def test_more_is_nearer(documents: list[Any], folder_options: Any, metric: str, kind: str) -> None:
    store = store_class()(**folder_options(kind, metric))
    store.write_documents(documents[:50])
    query = np.array(documents[3].embedding)
    for one in store.embedding_retrieval(query.tolist(), top_k=50):
        vector = np.array(documents[one.meta["n"]].embedding)
        true = -np.linalg.norm(vector - query) if metric == "l2" else vector @ query
        assert one.score == pytest.approx(true, abs=0.03 if one.id == "text 3" else 3e-3)
    scaled = [one.score for one in store.embedding_retrieval(query.tolist(), scale_score=True)]
    best = 1 / (1 + math.exp(-0.01)) if metric == "ip" else 1
    assert scaled[0] == pytest.approx(best, abs=0.03)
    assert scaled == sorted(scaled, reverse=True)
    assert all(0 <= score <= 1 for score in scaled)
    store.close()


@pytest.mark.parametrize("kind", ["managed", "compressed"])
def test_documents_come_back_whole(documents: list[Any], folder_options: Any, kind: str) -> None:
    store = store_class()(**folder_options(kind, "cosine"))
    some = [
        *documents[:20],
        Document(id="bare", content=None, meta={"x": [1, {"y": None}]}),
        Document(id="blob", blob=dataclasses.ByteStream(b"\0\xff", {"a": 1}, "x/y"), score=0.5),
        Document(id="sparse", sparse_embedding=dataclasses.SparseEmbedding([1, 5], [0.5, 2.0])),
    ]
    store.write_documents(some)
    for got, want in zip(store.filter_documents(), some, strict=True):
        assert got.to_dict() | {"embedding": None} == want.to_dict() | {"embedding": None}
        if want.embedding is not None:
            np.testing.assert_allclose(got.embedding, want.embedding, atol=1e-3)
        else:
            assert got.embedding is None
    store.return_embedding = False
    assert all(one.embedding is None for one in store.filter_documents())
    found = store.embedding_retrieval(documents[3].embedding, top_k=100, return_embedding=True)
    assert len(found) == 20
    np.testing.assert_allclose(found[0].embedding, documents[3].embedding, atol=1e-3)
    store.update_by_filter({"field": "id", "operator": "==", "value": "blob"}, {"new": 1})
    (blob,) = store.filter_documents({"field": "meta.new", "operator": "==", "value": 1})
    assert blob.blob == some[21].blob
    store.close()


def test_duplicates_are_all_or_nothing(documents: list[Any]) -> None:
    store = store_class()()
    store.write_documents(documents[:3])
    other = Document(id="text 1", content="other", embedding=documents[9].embedding)
    with pytest.raises(errors.DuplicateDocumentError, match="expected new ids, got 'text 1'"):
        store.write_documents([documents[5], other], Policy.FAIL)
    with pytest.raises(errors.DuplicateDocumentError):
        store.write_documents([documents[6], documents[6]])
    assert store.count_documents() == 3
    assert store.write_documents([documents[6], documents[6], other], Policy.SKIP) == 1
    assert store.count_documents() == 4
    assert store.write_documents([documents[6], other], Policy.OVERWRITE) == 2
    assert store.embedding_retrieval(documents[9].embedding, top_k=1)[0].content == "other"
    store.close()


def test_a_pipeline_writes_and_finds(documents: list[Any], tmp_path: Path) -> None:
    path = str(tmp_path / "store")
    store = store_class()(path)
    writing, finding = haystack.Pipeline(), haystack.Pipeline()
    writing.add_component("writer", writers.DocumentWriter(store))
    finding.add_component("retriever", retriever_class()(store, top_k=3))
    # Each has the store in its description, and all of them have the folder open.
    trusted = ["haystack.*", "waterfill.integrations.*"]
    writing, finding = (
        haystack.Pipeline.loads(one.dumps(), allowed_modules=trusted) for one in (writing, finding)
    )
    assert writing.run({"writer": {"documents": documents[:50]}}) == {
        "writer": {"documents_written": 50}
    }
    asked = {"query_embedding": documents[7].embedding}
    found = finding.run({"retriever": asked})["retriever"]["documents"]
    assert [one.id for one in found[:1]] == ["text 7"]
    assert len(found) == 3
    only = {"field": "meta.tag", "operator": "==", "value": "a"}
    found = finding.run({"retriever": {**asked, "filters": only, "top_k": 5}})
    assert {one.meta["tag"] for one in found["retriever"]["documents"]} == {"a"}
    found = asyncio.run(
        finding.get_component("retriever").run_async(**asked, return_embedding=True)
    )
    assert found["documents"][0].embedding is not None
    store.close()
    with pytest.raises(Exception, match="are closed; open them again"):  # the host wraps it
        finding.run({"retriever": asked})
    program = (
        "import sys\nfrom waterfill.integrations.haystack import WaterfillDocumentStore\n"
        "print(WaterfillDocumentStore(sys.argv[1], 'r').count_documents())\n"
    )
    command = [sys.executable, "-c", program, path]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == "50\n"


def test_descriptions_make_the_same_again(tmp_path: Path) -> None:
    store = store_class()(str(tmp_path), metric="ip", code_bytes=12, return_embedding=False)
    retriever = retriever_class()(
        store,
        {"field": "id", "operator": "==", "value": "x"},
        7,
        True,
        True,
        types.FilterPolicy.MERGE,
    )
    again = retriever_class().from_dict(retriever.to_dict())
    assert again.to_dict() == retriever.to_dict()
    assert again.document_store.to_dict() == store.to_dict()
    assert again.filter_policy == types.FilterPolicy.MERGE
    with pytest.raises(ValueError, match="metric: expected 'ip', as the folder has, got 'l2'"):
        store_class()(str(tmp_path), metric="l2")
    store.close()


def test_embeddings_of_another_size_need_a_new_start(documents: list[Any]) -> None:
    store = store_class()()
    store.write_documents(documents[:20])
    short = Document(id="short", embedding=[1.0, 2.0])
    store.delete_all_documents()
    assert store.index is not None
    with pytest.raises(ValueError, match="expected 384 dimensions"):
        store.write_documents([short])
    store.delete_all_documents(recreate_index=True)
    assert store.index is None
    store.write_documents([short])
    assert store.embedding_retrieval([1.0, 1.0])[0].id == "short"
    store.close()


def test_a_reader_sees_a_new_start(documents: list[Any], tmp_path: Path) -> None:
    writer, reader = (store_class()(str(tmp_path), mode) for mode in "ar")
    writer.write_documents(documents[:20])
    assert reader.embedding_retrieval(documents[3].embedding)[0].id == "text 3"
    writer.delete_all_documents(recreate_index=True)
    assert reader.count_documents() == 0
    for n in range(10):
        writer.write_documents([Document(id=f"{n}", embedding=[1.0, float(n)])])
        assert reader.embedding_retrieval([0.0, 1.0], top_k=20)[-1].id == "0"
    assert reader.index is not None
    assert reader.index.d == 2
    writer.close()
    reader.close()


def test_bad_input(documents: list[Any]) -> None:
    store = store_class()()
    wrong = {"field": "meta.n", "operator": "like", "value": 3}
    with pytest.raises(filters_errors.FilterError):  # though there is no document to look at
        store.filter_documents(wrong)
    with pytest.raises(TypeError, match="filters: expected a dict, got str"):
        store.filter_documents("n = 3")
    store.write_documents(documents[:3])
    with pytest.raises(ValueError, match="query: expected 384 dimensions, got 1"):
        store.embedding_retrieval([1.0])
    with pytest.raises(ValueError, match="must be at least 1"):
        store.embedding_retrieval(documents[0].embedding, top_k=-1)
    assert store.embedding_retrieval(documents[0].embedding, top_k=0) == []
    with pytest.raises(ValueError, match="metadata: expected values that JSON holds"):
        store.write_documents([Document(content="x", meta={"x": {1}})])
    with pytest.raises(TypeError, match="document_store: expected a WaterfillDocumentStore"):
        retriever_class()(memory.InMemoryDocumentStore())
    with pytest.raises(ValueError, match="top_k: expected at least 1, got 0"):
        retriever_class()(store, top_k=0)
    store.close()
