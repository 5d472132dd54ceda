"""Documents with vectors in a folder: what the stores of LangChain, LlamaIndex and Haystack share.

A document's number in the table is the id of its vector, and a document that is written again gets
another number. So a change is

1. vectors are added to the index under new numbers, and are on the disk,
2. one transaction puts the documents with these numbers in place of the old ones,
3. the vectors of old numbers are removed from the index.

The second step is the change: vectors without a document are never found, and whoever opens the
folder for changes next removes what a crash has left of them. Until there is an index, vectors lie
in the table, a change is one transaction, and searches are exact.
"""

from __future__ import annotations

import contextlib
import os
import shutil
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
from waterfill.index.search_parameters import SearchParameters
from waterfill.index.selectors import IDSelectorArray
from waterfill.integrations.document_folder import VECTORS, DocumentFolder
from waterfill.integrations.document_table import Numbers, StoredDocument

_KEPT_SELECTIONS = 16


class Found(NamedTuple):
    """A document that a search has found, and its score in the metric's own terms."""

    document: StoredDocument
    score: float


class DocumentIndex(DocumentFolder):
    """Documents, and the nearest of them to a vector; see `DocumentFolder` for the arguments."""

    _kept: tuple[Any, Numbers, FloatRows] | None = None  # the table's vectors, by its version
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
            table = self.table
            self._require_changeable()
            first, self._next = self._next, self._next + len(chosen)
            numbered = [
                replace(documents[i], number=first + n, embedded=n in having)
                for n, i in enumerate(chosen)
            ]
            numbers = first + np.array(sorted(having), np.int64)
            settings = {"d": rows.shape[1]} if len(having) and self.d is None else {}
            if self._index is None:
                kept = dict(zip(numbers.tolist(), (row.tobytes() for row in rows), strict=True))
                table.put(numbered, kept, settings)
            else:
                self._replace(numbered, rows, numbers)
            self._settings |= settings
            self._train_if_due()

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
        halves = self._settings["refine"] == "float16" and self.metric != "cosine"
        flaws = unusable(rows, halves)
        if flaws.any():
            bad = np.flatnonzero(flaws)
            raise ArgumentError(f"vectors: {describe_rows(bad, flaws[bad])} cannot be stored")
        return rows, set(having)

    def _replace(
        self, documents: Sequence[StoredDocument], rows: FloatRows, numbers: Numbers
    ) -> None:
        """Put documents, whose vectors the index takes."""
        assert self._index is not None
        if len(rows):
            self._index.add_with_ids(rows, numbers)
        try:
            replaced = self._table.put(documents, {}, {})
        except BaseException:
            self._forget(numbers)
            raise
        self._forget(replaced)

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
            table = self.table
            self._require_changeable()
            table.rewrite(documents)

    def remove(self, ids: Iterable[str]) -> int:
        """Remove documents, and return how many there were."""
        with self._changing:
            table = self.table
            self._require_changeable()
            removed, numbers = table.remove(list(dict.fromkeys(ids)))
            self._forget(numbers)
            return removed

    def clear(self, *, forget_codec: bool = False) -> None:
        """Remove all documents.

        forget_codec: start anew, so that vectors may also have another number of dimensions.
        """
        with self._changing:
            table = self.table
            self._require_changeable()
            index = self._index
            settings = self._settings
            if forget_codec:
                settings = settings | {"d": None, "trained": False}
            table.clear(settings)
            self._settings = settings
            if index is None:
                return
            if forget_codec:
                self._index = None
                index.close()
                shutil.rmtree(os.path.join(self._path, VECTORS), ignore_errors=True)
            else:
                index.reset()

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
        if index is None:
            known, rows = self._kept_vectors()
            index = self.index if not len(known) else None  # trained by another process meanwhile
        if index is None:
            return self._nearest_exactly(query, k, known, rows, numbers)
        if index.ntotal == 0 or (numbers is not None and not len(numbers)):
            return [], []
        selected = None if numbers is None else IDSelectorArray(numbers)
        k = min(k, index.ntotal)
        scores, found = index.search(query, k, params=SearchParameters(sel=selected))
        there = found[0] >= 0
        return found[0][there].tolist(), scores[0][there].tolist()

    def _kept_vectors(self) -> tuple[Numbers, FloatRows]:
        """Return the vectors of the table, which stay in memory until they change."""
        version = self.table.version
        kept = self._kept
        if kept is None or kept[0] != version:
            numbers, rows = self.table.kept_vectors()
            if self.metric == "cosine" and len(rows):
                rows = _core.normalize_rows(rows)
            kept = self._kept = (version, numbers, rows)
        return kept[1], kept[2]

    def _nearest_exactly(
        self, query: FloatRows, k: int, known: Numbers, rows: FloatRows, numbers: Numbers | None
    ) -> tuple[list[int], list[float]]:
        if numbers is not None:
            chosen = np.isin(known, numbers)
            known, rows = known[chosen], rows[chosen]
        if not len(known):
            return [], []
        if self.metric == "l2":
            scores = ((rows - query) ** 2).sum(axis=1)
            order = np.argsort(scores, kind="stable")[:k]
        else:
            scores = rows @ query[0]
            order = np.argsort(-scores, kind="stable")[:k]
        return known[order].tolist(), scores[order].tolist()

    def vectors(self, documents: Sequence[StoredDocument]) -> dict[int, FloatRows]:
        """Return the vectors of documents, float32 (d,), by number.

        Once there is an index they are its rows (of norm 1 with ``cosine``), or decoded without
        `refine`.
        """
        numbers = [one.number for one in documents if one.embedded]
        index = self.index
        if index is None:
            known, rows = self.table.kept_vectors(numbers)
            return dict(zip(known.tolist(), rows, strict=True))
        there = np.array(numbers, np.int64)
        try:
            rows = index.reconstruct_batch(there)
        except MissingIdError:  # of documents that have been changed since they were found
            there = there[np.isin(there, index.ids())]
            rows = index.reconstruct_batch(there)
        return dict(zip(there.tolist(), rows, strict=True))
