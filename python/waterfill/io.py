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
    ValueError
        If `path` has a null character.
    TypeError
        If `index` is not an IndexFlat.
    """
    if not isinstance(index, IndexFlat):
        raise TypeError(f"index must be a waterfill.IndexFlat, got {type(index).__name__}")
    index._core.write(_file_name(path))


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
    ValueError
        If `path` has a null character.
    """
    try:
        return IndexFlat._wrap(_core.read_index(_file_name(path)))
    except _core.FormatError as error:
        raise _core.FormatError(f"{os.fspath(path)}: {error}") from None


def _file_name(path: Path) -> bytes:
    """Return the bytes that the operating system knows a file by."""
    name = os.fsencode(path)
    if b"\0" in name:
        raise ValueError(f"path={path!r} has a null character")
    return name
