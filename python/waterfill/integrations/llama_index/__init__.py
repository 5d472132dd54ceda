"""LlamaIndex: a vector store in a folder."""

from waterfill.integrations.llama_index.store import WaterfillVectorStore

__all__ = ["WaterfillVectorStore"]
