"""Indexes on disk."""

from __future__ import annotations

import os
from typing import Any

from waterfill import _core
from waterfill.arguments import as_file_name
from waterfill.flat import IndexFlat
from waterfill.index import Index
from waterfill.ivf import IndexIVF

Path = str | os.PathLike[str]


def write_index(index: IndexFlat | IndexIVF, path: Path) -> None:
    """Write an index and its codec to a file, in the format of ``cpp/FORMAT.md``.

    The file appears under its name whole or not at all: a temporary file beside it is written,
    synced and renamed. An existing file is replaced.

    Parameters
    ----------
    index : IndexFlat or IndexIVF
        Ids and rows that it keeps to refine with are written, too; an array of your own is not.
    path : str or path-like

    Raises
    ------
    OSError
        What the file system says: no such directory, no space, no permission.
    ValueError
        If `path` has a null character.
    TypeError
        If `index` is not one of them, or `path` is no path.
    NotTrainedError
        If it is not trained.
    """
    if not isinstance(index, Index):
        raise TypeError(f"index must be a waterfill index, got {type(index).__name__}")
    index._trained().write(as_file_name(path), **index._settings())


def read_index(path: Path, *, refine: Any = None) -> IndexFlat | IndexIVF:
    """Read an index that `write_index` wrote. All checksums are compared.

    Parameters
    ----------
    path : str or path-like
    refine : array, shape (m, d), optional
        Your own rows for the third stage, as `IndexFlat` takes them.

    Returns
    -------
    IndexFlat or IndexIVF
        What was written.

    Raises
    ------
    FormatError
        If the file is not a waterfill index, is damaged, or of a later format.
    OSError
        If it cannot be opened or read.
    ValueError
        If `path` has a null character; or as `IndexFlat`, for another `refine`.
    TypeError
        If `path` is no path, or `refine` holds other numbers.
    """
    try:
        stored = _core.read_index(as_file_name(path))
    except _core.FormatError as error:
        raise _core.FormatError(f"{os.fspath(path)}: {error}") from None
    return (IndexIVF if stored[1] else IndexFlat)._from_stored(stored, refine)
