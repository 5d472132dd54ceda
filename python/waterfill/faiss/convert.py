"""An index as an object of stock FAISS."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from waterfill.extras import require_faiss
from waterfill.faiss.export import export_faiss


def to_faiss(index: Any, *, offsets: bool = True, rows: bool = True) -> Any:
    """Make a stock FAISS index of the same codes: what `export_faiss` writes, in memory.

    Parameters
    ----------
    index : IndexFlat or IndexIVF
    offsets, rows : bool
        As `export_faiss`.

    Returns
    -------
    faiss.IndexPreTransform, IndexRefine or IndexIDMap2
        As it says in ``docs/faiss-export.md``. A copy: later changes of either do not change the
        other.

    Raises
    ------
    ImportError
        If FAISS is not installed: ``pip install "waterfill[faiss]"``.
    ValueError, TypeError, NotTrainedError
        As `export_faiss`.
    """
    faiss = require_faiss("to_faiss")
    # By way of a file, because deserialize_index wants all bytes in memory beside the index.
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "index.faiss"
        export_faiss(index, path, offsets=offsets, rows=rows)
        return faiss.read_index(str(path))
