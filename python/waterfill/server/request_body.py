"""Reading request bodies: content type, bounds of size and time, JSON syntax."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, NoReturn

import anyio
import pydantic_core
from fastapi import Request

from waterfill.server.responses import Problem
from waterfill.server.settings import ServerSettings

JSON, FLOATS = "application/json", "application/octet-stream"

DTYPES = {"float32": "<f4", "float16": "<f2", "float64": "<f8"}
"""Types that a body of numbers may declare, little-endian."""

_MAX_DIGITS = 18  # of a number that fits int64
_MAX_DISCARDED = 1 << 20  # bytes of a refused body
_DISCARD_SECONDS = 1.0
_CLOSE = {"connection": "close"}  # the rest of the body is not read


@dataclass(frozen=True)
class Body:
    """The body of a request, and the query of its URL.

    Attributes
    ----------
    kind : str
        `JSON` or `FLOATS`.
    data : bytes
    query : dict of str to str
        Parameters in the URL, without those that describe the body.
    dtype : str
        Of a body of numbers: one of `DTYPES`.
    n : int, optional
        The number of vectors that a body of numbers has, as it declares.
    """

    kind: str
    data: bytes
    query: dict[str, str]
    dtype: str = ""
    n: int | None = None


async def read_body(request: Request, settings: ServerSettings, *kinds: str) -> Body:
    """Read a request's body of one of these content types.

    The content type is required for security: a web page of another origin can make a browser send
    a body without one, or as text, but not as one of these.
    """
    length = request.headers.get("content-length", "")
    if length.isdecimal() and (declared := int(length[:20])) > settings.max_body:
        if declared <= _MAX_DISCARDED:
            await _discard(request)
        raise _too_large(settings)
    try:
        kind, query, layout = _described(request, kinds)
    except Problem:
        await _discard(request)
        raise
    try:
        with anyio.fail_after(settings.body_seconds):
            data = await _receive(request, settings)
    except TimeoutError:
        error = f"the body did not arrive within {settings.body_seconds:g} seconds"
        raise Problem(408, error, headers=_CLOSE) from None
    return Body(kind, data, query, **layout)


def _described(
    request: Request, kinds: tuple[str, ...]
) -> tuple[str, dict[str, str], dict[str, Any]]:
    """Return the content type, the URL's query and the layout of numbers, all by the header."""
    kind, declared = _content_type(request.headers.get("content-type", ""))
    if kind not in kinds:
        expected = " or ".join(kinds)
        raise Problem(415, f"Content-Type must be {expected}, got {kind!r}", headers=_CLOSE)
    query = dict(request.query_params)
    return kind, query, _layout(declared, query) if kind == FLOATS else {}


async def _discard(request: Request) -> None:
    """Read the rest of a short body: if it came after the closing, the answer would be lost."""
    left = _MAX_DISCARDED
    with anyio.move_on_after(_DISCARD_SECONDS):
        while left > 0:
            message = await request.receive()
            left -= len(message.get("body", b""))
            if not message.get("more_body"):
                return


def _content_type(header: str) -> tuple[str, dict[str, str]]:
    """Split a Content-Type into the type and its parameters, in lower case."""
    kind, *parts = header.lower().split(";")
    pairs = (part.partition("=") for part in parts)
    return kind.strip(), {name.strip(): value.strip().strip('"') for name, _, value in pairs}


def _layout(declared: dict[str, str], query: dict[str, str]) -> dict[str, Any]:
    """Return what a body of numbers declares in its Content-Type or, moved from there, in the URL.

    Bytes do not tell their type: four vectors of float64 are as long as eight of float32. So the
    type has no default.
    """
    dtype, n = (_once(name, declared, query) for name in ("dtype", "n"))
    if dtype not in DTYPES:
        got = "none" if dtype is None else repr(dtype)
        example = f"Content-Type: {FLOATS}; dtype=float32 (or ?dtype=float32 in the URL)"
        error = f"a body of numbers must declare its dtype, {', '.join(DTYPES)}, got {got}"
        status = 415 if dtype is None else 422
        raise Problem(status, f"{error}; send {example}", headers=_CLOSE)
    if n is None:
        return {"dtype": dtype}
    if not (n.isascii() and n.isdecimal() and len(n) <= _MAX_DIGITS):
        raise Problem(422, f"n must be the number of vectors, got {n!r}", headers=_CLOSE)
    return {"dtype": dtype, "n": int(n)}


def _once(name: str, declared: dict[str, str], query: dict[str, str]) -> str | None:
    """Return a parameter of the Content-Type or the URL, where both must say the same."""
    in_header, in_url = declared.get(name), query.pop(name, None)
    if None not in (in_header, in_url) and in_header != in_url:
        error = f"{name} must be the same in the Content-Type and in the URL"
        raise Problem(422, f"{error}, got {in_header!r} and {in_url!r}", headers=_CLOSE)
    return in_url if in_header is None else in_header


async def _receive(request: Request, settings: ServerSettings) -> bytes:
    data = bytearray()  # a client may send parts of a byte each
    while True:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise Problem(400, "the client disconnected before the body was complete")
        part = message.get("body", b"")
        if len(data) + len(part) > settings.max_body:
            if message.get("more_body"):
                await _discard(request)
            raise _too_large(settings)
        if not message.get("more_body"):
            return bytes(data + part) if data else part
        data += part


def _too_large(settings: ServerSettings) -> Problem:
    error = f"the body is larger than {settings.max_body} bytes"
    return Problem(413, error, headers=_CLOSE)


def read_object(data: bytes, fields: tuple[str, ...]) -> dict[str, Any]:
    """Parse a JSON object that has no other fields than these."""
    try:
        document = _parsed(data)
    except Problem:
        raise
    except RecursionError:
        raise Problem(400, "the body is nested too deeply") from None
    except ValueError as error:  # also if the bytes are not UTF-8
        raise Problem(400, f"the body is not valid JSON: {error}") from None
    if not isinstance(document, dict):
        raise Problem(422, f"the body must be an object, got {_type_name(document)}")
    for name in document:
        if name not in fields:
            raise Problem(422, f"unknown field {name!r}, expected {', '.join(fields)}")
    if b"true" in data or b"false" in data:
        _refuse_booleans(document)
    return document


def _parsed(data: bytes) -> Any:
    """Parse JSON with pydantic's parser, which is three times as fast as Python's.

    It holds the interpreter's lock, and thus the event loop, for a third of the time, too. What it
    refuses is left to Python's, for its messages and encodings.
    """
    try:
        return pydantic_core.from_json(data, allow_inf_nan=False, cache_strings=False)
    except ValueError:
        return json.loads(data, parse_constant=_refuse_constant)


def _refuse_constant(name: str) -> NoReturn:
    raise Problem(400, f"the body has {name}, which is not a JSON number")


def _refuse_booleans(document: dict[str, Any]) -> None:
    """Refuse true and false in arrays, where NumPy would read 1 and 0."""
    for name, value in document.items():
        level = [value] if isinstance(value, list) else []
        while level:
            if any(isinstance(item, bool) for item in level):
                raise Problem(422, f"{name} must hold numbers, got true or false")
            level = [inner for item in level if isinstance(item, list) for inner in item]


def _type_name(value: Any) -> str:
    kinds = {
        list: "an array",
        str: "a string",
        bool: "a boolean",
        int: "a number",
        float: "a number",
    }
    return kinds.get(type(value), "null")
