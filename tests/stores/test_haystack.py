"""Haystack's FAISS document store, in a pipeline."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from support.store_checks import (
    QUERIES,
    TEXTS,
    D,
    MakeIndex,
    Vectors,
    check_answers,
    load,
    to_delete,
    without,
)


@pytest.fixture(scope="module")
def haystack(vector_of: Vectors) -> SimpleNamespace:
    """The store, its retriever, and documents with their vectors."""
    if sys.version_info < (3, 11):
        pytest.skip("Haystack needs Python 3.11")
    core, types, stores, retrievers = load(
        "haystack",
        "haystack.document_stores.types",
        "haystack_integrations.document_stores.faiss",
        "haystack_integrations.components.retrievers.faiss",
    )

    def document(number: int) -> Any:
        text = f"text {number}"
        meta = {"number": number}
        return core.Document(id=text, content=text, embedding=vector_of(text), meta=meta)

    def asker(store: Any) -> Any:
        pipeline = core.Pipeline()
        pipeline.add_component(
            "retriever", retrievers.FAISSEmbeddingRetriever(document_store=store)
        )

        def ask(query: str, **options: Any) -> list[str]:
            given = {"query_embedding": vector_of(query), "top_k": 10, **options}
            found = pipeline.run({"retriever": given})["retriever"]["documents"]
            return [document.content for document in found]

        return ask

    return SimpleNamespace(
        Store=stores.FAISSDocumentStore,
        Policy=types.DuplicatePolicy,
        document=document,
        asker=asker,
    )


def test_haystack_writes_deletes_and_saves(
    haystack: SimpleNamespace,
    make_index: MakeIndex,
    exact: list[list[str]],
    tmp_path: Path,
) -> None:
    store = haystack.Store(embedding_dim=D)
    store.index = make_index("idmap")
    ask = haystack.asker(store)
    assert ask("query 0") == []
    assert store.write_documents([haystack.document(number) for number in range(TEXTS)]) == TEXTS
    check_answers(ask, exact)
    low = {"field": "meta.number", "operator": "<", "value": 600}
    found = ask("query 0", filters=low)
    assert found
    assert all(int(text.split()[1]) < 600 for text in found)
    gone = to_delete(exact)
    store.delete_documents(gone)
    assert store.index.ntotal == TEXTS - len(gone)
    left = without(exact, gone)
    for number in range(QUERIES):
        assert not {*ask(f"query {number}")} & {*gone}
    store.write_documents([haystack.document(7)], policy=haystack.Policy.OVERWRITE)
    assert store.index.ntotal == TEXTS - len(gone)
    assert ask("text 7", top_k=1) == ["text 7"]
    before = check_answers(ask, left)
    store.save(tmp_path / "store")
    loaded = haystack.Store(index_path=str(tmp_path / "store"), embedding_dim=D)
    ask = haystack.asker(loaded)
    assert check_answers(ask, left) == before
    loaded.write_documents([haystack.document(1300)])
    assert ask("text 1300", top_k=1) == ["text 1300"]
    loaded.delete_documents(["text 1300"])
    assert ask("text 1300", top_k=1) != ["text 1300"]
    loaded.write_documents([haystack.document(8)], policy=haystack.Policy.OVERWRITE)
    assert ask("text 8", top_k=1) == ["text 8"]
