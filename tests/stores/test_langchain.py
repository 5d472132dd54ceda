"""LangChain's FAISS store, from texts to files."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from support.store_checks import (
    QUERIES,
    TEXTS,
    MakeIndex,
    Vectors,
    check_answers,
    flat_and_ivf,
    load,
    named,
    to_delete,
    without,
)

import waterfill as wf


@pytest.fixture(scope="module")
def langchain(vector_of: Vectors) -> SimpleNamespace:
    """`FAISS`, the embedding model, and new stores with texts in an index of ours."""
    store, docstore, core = load(
        "langchain_community.vectorstores",
        "langchain_community.docstore.in_memory",
        "langchain_core.embeddings",
    )

    class Lookup(core.Embeddings):
        def embed_documents(self, texts: list[str]) -> list[list[float]]:
            return [vector_of(text) for text in texts]

        def embed_query(self, text: str) -> list[float]:
            return vector_of(text)

    model = Lookup()

    def filled(index: Any, first: int = 0, last: int = TEXTS) -> Any:
        new = store.FAISS(model, index, docstore.InMemoryDocstore(), {})
        texts = named(range(first, last))
        parity = [{"even": number % 2 == 0} for number in range(first, last)]
        new.add_texts(texts, metadatas=parity, ids=texts)
        return new

    return SimpleNamespace(FAISS=store.FAISS, model=model, filled=filled)


def ask(store: Any, query: str, k: int = 10) -> list[str]:
    return [document.page_content for document in store.similarity_search(query, k=k)]


@flat_and_ivf
def test_langchain_searches(
    langchain: SimpleNamespace,
    make_index: MakeIndex,
    queries: NDArray[np.float32],
    exact: list[list[str]],
    kind: str,
) -> None:
    store = langchain.filled(make_index(kind))
    check_answers(lambda query: ask(store, query), exact)
    distances, labels = store.index.search(queries[:1], 10)
    found = store.similarity_search_with_score("query 0", k=10)
    assert [document.page_content for document, _ in found] == named(labels[0])
    np.testing.assert_array_equal([distance for _, distance in found], distances[0])
    even = store.similarity_search("query 0", k=5, filter={"even": True}, fetch_k=200)
    assert len(even) == 5
    assert all(document.metadata["even"] for document in even)
    few = langchain.filled(make_index(kind), last=3)
    assert sorted(ask(few, "query 0")) == named(range(3))


def test_langchain_is_compressed_in_place(
    langchain: SimpleNamespace, exact: list[list[str]]
) -> None:
    texts = named(range(TEXTS))
    pairs = zip(texts, langchain.model.embed_documents(texts), strict=True)
    store = langchain.FAISS.from_embeddings(list(pairs), langchain.model, ids=texts)
    assert check_answers(lambda query: ask(store, query), exact) == 1
    store.index = wf.compress(store.index)
    assert type(store.index) is wf.IndexFlat
    check_answers(lambda query: ask(store, query), exact)
    store.delete(["text 0"])
    assert store.index.ntotal == TEXTS - 1


@flat_and_ivf
def test_langchain_selects_for_diversity(
    langchain: SimpleNamespace,
    make_index: MakeIndex,
    base: NDArray[np.float32],
    kind: str,
) -> None:
    store = langchain.filled(make_index(kind))

    def likeness(diversity: float) -> float:
        found = store.max_marginal_relevance_search(
            "query 1", k=5, fetch_k=50, lambda_mult=1 - diversity
        )
        texts = [document.page_content for document in found]
        assert len({*texts}) == 5
        assert {*texts} <= {*ask(store, "query 1", 50)}
        chosen = base[[int(text.split()[1]) for text in texts]]
        return float((chosen @ chosen.T)[np.triu_indices(5, 1)].mean())

    assert likeness(1) < likeness(0) - 0.05


def test_langchain_deletes_and_adds_again(
    langchain: SimpleNamespace, make_index: MakeIndex, exact: list[list[str]]
) -> None:
    store = langchain.filled(make_index("flat"))
    gone = to_delete(exact)
    assert store.delete(gone)
    assert store.index.ntotal == TEXTS - len(gone)
    left = without(exact, gone)
    for number in range(QUERIES):
        assert not {*ask(store, f"query {number}")} & {*gone}
    check_answers(lambda query: ask(store, query), left)
    store.add_texts(exact[0][:3], ids=exact[0][:3])
    for text in exact[0][:3]:
        assert ask(store, text, 1) == [text]


@flat_and_ivf
def test_langchain_saves_and_loads_all_of_it(
    langchain: SimpleNamespace,
    make_index: MakeIndex,
    exact: list[list[str]],
    tmp_path: Path,
    kind: str,
) -> None:
    store = langchain.filled(make_index(kind))
    store.save_local(str(tmp_path))
    loaded = langchain.FAISS.load_local(
        str(tmp_path), langchain.model, allow_dangerous_deserialization=True
    )
    assert type(loaded.index) is type(store.index)
    for number in range(QUERIES):
        query = f"query {number}"
        found = loaded.similarity_search_with_score(query, score_threshold=1.0)
        assert found == store.similarity_search_with_score(query, score_threshold=1.0)
    added = named(range(TEXTS, TEXTS + 100))
    loaded.add_texts(added, ids=added)
    assert all(ask(loaded, text, 1) == [text] for text in added[::10])
    answers = [text for number in range(QUERIES) for text in ask(loaded, f"query {number}")]
    assert np.mean([text in added for text in answers]) < 3 * 100 / TEXTS
    if kind == "flat":  # the store renumbers its texts, and lists keep their ids, as in FAISS
        gone = to_delete(exact)
        assert loaded.delete(gone)
        assert all(ask(loaded, text, 1) == [text] for text in added[::10])
        assert not {*answers} - {*named(range(TEXTS))} - {*added}


@flat_and_ivf
def test_langchain_pickles_all_of_it(
    langchain: SimpleNamespace, make_index: MakeIndex, kind: str
) -> None:
    store = langchain.filled(make_index(kind))
    again = langchain.FAISS.deserialize_from_bytes(
        store.serialize_to_bytes(), langchain.model, allow_dangerous_deserialization=True
    )
    assert type(again.index) is type(store.index)
    for number in range(QUERIES):
        query = f"query {number}"
        assert again.similarity_search_with_score(query) == store.similarity_search_with_score(
            query
        )


def test_langchain_merges(
    langchain: SimpleNamespace, make_index: MakeIndex, exact: list[list[str]]
) -> None:
    store = langchain.filled(make_index("flat"), last=500)
    store.merge_from(langchain.filled(make_index("flat"), first=500))
    assert store.index.ntotal == TEXTS
    check_answers(lambda query: ask(store, query), exact)
