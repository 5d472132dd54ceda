"""LangChain: a vector store in a folder."""

from waterfill.integrations.langchain.store import WaterfillStore

__all__ = ["WaterfillStore"]
