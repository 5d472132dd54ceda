"""The snippets of docs/stores.md run as they are written."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from support.store_checks import TEXTS, Vectors, load, named

import waterfill as wf

PAGE = Path(__file__).parents[2] / "docs" / "stores.md"


def run(section: str, names: dict[str, Any]) -> list[Any]:
    """Run the snippets of a section one after the other; return the store after each."""
    sections = re.split(r"^## (.+)\n", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    text = dict(zip(sections[1::2], sections[2::2], strict=True))[section]
    stores = []
    for snippet in re.findall(r"```python\n(.+?)```", text, re.DOTALL):
        exec(compile(snippet, str(PAGE), "exec"), names)
        stores.append(names["store"])
    assert stores
    return stores


@pytest.fixture
def names(base: NDArray[np.float32], vector_of: Vectors) -> dict[str, Any]:
    return {"wf": wf, "sample": base[:2000], "texts": named(range(TEXTS))}


def test_langchain(names: dict[str, Any], vector_of: Vectors, tmp_path: Path) -> None:
    _, core = load("langchain_community.vectorstores", "langchain_core.embeddings")

    class Lookup(core.Embeddings):
        def embed_documents(self, texts: list[str]) -> list[list[float]]:
            return [vector_of(text) for text in texts]

        def embed_query(self, text: str) -> list[float]:
            return vector_of("query 0")

    names |= {"embeddings": Lookup(), "folder": tmp_path}
    stores = run("LangChain", names) + run("Saving and loading a store", names)
    for store in stores:
        assert isinstance(store.index, wf.IndexFlat)
        assert store.index.ntotal == TEXTS
    found = [[each.page_content for each in store.similarity_search("", k=4)] for store in stores]
    assert found[1] == found[2]  # after it was saved, and put back


def test_llama_index(names: dict[str, Any]) -> None:
    load("llama_index.vector_stores.faiss")
    plain, mapped = run("LlamaIndex", names)
    assert plain.client.is_trained
    assert mapped.client.is_trained


def test_haystack(names: dict[str, Any], vector_of: Vectors) -> None:
    if sys.version_info < (3, 11):
        pytest.skip("Haystack needs Python 3.11")
    core, _ = load("haystack", "haystack_integrations.document_stores.faiss")
    names["documents"] = [
        core.Document(id=text, content=text, embedding=vector_of(text)) for text in names["texts"]
    ]
    (store,) = run("Haystack", names)
    assert isinstance(store.index, wf.IndexFlat)
    assert store.count_documents() == store.index.ntotal == TEXTS
