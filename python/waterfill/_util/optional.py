"""Imports of optional packages."""

from __future__ import annotations

import contextlib
import importlib
import sys
from collections.abc import Iterator
from typing import Any

_DISPLAY_NAMES = {  # where they differ from the name of the module
    "cuda": "cuda-core",
    "faiss": "FAISS",
    "haystack": "Haystack",
    "langchain_core": "LangChain",
    "llama_index": "LlamaIndex",
    "matplotlib": "Matplotlib",
    "sklearn": "scikit-learn",
}


def require(module: str, what: str, extra: str) -> Any:
    """Import a module; the ImportError says what needs it and which extra installs it."""
    with required(module.partition(".")[0], what, extra):
        return importlib.import_module(module)


@contextlib.contextmanager
def required(package: str, what: str, extra: str) -> Iterator[None]:
    """Import a package within the block; the ImportError says the same as that of `require`."""
    try:
        yield
    except ImportError as error:
        name = _DISPLAY_NAMES.get(package, package)
        raise ImportError(
            f'{what} needs {name}: pip install ".[{extra}]" in a checkout of waterfill'
        ) from error


def require_faiss(what: str) -> Any:
    """Import FAISS, as `require`."""
    return require("faiss", what, "faiss")


def loaded_faiss() -> Any:
    """Return FAISS if it is imported, else None; without it no argument can be a FAISS object."""
    return sys.modules.get("faiss")
