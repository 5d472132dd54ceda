"""The store for LlamaIndex with real vectors, beside LlamaIndex's own store in memory."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from support.store_checks import QUERIES, TEXTS, load, named

core, schema, types, simple = load(
    "llama_index.core",
    "llama_index.core.schema",
    "llama_index.core.vector_stores.types",
    "llama_index.core.vector_stores.simple",
)
Filter, Filters, Query = types.MetadataFilter, types.MetadataFilters, types.VectorStoreQuery
TAGS = "abc"


def store_class() -> Any:
    from waterfill.integrations.llama_index import WaterfillVectorStore

    return WaterfillVectorStore


def node(number: int, vector: Any, **metadata: Any) -> Any:
    """Node "text 17" is of document "document 1"."""
    source = schema.RelatedNodeInfo(node_id=f"document {number // 10}")
    return schema.TextNode(
        id_=f"text {number}",
        text=f"text {number}",
        embedding=np.asarray(vector).tolist(),
        metadata={"n": number, "tag": TAGS[number % 3], "tags": [*TAGS[: number % 4]], **metadata},
        relationships={schema.NodeRelationship.SOURCE: source},
    )


@pytest.fixture(scope="module")
def nodes(base: NDArray[np.float32]) -> list[Any]:
    return [node(number, base[number]) for number in range(TEXTS)]


@pytest.fixture(scope="module", params=["managed", "compressed"])
def stores(request: Any, nodes: list[Any], folder_options: Any) -> Iterator[tuple[Any, Any]]:
    """Our store and the one in memory, with the same nodes."""
    ours = store_class()(**folder_options(request.param, "cosine"))
    theirs = simple.SimpleVectorStore()
    assert ours.add(nodes) == theirs.add(nodes) == named(range(TEXTS))
    assert ours.client.ntotal == TEXTS
    yield ours, theirs
    ours.close()


def asked(queries: Any, number: int, k: int = 10, **options: Any) -> Any:
    return Query(query_embedding=queries[number].tolist(), similarity_top_k=k, **options)


def test_it_answers_as_the_store_in_memory(
    stores: tuple[Any, Any], queries: NDArray[np.float32]
) -> None:
    ours, theirs = stores
    same = []
    for number in range(QUERIES):
        got, expected = (store.query(asked(queries, number)) for store in (ours, theirs))
        same.append(len({*got.ids} & {*expected.ids}) / 10)
        true = dict(zip(expected.ids, expected.similarities, strict=True))
        for found, id, similarity in zip(got.nodes, got.ids, got.similarities, strict=True):
            assert found.node_id == found.text == id
            assert similarity == pytest.approx(true.get(id, similarity), abs=2e-3)
        assert got.similarities == sorted(got.similarities, reverse=True)
    assert np.mean(same) > (0.97 if ours.client else 0.999)


FILTERS = [
    Filters(filters=[Filter(key="n", value=5)]),
    Filters(filters=[Filter(key="n", value=50, operator=">"), Filter(key="tag", value="a")]),
    Filters(
        filters=[Filter(key="n", value=3), Filter(key="n", value=[4, 5], operator="in")],
        condition="or",
    ),
    Filters(filters=[Filter(key="tag", value=["a", "b"], operator="in")], condition="not"),
    Filters(filters=[Filter(key="tags", value="b", operator="contains")]),
    Filters(filters=[Filter(key="tags", value=["a", "c"], operator="all")]),
    Filters(filters=[Filter(key="tags", value=None, operator="is_empty")]),
    Filters(filters=[Filter(key="ref_doc_id", value="document 7")]),
    Filters(filters=[Filter(key="tag", value="B", operator="text_match_insensitive")]),
    Filters(filters=[Filter(key="none", value=1, operator="!=")]),
]


@pytest.mark.parametrize("filters", FILTERS, ids=range(len(FILTERS)))
def test_filters_are_those_of_the_store_in_memory(
    stores: tuple[Any, Any], queries: NDArray[np.float32], filters: Any
) -> None:
    ours, _ = stores
    got, expected = (s.query(asked(queries, 0, TEXTS, filters=filters)) for s in stores)
    assert {*got.ids} == {*expected.ids}
    assert len({*got.ids}) == len(got.ids) > 0
    assert [one.node_id for one in ours.get_nodes(filters=filters)] == sorted(
        expected.ids, key=lambda id: int(id.split()[1])
    )
    some = named(range(100))
    got, expected = (
        s.query(asked(queries, 0, TEXTS, filters=filters, node_ids=some)) for s in stores
    )
    assert {*got.ids} == {*expected.ids}


LEAVES = st.builds(
    lambda key, operator, value: Filter(key=key, operator=operator, value=value),
    st.sampled_from("xyz"),
    st.sampled_from(["==", "!=", ">", "<", ">=", "<="]),
    st.integers(-2, 2),
)
GROUPS = st.recursive(
    LEAVES,
    lambda inner: st.builds(
        lambda filters, condition: Filters(filters=filters, condition=condition),
        st.lists(inner, min_size=1, max_size=3),
        st.sampled_from(["and", "or", "not"]),
    ),
    max_leaves=6,
).filter(lambda one: isinstance(one, Filters))


def passes(one: Any, metadata: dict[str, int]) -> bool:
    if isinstance(one, Filters):
        each = [passes(inner, metadata) for inner in one.filters]
        return {"and": all(each), "or": any(each), "not": not any(each)}[one.condition.value]
    value = metadata.get(one.key)
    if value is None:
        return one.operator.value == "!="
    other = one.value
    return {
        "==": value == other,
        "!=": value != other,
        ">": value > other,
        "<": value < other,
        ">=": value >= other,
        "<=": value <= other,
    }[one.operator.value]


@given(GROUPS, st.fixed_dictionaries({"x": st.integers(-2, 2), "y": st.integers(-2, 2)}))
def test_nested_filters(filters: Any, metadata: dict[str, int]) -> None:
    from waterfill.integrations.llama_index.nodes import as_test

    assert as_test(filters)(metadata) is passes(filters, metadata)


def test_documents_restrict_a_query(stores: tuple[Any, Any], queries: NDArray[np.float32]) -> None:
    ours, _ = stores
    got = ours.query(asked(queries, 0, 50, doc_ids=["document 3", "document 4", "none"]))
    assert sorted(got.ids) == sorted(named(range(30, 50)))
    got = ours.query(asked(queries, 0, 50, doc_ids=["document 3"], node_ids=named(range(35, 45))))
    assert sorted(got.ids) == named(range(35, 40))
    assert len(ours.query(asked(queries, 0, 50, node_ids=[])).ids) == 50  # as the host means it
    assert ours.query(asked(queries, 0, 50, node_ids=["none"])).ids == []


def test_diversity(stores: tuple[Any, Any], queries: NDArray[np.float32]) -> None:
    ours, theirs = stores
    for number in range(5):
        query = asked(queries, number, 5, mode="mmr")
        got = ours.query(query, mmr_threshold=0.3, mmr_prefetch_k=TEXTS)
        expected = theirs.query(query, mmr_threshold=0.3)
        if ours.client is None:
            assert got.ids == expected.ids
            assert got.similarities == pytest.approx(expected.similarities, abs=1e-5)
        else:
            assert len({*got.ids} & {*expected.ids}) >= 4
    near = ours.query(asked(queries, 0, 5, mode="mmr", mmr_threshold=1.0))
    assert near.ids == ours.query(asked(queries, 0, 5)).ids
    assert [one.node_id for one in near.nodes] == near.ids


@pytest.mark.parametrize("kind", ["managed", "compressed"])
def test_nodes_come_back_whole(nodes: list[Any], folder_options: Any, kind: str) -> None:
    some = nodes[:40]
    image = schema.ImageNode(id_="image", text="a", image="aGk=", embedding=some[0].embedding)
    link = schema.IndexNode(id_="link", text="b", index_id="x", embedding=some[1].embedding)
    store = store_class()(**folder_options(kind, "cosine"))
    store.add([*some, image, link])
    got = store.get_nodes()
    assert len(got) == 42
    for before, after in zip([*some, image, link], got, strict=True):
        assert type(after) is type(before)
        vector = np.array(before.embedding)
        expected = vector
        np.testing.assert_allclose(after.embedding, expected, atol=1e-3)
        after.embedding = before.embedding
        assert after == before
    assert [one.node_id for one in store.get_nodes(["text 3", "none", "text 1"])] == [
        "text 3",
        "text 1",
    ]
    store.close()


@pytest.mark.parametrize("kind", ["managed", "compressed"])
def test_nodes_are_removed_and_added_again(
    nodes: list[Any], base: NDArray[np.float32], folder_options: Any, kind: str
) -> None:
    store = store_class()(**folder_options(kind, "cosine"))
    store.add(nodes[:100])
    store.delete("document 3")
    store.delete("none")
    assert {one.ref_doc_id for one in store.get_nodes()} == {
        f"document {n}" for n in range(10) if n != 3
    }
    store.delete_nodes(["text 1", "none"])
    store.delete_nodes(filters=FILTERS[0])
    store.delete_nodes(named(range(60, 80)), FILTERS[3])
    left = {*named(range(100))} - {*named(range(30, 40)), "text 1", "text 5"}
    left -= {f"text {n}" for n in range(60, 80) if TAGS[n % 3] == "c"}
    assert {one.node_id for one in store.get_nodes()} == left
    found = store.query(Query(query_embedding=base[1].tolist(), similarity_top_k=200))
    assert {*found.ids} == left
    store.add([node(7, base[700], new=True)])
    found = store.query(Query(query_embedding=base[700].tolist(), similarity_top_k=1))
    assert found.ids == ["text 7"]
    assert found.nodes[0].metadata["new"]
    with pytest.raises(ValueError, match="node_ids, filters: expected one of them, got neither"):
        store.delete_nodes()
    store.clear()
    assert store.get_nodes() == []
    assert store.add([]) == []
    store.close()


@pytest.mark.parametrize(("metric", "best"), [("l2", 0.0), ("ip", 1.0), ("cosine", 1.0)])
@pytest.mark.parametrize("kind", ["managed", "compressed"])
def test_more_is_nearer(
    nodes: list[Any], folder_options: Any, metric: str, best: float, kind: str
) -> None:
    store = store_class()(**folder_options(kind, metric))
    store.add(nodes[:50])
    found = store.query(Query(query_embedding=nodes[3].embedding, similarity_top_k=50))
    assert found.ids[0] == "text 3"
    assert found.similarities[0] == pytest.approx(best, abs=0.03)
    assert found.similarities == sorted(found.similarities, reverse=True)
    for id, similarity in zip(found.ids, found.similarities, strict=True):
        vector = np.array(nodes[int(id.split()[1])].embedding)
        query = np.array(nodes[3].embedding)
        true = -np.linalg.norm(vector - query) if metric == "l2" else vector @ query
        assert similarity == pytest.approx(true, abs=0.03 if id == "text 3" else 3e-3)
    store.close()


def test_a_folder_is_opened_again(nodes: list[Any], tmp_path: Path) -> None:
    path = str(tmp_path / "store")
    store = store_class()(path)
    store.add(nodes[:40])
    store.persist(str(tmp_path / "elsewhere"))  # there is nothing to do
    program = (
        "import sys\nfrom waterfill.integrations.llama_index import WaterfillVectorStore\n"
        "print(len(WaterfillVectorStore(sys.argv[1], 'r').get_nodes()))\n"
    )
    command = [sys.executable, "-c", program, path]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == "40\n"
    store.close()
    again = store_class().from_persist_path(path)
    assert len(again.get_nodes()) == 40
    assert again.client.ntotal == 40
    again.close()
    with pytest.raises(FileNotFoundError):
        store_class().from_persist_path(str(tmp_path / "elsewhere"))


def test_the_host_persists_it(nodes: list[Any], tmp_path: Path) -> None:
    folder = str(tmp_path / "storage")
    store = store_class()()
    store.add(nodes[:5])
    context = core.StorageContext.from_defaults(vector_store=store)
    for _ in range(2):  # the second time there is nothing to do
        context.persist(folder)
        store.add(nodes[5:8])
    store.close()
    again = store_class().from_persist_dir(folder)
    assert len(again.get_nodes()) == 8
    again.close()


def test_an_index_of_the_host_answers_from_it(base: Any, queries: Any, tmp_path: Path) -> None:
    from llama_index.core.embeddings import BaseEmbedding

    def vector(text: str) -> list[float]:
        kind, number = text.split()
        return {"text": base, "query": queries}[kind][int(number)].tolist()

    class Lookup(BaseEmbedding):
        def _get_query_embedding(self, query: str) -> list[float]:
            return vector(query)

        async def _aget_query_embedding(self, query: str) -> list[float]:
            return vector(query)

        def _get_text_embedding(self, text: str) -> list[float]:
            return vector(text)

    documents = [core.Document(text=f"text {n}", id_=f"{n}") for n in range(50)]
    store = store_class()(str(tmp_path / "store"))
    context = core.StorageContext.from_defaults(vector_store=store)
    options = {"embed_model": Lookup(), "transformations": []}
    core.VectorStoreIndex.from_documents(documents, storage_context=context, **options)
    store.close()
    index = core.VectorStoreIndex.from_vector_store(
        store_class()(str(tmp_path / "store")), embed_model=Lookup()
    )
    retriever = index.as_retriever(similarity_top_k=3)
    assert retriever.retrieve("text 7")[0].text == "text 7"
    index.delete_ref_doc("7")
    assert retriever.retrieve("text 7")[0].text != "text 7"
    found = asyncio.run(retriever.aretrieve("text 8"))
    assert found[0].text == "text 8"
    assert found[0].score == pytest.approx(1, abs=1e-3)
    index.vector_store.close()


def test_asynchronous_calls(nodes: list[Any]) -> None:
    async def run() -> None:
        store = store_class()()
        await store.async_add(nodes[:30])
        found = await asyncio.gather(
            *(store.aquery(Query(query_embedding=one.embedding)) for one in nodes[:30])
        )
        assert [one.ids for one in found] == [[id] for id in named(range(30))]
        await store.adelete("document 0")
        await store.adelete_nodes(["text 11"])
        assert len(await store.aget_nodes()) == 19
        await store.aclear()
        assert await store.aget_nodes() == []
        store.close()

    asyncio.run(run())


def test_bad_input(nodes: list[Any]) -> None:
    store = store_class()()
    store.add(nodes[:3])
    query = Query(query_embedding=nodes[0].embedding, mode="sparse")
    with pytest.raises(ValueError, match="query: expected mode 'default' or 'mmr', got 'sparse'"):
        store.query(query)
    with pytest.raises(ValueError, match="query: expected a query_embedding, got None"):
        store.query(Query())
    with pytest.raises(ValueError, match="query: expected 384 dimensions, got 2"):
        store.query(Query(query_embedding=[1.0, 2.0]))
    with pytest.raises(ValueError, match="expected 384 dimensions"):
        store.add([node(5, [1.0, 2.0])])
    with pytest.raises(ValueError, match="embedding not set"):
        store.add([schema.TextNode(text="x")])
    with pytest.raises(ValueError, match="metadata: expected values that JSON holds, got 'x'"):
        store.add([node(5, nodes[5].embedding, x={1, 2})])
    wrong = Filters(filters=[Filter(key="tag", value=3, operator=">")])
    with pytest.raises(TypeError, match="filters: '>' of 'tag': expected what goes with 'a'"):
        store.query(Query(query_embedding=nodes[0].embedding, filters=wrong))
    assert len(store.get_nodes()) == 3
    store.close()


def test_it_is_a_component_of_the_host(tmp_path: Path) -> None:
    store = store_class()(str(tmp_path / "store"), metric="ip")
    described = store.to_dict()
    assert described["class_name"] == "WaterfillVectorStore"
    store.close()
    again = store_class().from_dict(described)
    assert again.path == str(tmp_path / "store")
    again.close()
