"""Answers: JSON, and refusals that say what was given and what is wanted."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from fastapi import Response

_LONGEST = 300  # characters of an error: what was given may be long


class Problem(Exception):  # noqa: N818 - what is wrong may be the service, too
    """A request that cannot be answered as it is.

    Parameters
    ----------
    status : int
    error : str
        For the caller: no paths, no tracebacks.
    more : mapping, optional
        What else the JSON says.
    headers : mapping, optional
    """

    def __init__(
        self,
        status: int,
        error: str,
        more: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(error)
        self.status, self.error = status, error
        self.more, self.headers = more or {}, headers

    def answer(self) -> Response:
        """Return it as a response."""
        return answer({"error": shortened(self.error), **self.more}, self.status, self.headers)


def answer(
    document: Mapping[str, Any], status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """Return JSON in ASCII, so that any character of the input can be said back."""
    body = json.dumps(document, allow_nan=False).encode()
    return Response(body, status, dict(headers or {}), media_type="application/json")


def shortened(words: str) -> str:
    """Return words that are not too many."""
    return words if len(words) <= _LONGEST else words[:_LONGEST] + " ..."
