"""Haystack: a document store in a folder, and the retriever that searches it."""

from waterfill.integrations.haystack.document_store import WaterfillDocumentStore
from waterfill.integrations.haystack.retriever import WaterfillEmbeddingRetriever

__all__ = ["WaterfillDocumentStore", "WaterfillEmbeddingRetriever"]
