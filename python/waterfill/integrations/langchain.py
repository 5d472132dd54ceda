"""LangChain: a vector store in a folder."""

from __future__ import annotations

import operator
import os
import uuid
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from waterfill._util.optional import required
from waterfill._util.validation import Metric
from waterfill.codec import Codec
from waterfill.data.rows import FloatRows
from waterfill.folder.index import FolderIndexFlat, FolderIndexIVF
from waterfill.integrations.document_index import DocumentIndex
from waterfill.integrations.document_table import Numbers, StoredDocument
from waterfill.integrations.metadata_filter import metadata_test

with required("langchain_core", "waterfill.integrations.langchain", "langchain"):
    from langchain_core.documents import Document
    from langchain_core.embeddings import Embeddings
    from langchain_core.runnables.config import run_in_executor
    from langchain_core.vectorstores import VectorStore
    from langchain_core.vectorstores.utils import maximal_marginal_relevance

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["WaterfillStore"]

Filter = Callable[[dict[str, Any]], bool] | dict[str, Any]
Scored = list[tuple[Document, float]]


class WaterfillStore(VectorStore):
    """Texts with vectors in a folder, in place of LangChain's FAISS store.

    What a call has added or deleted is on the disk when it returns. Nothing is pickled. Until there
    are `train_size` texts, searches are exact; then a codec is trained and vectors are compressed.

    Parameters
    ----------
    embedding : Embeddings
        Makes the vectors of texts.
    path : str or path-like, optional
        The folder. Without one it is a temporary folder, which goes when the store does.
    mode : {'a', 'r'}
        Change, and make the folder if there is none; or read, and follow its writer.
    metric : {'ip', 'l2', 'cosine'}, optional
        Of a new folder ``l2`` by default, as in LangChain's FAISS store.
    codec : Codec, optional
        Encodes vectors from the first one on; by default one is trained.
    code_bytes : int, optional
        Bytes of a code, without the one for the scale: by default a bit per dimension, at least 8.
    train_size : int, optional
        Texts from which on a codec is trained; by default 10,000.
    refine : {'float16', 'int8', 'float32', None}
        Rows on the disk that re-rank the best candidates, and that vectors are given back from.
    relevance_score_fn : callable, optional
        Makes a relevance from 0 to 1 of a score. By default it is the cosine if vectors have norm
        1, but no less than 0; with ``l2``, 1 less the distance by the square root of 2.

    Raises
    ------
    BlockingIOError
        If another process has the folder open for changes.
    FileNotFoundError, FormatError, ValueError, TypeError
        If there is no such folder to read, it is damaged, or an argument is invalid.
    """

    def __init__(
        self,
        embedding: Embeddings,
        path: str | os.PathLike[str] | None = None,
        mode: Literal["a", "r"] = "a",
        *,
        metric: Metric | int | None = None,
        codec: Codec | None = None,
        code_bytes: int | None = None,
        train_size: int | None = None,
        refine: str | None = "float16",
        relevance_score_fn: Callable[[float], float] | None = None,
    ) -> None:
        self._embedding = embedding
        self._relevance_score_fn = relevance_score_fn
        self._documents = DocumentIndex(
            path,
            mode,
            metric=metric,
            new_metric="l2",
            codec=codec,
            code_bytes=code_bytes,
            train_size=train_size,
            refine=refine,
        )

    # Making one.

    @classmethod
    def from_texts(
        cls,
        texts: list[str],
        embedding: Embeddings,
        metadatas: list[dict[str, Any]] | None = None,
        *,
        ids: list[str] | None = None,
        **options: Any,
    ) -> Self:
        """Open a store and add texts.

        Parameters
        ----------
        texts : list of str
            The texts.
        embedding : Embeddings
            As for the class.
        metadatas : list of dict, optional
            As for `add_texts`.
        ids : list of str, optional
            As for `add_texts`.
        **options : object
            Those of the class.

        Returns
        -------
        WaterfillStore
            The open store.

        Raises
        ------
        ValueError, TypeError, OSError
            As the class and `add_texts`.
        """
        store = cls(embedding, **options)
        store.add_texts(texts, metadatas, ids=ids)
        return store

    @classmethod
    async def afrom_texts(
        cls,
        texts: list[str],
        embedding: Embeddings,
        metadatas: list[dict[str, Any]] | None = None,
        *,
        ids: list[str] | None = None,
        **options: Any,
    ) -> Self:
        """Open a store and add texts as `from_texts`, away from the event loop."""
        store = await run_in_executor(None, lambda: cls(embedding, **options))
        await store.aadd_texts(texts, metadatas, ids=ids)
        return store

    @classmethod
    def from_embeddings(
        cls,
        text_embeddings: Iterable[tuple[str, Sequence[float]]],
        embedding: Embeddings,
        metadatas: list[dict[str, Any]] | None = None,
        *,
        ids: list[str] | None = None,
        **options: Any,
    ) -> Self:
        """Open a store as `from_texts`, and add texts whose vectors are known.

        Parameters
        ----------
        text_embeddings : iterable of (str, sequence of float)
            Texts and their vectors.
        """
        store = cls(embedding, **options)
        store.add_embeddings(text_embeddings, metadatas, ids=ids)
        return store

    @classmethod
    def load_local(
        cls, folder_path: str | os.PathLike[str], embeddings: Embeddings, **options: Any
    ) -> Self:
        """Open a store that exists, as the class does; called as in LangChain's FAISS store.

        Parameters
        ----------
        folder_path : str or path-like
            The folder.
        embeddings : Embeddings
            As for the class.
        **options : object
            Those of the class.

        Returns
        -------
        WaterfillStore
            The open store.

        Raises
        ------
        FileNotFoundError
            If there is none.
        """
        if not os.path.isdir(folder_path):
            raise FileNotFoundError(2, "no store in this folder", os.fspath(folder_path))
        return cls(embeddings, folder_path, **options)

    def save_local(self, folder_path: str | os.PathLike[str]) -> None:
        """Make another folder with the present state. The store's own folder is always up to date.

        Parameters
        ----------
        folder_path : str or path-like
            Must not exist.

        Raises
        ------
        FileExistsError
            If `folder_path` exists.
        """
        self._documents.copy_to(folder_path)

    def close(self) -> None:
        """Close the folder, and give it to other writers."""
        self._documents.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __len__(self) -> int:
        return len(self._documents)

    def __bool__(self) -> bool:
        return True  # also if empty

    @property
    def embeddings(self) -> Embeddings:
        """The embedding model."""
        return self._embedding

    @property
    def index(self) -> FolderIndexFlat | FolderIndexIVF | None:
        """The index with the vectors; None before there are `train_size` texts."""
        return self._documents.index

    def train(self, codec: Codec | None = None) -> None:
        """Train the codec on the texts that there are, or take one, instead of waiting for more.

        Parameters
        ----------
        codec : Codec, optional
            Encodes vectors from now on; by default one is trained.

        Raises
        ------
        ValueError
            If there are no texts, an index already, or the codec has another number of dimensions.
        """
        self._documents.train(codec)

    # Changes.

    def add_texts(
        self,
        texts: Iterable[str],
        metadatas: list[dict[str, Any]] | None = None,
        *,
        ids: list[str] | None = None,
        **kwargs: Any,
    ) -> list[str]:
        """Embed texts and add them in place of those with their ids, all of them or none.

        Parameters
        ----------
        texts : iterable of str
            The texts.
        metadatas : list of dict, optional
            What JSON holds.
        ids : list of str, optional
            Made up where there is none.
        **kwargs : object
            Ignored.

        Returns
        -------
        list of str
            The ids.

        Raises
        ------
        ValueError, TypeError
            If lengths differ, or vectors or metadata cannot be stored.
        OSError
            If the change cannot be written; nothing is changed.
        """
        held = list(texts)
        return self._put(held, self._embedding.embed_documents(held), metadatas, ids)

    async def aadd_texts(
        self,
        texts: Iterable[str],
        metadatas: list[dict[str, Any]] | None = None,
        *,
        ids: list[str] | None = None,
        **kwargs: Any,
    ) -> list[str]:
        """Embed and add texts as `add_texts`, with the asynchronous method of the embeddings."""
        held = list(texts)
        vectors = await self._embedding.aembed_documents(held)
        return await run_in_executor(None, self._put, held, vectors, metadatas, ids)

    def add_embeddings(
        self,
        text_embeddings: Iterable[tuple[str, Sequence[float]]],
        metadatas: list[dict[str, Any]] | None = None,
        *,
        ids: list[str] | None = None,
        **kwargs: Any,
    ) -> list[str]:
        """Add texts whose vectors are known; otherwise as `add_texts`.

        Parameters
        ----------
        text_embeddings : iterable of (str, sequence of float)
            Texts and their vectors.
        """
        pairs = list(text_embeddings)
        return self._put([text for text, _ in pairs], [v for _, v in pairs], metadatas, ids)

    def _put(
        self,
        texts: list[str],
        vectors: Sequence[Any],
        metadatas: list[dict[str, Any]] | None,
        ids: Sequence[str | None] | None,
    ) -> list[str]:
        for name, given in (("metadatas", metadatas), ("ids", ids)):
            if given is not None and len(given) != len(texts):
                raise ValueError(f"{name}: expected {len(texts)}, one per text, got {len(given)}")
        own = [id if id is not None else str(uuid.uuid4()) for id in ids or [None] * len(texts)]
        documents = [
            StoredDocument(id, text, metadata or {})
            for id, text, metadata in zip(own, texts, metadatas or [{}] * len(texts), strict=True)
        ]
        self._documents.put(documents, vectors)
        return own

    def delete(self, ids: list[str] | None = None, **kwargs: Any) -> bool:
        """Delete texts by their ids, or all of them.

        Parameters
        ----------
        ids : list of str, optional
            Those that there are not are passed over; by default all texts are deleted.
        **kwargs : object
            Ignored.

        Returns
        -------
        bool
            True.
        """
        if ids is None:
            self._documents.clear()
        else:
            self._documents.remove([ids] if isinstance(ids, str) else ids)
        return True

    # Searches.

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

        They are chosen by maximal marginal relevance (Carbonell & Goldstein 1998).

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
