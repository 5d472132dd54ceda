"""The store for LangChain with real vectors, beside LangChain's own FAISS store."""

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

community, core_embeddings, documents = load(
    "langchain_community.vectorstores", "langchain_core.embeddings", "langchain_core.documents"
)
METRICS = ("l2", "ip", "cosine")


class Lookup(core_embeddings.Embeddings):
    """The embedding model: "text 17" is row 17 of the sample, "query 3" a held-out one."""

    def __init__(self, base: NDArray[np.float32], queries: NDArray[np.float32]) -> None:
        self.rows = {"text": base, "query": queries}

    def embed_query(self, text: str) -> list[float]:
        kind, number = text.split()
        return self.rows[kind][int(number)].tolist()

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return [self.embed_query(text) for text in texts]


class AsyncLookup(Lookup):
    """Can be called asynchronously only."""

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        raise AssertionError

    embed_query = embed_documents

    async def aembed_query(self, text: str) -> list[float]:
        return Lookup.embed_query(self, text)

    async def aembed_documents(self, texts: list[str]) -> list[list[float]]:
        return [Lookup.embed_query(self, text) for text in texts]


@pytest.fixture(scope="module")
def model(base: NDArray[np.float32], queries: NDArray[np.float32]) -> Lookup:
    return Lookup(base, queries)


def parities(numbers: Any) -> list[dict[str, Any]]:
    return [{"n": n, "even": n % 2 == 0, "tag": "abc"[n % 3]} for n in numbers]


def store_class() -> Any:
    from waterfill.integrations.langchain import WaterfillStore

    return WaterfillStore


@pytest.fixture(scope="module", params=["managed", "compressed"])
def stores(request: Any, model: Lookup, folder_options: Any) -> Iterator[tuple[Any, Any]]:
    """Our store and FAISS's with the same texts."""
    texts, metadatas = named(range(TEXTS)), parities(range(TEXTS))
    options = folder_options(request.param, "l2")
    with store_class().from_texts(texts, model, metadatas, ids=texts, **options) as ours:
        assert ours.index.ntotal == TEXTS
        yield ours, community.FAISS.from_texts(texts, model, metadatas, ids=texts)


def test_it_answers_as_the_faiss_store(stores: tuple[Any, Any]) -> None:
    ours, theirs = stores
    assert len(ours) == TEXTS
    same = []
    for number in range(QUERIES):
        got = ours.similarity_search_with_score(f"query {number}", k=10)
        expected = theirs.similarity_search_with_score(f"query {number}", k=10)
        same.append(len({one.id for one, _ in got} & {one.id for one, _ in expected}) / 10)
        scores = dict((one.id, score) for one, score in expected)
        for one, score in got:
            assert one.page_content == one.id
            assert score == pytest.approx(scores.get(one.id, score), rel=2e-3)
        assert [score for _, score in got] == sorted(score for _, score in got)
        limit = got[3][1]
        near = ours.similarity_search_with_score(f"query {number}", k=10, score_threshold=limit)
        assert near == got[:4]
    assert np.mean(same) > (0.97 if ours.index else 0.999)


def test_filters_are_those_of_the_faiss_store(stores: tuple[Any, Any]) -> None:
    ours, theirs = stores
    for condition in [
        {"even": True},
        {"even": True, "tag": "a"},
        {"tag": ["a", "b"]},
        {"n": {"$gt": 50, "$lte": 300}},
        {"$or": [{"n": 3}, {"n": {"$in": [4, 5]}}]},
        {"$not": {"tag": {"$nin": ["c"]}}},
        lambda metadata: metadata["n"] % 100 == 7,
    ]:
        got = ours.similarity_search("query 0", k=20, filter=condition)
        expected = theirs.similarity_search("query 0", k=20, filter=condition, fetch_k=TEXTS)
        assert len(got) == len(expected)
        assert len({d.id for d in got} & {d.id for d in expected}) >= 0.9 * len(got)
        allowed = theirs._create_filter_func(condition)
        assert all(allowed(document.metadata) for document in got)


VALUES = st.one_of(st.none(), st.booleans(), st.integers(-2, 2), st.sampled_from(["", "a", "b"]))
ORDERED = st.integers(-2, 2)
CONDITIONS = st.one_of(
    VALUES,
    st.lists(VALUES, max_size=3),
    st.dictionaries(st.sampled_from(["$gt", "$lt", "$gte", "$lte"]), ORDERED, min_size=1),
    st.dictionaries(st.sampled_from(["$eq", "$neq"]), VALUES, min_size=1),
    st.dictionaries(st.sampled_from(["$in", "$nin"]), st.lists(VALUES, max_size=3), min_size=1),
)
FILTERS = st.recursive(
    st.dictionaries(st.sampled_from("xy"), CONDITIONS, min_size=1, max_size=2),
    lambda inner: st.one_of(
        st.fixed_dictionaries({"$and": st.lists(inner, max_size=3)}),
        st.fixed_dictionaries({"$or": st.lists(inner, max_size=3)}),
        st.fixed_dictionaries({"$not": inner}),
    ),
    max_leaves=5,
)


@given(FILTERS, st.fixed_dictionaries({"x": ORDERED, "y": ORDERED}))
def test_a_dict_means_what_it_means_there(condition: Any, metadata: dict[str, Any]) -> None:
    from waterfill.integrations.metadata_filter import metadata_test

    expected = community.FAISS._create_filter_func(condition)(metadata)
    assert metadata_test(condition)(metadata) is bool(expected)


def test_keys_beside_logic_count_too() -> None:
    """Where the FAISS store passes over them."""
    from waterfill.integrations.metadata_filter import metadata_test

    test = metadata_test({"$or": [{"x": 1}, {"x": 2}], "y": 1})
    assert test({"x": 1, "y": 1})
    assert not test({"x": 1, "y": 2})
    assert not metadata_test({"x": {"$gt": 1}})({})


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        ({"$xor": []}, r"filter: expected a field or one of \$and, \$or, \$not, got '\$xor'"),
        ({"n": {"$like": "x"}}, r"filter: expected one of .* for 'n', got '\$like'"),
        ({"n": {"$in": 3}}, "filter: expected a list for"),
        ({"$and": {"n": 3}}, "filter: expected a list of filters"),
        ({"$not": 3}, "filter: expected a dict, got 3"),
        ({"n": {"$gt": "3"}}, "filter: expected what has an order with 0 of 'n'"),
        (3, "filter: expected a dict or a function"),
    ],
)
def test_wrong_filters_are_refused(stores: tuple[Any, Any], condition: Any, message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        stores[0].similarity_search("query 0", filter=condition)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("kind", ["managed", "compressed"])
def test_relevance_is_the_cosine(
    model: Lookup, folder_options: Any, metric: str, kind: str
) -> None:
    texts = named(range(200))
    with store_class().from_texts(texts, model, **folder_options(kind, metric)) as store:
        (same, best), *others = store.similarity_search_with_relevance_scores("text 3", k=200)
        assert same.page_content == "text 3"
        assert best == pytest.approx(1, abs=0.03 if metric == "l2" else 2e-3)
        assert len(others) == 199
        for document, share in others:
            cosine = np.dot(model.embed_query("text 3"), model.embed_query(document.page_content))
            expected = 1 - np.sqrt(max(1 - cosine, 0)) if metric == "l2" else cosine
            assert share == pytest.approx(max(expected, 0), abs=0.01)
            assert 0 <= share <= 1
        retriever = store.as_retriever(
            search_type="similarity_score_threshold", search_kwargs={"score_threshold": 0.9}
        )
        assert [d.page_content for d in retriever.invoke("text 3")] == ["text 3"]
    with store_class()(model, metric=metric, relevance_score_fn=lambda score: 0.5) as store:
        store.add_texts(texts[:1])
        assert store.similarity_search_with_relevance_scores("text 0")[0][1] == 0.5


def test_diversity(stores: tuple[Any, Any], model: Lookup, base: NDArray[np.float32]) -> None:
    ours, theirs = stores
    for number in range(5):
        options = {"k": 5, "fetch_k": 50, "lambda_mult": 0.3}
        got = ours.max_marginal_relevance_search(f"query {number}", **options)
        expected = theirs.max_marginal_relevance_search(f"query {number}", **options)
        assert len({document.id for document in got}) == 5
        if ours.index is None:
            assert [d.id for d in got] == [d.id for d in expected]
        else:
            assert len({d.id for d in got} & {d.id for d in expected}) >= 3
    even = ours.max_marginal_relevance_search("query 0", k=5, fetch_k=20, filter={"even": True})
    assert all(document.metadata["even"] for document in even)
    retriever = ours.as_retriever(search_type="mmr", search_kwargs={"k": 2})
    assert len(retriever.invoke("query 0")) == 2


@pytest.mark.parametrize("kind", ["managed", "compressed"])
def test_a_folder_is_opened_again(
    model: Lookup, folder_options: Any, tmp_path: Path, kind: str
) -> None:
    texts = named(range(100))
    path = tmp_path / "store"
    with store_class()(model, path, **folder_options(kind, "l2")) as store:
        store.add_texts(texts, parities(range(100)), ids=texts)
        store.delete(["text 5", "none"])
        store.add_texts(["text 600"], ids=["text 7"])
        expected = store.similarity_search_with_score("query 1", k=99)
        store.save_local(tmp_path / "copy")
        program = (
            "import sys\n"
            "from langchain_core.embeddings import FakeEmbeddings\n"
            "from waterfill.integrations.langchain import WaterfillStore\n"
            "store = WaterfillStore(FakeEmbeddings(size=384), sys.argv[1], 'r')\n"
            "print(len(store), store.get_by_ids(['text 7'])[0].page_content)\n"
        )
        command = [sys.executable, "-c", program, str(path)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        assert done.stdout == "99 text 600\n"
    for folder in (path, tmp_path / "copy"):
        with store_class().load_local(folder, model) as again:
            assert again.similarity_search_with_score("query 1", k=99) == expected
            assert again.similarity_search("text 600", k=1)[0].id == "text 7"
            assert again.similarity_search("text 8", k=1)[0].metadata == parities([8])[0]
            again.delete()
            assert len(again) == 0
            assert bool(again)
    with pytest.raises(FileNotFoundError, match="no store in this folder"):
        store_class().load_local(tmp_path / "other", model)


def test_asynchronous_calls_use_the_asynchronous_model(
    base: NDArray[np.float32], queries: NDArray[np.float32]
) -> None:
    model = AsyncLookup(base, queries)

    async def run() -> None:
        store = await store_class().afrom_texts(named(range(30)), model, ids=named(range(30)))
        found = await store.asimilarity_search("text 7", k=1)
        assert found[0].id == "text 7"
        ((_, score),) = await store.asimilarity_search_with_score("text 7", k=1)
        assert score == pytest.approx(0, abs=1e-6)
        ((_, share),) = await store.asimilarity_search_with_relevance_scores("text 7", k=1)
        assert share == pytest.approx(1)
        assert len(await store.amax_marginal_relevance_search("text 7", k=3)) == 3
        vector = await model.aembed_query("text 8")
        assert (await store.asimilarity_search_by_vector(vector, k=1))[0].id == "text 8"
        answers = await asyncio.gather(
            *(store.asimilarity_search(f"text {n}", k=1) for n in range(30)),
            store.aadd_texts(["text 40"], ids=["new"]),
        )
        assert [one[0].id for one in answers[:30]] == named(range(30))
        await store.adelete(["text 7"])
        assert await store.aget_by_ids(["text 7", "new"]) == store.get_by_ids(["new"])
        store.close()

    asyncio.run(run())


def test_documents_and_known_vectors(model: Lookup) -> None:
    pairs = [(text, model.embed_query(text)) for text in named(range(5))]
    with store_class().from_embeddings(pairs, model, ids=named(range(5))) as store:
        assert store.embeddings is model
        some = [
            documents.Document(page_content="text 8", id="a"),
            documents.Document(page_content="text 9"),
        ]
        first, second = store.add_documents(some)
        assert first == "a"
        assert second != "text 9"
        assert store.similarity_search("text 9", k=1)[0].id == second
        assert [d.id for d in store.similarity_search_by_vector(pairs[2][1], k=1)] == ["text 2"]
        assert store.add_texts([]) == []
        with pytest.raises(ValueError, match="metadatas: expected 1, one per text, got 2"):
            store.add_texts(["text 1"], [{}, {}])
        with pytest.raises(ValueError, match="ids: expected 1, one per text, got 2"):
            store.add_texts(["text 1"], ids=["a", "b"])
        assert len(store) == 7
        assert store.index.ntotal == 7


def test_an_embedding_model_of_another_size_is_refused(model: Lookup, tmp_path: Path) -> None:
    with store_class().from_texts(named(range(5)), model, path=tmp_path) as store:
        store.embeddings.rows["short"] = np.zeros((1, 8), np.float32)
        with pytest.raises(ValueError, match=r"vectors: expected 384 dimensions.*got 8"):
            store.add_texts(["short 0"])
        with pytest.raises(ValueError, match="query: expected 384 dimensions, got 8"):
            store.similarity_search("short 0")


def test_without_the_host_the_error_names_the_extra() -> None:
    program = (
        "import sys; sys.modules['langchain_core'] = None\n"
        "import waterfill.integrations\n"
        "try:\n    import waterfill.integrations.langchain\n"
        "except ImportError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.strip() == (
        'waterfill.integrations.langchain needs LangChain: pip install ".[langchain]" '
        "in a checkout of waterfill"
    )
