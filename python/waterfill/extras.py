"""Packages that waterfill works with and does not need."""

from __future__ import annotations

import importlib
import sys
from typing import Any


def require_faiss(what: str) -> Any:
    """Return the module, or say what needs it."""
    try:
        return importlib.import_module("faiss")
    except ImportError as error:
        raise ImportError(f'{what} needs FAISS: pip install "waterfill[faiss]"') from error


def loaded_faiss() -> Any:
    """Return the module if it was imported, else None; only then can objects of FAISS come."""
    return sys.modules.get("faiss")
