"""The vector store for LlamaIndex."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from waterfill._util.optional import required
from waterfill.folder.index import FolderIndexFlat, FolderIndexIVF
from waterfill.integrations.document_folder import FolderOptions
from waterfill.integrations.document_index import DocumentIndex, Found
from waterfill.integrations.document_table import Numbers, StoredDocument
from waterfill.integrations.llama_index.nodes import as_node, as_stored, as_test

with required("llama_index", "waterfill.integrations.llama_index", "llama-index"):
    from llama_index.core.bridge.pydantic import PrivateAttr
    from llama_index.core.indices.query.embedding_utils import get_top_k_mmr_embeddings
    from llama_index.core.schema import BaseNode
    from llama_index.core.vector_stores.simple import DEFAULT_VECTOR_STORE, NAMESPACE_SEP
    from llama_index.core.vector_stores.types import (
        DEFAULT_PERSIST_DIR,
        DEFAULT_PERSIST_FNAME,
        BasePydanticVectorStore,
        MetadataFilters,
        VectorStoreQuery,
        VectorStoreQueryMode,
        VectorStoreQueryResult,
    )

_PREFETCH = 4  # candidates for each node that a search for diversity returns


class WaterfillVectorStore(BasePydanticVectorStore):
    """Nodes with vectors in a folder, in place of LlamaIndex's FAISS stores.

    What a call has added or deleted is on the disk when it returns. Nothing is trained first: see
    `waterfill.managed.ManagedIndex`.

    Parameters
    ----------
    path : str, optional
        The folder. Without one it is a temporary folder, which goes when the store does, unless
        `persist` gives it a place.
    mode : {'a', 'r'}
        Change, and make the folder if there is none; or read, and follow its writer.
    **options : FolderOptions
        How the folder is made and kept: `waterfill.integrations.document_folder.FolderOptions`. The
        metric is ``cosine`` by default. Also fields of the base class.

    Raises
    ------
    BlockingIOError
        If another process has the folder open for changes.
    FileNotFoundError, FormatError, ValueError, TypeError
        If there is no such folder to read, it is damaged, or an argument is invalid.
    """

    stores_text: bool = True
    path: str | None = None
    mode: str = "a"

    _documents: DocumentIndex = PrivateAttr()

    def __init__(
        self,
        path: str | os.PathLike[str] | None = None,
        mode: Literal["a", "r"] = "a",
        **options: Any,
    ) -> None:
        known = FolderOptions.__optional_keys__
        fields = {name: value for name, value in options.items() if name not in known}
        super().__init__(path=None if path is None else os.fspath(path), mode=mode, **fields)
        folder = {name: value for name, value in options.items() if name in known}
        self._documents = DocumentIndex(path, mode, **folder)

    @classmethod
    def class_name(cls) -> str:
        """Return the name of the class in serialized components."""
        return "WaterfillVectorStore"

    @property
    def client(self) -> FolderIndexFlat | FolderIndexIVF | None:
        """The index with the vectors; None before the first node."""
        return self._documents.index

    def close(self) -> None:
        """Close the folder, and give it to other writers."""
        self._documents.close()

    # Folders.

    def persist(self, persist_path: str = "", fs: Any = None) -> None:
        """Give a store in a temporary folder a place, from where it goes on.

        A store with a folder of its own is always on the disk: there is nothing to do.

        Parameters
        ----------
        persist_path : str
            The new folder, which must not exist.
        fs : fsspec.AbstractFileSystem, optional
            Must be a local one.

        Raises
        ------
        FileExistsError
            If `persist_path` exists.
        """
        _require_local(fs)
        if self.path is not None:
            return
        path = persist_path or _default_path(DEFAULT_PERSIST_DIR, DEFAULT_VECTOR_STORE)
        self._documents.copy_to(path)
        self._documents.close()
        self._documents = DocumentIndex(path)
        self.path = path

    @classmethod
    def from_persist_path(
        cls, persist_path: str, fs: Any = None, **options: Any
    ) -> WaterfillVectorStore:
        """Open a store that exists.

        Parameters
        ----------
        persist_path : str
            The folder.
        fs : fsspec.AbstractFileSystem, optional
            Must be a local one.
        **options : object
            Those of the class.

        Returns
        -------
        WaterfillVectorStore
            The open store.

        Raises
        ------
        FileNotFoundError
            If there is none.
        ValueError
            If `fs` is not a local file system.
        """
        _require_local(fs)
        if not os.path.isdir(persist_path):
            raise FileNotFoundError(2, "no store in this folder", persist_path)
        return cls(persist_path, **options)

    @classmethod
    def from_persist_dir(
        cls,
        persist_dir: str = DEFAULT_PERSIST_DIR,
        namespace: str = DEFAULT_VECTOR_STORE,
        fs: Any = None,
        **options: Any,
    ) -> WaterfillVectorStore:
        """Open the store that ``StorageContext.persist(persist_dir)`` has given a place.

        Parameters
        ----------
        persist_dir : str
            The folder of the storage context.
        namespace : str
            Name of the store in it.
        fs : fsspec.AbstractFileSystem, optional
            Must be a local one.
        **options : object
            Those of the class.

        Returns
        -------
        WaterfillVectorStore
            The open store.

        Raises
        ------
        FileNotFoundError, ValueError
            As `from_persist_path`.
        """
        return cls.from_persist_path(_default_path(persist_dir, namespace), fs, **options)

    # Changes.

    def add(self, nodes: Sequence[BaseNode], **kwargs: Any) -> list[str]:
        """Add nodes in place of those with their ids, all of them or none.

        Parameters
        ----------
        nodes : sequence of BaseNode
            With embeddings of one size.
        **kwargs : object
            Ignored.

        Returns
        -------
        list of str
            The ids.

        Raises
        ------
        ValueError, TypeError
            If a node has no embedding or one of another size, or metadata that JSON does not hold.
        OSError
            If the change cannot be written; nothing is changed.
        """
        documents = [as_stored(node) for node in nodes]
        self._documents.put(documents, [node.get_embedding() for node in nodes])
        return [document.id for document in documents]

    def delete(self, ref_doc_id: str, **delete_kwargs: Any) -> None:
        """Remove the nodes of a document.

        Parameters
        ----------
        ref_doc_id : str
            Id of the document.
        **delete_kwargs : object
            Ignored.
        """
        self._documents.remove(self._documents.table.ids_of_parent(ref_doc_id))

    def delete_nodes(
        self,
        node_ids: list[str] | None = None,
        filters: MetadataFilters | None = None,
        **delete_kwargs: Any,
    ) -> None:
        """Remove nodes that have one of the ids, if given, and pass the filters, if given.

        Parameters
        ----------
        node_ids : list of str, optional
            The ids.
        filters : MetadataFilters, optional
            As for `query`.
        **delete_kwargs : object
            Ignored.

        Raises
        ------
        ValueError
            If neither is given.
        """
        if node_ids is None and filters is None:
            raise ValueError(
                "node_ids, filters: expected one of them, got neither; clear() removes all nodes"
            )
        self._documents.remove(one.id for one in self._chosen(node_ids, None, filters))

    def clear(self) -> None:
        """Remove all nodes."""
        self._documents.clear()

    # Searches.

    def get_nodes(
        self, node_ids: list[str] | None = None, filters: MetadataFilters | None = None
    ) -> list[BaseNode]:
        """Return nodes that have one of the ids and pass the filters, with their embeddings.

        Parameters
        ----------
        node_ids : list of str, optional
            The ids; by default all.
        filters : MetadataFilters, optional
            As for `query`.

        Returns
        -------
        list of BaseNode
            The nodes.

        Raises
        ------
        ValueError, TypeError
            If a filter is invalid.
        """
        chosen = self._chosen(node_ids, None, filters)
        vectors = self._documents.vectors(chosen)
        nodes = []
        for one in chosen:
            node = as_node(one)
            if one.number in vectors:
                node.embedding = vectors[one.number].tolist()
            nodes.append(node)
        return nodes

    def query(self, query: VectorStoreQuery, **kwargs: Any) -> VectorStoreQueryResult:
        """Return the nodes nearest to a vector, the best first.

        Similarities are cosines or inner products; with ``l2`` the distance below zero, so that
        more is nearer, as everywhere in LlamaIndex.

        Parameters
        ----------
        query : VectorStoreQuery
            Of mode ``default`` or ``mmr``; `node_ids`, `doc_ids` and `filters` restrict it.
        **kwargs : object
            For ``mmr``: ``mmr_threshold``, from 0, unlike each other, to 1, nearest to the vector,
            if the query has none; and ``mmr_prefetch_k``, the number of candidates, by default four
            for each node.

        Returns
        -------
        VectorStoreQueryResult
            Nodes, similarities and ids.

        Raises
        ------
        ValueError, TypeError
            For another mode, no embedding or one of another size, or an invalid filter.
        """
        if query.query_embedding is None:
            raise ValueError("query: expected a query_embedding, got None")
        modes = VectorStoreQueryMode
        if query.mode not in (modes.DEFAULT, modes.MMR):
            mode = modes(query.mode).value
            raise ValueError(f"query: expected mode 'default' or 'mmr', got {mode!r}")
        numbers = self._selected(query)
        k = query.similarity_top_k
        if query.mode == modes.DEFAULT:
            return _as_result(
                [(one, self._similarity(one)) for one in self._search(query, k, numbers)]
            )
        candidates = kwargs.get("mmr_prefetch_k") or _PREFETCH * k
        found = self._search(query, max(k, candidates), numbers)
        vectors = self._documents.vectors([one.document for one in found])
        by_number = {n: one for one in found if (n := one.document.number) in vectors}
        threshold = query.mmr_threshold
        scores, chosen = get_top_k_mmr_embeddings(
            query.query_embedding,
            [vectors[number] for number in by_number],
            similarity_top_k=k,
            embedding_ids=list(by_number),
            mmr_threshold=kwargs.get("mmr_threshold") if threshold is None else threshold,
        )
        return _as_result([(by_number[n], float(s)) for n, s in zip(chosen, scores, strict=True)])

    def _search(self, query: VectorStoreQuery, k: int, numbers: Numbers | None) -> list[Found]:
        return self._documents.search(query.query_embedding, k, numbers)

    def _similarity(self, found: Found) -> float:
        if self._documents.metric != "l2":
            return found.score
        return -(max(found.score, 0.0) ** 0.5)

    def _selected(self, query: VectorStoreQuery) -> Numbers | None:
        """Return the numbers of the nodes that a query is restricted to."""
        # The host passes an empty list for no restriction, from an index that knows no nodes.
        node_ids, doc_ids = query.node_ids or None, query.doc_ids or None
        if node_ids is None and doc_ids is None:
            if query.filters is None or not query.filters.filters:
                return None
            test = as_test(query.filters)
            key = query.filters.model_dump_json()
            return self._documents.select(lambda one: test(one.metadata), key)
        chosen = self._chosen(node_ids, doc_ids, query.filters)
        return np.array([one.number for one in chosen], np.int64)

    def _chosen(
        self,
        node_ids: list[str] | None,
        doc_ids: list[str] | None,
        filters: MetadataFilters | None,
    ) -> list[StoredDocument]:
        """Return the nodes that have one of the ids, are of one of the documents, and pass."""
        table = self._documents.table
        test = as_test(filters)
        ids = node_ids
        if doc_ids is not None:
            parts = [id for doc_id in doc_ids for id in table.ids_of_parent(doc_id)]
            ids = parts if ids is None else [id for id in parts if id in {*ids}]
        if ids is None:
            return [one for one in table.scan() if test(one.metadata)]
        found = table.by_id(ids)
        there = [found[id] for id in dict.fromkeys(ids) if id in found]
        return [one for one in there if test(one.metadata)]

    # The same, away from the event loop.

    async def async_add(self, nodes: Sequence[BaseNode], **kwargs: Any) -> list[str]:
        """Add nodes as `add`, in a thread."""
        return await asyncio.to_thread(self.add, nodes, **kwargs)

    async def adelete(self, ref_doc_id: str, **delete_kwargs: Any) -> None:
        """Remove the nodes of a document as `delete`, in a thread."""
        await asyncio.to_thread(self.delete, ref_doc_id, **delete_kwargs)

    async def adelete_nodes(
        self,
        node_ids: list[str] | None = None,
        filters: MetadataFilters | None = None,
        **delete_kwargs: Any,
    ) -> None:
        """Remove nodes as `delete_nodes`, in a thread."""
        await asyncio.to_thread(self.delete_nodes, node_ids, filters, **delete_kwargs)

    async def aclear(self) -> None:
        """Remove all nodes, in a thread."""
        await asyncio.to_thread(self.clear)

    async def aget_nodes(
        self, node_ids: list[str] | None = None, filters: MetadataFilters | None = None
    ) -> list[BaseNode]:
        """Return nodes as `get_nodes`, in a thread."""
        return await asyncio.to_thread(self.get_nodes, node_ids, filters)

    async def aquery(self, query: VectorStoreQuery, **kwargs: Any) -> VectorStoreQueryResult:
        """Search as `query`, in a thread."""
        return await asyncio.to_thread(self.query, query, **kwargs)


def _as_result(found: list[tuple[Found, float]]) -> VectorStoreQueryResult:
    return VectorStoreQueryResult(
        nodes=[as_node(one.document) for one, _ in found],
        similarities=[similarity for _, similarity in found],
        ids=[one.document.id for one, _ in found],
    )


def _default_path(folder: str, namespace: str) -> str:
    return os.path.join(folder, f"{namespace}{NAMESPACE_SEP}{DEFAULT_PERSIST_FNAME}")


def _require_local(fs: Any) -> None:
    if fs is not None and "file" not in fs.protocol:
        raise ValueError(f"fs: expected a local file system, got {fs.protocol!r}")
