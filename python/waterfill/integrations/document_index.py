"""Documents with vectors in a folder: what the stores of LangChain, LlamaIndex and Haystack share.

A document's number in the table is the id of its vector, and a document that is written again gets
another number. So a change is

1. vectors are added to the index under new numbers, and are on the disk,
2. one transaction puts the documents with these numbers in place of the old ones,
3. the vectors of old numbers are removed from the index.

The second step is the change: vectors without a document are never found, and whoever opens the
folder for changes next removes what a crash has left of them. The first vector makes the index, and
the second step says that there is one.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from waterfill import _core
from waterfill._util.validation import as_positive_int
from waterfill.data.row_policy import describe_rows, unusable
from waterfill.data.rows import FloatRows, Rows
from waterfill.errors import ArgumentError, MissingIdError
from waterfill.folder.index import FolderIndexIVF
from waterfill.index.search_parameters import SearchParameters, SearchParametersIVF
from waterfill.index.selectors import IDSelectorArray
from waterfill.integrations.document_folder import DocumentFolder
from waterfill.integrations.document_table import Numbers, StoredDocument
from waterfill.managed.drift_watch import AnotherModelError
from waterfill.managed.index import ManagedIndex

_KEPT_SELECTIONS = 16


class Found(NamedTuple):
    """A document that a search has found, and its score in the metric's own terms."""

    document: StoredDocument
    score: float


class DocumentIndex(DocumentFolder):
    """Documents, and the nearest of them to a vector; see `DocumentFolder` for the arguments."""

    _selections: dict[Hashable, tuple[Any, Numbers]] | None = None

    # Changes.

    def put(self, documents: Sequence[StoredDocument], vectors: Sequence[Any]) -> None:
        """Store documents in place of those with their ids, all of them or none.

        Parameters
        ----------
        documents : sequence of StoredDocument
            The last one counts if an id occurs twice.
        vectors : sequence of array_like, shape (d,), or None
            One for each document. A document without a vector is not found by searches.

        Raises
        ------
        ValueError, TypeError
            If vectors have another number of dimensions, or a NaN or an infinity; if metadata are
            not what JSON holds.
        OSError
            If the change cannot be written.
        """
        if len(documents) != len(vectors):
            raise ArgumentError(
                f"vectors: expected {len(documents)}, one per document, got {len(vectors)}"
            )
        last = {document.id: i for i, document in enumerate(documents)}
        chosen = sorted(last.values())
        rows, having = self._as_rows([vectors[i] for i in chosen])
        with self._changing:
            self._require_changeable()
            first, self._next = self._next, self._next + len(chosen)
            norms = dict(zip(sorted(having), self._norms(rows), strict=True))
            numbered = [
                replace(
                    documents[i], number=first + n, embedded=n in having, norm=norms.get(n, 1.0)
                )
                for n, i in enumerate(chosen)
            ]
            numbers = first + np.array(sorted(having), np.int64)
            first_vectors = len(rows) > 0 and self._index is None
            settings = self._make_index(rows.shape[1]) if first_vectors else {}
            try:
                self._replace(numbered, rows, numbers, settings)
            except BaseException:
                if first_vectors:
                    self._drop_index()
                raise
            self._settings = self._settings | settings

    def _as_rows(self, vectors: Sequence[Any]) -> tuple[FloatRows, set[int]]:
        """Return the vectors that there are as rows, and their positions."""
        having = [i for i, vector in enumerate(vectors) if vector is not None]
        d = self.d
        if not having:
            return np.empty((0, d or 0), np.float32), set()
        try:
            stacked = np.asarray([vectors[i] for i in having])
        except ValueError:
            sizes = sorted({len(vectors[i]) for i in having})
            raise ArgumentError(
                f"vectors: expected all of {d or sizes[0]} dimensions, got {sizes}"
            ) from None
        if stacked.ndim == 2 and d is not None and stacked.shape[1] != d:
            raise ArgumentError(
                f"vectors: expected {d} dimensions, as the folder has, got {stacked.shape[1]}; "
                "embed with the model that the folder was made with, or make another folder"
            )
        rows = Rows(stacked, "vectors", d or None).joined(lambda block: block)
        halves = self._settings["keep_rows"] != "int8" and self.metric != "cosine"
        flaws = unusable(rows, halves)
        if flaws.any():
            bad = np.flatnonzero(flaws)
            raise ArgumentError(f"vectors: {describe_rows(bad, flaws[bad])} cannot be stored")
        return rows, set(having)

    def _norms(self, rows: FloatRows) -> list[float]:
        """Return what the index divides vectors by."""
        if self.metric != "cosine":
            return [1.0] * len(rows)
        norms: list[float] = np.linalg.norm(rows, axis=1).tolist()
        return norms

    def _replace(
        self,
        documents: Sequence[StoredDocument],
        rows: FloatRows,
        numbers: Numbers,
        settings: dict[str, Any],
    ) -> None:
        """Put documents, whose vectors the index takes."""
        if len(rows):
            self._add(rows, numbers)
        try:
            replaced = self._table.put(documents, settings)
        except BaseException:
            self._forget(numbers)
            raise
        self._forget(replaced)

    def _add(self, rows: FloatRows, numbers: Numbers) -> None:
        index = self._index
        assert index is not None
        if not (self._new_model and isinstance(index, ManagedIndex)):
            try:
                index.add_with_ids(rows, numbers)
            except AnotherModelError as error:
                raise ArgumentError(
                    f"vectors: expected those of the embedding model of the stored ones, got "
                    f"{error.model}; open the store with new_model=True if it is to have them"
                ) from None
            return
        index.upsert(numbers, rows, new_model=True)

    def _forget(self, numbers: Numbers) -> None:
        """Remove vectors that belong to no document; if they stay, searches pass over them."""
        if self._index is None or not len(numbers):
            return
        try:
            self._index.remove_ids(numbers)
        except OSError as error:
            warnings.warn(
                f"{self._path}: the space of removed vectors is not free yet: {error}",
                RuntimeWarning,
                stacklevel=2,
            )

    def rewrite(self, documents: Sequence[StoredDocument]) -> None:
        """Replace content and metadata of documents as they were found; vectors stay."""
        with self._changing:
            table = self._require_changeable()
            table.rewrite(documents)

    def remove(self, ids: Iterable[str]) -> int:
        """Remove documents, and return how many there were."""
        with self._changing:
            table = self._require_changeable()
            removed, numbers = table.remove(list(dict.fromkeys(ids)))
            self._forget(numbers)
            return removed

    def clear(self, *, forget_codec: bool = False) -> None:
        """Remove all documents.

        forget_codec: start anew, so that vectors may also have another number of dimensions.
        """
        with self._changing:
            table = self._require_changeable()
            forgotten = {"d": None} if forget_codec else {}
            table.clear(forgotten)
            self._settings = self._settings | forgotten
            if forget_codec:
                self._drop_index()
            elif self._index is not None:
                self._index.reset()

    # Searches.

    def select(
        self,
        test: Callable[[StoredDocument], bool],
        key: Hashable = None,
        *,
        contents: bool = False,
    ) -> Numbers:
        """Return the numbers of the documents that pass a test.

        Parameters
        ----------
        test : callable
        key : hashable, optional
            Stands for the test: the answer is kept until documents change.
        contents : bool
            Whether the test looks at contents; otherwise they are empty.

        Returns
        -------
        int64 (n,)
        """
        table = self.table
        version = table.version
        known = self._selections or {}
        if key is not None and key in known and known[key][0] == version:
            return known[key][1]
        passing = [one.number for one in table.scan(contents) if test(one)]
        numbers = np.array(passing, np.int64)
        if key is not None:
            room = {} if len(known) >= _KEPT_SELECTIONS else known
            self._selections = {**room, key: (version, numbers)}
        return numbers

    def search(self, query: Any, k: int, numbers: Numbers | None = None) -> list[Found]:
        """Return the k documents nearest to a vector, the best first.

        Parameters
        ----------
        query : array_like, shape (d,)
        k : int
        numbers : int64 (n,), optional
            Only these documents.

        Raises
        ------
        ValueError, TypeError
            If the query has another number of dimensions, or a NaN or an infinity; if k is below 1.
        """
        k = as_positive_int("k", k)
        if self.d is None:
            return []
        row = self._as_query(query)
        wanted, last = k, False
        while True:
            with self._changing if last else contextlib.nullcontext():
                near, scores = self._nearest(row, wanted, numbers)
                documents = self.table.by_number(near)
            found = [
                Found(documents[number], score)
                for number, score in zip(near, scores, strict=True)
                if number in documents
            ]
            if len(found) >= k or len(found) == len(near) or last:
                return found[:k]
            # There are vectors whose documents are gone, or have been written again meanwhile.
            last = len(near) < wanted
            wanted *= 2

    def _as_query(self, query: Any) -> FloatRows:
        array = np.asarray(query)
        if array.ndim != 1 or len(array) != self.d:
            got = f"{len(array)} dimensions" if array.ndim == 1 else f"shape {array.shape}"
            raise ArgumentError(
                f"query: expected {self.d} dimensions, got {got}; embed with the model that the "
                "folder was made with"
            )
        rows = Rows(array[None], "query", self.d).joined(lambda block: block)
        return _core.normalize_rows(rows) if self.metric == "cosine" else rows

    def _nearest(
        self, query: FloatRows, k: int, numbers: Numbers | None
    ) -> tuple[list[int], list[float]]:
        """Return numbers and scores of the nearest vectors, at most k."""
        index = self.index
        if index is None or index.ntotal == 0 or (numbers is not None and not len(numbers)):
            return [], []
        selected = None if numbers is None else IDSelectorArray(numbers)
        there = index.ntotal if numbers is None else len(numbers)
        k = min(k, index.ntotal)
        scores, found = index.search(query, k, params=SearchParameters(sel=selected))
        lists = isinstance(index, FolderIndexIVF) and index.nprobe < index.nlist
        if lists and (found >= 0).sum() < min(k, there):  # those lists have no more
            every = SearchParametersIVF(sel=selected, nprobe=index.nlist)
            scores, found = index.search(query, k, params=every)
        valid = found[0] >= 0
        return found[0][valid].tolist(), scores[0][valid].tolist()

    def vectors(self, documents: Sequence[StoredDocument]) -> dict[int, FloatRows]:
        """Return the vectors of documents, float32 (d,), by number.

        They are the rows of the index, or decoded if it keeps none.
        """
        norms = {one.number: np.float32(one.norm) for one in documents if one.embedded}
        index = self.index
        if index is None or not norms:
            return {}
        there = np.array(list(norms), np.int64)
        try:
            rows = index.reconstruct_batch(there)
        except MissingIdError:  # of documents that have been changed since they were found
            there = there[np.isin(there, index.ids())]
            rows = index.reconstruct_batch(there)
        numbers = there.tolist()
        return {n: row * norms[n] for n, row in zip(numbers, rows, strict=True)}
