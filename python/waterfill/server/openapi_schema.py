"""Schemas of request bodies and responses for the OpenAPI document."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from waterfill.server.request_body import DTYPES, FLOATS, JSON
from waterfill.server.request_validation import DEFAULT_K, MAX_K_FACTOR, MAX_NPROBE
from waterfill.server.settings import ServerSettings

Document = dict[str, Any]

_ID = {"type": "integer", "minimum": -(2**63), "maximum": 2**63 - 1}
_COUNT = {"type": "integer", "minimum": 0}
_NUMBER = {"type": "number", "minimum": -3.4e38, "maximum": 3.4e38}
_DESCRIPTIONS = {
    400: "The body is not well-formed",
    401: "The token is missing or wrong",
    403: "Not allowed",
    404: "Not found",
    408: "The body arrived too slowly",
    409: "The index was not replaced",
    413: "The body is too large",
    415: "The content type is not accepted",
    421: "The host is not allowed",
    422: "A value is invalid",
    503: "At capacity, not ready, or the change could not be written",
}
_ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {"type": "string"},
        "reason": {"type": "string"},
        "retry_after": {"type": ["integer", "null"]},
        "reasons": {"type": "array", "items": {"type": "string"}},
    },
}


def _object(required: Sequence[str] = (), **properties: Document) -> Document:
    return {
        "type": "object",
        "required": list(required),
        "properties": properties,
        "additionalProperties": False,
    }


def _rows(item: Document) -> Document:
    return {"type": "array", "items": {"type": "array", "items": item}}


FOUND = _object(
    ("ids", "distances", "generation"),
    ids=_rows(_ID),
    distances=_rows({"type": "number"}),
    generation=_COUNT,
)
_IDS = {"type": "array", "items": _ID}
ADDED = _object(("added", "ids", "ntotal"), added=_COUNT, ids=_IDS, ntotal=_COUNT)
UPSERTED = _object(("upserted", "ntotal"), upserted=_COUNT, ntotal=_COUNT)
REMOVED = _object(("removed", "ntotal"), removed=_COUNT, ntotal=_COUNT)
SWAPPED = _object(("generation", "ntotal"), generation=_COUNT, ntotal=_COUNT)
STATUS = _object(("status",), status={"type": "string"})


def responses(success: Document | None, *errors: int) -> dict[int | str, Document]:
    """Return the responses of an endpoint; AccessMiddleware adds 401 and 421 to all."""
    documented: dict[int | str, Document] = {
        status: {"description": _DESCRIPTIONS[status], "content": {JSON: {"schema": _ERROR}}}
        for status in (401, 421, *errors)
    }
    if success is not None:
        documented[200] = {"description": "Done", "content": {JSON: {"schema": success}}}
    return documented


def _query_parameters(schemas: dict[str, tuple[Document, str]]) -> list[Document]:
    return [
        {
            "name": name,
            "in": "query",
            "required": False,
            "schema": schema,
            "description": description,
        }
        for name, (schema, description) in schemas.items()
    ]


def complete(document: Document, settings: ServerSettings, d: int | None) -> Document:
    """Add the request bodies with their bounds, and the dimensions once these are known."""
    paths = document["paths"]
    vector: Document = {"type": "array", "items": _NUMBER}
    if d is not None:
        vector |= {"minItems": d, "maxItems": d}
    vectors = {
        "type": "array",
        "items": vector,
        "minItems": 1,
        "maxItems": settings.max_vectors,
    }
    k = {"type": "integer", "minimum": 1, "maximum": settings.max_k, "default": DEFAULT_K}
    nprobe = {"type": "integer", "minimum": 1, "maximum": MAX_NPROBE}
    k_factor = {"type": "number", "minimum": 1, "maximum": MAX_K_FACTOR}
    common: Document = {"k": k, "nprobe": nprobe, "k_factor": k_factor, "ids": _IDS}
    search = {
        "oneOf": [
            _object(["vectors"], vectors=vectors, **common),
            _object(["vector"], vector=vector, **common),
        ]
    }
    floats = {
        f"{FLOATS}; dtype={dtype}": {"schema": {"type": "string", "format": "binary"}}
        for dtype in DTYPES
    }
    new_ids = {"type": "array", "items": _ID | {"not": {"const": -1}}}
    bodies = {
        "/search": {JSON: {"schema": search}, **floats},
        "/add": {
            JSON: {"schema": _object(["vectors"], vectors=vectors, ids=new_ids)},
            **floats,
        },
        "/upsert": {
            JSON: {
                "schema": _object(
                    ["ids", "vectors"], ids=new_ids | {"uniqueItems": True}, vectors=vectors
                )
            }
        },
        "/remove": {JSON: {"schema": _object(["ids"], ids=_IDS)}},
        "/swap": {
            JSON: {
                "schema": _object(
                    ["file"],
                    file={"type": "string", "minLength": 1, "pattern": r"^[^./\\\x00][^/\\\x00]*$"},
                    same_ids={"type": "boolean", "default": True},
                )
            }
        },
    }
    for path, content in bodies.items():
        paths[path]["post"]["requestBody"] = {"required": True, "content": content}
    n = {"type": "integer", "minimum": 1, "maximum": settings.max_vectors}
    layout: dict[str, tuple[Document, str]] = {
        "dtype": ({"enum": list(DTYPES)}, "Of a body of numbers, unless its Content-Type has it"),
        "n": (n, "Number of vectors in a body of numbers, which is then checked"),
    }
    usual: Document = {"k": k, "nprobe": nprobe, "k_factor": k_factor}
    options = {name: (schema, "With a body of numbers") for name, schema in usual.items()}
    paths["/search"]["post"]["parameters"] = _query_parameters(layout | options)
    paths["/add"]["post"]["parameters"] = _query_parameters(layout)
    in_path = {"name": "id", "in": "path", "required": True, "schema": _ID}
    paths["/vectors/{id}"]["delete"]["parameters"] = [in_path]
    if settings.token is not None:
        bearer = {"type": "http", "scheme": "bearer"}
        document.setdefault("components", {})["securitySchemes"] = {"token": bearer}
        for path, methods in paths.items():
            if path not in ("/healthz", "/readyz"):
                for operation in methods.values():
                    operation["security"] = [{"token": []}]
    return document
