"""Indexes on disk."""

from __future__ import annotations

import os

from waterfill import _core
from waterfill.index import IndexFlat

Path = str | os.PathLike[str]


def write_index(index: IndexFlat, path: Path) -> None:
    """Write an index and its codec to a file, in the format of ``cpp/FORMAT.md``.

    The file appears under its name whole or not at all: a temporary file beside it is written,
    synced and renamed. An existing file is replaced.

    Parameters
    ----------
    index : IndexFlat
    path : str or path-like

    Raises
    ------
    OSError
        What the file system says: no such directory, no space, no permission.
    TypeError
        If `index` is not an IndexFlat.
    """
    if not isinstance(index, IndexFlat):
        raise TypeError(f"index must be a waterfill.IndexFlat, got {type(index).__name__}")
    index._core.write(os.fspath(path))


def read_index(path: Path) -> IndexFlat:
    """Read an index that `write_index` wrote. All checksums are compared.

    Parameters
    ----------
    path : str or path-like

    Raises
    ------
    FormatError
        If the file is not a waterfill index, is damaged, or of a later format.
    OSError
        If it cannot be opened or read.
    """
    name = os.fspath(path)
    try:
        return IndexFlat._wrap(_core.read_index(name))
    except _core.FormatError as error:
        raise _core.FormatError(f"{name}: {error}") from None
