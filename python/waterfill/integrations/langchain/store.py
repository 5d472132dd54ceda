"""The vector store for LangChain: texts added and deleted, in a folder."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Literal

from waterfill._util.optional import required
from waterfill.folder.index import FolderIndexFlat, FolderIndexIVF
from waterfill.integrations.document_folder import FolderOptions
from waterfill.integrations.document_index import DocumentIndex
from waterfill.integrations.document_table import StoredDocument
from waterfill.integrations.langchain.search import Search

with required("langchain_core", "waterfill.integrations.langchain", "langchain"):
    from langchain_core.embeddings import Embeddings
    from langchain_core.runnables.config import run_in_executor

if TYPE_CHECKING:
    from typing_extensions import Self, Unpack


class WaterfillStore(Search):
    """Texts with vectors in a folder, in place of LangChain's FAISS store.

    What a call has added or deleted is on the disk when it returns. Nothing is pickled, and nothing
    is trained first: see `waterfill.managed.ManagedIndex`.

    Parameters
    ----------
    embedding : Embeddings
        Makes the vectors of texts.
    path : str or path-like, optional
        The folder. Without one it is a temporary folder, which goes when the store does.
    mode : {'a', 'r'}
        Change, and make the folder if there is none; or read, and follow its writer.
    relevance_score_fn : callable, optional
        Makes a relevance from 0 to 1 of a score. By default it is the cosine if vectors have norm
        1, but no less than 0; with ``l2``, 1 less the distance by the square root of 2.
    **options : FolderOptions
        How the folder is made and kept: `waterfill.integrations.document_folder.FolderOptions`. The
        metric is ``l2`` by default, as in LangChain's FAISS store.

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
        relevance_score_fn: Callable[[float], float] | None = None,
        **options: Unpack[FolderOptions],
    ) -> None:
        self._embedding = embedding
        self._relevance_score_fn = relevance_score_fn
        self._documents = DocumentIndex(path, mode, new_metric="l2", **options)

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
        """The index with the vectors; None before the first text."""
        return self._documents.index

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
