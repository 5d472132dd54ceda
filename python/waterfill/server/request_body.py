"""What requests bring: a body that is neither too long nor too slow, JSON or numbers."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from typing import Any, NoReturn

from fastapi import Request

from waterfill.server.responses import Problem
from waterfill.server.settings import ServerSettings

JSON, FLOATS = "application/json", "application/octet-stream"

_CLOSE = {"connection": "close"}  # the rest of the body is not waited for


@dataclass(frozen=True)
class Body:
    """What a request brought.

    Attributes
    ----------
    kind : str
        `JSON` or `FLOATS`.
    data : bytes
    query : dict of str to str
        Of the URL.
    """

    kind: str
    data: bytes
    query: dict[str, str]


async def read_body(request: Request, settings: ServerSettings, *kinds: str) -> Body:
    """Read a request's body of one of these content types.

    A content type is demanded: a page of another origin can make a browser send a body without one,
    or as text, but not as one of these.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in kinds:
        wanted = " or ".join(kinds)
        raise Problem(415, f"Content-Type is {kind!r}, wanted is {wanted}", headers=_CLOSE)
    length = request.headers.get("content-length", "")
    if length.isdecimal() and int(length[:20]) > settings.max_body:
        raise _too_large(settings)
    try:
        data = await asyncio.wait_for(_whole(request, settings), settings.body_seconds)
    except asyncio.TimeoutError:
        late = f"the body did not come within {settings.body_seconds:g} seconds"
        raise Problem(408, late, headers=_CLOSE) from None
    return Body(kind, data, dict(request.query_params))


async def _whole(request: Request, settings: ServerSettings) -> bytes:
    parts, size = [], 0
    while True:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise Problem(400, "the client went away before the body was complete")
        part = message.get("body", b"")
        size += len(part)
        if size > settings.max_body:
            raise _too_large(settings)
        parts.append(part)
        if not message.get("more_body"):
            return b"".join(parts)


def _too_large(settings: ServerSettings) -> Problem:
    words = f"the body has more than the {settings.max_body} bytes that are taken"
    return Problem(413, words, headers=_CLOSE)


def read_object(data: bytes, fields: tuple[str, ...]) -> dict[str, Any]:
    """Read a JSON object with no other fields than these."""
    try:
        found = json.loads(data, parse_constant=_refuse_constant)
    except Problem:
        raise
    except RecursionError:
        raise Problem(400, "the body is nested too deeply") from None
    except ValueError as error:  # the bytes are no UTF-8, too
        raise Problem(400, f"the body is no JSON: {error}") from None
    if not isinstance(found, dict):
        raise Problem(422, f"the body is {_name_of(found)}, wanted is an object")
    for name in found:
        if name not in fields:
            raise Problem(422, f"there is no field {name!r}, only {', '.join(fields)}")
    if b"true" in data or b"false" in data:
        _refuse_truths(found)
    return found


def _refuse_constant(name: str) -> NoReturn:
    raise Problem(400, f"the body has {name}, which is no number of JSON")


def _refuse_truths(found: dict[str, Any]) -> None:
    """Refuse true and false among numbers, which NumPy takes for 1 and 0."""
    for name, value in found.items():
        level = [value] if isinstance(value, list) else []
        while level:
            if any(isinstance(each, bool) for each in level):
                raise Problem(422, f"{name} has true or false in it, wanted are numbers")
            level = [inner for each in level if isinstance(each, list) for inner in each]


def _name_of(value: Any) -> str:
    kinds = {list: "an array", str: "a string", bool: "a truth", int: "a number", float: "a number"}
    return kinds.get(type(value), "null")
