"""LlamaIndex's two FAISS stores, and an index over one of them."""

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


@pytest.fixture(scope="module")
def llama(vector_of: Vectors) -> SimpleNamespace:
    """The stores, nodes with their vectors, and questions."""
    core, schema, types, stores, embeddings = load(
        "llama_index.core",
        "llama_index.core.schema",
        "llama_index.core.vector_stores.types",
        "llama_index.vector_stores.faiss",
        "llama_index.core.embeddings",
    )

    class Lookup(embeddings.BaseEmbedding):
        def _get_text_embedding(self, text: str) -> list[float]:
            return vector_of(text)

        _get_query_embedding = _get_text_embedding

        async def _aget_query_embedding(self, query: str) -> list[float]:
            return vector_of(query)

    def node(number: int, embedded: bool = True) -> Any:
        text = f"text {number}"
        vector = vector_of(text) if embedded else None
        return schema.TextNode(id_=text, text=text, embedding=vector)

    def ask(store: Any, query: str, k: int = 10) -> Any:
        return store.query(
            types.VectorStoreQuery(query_embedding=vector_of(query), similarity_top_k=k)
        )

    return SimpleNamespace(
        core=core,
        Store=stores.FaissVectorStore,
        MapStore=stores.FaissMapVectorStore,
        model=Lookup(),
        node=node,
        ask=ask,
    )


@flat_and_ivf
def test_llama_index_stores_and_persists(
    llama: SimpleNamespace,
    make_index: MakeIndex,
    queries: NDArray[np.float32],
    exact: list[list[str]],
    tmp_path: Path,
    kind: str,
) -> None:
    store = llama.Store(make_index(kind))
    numbers = store.add([llama.node(number) for number in range(TEXTS)])
    assert numbers == [str(number) for number in range(TEXTS)]

    def ask(of: Any, query: str) -> list[str]:
        return named(map(int, llama.ask(of, query).ids))

    before = check_answers(lambda query: ask(store, query), exact)
    answer = llama.ask(store, "query 0")
    distances, labels = store.client.search(queries[:1], 10)
    assert answer.ids == [str(label) for label in labels[0]]
    assert answer.similarities == list(distances[0])
    store.persist(str(tmp_path / "default__vector_store.json"))
    loaded = llama.Store.from_persist_dir(str(tmp_path))
    assert check_answers(lambda query: ask(loaded, query), exact) == before


def test_llama_index_retrieves_after_a_restart(
    llama: SimpleNamespace,
    make_index: MakeIndex,
    exact: list[list[str]],
    tmp_path: Path,
) -> None:
    def ask(index: Any, query: str) -> list[str]:
        found = index.as_retriever(similarity_top_k=10).retrieve(query)
        return [result.node.text for result in found]

    context = llama.core.StorageContext.from_defaults(vector_store=llama.Store(make_index("flat")))
    nodes = [llama.node(number, embedded=False) for number in range(TEXTS)]
    index = llama.core.VectorStoreIndex(nodes, storage_context=context, embed_model=llama.model)
    before = check_answers(lambda query: ask(index, query), exact)
    context.persist(str(tmp_path))
    loaded = llama.core.load_index_from_storage(
        llama.core.StorageContext.from_defaults(
            vector_store=llama.Store.from_persist_dir(str(tmp_path)), persist_dir=str(tmp_path)
        ),
        embed_model=llama.model,
    )
    assert check_answers(lambda query: ask(loaded, query), exact) == before


def test_llama_index_map_store_deletes_and_persists(
    llama: SimpleNamespace,
    make_index: MakeIndex,
    exact: list[list[str]],
    tmp_path: Path,
) -> None:
    store = llama.MapStore(make_index("idmap"))
    nodes = [llama.node(number) for number in range(TEXTS)]
    assert store.add(nodes) == named(range(TEXTS))
    check_answers(lambda query: llama.ask(store, query).ids, exact)
    gone = to_delete(exact)
    store.delete(gone[0])
    store.delete_nodes(gone[1:])
    assert store.client.ntotal == TEXTS - len(gone)
    left = without(exact, gone)
    for number in range(QUERIES):
        assert not {*llama.ask(store, f"query {number}").ids} & {*gone}
    before = check_answers(lambda query: llama.ask(store, query).ids, left)
    store.persist(str(tmp_path / "default__vector_store.json"))
    loaded = llama.MapStore.from_persist_dir(str(tmp_path))
    assert check_answers(lambda query: llama.ask(loaded, query).ids, left) == before
    loaded.delete("text 5")
    assert loaded.client.ntotal == TEXTS - len(gone) - 1
    assert "text 5" not in llama.ask(loaded, "text 5").ids


def test_llama_index_map_store_adds_after_a_deletion(
    llama: SimpleNamespace, make_index: MakeIndex
) -> None:
    """The store takes `ntotal` for the next id, and so gives one id twice."""
    store = llama.MapStore(make_index("idmap"))
    store.add([llama.node(number) for number in range(100)])
    store.delete("text 40")
    store.add([llama.node(number) for number in range(1000, 1002)])
    assert store.client.ntotal == 101
    assert llama.ask(store, "text 1001", 1).ids == ["text 1001"]
