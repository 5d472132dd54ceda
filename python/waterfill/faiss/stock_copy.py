"""`to_faiss`: a stock FAISS copy of an index."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from waterfill._util.optional import require_faiss
from waterfill.faiss.export import export_faiss


def to_faiss(index: Any, *, offsets: bool = True, rows: bool = True) -> Any:
    """Return a stock FAISS index with the same codes, as `export_faiss` writes it.

    Parameters
    ----------
    index : IndexFlat or IndexIVF
    offsets, rows : bool
        As `export_faiss`.

    Returns
    -------
    faiss.IndexPreTransform, IndexRefine or IndexIDMap2
        An independent copy; ``docs/faiss-export.md`` describes its structure.

    Raises
    ------
    ImportError
        If FAISS is not installed: ``pip install "waterfill[faiss]"``.
    ValueError, TypeError, NotTrainedError
        As `export_faiss`.
    """
    faiss = require_faiss("to_faiss")
    import tempfile  # slow to import: it loads the compression modules

    # A file needs less memory: deserialize_index would hold all bytes besides the index.
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "index.faiss"
        export_faiss(index, path, offsets=offsets, rows=rows)
        return faiss.read_index(str(path))
