"""Imports of optional packages."""

from __future__ import annotations

import importlib
import sys
from typing import Any

_DISPLAY_NAMES = {  # where they differ from the name of the module
    "faiss": "FAISS",
    "matplotlib": "Matplotlib",
}


def require(module: str, what: str, extra: str) -> Any:
    """Import a module; the ImportError says what needs it and which extra installs it."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        name = _DISPLAY_NAMES.get(package, package)
        raise ImportError(f'{what} needs {name}: pip install "waterfill[{extra}]"') from error


def require_faiss(what: str) -> Any:
    """Import FAISS, as `require`."""
    return require("faiss", what, "faiss")


def loaded_faiss() -> Any:
    """Return FAISS if it is imported, else None; without it no argument can be a FAISS object."""
    return sys.modules.get("faiss")
