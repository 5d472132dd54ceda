"""JSON responses, and the errors that become one."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from fastapi import Response

from waterfill.data.rows import FloatRows
from waterfill.index.vector_index import Labels

_MAX_ERROR = 300  # characters; an error may quote long input


class Problem(Exception):  # noqa: N818 - the term of RFC 9457
    """An error response to a request.

    Parameters
    ----------
    status : int
    error : str
        Shown to the client: it must hold no path and no traceback.
    details : mapping, optional
        Further fields of the JSON document.
    headers : mapping, optional
    """

    def __init__(
        self,
        status: int,
        error: str,
        details: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(error)
        self.status, self.error = status, error
        self.details, self.headers = details or {}, headers

    def answer(self) -> Response:
        """Return the response."""
        return answer({"error": _shorten(self.error), **self.details}, self.status, self.headers)


def answer(
    document: Mapping[str, Any], status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """Return a JSON response, in ASCII, so that it can quote any character of the input."""
    body = json.dumps(document, allow_nan=False).encode()
    return Response(body, status, dict(headers or {}), media_type="application/json")


def found_answer(distances: FloatRows, ids: Labels, generation: int) -> Response:
    """Return the response to a search, without the padding (id -1) of short results."""
    kept = ids != -1
    if not kept.all():
        rows = [[each[row] for each, row in zip(x, kept, strict=True)] for x in (ids, distances)]
    else:
        rows = [list(ids), list(distances)]
    found = f'{{"ids": [{_joined(rows[0])}], "distances": [{_joined(rows[1])}]'
    body = f'{found}, "generation": {generation}}}'
    return Response(body.encode(), media_type="application/json")


def _joined(rows: Iterable[Any]) -> str:
    # Each row by itself: between two the event loop may run.
    return ", ".join([json.dumps(row.tolist(), allow_nan=False) for row in rows])


def _shorten(text: str) -> str:
    return text if len(text) <= _MAX_ERROR else text[:_MAX_ERROR] + " ..."
