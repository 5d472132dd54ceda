"""Packages that waterfill works with and does not need."""

from __future__ import annotations

import importlib
import sys
from typing import Any

_NAMES = {  # of packages, where another name than the module's is better known
    "faiss": "FAISS",
    "matplotlib": "Matplotlib",
}


def require(module: str, what: str, extra: str) -> Any:
    """Import a module, or say what needs it and how to install it."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        name = _NAMES.get(module.partition(".")[0], module.partition(".")[0])
        raise ImportError(f'{what} needs {name}: pip install "waterfill[{extra}]"') from error


def require_faiss(what: str) -> Any:
    """Return the module, or say what needs it."""
    return require("faiss", what, "faiss")


def loaded_faiss() -> Any:
    """Return the module if it was imported, else None; only then can objects of FAISS come."""
    return sys.modules.get("faiss")
