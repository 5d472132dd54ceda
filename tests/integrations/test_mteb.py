"""MTEB's own runner scores models whose documents are searched in our index."""

from __future__ import annotations

import re
import sys
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from support.doc_examples import DOCS, needs_docs
from support.store_checks import load

DOCUMENTS, QUERIES = 400, 20


@pytest.fixture(scope="module")
def host(base: Any, queries: Any) -> SimpleNamespace:
    """The host, a model that looks up real vectors, and tasks whose answers are the nearest."""
    if sys.version_info < (3, 11):
        pytest.skip("the pinned MTEB needs Python 3.11")
    mteb, models, mocks, datasets, torch = load(
        "mteb", "mteb.models", "mteb.mocks.mock_tasks", "datasets", "torch"
    )
    vectors = {"text": base[:DOCUMENTS], "query": queries[:QUERIES]}

    def meta(similarity: str) -> Any:
        scoring = models.model_meta.ScoringFunction(similarity)
        overwrites = {"name": "test/lookup", "revision": "1", "similarity_fn_name": scoring}
        return models.ModelMeta.create_empty(overwrites)

    class Lookup(models.abs_encoder.AbsEncoder):
        def __init__(self, similarity: str) -> None:
            self.mteb_model_meta = meta(similarity)

        def encode(self, inputs: Any, **options: Any) -> Any:
            texts = [text.split() for batch in inputs for text in batch["text"]]
            rows = [vectors[text[-2]][int(text[-1])] for text in texts]
            return torch.from_numpy(np.stack(rows))

    nearest = (vectors["query"] @ vectors["text"].T).argsort(axis=1)[:, ::-1]

    def split(ranked: int | None) -> Any:
        named = {f"q{n}": [f"d{each}" for each in own] for n, own in enumerate(nearest)}
        return {
            "corpus": datasets.Dataset.from_dict(
                {
                    "id": [f"d{n}" for n in range(DOCUMENTS)],
                    "text": [f"text {n}" for n in range(DOCUMENTS)],
                }
            ),
            "queries": datasets.Dataset.from_dict(
                {
                    "id": [f"q{n}" for n in range(QUERIES)],
                    "text": [f"query {n}" for n in range(QUERIES)],
                }
            ),
            "relevant_docs": {query: {own[0]: 2, own[1]: 1} for query, own in named.items()},
            "top_ranked": None if ranked is None else {q: own[:ranked] for q, own in named.items()},
        }

    class Task(mocks.MockRetrievalTask):
        ranked: int | None = None

        def load_data(self, **options: Any) -> None:
            data = split(self.ranked)
            self.dataset = {"default": {"test": data, "val": data}}
            self.data_loaded = True

    class Reranking(Task):
        ranked = 30

    def score(task: Any, model: Any, backend: Any) -> float:
        wrapped = models.SearchEncoderWrapper(model, index_backend=backend)
        result = mteb.evaluate(
            wrapped, task(), cache=None, co2_tracker=False, show_progress_bar=False
        )
        return float(result.task_results[0].scores["test"][0]["ndcg_at_10"])

    (stock,) = load("mteb.models.search_encoder_index.search_indexes.faiss_search_index")
    return SimpleNamespace(
        Stock=stock.FaissSearchIndex, Lookup=Lookup, Task=Task, Reranking=Reranking, score=score
    )


@needs_docs
@pytest.mark.filterwarnings("ignore")
def test_the_runner_scores_an_index_of_ours(host: SimpleNamespace) -> None:
    from waterfill.integrations.mteb import WaterfillSearchIndex

    model = host.Lookup("cosine")
    rescored = host.score(host.Task, model, WaterfillSearchIndex(model, refine="float16"))
    assert rescored > 0.99
    page = (DOCS / "integrations.md").read_text(encoding="utf-8")
    (snippet,) = re.findall(r"```python\n(.+?)```", page.partition("\n## MTEB\n")[2], re.DOTALL)
    names = {"model": model, "task": host.Task()}
    exec(compile(snippet, "docs/integrations.md", "exec"), names)
    assert 0.7 < names["results"].task_results[0].scores["test"][0]["ndcg_at_10"] < rescored


@pytest.mark.filterwarnings("ignore")
def test_the_runner_reranks(host: SimpleNamespace) -> None:
    from waterfill.integrations.mteb import WaterfillSearchIndex

    model = host.Lookup("cosine")
    backend = WaterfillSearchIndex(model, refine="float32")
    assert host.score(host.Reranking, model, backend) == pytest.approx(1)


@pytest.mark.parametrize("similarity", ["dot", "cosine", "euclidean"])
def test_it_finds_what_the_hosts_own_index_finds(
    host: SimpleNamespace, base: Any, queries: Any, similarity: str
) -> None:
    from waterfill.integrations.mteb import WaterfillSearchIndex

    model = host.Lookup(similarity)
    ours, theirs = WaterfillSearchIndex(model, refine="float32"), host.Stock(model)
    names = [f"d{n}" for n in range(DOCUMENTS)]
    for index in (ours, theirs):
        index.add_documents(base[:DOCUMENTS].copy(), names)
    asked = queries[:QUERIES]
    same = np.mean(
        [
            len({*a} & {*b}) / 10
            for a, b in zip(
                ours.search(asked, 10, None)[1],
                theirs.search(asked.copy(), 10, None)[1],
                strict=True,
            )
        ]
    )
    assert same > 0.95
    ranked = {f"q{n}": [f"d{each}" for each in range(n, n + 30)] for n in range(QUERIES)}
    named = dict(enumerate(ranked))
    found = [index.search(asked.copy(), 5, None, ranked, named) for index in (ours, theirs)]
    assert found[0][1] == found[1][1]
    np.testing.assert_allclose(found[0][0], found[1][0], atol=1e-4)


@pytest.mark.parametrize("n", [1, 3, 255, 256])
@pytest.mark.parametrize("similarity", ["dot", "cosine", "euclidean"])
def test_few_documents_and_documents_in_parts(
    host: SimpleNamespace, base: Any, queries: Any, n: int, similarity: str
) -> None:
    from waterfill.integrations.mteb import WaterfillSearchIndex

    index = WaterfillSearchIndex(host.Lookup(similarity), refine="float32")
    half = n // 2
    index.add_documents(base[:half], [f"d{i}" for i in range(half)])
    index.add_documents(base[half:n], [f"d{i}" for i in range(half, n)])
    scores, numbers = index.search(queries[:20], 5, None)  # type: ignore[arg-type]
    own = queries[:20] @ base[:n].T
    want = np.argsort(-own, axis=1)[:, :5]
    if n < 256:
        np.testing.assert_array_equal(numbers, want)
    distances = -np.sqrt(2 - 2 * own) if similarity == "euclidean" else own
    got = np.take_along_axis(distances, np.array(numbers), 1)
    np.testing.assert_allclose(scores, got, atol=2e-3)
    index.clear()
    with pytest.raises(ValueError, match="no documents; call add_documents first"):
        index.search(queries[:2], 5, None)  # type: ignore[arg-type]


def test_other_similarities_are_refused(host: SimpleNamespace) -> None:
    from waterfill.integrations.mteb import WaterfillSearchIndex

    with pytest.raises(ValueError, match="expected a similarity of dot, cosine, euclidean, got"):
        WaterfillSearchIndex(host.Lookup("MaxSim"))
