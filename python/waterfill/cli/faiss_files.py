"""Indexes that a command reads, of waterfill or of FAISS."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import waterfill as wf
from waterfill._util.optional import require_faiss
from waterfill.cli.folders import read_index


def read_faiss(path: Path) -> Any:
    """Read a file of FAISS with float vectors.

    Raises
    ------
    ValueError
        If it is another file.
    """
    with open(path, "rb"):  # a missing file, as of any command
        pass
    kind = wf.io.file_kind(path)
    if kind is not None:
        raise ValueError(f"{path} is a file of waterfill already; expected one of FAISS")
    faiss = require_faiss("reading an index of FAISS")
    try:
        return faiss.read_index(str(path))
    except RuntimeError as error:
        reason = str(error).rpartition(": ")[2].strip() or "unknown format"
        raise ValueError(
            f"{path}: expected an index of float vectors, as faiss.write_index writes it ({reason})"
        ) from None


def open_any(path: Path) -> Any:
    """Open an index of waterfill or of FAISS to search it."""
    if path.is_dir():
        return read_index(path)
    if wf.io.file_kind(path) is not None:
        return wf.read_index(path)
    return read_faiss(path)
