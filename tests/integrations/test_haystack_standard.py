"""Haystack's own tests of a document store, all mix-ins."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.store_checks import load

import waterfill as wf

if sys.version_info < (3, 11):
    pytest.skip("Haystack needs Python 3.11", allow_module_level=True)

haystack, errors, sync, asynchronous = load(
    "haystack",
    "haystack.document_stores.errors",
    "haystack.testing.document_store",
    "haystack.testing.document_store_async",
)


# anyio does not see that static methods ask for its fixture.
pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("anyio_backend")]


class _Standard(
    sync.DocumentStoreBaseExtendedTests,
    sync.CountDocumentsByFilterTest,
    sync.CountUniqueMetadataByFilterTest,
    sync.GetMetadataFieldsInfoTest,
    sync.GetMetadataFieldMinMaxTest,
    sync.GetMetadataFieldUniqueValuesTest,
    asynchronous.DeleteAllAsyncTest,
    asynchronous.CountDocumentsAsyncTest,
    asynchronous.CountDocumentsByFilterAsyncTest,
    asynchronous.CountUniqueMetadataByFilterAsyncTest,
    asynchronous.DeleteByFilterAsyncTest,
    asynchronous.UpdateByFilterAsyncTest,
    asynchronous.WriteDocumentsAsyncTest,
    asynchronous.DeleteDocumentsAsyncTest,
    asynchronous.GetMetadataFieldsInfoAsyncTest,
    asynchronous.GetMetadataFieldMinMaxAsyncTest,
    asynchronous.GetMetadataFieldUniqueValuesAsyncTest,
    asynchronous.FilterDocumentsAsyncTest,
):
    @pytest.fixture
    def anyio_backend(self) -> str:
        return "asyncio"

    @staticmethod
    def assert_documents_are_equal(received: list[Any], expected: list[Any]) -> None:
        """All but the precision of embeddings: they are float32, then float16."""
        assert [replace(one, embedding=None) for one in received] == [
            replace(one, embedding=None) for one in expected
        ]
        for got, want in zip(received, expected, strict=True):
            assert (got.embedding is None) == (want.embedding is None)
            if want.embedding is not None:
                np.testing.assert_allclose(got.embedding, want.embedding, rtol=1e-3, atol=1e-6)

    def test_write_documents(self, document_store: Any) -> None:
        documents = [haystack.Document(content="a"), haystack.Document(content="b")]
        assert document_store.write_documents(documents) == 2
        with pytest.raises(errors.DuplicateDocumentError, match="which there is already"):
            document_store.write_documents(documents[:1])
        self.assert_documents_are_equal(document_store.filter_documents(), documents)

    async def test_write_documents_async(self, document_store: Any) -> None:
        documents = [haystack.Document(content="a"), haystack.Document(content="b")]
        assert await document_store.write_documents_async(documents) == 2
        found = await document_store.filter_documents_async()
        self.assert_documents_are_equal(found, documents)


class TestExactStore(_Standard):
    """Embeddings lie in the table; the folder is a temporary one."""

    @pytest.fixture
    def document_store(self) -> Iterator[Any]:
        from waterfill.integrations.haystack import WaterfillDocumentStore

        store = WaterfillDocumentStore()
        yield store
        store.close()


@pytest.fixture(scope="module")
def wide_codec() -> wf.Codec:
    """For embeddings of the mix-ins, which have 768 values from 0 to 1."""
    sample = np.random.default_rng(0).random((300, 768), np.float32)
    return wf.Recipe(768, 48, effort="fast").train(sample, "l2")


class TestCompressedStore(_Standard):
    """With a codec."""

    @pytest.fixture
    def document_store(self, tmp_path: Path, wide_codec: wf.Codec) -> Iterator[Any]:
        from waterfill.integrations.haystack import WaterfillDocumentStore

        store = WaterfillDocumentStore(tmp_path, metric="l2", codec=wide_codec)
        assert store.index is not None
        yield store
        store.close()
