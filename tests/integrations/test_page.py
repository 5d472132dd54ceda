"""The snippets of docs/integrations.md run as they are written, section by section."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from support.doc_examples import DOCS, needs_docs
from support.store_checks import load

import waterfill as wf

pytestmark = needs_docs


def run(section: str, names: dict[str, Any], monkeypatch: Any, folder: Path) -> dict[str, Any]:
    page = DOCS / "integrations.md"
    sections = re.split(r"^## (.+)\n", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    text = dict(zip(sections[1::2], sections[2::2], strict=True))[section]
    snippets = re.findall(r"```python\n(.+?)```", text, re.DOTALL)
    assert snippets
    monkeypatch.chdir(folder)
    for snippet in snippets:
        exec(compile(snippet, str(page), "exec"), names)
    return names


def vector_of(text: str, base: NDArray[np.float32]) -> list[float]:
    """A real vector for any text."""
    return base[sum(text.encode()) % len(base)].tolist()


def test_langchain(base: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (core,) = load("langchain_core.embeddings")

    class Model(core.Embeddings):
        def embed_documents(self, texts: list[str]) -> list[list[float]]:
            return [vector_of(text, base) for text in texts]

        def embed_query(self, text: str) -> list[float]:
            return vector_of(text, base)

    (community,) = load("langchain_community.vectorstores")
    texts = [f"text {n}" for n in range(20)]
    old = community.FAISS.from_texts(texts, Model(), metadatas=[{"n": n} for n in range(20)])
    old.save_local(str(tmp_path / "old"))
    names = run("LangChain", {"texts": texts, "embeddings": Model()}, monkeypatch, tmp_path)
    assert len(names["store"]) == 21
    for text in texts:
        assert names["moved"].similarity_search(text, 1) == old.similarity_search(text, 1)
    assert names["moved"].similarity_search("any", 9, filter={"n": 3})[0].page_content == "text 3"
    names["moved"].close()
    names["store"].close()


def test_llama_index(base: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    core, embeddings = load("llama_index.core", "llama_index.core.embeddings")

    class Model(embeddings.BaseEmbedding):
        def _get_text_embedding(self, text: str) -> list[float]:
            return vector_of(text, base)

        _get_query_embedding = _get_text_embedding

        async def _aget_query_embedding(self, query: str) -> list[float]:
            return vector_of(query, base)

    documents = [core.Document(text=f"text {n}") for n in range(20)]
    names = {"documents": documents, "model": Model()}
    store = run("LlamaIndex", names, monkeypatch, tmp_path)["store"]
    assert len(store.get_nodes()) == 19
    store.close()


def test_haystack(base: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    if sys.version_info < (3, 11):
        pytest.skip("Haystack needs Python 3.11")
    (host,) = load("haystack")
    names = {
        "documents": [host.Document(content=f"{n}", embedding=base[n].tolist()) for n in range(9)],
        "embedding": base[3].tolist(),
    }
    store = run("Haystack", names, monkeypatch, tmp_path)["store"]
    assert store.count_documents() == 9
    store.close()


def test_sklearn(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    if sys.version_info < (3, 11):
        pytest.skip("the pinned scikit-learn needs Python 3.11")
    (datasets,) = load("sklearn.datasets")
    X, y = datasets.load_digits(return_X_y=True)
    names = run("scikit-learn", {"X": X, "y": y}, monkeypatch, tmp_path)
    assert names["codes"].shape == (len(X), 17)
    assert (names["model"].predict(X) == y).mean() > 0.98


def test_zarr(base: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    if sys.version_info < (3, 11):
        pytest.skip("the pinned Zarr needs Python 3.11")
    _, registry = load("zarr", "zarr.registry")
    from waterfill.integrations.zarr import WaterfillSerializer

    registry.register_codec("waterfill", WaterfillSerializer)  # if the package is not installed
    names = run("numcodecs and Zarr", {"vectors": base}, monkeypatch, tmp_path)
    assert 0 < np.square(names["array"][:] - base).sum(1).mean() < 0.2
    assert (tmp_path / "vectors.zarr" / "zarr.json").stat().st_size < 2_000_000


def test_txtai(base: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    if sys.version_info < (3, 11):
        pytest.skip("txtai needs Python 3.11")
    load("txtai")
    names = {
        "texts": [f"text {n}" for n in range(20)],
        "transform": lambda texts: np.stack([np.float32(vector_of(t, base)) for t in texts]),
    }
    assert len(run("txtai", names, monkeypatch, tmp_path)["found"]) == 3


def test_datasets(base: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (host,) = load("datasets")
    host.disable_progress_bars()
    dataset = host.Dataset.from_dict({"id": [*range(3000)], "embedding": base[:3000]})
    names = {"dataset": dataset, "query": base[5]}
    rows = run("Hugging Face datasets", names, monkeypatch, tmp_path)["rows"]
    assert rows["id"][0] == 5
    assert (tmp_path / "dataset.wfx" / "MANIFEST").is_file()


def test_sentence_transformers(
    base: Any, queries: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    names = {"corpus_embeddings": base[:2000], "query_embeddings": queries}
    hits = run("sentence-transformers", names, monkeypatch, tmp_path)["hits"]
    assert [len(own) for own in hits] == [10] * len(queries)


def test_torch(
    base: Any, queries: Any, codec: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    torch = pytest.importorskip("torch")
    index = wf.IndexFlat(codec)
    index.add(base)
    names = {
        "torch": torch,
        "vectors": torch.from_numpy(base),
        "queries": torch.from_numpy(queries),
        "codec": codec,
        "index": index,
        "embedding": torch.nn.Embedding.from_pretrained(torch.from_numpy(base[:2000])),
    }
    names = run("torch", names, monkeypatch, tmp_path)
    assert names["ids"].shape == (len(queries), 10)
    assert names["table"].codes.shape == (2000, 49)
    assert torch.allclose(names["decoder"](names["codes"]), names["rows"], atol=1e-6)
