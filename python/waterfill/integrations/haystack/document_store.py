"""The document store for Haystack."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Literal

from waterfill._util.optional import required
from waterfill._util.validation import Metric
from waterfill.folder.index import FolderIndexFlat, FolderIndexIVF
from waterfill.integrations.document_folder import FolderOptions
from waterfill.integrations.document_index import DocumentIndex
from waterfill.integrations.document_table import Numbers, StoredDocument
from waterfill.integrations.haystack.metadata_fields import Filters, MetadataFields, in_thread

with required("haystack", "waterfill.integrations.haystack", "haystack"):
    from haystack import Document, default_from_dict, default_to_dict
    from haystack.document_stores.errors import DuplicateDocumentError
    from haystack.document_stores.types import DuplicatePolicy
    from haystack.utils.filters import document_matches_filter

if TYPE_CHECKING:
    from typing_extensions import Unpack

_APART = ("id", "meta", "embedding")  # what is not in the content


class WaterfillDocumentStore(MetadataFields):
    """Documents with embeddings in a folder, in place of Haystack's FAISS store.

    What a call has written or deleted is on the disk when it returns. Nothing is trained first: see
    `waterfill.managed.ManagedIndex`. Stores of one process with the same path are one: pipelines
    make several from one description.

    Methods with the suffix ``_async`` do the same in a thread.

    Parameters
    ----------
    path : str, optional
        The folder. Without one it is a temporary folder, which goes when the store does.
    mode : {'a', 'r'}
        Change, and make the folder if there is none; or read, and follow its writer.
    return_embedding : bool
        Whether `filter_documents` gives embeddings back.
    **options : FolderOptions
        How the folder is made and kept: `waterfill.integrations.document_folder.FolderOptions`. The
        metric is ``cosine`` by default. A store with a codec has no description.

    Raises
    ------
    BlockingIOError
        If another process has the folder open for changes.
    FileNotFoundError, FormatError, ValueError, TypeError
        If there is no such folder to read, it is damaged, or an argument is invalid.
    """

    def __init__(
        self,
        path: str | os.PathLike[str] | None = None,
        mode: Literal["a", "r"] = "a",
        *,
        return_embedding: bool = True,
        **options: Unpack[FolderOptions],
    ) -> None:
        self._described: dict[str, Any] = {
            "path": None if path is None else os.fspath(path),
            "mode": mode,
            "return_embedding": return_embedding,
            **options,
        }
        self.return_embedding = return_embedding
        self._documents = DocumentIndex.shared(path, mode, **options)

    def to_dict(self) -> dict[str, Any]:
        """Return a description of the store: where it is, not what is in it.

        Returns
        -------
        dict
            What `from_dict` takes.

        Raises
        ------
        ValueError
            If the store was made with a codec.
        """
        if self._described.get("codec") is not None:
            raise ValueError("codec: a description has none; open the store by its path, without")
        return default_to_dict(self, **self._described)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> WaterfillDocumentStore:
        """Open the store that a description is of.

        Parameters
        ----------
        data : dict
            A description, of `to_dict`.

        Returns
        -------
        WaterfillDocumentStore
            The open store.
        """
        return default_from_dict(cls, data)

    @property
    def index(self) -> FolderIndexFlat | FolderIndexIVF | None:
        """The index with the embeddings; None before the first one."""
        return self._documents.index

    def close(self) -> None:
        """Close the folder, for all stores of this process that share it."""
        self._documents.close()

    # Changes.

    def write_documents(
        self, documents: list[Document], policy: DuplicatePolicy = DuplicatePolicy.NONE
    ) -> int:
        """Write documents, all of them or none.

        Parameters
        ----------
        documents : list of Document
            With embeddings of one size, or without any: those are not found by embedding.
        policy : DuplicatePolicy
            What to do with ids that there are already, also in `documents` itself. ``NONE`` is
            ``FAIL``.

        Returns
        -------
        int
            Number of documents written.

        Raises
        ------
        DuplicateDocumentError
            With ``FAIL``, if there is a document with one of the ids.
        ValueError
            If `documents` are no documents, or embeddings or metadata cannot be stored.
        """
        if not isinstance(documents, list) or not all(
            isinstance(one, Document) for one in documents
        ):
            raise ValueError("documents: expected a list of Document")
        with self._documents.held():
            chosen = self._without_duplicates(documents, policy)
            self._documents.put(
                [_as_stored(one) for one in chosen], [one.embedding for one in chosen]
            )
        return len(chosen)

    def _without_duplicates(self, documents: list[Document], policy: Any) -> list[Document]:
        if policy == DuplicatePolicy.OVERWRITE:
            return documents
        known = {*self._documents.table.by_id(one.id for one in documents)}
        chosen = []
        for one in documents:
            if one.id not in known:
                chosen.append(one)
            elif policy != DuplicatePolicy.SKIP:
                raise DuplicateDocumentError(
                    f"documents: expected new ids, got {one.id!r}, which there is already; pass "
                    "policy=DuplicatePolicy.OVERWRITE or SKIP"
                )
            known.add(one.id)
        return chosen

    def delete_documents(self, document_ids: list[str]) -> None:
        """Delete documents; ids that there are not are passed over.

        Parameters
        ----------
        document_ids : list of str
            The ids.
        """
        self._documents.remove(document_ids)

    def delete_all_documents(self, recreate_index: bool = False) -> None:
        """Delete all documents.

        Parameters
        ----------
        recreate_index : bool
            Whether to forget the codec, too, so that embeddings may have another size.
        """
        self._documents.clear(forget_codec=recreate_index)

    def delete_by_filter(self, filters: Filters) -> int:
        """Delete the documents that pass filters.

        Parameters
        ----------
        filters : dict
            Haystack's filters.

        Returns
        -------
        int
            Number of deleted documents.

        Raises
        ------
        FilterError, ValueError, TypeError
            If the filters are invalid.
        """
        with self._documents.held():
            return self._documents.remove(one.id for one in self._passing(filters))

    def update_by_filter(self, filters: Filters, meta: dict[str, Any]) -> int:
        """Set metadata of the documents that pass filters.

        Parameters
        ----------
        filters : dict
            Haystack's filters.
        meta : dict
            Fields to set; others stay.

        Returns
        -------
        int
            Number of changed documents.

        Raises
        ------
        FilterError, ValueError, TypeError
            If the filters are invalid, or JSON does not hold `meta`.
        """
        with self._documents.held():
            found = self._passing(filters, contents=True)
            for one in found:
                one.metadata |= meta
            self._documents.rewrite(found)
        return len(found)

    # What there is.

    def count_documents(self) -> int:
        """Return the number of documents."""
        return len(self._documents)

    def filter_documents(self, filters: Filters | None = None) -> list[Document]:
        """Return the documents that pass filters, in the order in which they were written.

        Parameters
        ----------
        filters : dict, optional
            Haystack's filters; by default all documents pass.

        Returns
        -------
        list of Document
            With embeddings if the store returns them.

        Raises
        ------
        FilterError, ValueError
            If the filters are invalid.
        """
        return self._as_documents(self._passing(filters, contents=True), self.return_embedding)

    def embedding_retrieval(
        self,
        query_embedding: list[float],
        filters: Filters | None = None,
        top_k: int = 10,
        scale_score: bool = False,
        return_embedding: bool = False,
    ) -> list[Document]:
        """Return the documents nearest to an embedding, the best first, with scores.

        Scores are cosines or inner products; with ``l2`` the distance below zero, so that more is
        nearer.

        Parameters
        ----------
        query_embedding : list of float
            The embedding, of d values.
        filters : dict, optional
            Haystack's filters. All documents that pass are searched.
        top_k : int
            Most documents to return.
        scale_score : bool
            Whether to put scores between 0 and 1: as Haystack does for cosines and inner products,
            and as 1 / (1 + distance).
        return_embedding : bool
            Whether documents have their embeddings.

        Returns
        -------
        list of Document
            The best first.

        Raises
        ------
        ValueError, FilterError
            If the embedding has another size, or `top_k` or `filters` are invalid.
        """
        if top_k == 0:
            return []
        found = self._documents.search(query_embedding, top_k, self._selected(filters))
        scores = [_as_score(one.score, self._documents.metric, scale_score) for one in found]
        return self._as_documents([one.document for one in found], return_embedding, scores)

    def _selected(self, filters: Filters | None) -> Numbers | None:
        if not filters:
            return None
        test = _as_test(filters)
        return self._documents.select(test, repr(filters), contents=_reads_contents(filters))

    def _passing(self, filters: Filters | None, *, contents: bool = False) -> list[StoredDocument]:
        """Return the documents that pass filters; without `contents`, these may be empty."""
        table = self._documents.table
        if not filters:
            return list(table.scan(contents))
        test = _as_test(filters)
        return [one for one in table.scan(contents or _reads_contents(filters)) if test(one)]

    def _as_documents(
        self,
        stored: Sequence[StoredDocument],
        embeddings: bool,
        scores: Sequence[float] | None = None,
    ) -> list[Document]:
        vectors = self._documents.vectors(stored) if embeddings else {}
        more: list[dict[str, Any]] = [{"score": score} for score in scores or ()]
        more = more or [{} for _ in stored]
        for one, fields in zip(stored, more, strict=True):
            if one.number in vectors:
                fields["embedding"] = vectors[one.number].tolist()
        return [_as_document(one, fields) for one, fields in zip(stored, more, strict=True)]

    write_documents_async = in_thread(write_documents)
    delete_documents_async = in_thread(delete_documents)
    delete_all_documents_async = in_thread(delete_all_documents)
    delete_by_filter_async = in_thread(delete_by_filter)
    update_by_filter_async = in_thread(update_by_filter)
    count_documents_async = in_thread(count_documents)
    filter_documents_async = in_thread(filter_documents)
    embedding_retrieval_async = in_thread(embedding_retrieval)


def _as_stored(document: Document) -> StoredDocument:
    described = document.to_dict(flatten=False)
    content = {name: value for name, value in described.items() if name not in _APART}
    return StoredDocument(document.id, json.dumps(content), document.meta)


def _as_document(stored: StoredDocument, fields: dict[str, Any] | None = None) -> Document:
    content = json.loads(stored.content) if stored.content else {}
    described = {"id": stored.id, "meta": stored.metadata, **content, **(fields or {})}
    return Document.from_dict(described)


def _as_test(filters: Filters) -> Callable[[StoredDocument], bool]:
    if not isinstance(filters, dict):
        raise TypeError(f"filters: expected a dict, got {type(filters).__name__}")
    document_matches_filter(filters, Document())  # raises if they are invalid, also with no others
    return lambda stored: bool(document_matches_filter(filters, _as_document(stored)))


def _reads_contents(filters: Filters) -> bool:
    """Whether a filter is of anything but metadata and ids."""
    inner: Iterable[Filters] = filters.get("conditions", ())
    if "field" in filters:
        return filters["field"] != "id" and not str(filters["field"]).startswith("meta.")
    return any(_reads_contents(one) for one in inner)


def _as_score(score: float, metric: Metric, scale: bool) -> float:
    if metric == "l2":
        distance = math.sqrt(max(score, 0.0))
        return 1 / (1 + distance) if scale else -distance
    if not scale:
        return score
    if metric == "cosine":
        return (score + 1) / 2
    return 1 / (1 + math.exp(-score / 100))
