"""Documents for the tests of stores."""

from __future__ import annotations

from typing import Any

from waterfill.integrations.document_index import Found
from waterfill.integrations.document_table import StoredDocument

D = 16
"""Dimensions of their vectors."""


def named(numbers: Any, **metadata: Any) -> list[StoredDocument]:
    """Return documents that are told apart by a number."""
    return [StoredDocument(f"id {n}", f"text {n}", {"n": n, **metadata}) for n in numbers]


def ids(found: list[Found]) -> list[str]:
    """Return the ids of what a search found."""
    return [one.document.id for one in found]
