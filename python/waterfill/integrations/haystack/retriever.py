"""The component that searches the document store."""

from __future__ import annotations

from typing import Any

from waterfill._util.optional import required
from waterfill.integrations.haystack.document_store import WaterfillDocumentStore

with required("haystack", "waterfill.integrations.haystack", "haystack"):
    from haystack import Document, component, default_from_dict, default_to_dict
    from haystack.document_stores.types import FilterPolicy, apply_filter_policy


@component
class WaterfillEmbeddingRetriever:
    """Finds the documents of a `WaterfillDocumentStore` that are nearest to an embedding.

    Parameters
    ----------
    document_store : WaterfillDocumentStore
        The store that is searched.
    filters : dict, optional
        Haystack's filters.
    top_k : int
        At least 1.
    scale_score : bool
        Put scores between 0 and 1.
    return_embedding : bool
        Whether documents have their embeddings.
    filter_policy : FilterPolicy
        Whether filters of a run replace these, or are merged with them.

    Raises
    ------
    TypeError, ValueError
        If the store is another one, or `top_k` is below 1.
    """

    def __init__(
        self,
        document_store: WaterfillDocumentStore,
        filters: dict[str, Any] | None = None,
        top_k: int = 10,
        scale_score: bool = False,
        return_embedding: bool = False,
        filter_policy: FilterPolicy = FilterPolicy.REPLACE,
    ) -> None:
        if not isinstance(document_store, WaterfillDocumentStore):
            raise TypeError(
                "document_store: expected a WaterfillDocumentStore, got "
                f"{type(document_store).__name__}"
            )
        if top_k < 1:
            raise ValueError(f"top_k: expected at least 1, got {top_k}")
        self.document_store = document_store
        self.filters = filters
        self.top_k = top_k
        self.scale_score = scale_score
        self.return_embedding = return_embedding
        self.filter_policy = filter_policy

    def to_dict(self) -> dict[str, Any]:
        """Return a description of the component, with its store."""
        return default_to_dict(
            self,
            document_store=self.document_store.to_dict(),
            filters=self.filters,
            top_k=self.top_k,
            scale_score=self.scale_score,
            return_embedding=self.return_embedding,
            filter_policy=self.filter_policy.value,
        )

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> WaterfillEmbeddingRetriever:
        """Make the component that a description is of.

        Parameters
        ----------
        data : dict
            A description, of `to_dict`.

        Returns
        -------
        WaterfillEmbeddingRetriever
            The component, with an open store.
        """
        parameters = dict(data["init_parameters"])
        if isinstance(parameters["document_store"], dict):
            parameters["document_store"] = WaterfillDocumentStore.from_dict(
                parameters["document_store"]
            )
        if isinstance(parameters.get("filter_policy"), str):
            parameters["filter_policy"] = FilterPolicy.from_str(parameters["filter_policy"])
        return default_from_dict(cls, {**data, "init_parameters": parameters})

    @component.output_types(documents=list[Document])
    def run(
        self,
        query_embedding: list[float],
        filters: dict[str, Any] | None = None,
        top_k: int | None = None,
        scale_score: bool | None = None,
        return_embedding: bool | None = None,
    ) -> dict[str, list[Document]]:
        """Find documents; arguments replace those of the component.

        Parameters
        ----------
        query_embedding : list of float
            The embedding, of d values.
        filters : dict, optional
            Haystack's filters; see the component's `filter_policy`.
        top_k : int, optional
            Most documents to return.
        scale_score : bool, optional
            Whether to put scores between 0 and 1.
        return_embedding : bool, optional
            Whether documents have their embeddings.

        Returns
        -------
        dict of str to list of Document
            ``documents``, the best first.

        Raises
        ------
        ValueError, FilterError
            If the embedding has another size, or `top_k` or `filters` are invalid.
        """
        chosen = self._chosen(filters, top_k, scale_score, return_embedding)
        return {"documents": self.document_store.embedding_retrieval(query_embedding, **chosen)}

    @component.output_types(documents=list[Document])
    async def run_async(
        self,
        query_embedding: list[float],
        filters: dict[str, Any] | None = None,
        top_k: int | None = None,
        scale_score: bool | None = None,
        return_embedding: bool | None = None,
    ) -> dict[str, list[Document]]:
        """Find the same documents as `run`, away from the event loop."""
        chosen = self._chosen(filters, top_k, scale_score, return_embedding)
        search = self.document_store.embedding_retrieval_async
        return {"documents": await search(query_embedding, **chosen)}

    def _chosen(
        self, filters: Any, top_k: int | None, scale_score: Any, return_embedding: Any
    ) -> dict[str, Any]:
        return {
            "filters": apply_filter_policy(self.filter_policy, self.filters, filters),
            "top_k": self.top_k if top_k is None else top_k,
            "scale_score": self.scale_score if scale_score is None else scale_score,
            "return_embedding": (
                self.return_embedding if return_embedding is None else return_embedding
            ),
        }
