"""The programs of docs/migration.md: their inputs, how they run, and what they found."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

STORES = ("LangChain", "LlamaIndex", "Hugging Face datasets")
"""Titles whose programs hold texts or rows, not an index alone."""

Vectors = NDArray[np.float32]


@dataclass(frozen=True)
class Pair:
    """A program for FAISS, and the same for waterfill."""

    title: str
    old: str
    new: str

    @property
    def changed_lines(self) -> int:
        """Lines of the new program that the old one lacks."""
        before, after = (
            [line for line in text.splitlines() if line.strip()] for text in (self.old, self.new)
        )
        return sum(line.startswith("+ ") for line in difflib.ndiff(before, after))


def pairs(page: Path) -> Iterator[Pair]:
    """Yield the pairs of the page, in order."""
    parts = re.split(r"^## \d+\. (.+)\n", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    for title, text in zip(parts[1::2], parts[2::2], strict=True):
        old, new = re.findall(r"```python\n(.+?)```", text, re.DOTALL)
        yield Pair(title, old, new)


def inputs(title: str, vectors: Vectors, queries: Vectors) -> dict[str, Any]:
    """Return the names that a program uses, copied, since programs may change them."""
    import faiss

    import waterfill as wf

    names: dict[str, Any] = {
        "faiss": faiss,
        "wf": wf,
        "vectors": vectors.copy(),
        "queries": queries.copy(),
        "keys": np.arange(len(vectors)) * 3 + 10**6,
        "batches": [part.copy() for part in np.array_split(vectors, 5)],
        "parts": [part.copy() for part in np.array_split(vectors, 3)],
    }
    if title in STORES:
        names |= {"questions": [f"query {n}" for n in range(len(queries))]}
    if title == "LangChain":
        names |= _langchain(vectors, queries)
    elif title == "LlamaIndex":
        names |= _llama_index(vectors, queries)
    elif title == "Hugging Face datasets":
        import datasets

        datasets.disable_progress_bars()
        rows = {"id": [*range(len(vectors))], "embedding": list(vectors)}
        names["dataset"] = datasets.Dataset.from_dict(rows)
    return names


def _langchain(vectors: Vectors, queries: Vectors) -> dict[str, Any]:
    from langchain_core.embeddings import Embeddings

    class Lookup(Embeddings):
        def embed_documents(self, texts: list[str]) -> list[list[float]]:
            return [vectors[int(text.split()[1])].tolist() for text in texts]

        def embed_query(self, text: str) -> list[float]:
            return queries[int(text.split()[1])].tolist()

    return {"texts": [f"text {n}" for n in range(len(vectors))], "embeddings": Lookup()}


def _llama_index(vectors: Vectors, queries: Vectors) -> dict[str, Any]:
    from llama_index.core.embeddings import BaseEmbedding
    from llama_index.core.schema import TextNode

    class Lookup(BaseEmbedding):
        def _get_text_embedding(self, text: str) -> list[float]:
            return vectors[int(text.split()[1])].tolist()

        def _get_query_embedding(self, query: str) -> list[float]:
            return queries[int(query.split()[1])].tolist()

        async def _aget_query_embedding(self, query: str) -> list[float]:
            return self._get_query_embedding(query)

    nodes = [
        TextNode(text=f"text {n}", id_=f"{n}", embedding=row.tolist())
        for n, row in enumerate(vectors)
    ]
    return {"nodes": nodes, "model": Lookup()}


def run(pair: Pair, text: str, names: dict[str, Any]) -> dict[str, Any]:
    """Run one program of a pair; return its names."""
    exec(compile(text, f"docs/migration.md, {pair.title}", "exec"), names)
    return names


def found(pair: Pair, names: dict[str, Any]) -> NDArray[np.int64]:
    """Return the rows that a program found, int64 (m, 10)."""
    if pair.title == "LlamaIndex":
        return np.array([[int(hit.node.node_id) for hit in own] for own in names["answers"]])
    if pair.title == "LangChain":
        own_rows = [[int(hit.page_content.split()[1]) for hit in own] for own in names["answers"]]
        return np.array(own_rows)
    if pair.title == "Hugging Face datasets":
        return np.array([own["id"] for own in names["answers"]])
    ids = np.asarray(names["ids"])
    return (ids - 10**6) // 3 if "keys" in pair.old else ids


def index_of(names: dict[str, Any]) -> Any:
    """Return the index in which a program searched."""
    if "dataset" in names:
        return names["dataset"].get_index("embedding").faiss_index
    store = names.get("store")
    if store is None:
        return names["index"]
    return store.client if hasattr(store, "client") and not hasattr(store, "index") else store.index
