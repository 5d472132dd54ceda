"""The vector stores of LangChain, LlamaIndex and Haystack hold our index where they hold FAISS's.

Every text has its real vector: "text 17" is row 17 of the sample, "query 3" a held-out one.
"""

from __future__ import annotations

import copy
import socket
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from support.store_checks import QUERIES, TEXTS, D, MakeIndex, Vectors, named

import waterfill as wf

KINDS = {"flat": "WF48", "ivf": "IVF16,WF48", "idmap": "IDMap2,WF48"}


@pytest.fixture(scope="module", autouse=True)
def _alone() -> Iterator[None]:
    """No telemetry, and no connection at all."""

    def refuse(*args: Any) -> None:
        raise AssertionError(f"a store connects to {args[1:]}")

    with pytest.MonkeyPatch.context() as patch:
        for name in ("HAYSTACK_TELEMETRY_ENABLED", "LANGSMITH_TRACING", "LANGCHAIN_TRACING_V2"):
            patch.setenv(name, "false")
        patch.setattr(socket.socket, "connect", refuse)
        patch.setattr(socket.socket, "connect_ex", refuse)
        yield


@pytest.fixture(scope="session")
def vector_of(base: NDArray[np.float32], queries: NDArray[np.float32]) -> Vectors:
    """The embedding model: what a text's real vector is."""

    def vector(text: str) -> list[float]:
        kind, number = text.split()
        return {"text": base, "query": queries}[kind][int(number)].tolist()

    return vector


@pytest.fixture(scope="session")
def make_index(base: NDArray[np.float32]) -> MakeIndex:
    """A new, trained, empty index; every kind is trained once."""
    trained: dict[str, Any] = {}

    def make(kind: str) -> Any:
        if kind not in trained:
            trained[kind] = wf.index_factory(D, KINDS[kind])
            trained[kind].train(base)
        index = copy.deepcopy(trained[kind])
        if kind == "ivf":
            index.nprobe = 16
            index.make_direct_map()
        return index

    return make


@pytest.fixture(scope="session")
def exact(base: NDArray[np.float32], queries: NDArray[np.float32]) -> list[list[str]]:
    """The ten texts that are truly nearest to each query."""
    texts = base[:TEXTS].astype(np.float64)
    squares = (texts**2).sum(1) - 2 * queries[:QUERIES] @ texts.T  # and |query|^2, which all share
    return [named(row) for row in np.argsort(squares, axis=1)[:, :10]]
