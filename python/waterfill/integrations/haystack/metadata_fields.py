"""What Haystack asks about the metadata of documents, and their fields."""

from __future__ import annotations

import asyncio
import functools
import json
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, ParamSpec, TypeVar

from waterfill.integrations.document_table import StoredDocument

Filters = dict[str, Any]
Metadata = Iterable[dict[str, Any]]
P = ParamSpec("P")
R = TypeVar("R")

_TYPES = {bool: "boolean", int: "int", float: "float"}


def in_thread(method: Callable[P, R]) -> Callable[P, Awaitable[R]]:
    """Make a method that does the same away from the event loop."""

    @functools.wraps(method)
    async def call(*args: P.args, **kwargs: P.kwargs) -> R:
        return await asyncio.to_thread(method, *args, **kwargs)

    return call


class MetadataFields(ABC):
    """A document store that answers about the metadata of its documents."""

    @abstractmethod
    def _passing(self, filters: Filters | None) -> list[StoredDocument]:
        """Return the documents that pass filters, with their metadata."""

    def count_documents_by_filter(self, filters: Filters) -> int:
        """Return the number of documents that pass filters.

        Parameters
        ----------
        filters : dict
            Haystack's filters.

        Returns
        -------
        int
            Number of documents.
        """
        return len(self._passing(filters))

    def count_unique_metadata_by_filter(
        self, filters: Filters, metadata_fields: list[str]
    ) -> dict[str, int]:
        """Return the number of values of each field in the documents that pass filters.

        Parameters
        ----------
        filters : dict
            Haystack's filters.
        metadata_fields : list of str
            Names of fields, with or without ``meta.``.

        Returns
        -------
        dict of str to int
            Number of distinct values by field.
        """
        metadata = [one.metadata for one in self._passing(filters)]
        return {field_name(n): len(unique_values(metadata, n)) for n in metadata_fields}

    def get_metadata_fields_info(self) -> dict[str, dict[str, str]]:
        """Return the type of each field: keyword, int, float or boolean."""
        return field_types(one.metadata for one in self._passing(None))

    def get_metadata_field_min_max(self, metadata_field: str) -> dict[str, Any]:
        """Return the smallest and the largest value of a field.

        Parameters
        ----------
        metadata_field : str
            Name of the field, with or without ``meta.``.

        Returns
        -------
        dict
            ``min`` and ``max``; None where there is none.
        """
        return field_range((one.metadata for one in self._passing(None)), metadata_field)

    def get_metadata_field_unique_values(
        self,
        metadata_field: str,
        search_term: str | None = None,
        from_: int = 0,
        size: int = 10,
        filters: Filters | None = None,
    ) -> tuple[list[Any], int]:
        """Return a page of the values of a field.

        Parameters
        ----------
        metadata_field : str
            Name of the field, with or without ``meta.``.
        search_term : str, optional
            Only values that have it in them.
        from_ : int
            Position of the first value.
        size : int
            Most values of the page.
        filters : dict, optional
            Only values of documents that pass them.

        Returns
        -------
        values : list
            The values of the page.
        n : int
            Number of values in all pages.
        """
        metadata = (one.metadata for one in self._passing(filters))
        values = matching_values(metadata, metadata_field, search_term)
        return values[from_ : from_ + size], len(values)

    count_documents_by_filter_async = in_thread(count_documents_by_filter)
    count_unique_metadata_by_filter_async = in_thread(count_unique_metadata_by_filter)
    get_metadata_fields_info_async = in_thread(get_metadata_fields_info)
    get_metadata_field_min_max_async = in_thread(get_metadata_field_min_max)
    get_metadata_field_unique_values_async = in_thread(get_metadata_field_unique_values)


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
