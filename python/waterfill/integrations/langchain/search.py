"""The searches of the vector store for LangChain."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from waterfill._util.optional import required
from waterfill.data.rows import FloatRows
from waterfill.integrations.document_index import DocumentIndex
from waterfill.integrations.document_table import Numbers, StoredDocument
from waterfill.integrations.metadata_filter import metadata_test

with required("langchain_core", "waterfill.integrations.langchain", "langchain"):
    from langchain_core.documents import Document
    from langchain_core.embeddings import Embeddings
    from langchain_core.runnables.config import run_in_executor
    from langchain_core.vectorstores import VectorStore
    from langchain_core.vectorstores.utils import maximal_marginal_relevance

Filter = Callable[[dict[str, Any]], bool] | dict[str, Any]
Scored = list[tuple[Document, float]]


class Search(VectorStore):
    """A vector store that finds documents by their ids, texts and vectors."""

    _embedding: Embeddings
    _documents: DocumentIndex
    _relevance_score_fn: Callable[[float], float] | None

    def get_by_ids(self, ids: Sequence[str], /) -> list[Document]:
        """Return the documents that have some ids.

        Parameters
        ----------
        ids : sequence of str
            Those that there are not are passed over.

        Returns
        -------
        list of Document
            In the order of the ids.
        """
        found = self._documents.table.by_id(ids)
        return [_as_document(found[id]) for id in dict.fromkeys(ids) if id in found]

    def similarity_search(
        self, query: str, k: int = 4, filter: Filter | None = None, **kwargs: Any
    ) -> list[Document]:
        """Return documents as `similarity_search_with_score`, without the scores."""
        return _without_scores(self.similarity_search_with_score(query, k, filter, **kwargs))

    async def asimilarity_search(
        self, query: str, k: int = 4, filter: Filter | None = None, **kwargs: Any
    ) -> list[Document]:
        """Return documents as `similarity_search_with_score`, without scores, by `aembed_query`."""
        return _without_scores(await self.asimilarity_search_with_score(query, k, filter, **kwargs))

    def similarity_search_by_vector(
        self, embedding: list[float], k: int = 4, filter: Filter | None = None, **kwargs: Any
    ) -> list[Document]:
        """Return documents as `similarity_search_with_score`, for a vector, without the scores.

        Parameters
        ----------
        embedding : list of float
            The vector, of d values.
        """
        scored = self.similarity_search_with_score_by_vector(embedding, k, filter, **kwargs)
        return _without_scores(scored)

    async def asimilarity_search_by_vector(
        self, embedding: list[float], k: int = 4, filter: Filter | None = None, **kwargs: Any
    ) -> list[Document]:
        """Return documents as `similarity_search_with_score`, for a vector, without the scores.

        This is done in a thread.

        Parameters
        ----------
        embedding : list of float
            The vector, of d values.
        """
        search = self.similarity_search_by_vector
        return await run_in_executor(None, search, embedding, k, filter, **kwargs)

    def similarity_search_with_score(
        self, query: str, k: int = 4, filter: Filter | None = None, **kwargs: Any
    ) -> Scored:
        """Return the documents nearest to a text, and their scores.

        Parameters
        ----------
        query : str
            The text.
        k : int
            Most documents to return.
        filter : dict or callable, optional
            As in LangChain's FAISS store: metadata that are equal, or among those of a list;
            ``$eq``, ``$neq``, ``$gt``, ``$lt``, ``$gte``, ``$lte``, ``$in``, ``$nin``, ``$and``,
            ``$or``, ``$not``; or a function of the metadata. All documents that pass are searched,
            so `fetch_k` has no effect.
        **kwargs : object
            ``score_threshold``, a float: leave out what scores worse. Others are ignored.

        Returns
        -------
        list of (Document, float)
            The best first. Scores are squared distances with ``l2``, where less is nearer;
            otherwise inner products, where more is nearer.

        Raises
        ------
        ValueError, TypeError
            If the vector has another number of dimensions, or `k` or `filter` is invalid.
        """
        vector = self._embedding.embed_query(query)
        return self.similarity_search_with_score_by_vector(vector, k, filter, **kwargs)

    async def asimilarity_search_with_score(
        self, query: str, k: int = 4, filter: Filter | None = None, **kwargs: Any
    ) -> Scored:
        """Search as `similarity_search_with_score`, with `aembed_query` of the embeddings."""
        vector = await self._embedding.aembed_query(query)
        search = self.similarity_search_with_score_by_vector
        return await run_in_executor(None, search, vector, k, filter, **kwargs)

    def similarity_search_with_score_by_vector(
        self, embedding: list[float], k: int = 4, filter: Filter | None = None, **kwargs: Any
    ) -> Scored:
        """Search as `similarity_search_with_score`, for a vector.

        Parameters
        ----------
        embedding : list of float
            The vector, of d values.
        """
        found = self._documents.search(embedding, k, self._selected(filter))
        limit = kwargs.get("score_threshold")
        if limit is not None:
            near = operator.le if self._documents.metric == "l2" else operator.ge
            found = [one for one in found if near(one.score, limit)]
        return [(_as_document(one.document), one.score) for one in found]

    def max_marginal_relevance_search(
        self,
        query: str,
        k: int = 4,
        fetch_k: int = 20,
        lambda_mult: float = 0.5,
        filter: Filter | None = None,
        **kwargs: Any,
    ) -> list[Document]:
        """Return documents that are near a text, and unlike each other.

        They are chosen by maximal marginal relevance [1]_.

        Parameters
        ----------
        query : str
            The text.
        k : int
            Most documents to return.
        fetch_k : int
            Nearest documents from which they are chosen.
        lambda_mult : float
            From 0, most unlike each other, to 1, nearest to the text.
        filter : dict or callable, optional
            As for `similarity_search_with_score`.
        **kwargs : object
            Ignored.

        Returns
        -------
        list of Document
            In the order in which they were chosen.

        Raises
        ------
        ValueError, TypeError
            As `similarity_search_with_score`.

        References
        ----------
        .. [1] J. Carbonell and J. Goldstein, "The use of MMR, diversity-based reranking for
           reordering documents and producing summaries", SIGIR, 1998.
        """
        vector = self._embedding.embed_query(query)
        return self.max_marginal_relevance_search_by_vector(
            vector, k, fetch_k, lambda_mult, filter, **kwargs
        )

    async def amax_marginal_relevance_search(
        self,
        query: str,
        k: int = 4,
        fetch_k: int = 20,
        lambda_mult: float = 0.5,
        filter: Filter | None = None,
        **kwargs: Any,
    ) -> list[Document]:
        """Search as `max_marginal_relevance_search`, with `aembed_query` of the embeddings."""
        vector = await self._embedding.aembed_query(query)
        search = self.max_marginal_relevance_search_by_vector
        return await run_in_executor(None, search, vector, k, fetch_k, lambda_mult, filter)

    def max_marginal_relevance_search_by_vector(
        self,
        embedding: list[float],
        k: int = 4,
        fetch_k: int = 20,
        lambda_mult: float = 0.5,
        filter: Filter | None = None,
        **kwargs: Any,
    ) -> list[Document]:
        """Return documents as `max_marginal_relevance_search`, for a vector.

        Parameters
        ----------
        embedding : list of float
            The vector, of d values.
        """
        found = self._documents.search(embedding, max(k, fetch_k), self._selected(filter))
        stored = self._documents.vectors([one.document for one in found])
        found = [one for one in found if one.document.number in stored]
        vectors: list[FloatRows] = [stored[one.document.number] for one in found]
        chosen = maximal_marginal_relevance(
            np.asarray(embedding, np.float32), vectors, lambda_mult=lambda_mult, k=k
        )
        return [_as_document(found[i].document) for i in chosen]

    def _select_relevance_score_fn(self) -> Callable[[float], float]:
        if self._relevance_score_fn is not None:
            return self._relevance_score_fn
        if self._documents.metric == "l2":
            return lambda squared: _as_share(1 - (max(squared, 0.0) / 2) ** 0.5)
        return _as_share

    def _selected(self, filter: Filter | None) -> Numbers | None:
        """Return the numbers of the documents that pass a filter."""
        if filter is None or filter == {}:
            return None
        if isinstance(filter, dict):
            test = metadata_test(filter)
            return self._documents.select(lambda one: test(one.metadata), repr(filter))
        if not callable(filter):
            raise TypeError(
                f"filter: expected a dict or a function of the metadata, got {filter!r}"
            )
        return self._documents.select(lambda one: filter(one.metadata))


def _as_document(stored: StoredDocument) -> Document:
    return Document(id=stored.id, page_content=stored.content, metadata=stored.metadata)


def _without_scores(scored: Scored) -> list[Document]:
    return [document for document, _ in scored]


def _as_share(score: float) -> float:
    return min(max(score, 0.0), 1.0)
