"""What Haystack asks about the fields of metadata."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

Metadata = Iterable[dict[str, Any]]

_TYPES = {bool: "boolean", int: "int", float: "float"}


def field_name(name: str) -> str:
    """Return the name of a field without the prefix that filters have."""
    return name.removeprefix("meta.")


def field_types(metadata: Metadata) -> dict[str, dict[str, str]]:
    """Return the type of each field, in Haystack's words, by the last value that is not None."""
    return {
        name: {"type": _TYPES.get(type(value), "keyword")}
        for one in metadata
        for name, value in one.items()
        if value is not None
    }


def field_range(metadata: Metadata, name: str) -> dict[str, Any]:
    """Return the smallest and the largest of the numbers of a field, or of its texts."""
    values = [value for value in _values(metadata, name) if isinstance(value, int | float | str)]
    texts = [value for value in values if isinstance(value, str)]
    comparable = texts if len(texts) == len(values) else [v for v in values if v not in texts]
    if not comparable:
        return {"min": None, "max": None}
    return {"min": min(comparable), "max": max(comparable)}


def unique_values(metadata: Metadata, name: str) -> list[Any]:
    """Return the values of a field, each once; 1, 1.0, "1" and True are four."""
    return list({(type(value), _text(value)): value for value in _values(metadata, name)}.values())


def matching_values(metadata: Metadata, name: str, term: str | None) -> list[Any]:
    """Return the values of a field whose text has a term in it, in order of their text."""
    values = unique_values(metadata, name)
    if term is not None:
        values = [value for value in values if term.lower() in _shown(value).lower()]
    return sorted(values, key=lambda value: (_shown(value), type(value).__name__))


def _values(metadata: Metadata, name: str) -> list[Any]:
    key = field_name(name)
    return [one[key] for one in metadata if one.get(key) is not None]


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else _text(value)
