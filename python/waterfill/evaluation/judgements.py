"""Judgements of relevance: which stored vectors answer which query."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from waterfill._util.input_file import read_input
from waterfill.data.row_policy import caller_stacklevel

Triple = tuple[str, str, float]  # query, document, gain

_TREC_FIELDS, _BEIR_FIELDS = 4, 3


@dataclass(frozen=True)
class Judgements:
    """Gains of stored vectors for queries.

    Attributes
    ----------
    queries : int64 (m,)
        Ascending row numbers of the queries that are judged: those with a relevant document.
    gains : tuple of dict
        For each of them, row numbers of stored vectors and their gains above 0.
    ideal : tuple of float64 (l,)
        For each of them, all gains above 0, largest first, also those of documents that are not
        stored.
    """

    queries: NDArray[np.int64]
    gains: tuple[dict[int, float], ...]
    ideal: tuple[NDArray[np.float64], ...]

    @classmethod
    def of(
        cls,
        judgements: Iterable[Triple],
        query_ids: Sequence[str],
        base_ids: Sequence[str],
    ) -> Judgements:
        """Make judgements with the ids of all rows.

        Parameters
        ----------
        judgements : iterable of (str, str, float)
            Query id, document id and gain.
        query_ids : sequence of str
            The id of each query.
        base_ids : sequence of str
            The id of each stored vector.

        Returns
        -------
        Judgements
            Of queries with a relevant document that is stored.

        Raises
        ------
        ValueError
            If an id is there twice, or no query has a relevant document that is stored.

        Warns
        -----
        RuntimeWarning
            If judgements are of queries or documents that have no row.
        """
        asked, stored = _numbers("query_ids", query_ids), _numbers("base_ids", base_ids)
        found: dict[int, dict[int, float]] = {}
        ideal: dict[int, dict[str, float]] = {}
        unknown_queries: set[str] = set()
        unknown_documents: set[str] = set()
        for query, document, gain in judgements:
            if gain <= 0:
                continue
            if query not in asked:
                unknown_queries.add(query)
                continue
            ideal.setdefault(asked[query], {})[document] = gain
            if document in stored:
                found.setdefault(asked[query], {})[stored[document]] = gain
            else:
                unknown_documents.add(document)
        if not found:
            raise ValueError(
                "qrels: no query has a relevant document among the rows; ids of queries and "
                "documents are row numbers, or those of query_ids= and base_ids="
            )
        _warn("queries", unknown_queries)
        _warn("documents", unknown_documents)
        rows = sorted(ideal)
        return cls(
            np.array(rows, np.int64),
            tuple(found.get(row, {}) for row in rows),
            tuple(np.sort(np.array(list(ideal[row].values())))[::-1] for row in rows),
        )


def _numbers(name: str, ids: Sequence[str]) -> dict[str, int]:
    numbers = {each: row for row, each in enumerate(ids)}
    if len(numbers) < len(ids):
        raise ValueError(f"{name}: expected each id once, got {len(ids) - len(numbers)} repeated")
    return numbers


def _warn(what: str, unknown: set[str]) -> None:
    if unknown:
        example = min(unknown)
        warnings.warn(
            f"qrels: {len(unknown)} relevant {what} have no row, such as {example!r}",
            RuntimeWarning,
            stacklevel=caller_stacklevel(),
        )


def read_qrels(path: str | os.PathLike[str]) -> list[Triple]:
    """Read judgements of a file.

    Parameters
    ----------
    path : path-like
        Text with a judgement on each line: ``query 0 document gain`` as of TREC, or ``query
        document gain`` as of BEIR, whose header is passed by. Fields are divided by white space.

    Returns
    -------
    list of (str, str, float)
        Ids of query and document, and the gain.

    Raises
    ------
    ValueError
        If a line is of another form, with its number.
    """
    triples: list[Triple] = []
    for number, line in enumerate(read_input(path).decode("utf-8").splitlines(), 1):
        fields = line.split()
        if not fields or (number == 1 and fields[-1].lower() in ("score", "gain", "relevance")):
            continue
        if len(fields) not in (_BEIR_FIELDS, _TREC_FIELDS):
            raise ValueError(
                f"{os.fspath(path)}: line {number}: expected 'query 0 document gain' or 'query "
                f"document gain', got {len(fields)} fields"
            )
        try:
            gain = float(fields[-1])
        except ValueError:
            raise ValueError(
                f"{os.fspath(path)}: line {number}: expected a number as gain, got {fields[-1]!r}"
            ) from None
        triples.append((fields[0], fields[-2], gain))
    return triples
