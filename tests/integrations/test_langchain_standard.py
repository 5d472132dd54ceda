"""LangChain's own tests of a vector store."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.store_checks import load

import waterfill as wf

tests, _ = load("langchain_tests.integration_tests", "langchain_core.vectorstores")

METRICS = ("l2", "ip", "cosine")


class _Standard(tests.VectorStoreIntegrationTests):
    pytestmark = pytest.mark.anyio

    @pytest.fixture
    def anyio_backend(self) -> str:
        return "asyncio"


class TestExactStore(_Standard):
    """A managed folder, and a temporary one."""

    @pytest.fixture(params=METRICS)
    def vectorstore(self, request: Any) -> Iterator[Any]:
        from waterfill.integrations.langchain import WaterfillStore

        with WaterfillStore(self.get_embeddings(), metric=request.param) as store:
            yield store


class TestCompressedStore(_Standard):
    """With a codec."""

    @pytest.fixture(params=METRICS)
    def vectorstore(self, request: Any, tmp_path: Path) -> Iterator[Any]:
        from waterfill.integrations.langchain import WaterfillStore

        sample = np.random.default_rng(0).standard_normal((500, 6)).astype(np.float32)
        codec = wf.Recipe(6, 6).train(sample, request.param)
        model = self.get_embeddings()
        with WaterfillStore(model, tmp_path, metric=request.param, codec=codec) as store:
            assert store.index is not None
            yield store
