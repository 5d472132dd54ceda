"""Indexes and codecs on disk."""

from __future__ import annotations

import os
from typing import Any

from waterfill import _core
from waterfill._util.atomic_file import atomic_write
from waterfill._util.validation import as_file_name
from waterfill.codec import Codec
from waterfill.index.base import Index, Stored
from waterfill.index.flat import IndexFlat
from waterfill.index.ivf import IndexIVF

Path = str | os.PathLike[str]

_MAGIC = b"\x89WFL\r\n\x1a\n"
_KINDS = {1: "codec", 2: "flat index", 3: "IVF index"}


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
    stored = _stored(path)
    return (IndexIVF if stored[1] else IndexFlat)._from_stored(stored, refine)


def write_codec(codec: Codec, path: Path) -> None:
    """Write a codec to a file: `Codec.to_bytes`, whole or not at all.

    Parameters
    ----------
    codec : Codec
    path : str or path-like
        An existing file is replaced.

    Raises
    ------
    OSError
        What the file system says.
    ValueError
        If `path` has a null character.
    TypeError
        If `codec` is none, or `path` is no path.
    """
    if not isinstance(codec, Codec):
        raise TypeError(f"codec must be a waterfill.Codec, got {type(codec).__name__}")
    with atomic_write(path) as file:
        file.write(codec.to_bytes())


def read_codec(path: Path) -> Codec:
    """Read a codec that `write_codec` wrote, or that of an index which `write_index` wrote.

    Parameters
    ----------
    path : str or path-like
        All checksums are compared; of an index the whole file is read.

    Returns
    -------
    Codec

    Raises
    ------
    FormatError
        If the file is neither, is damaged, or of a later format.
    OSError
        If it cannot be opened or read.
    ValueError
        If `path` has a null character.
    TypeError
        If `path` is no path.
    """
    if file_kind(path) not in (None, "codec"):
        return Codec(_stored(path)[0].codec)
    with open(as_file_name(path), "rb") as file:
        data = file.read()
    try:
        return Codec.from_bytes(data)
    except _core.FormatError as error:
        raise _core.FormatError(f"{os.fspath(path)}: {error}") from None


def file_kind(path: Path) -> str | None:
    """Return what a file of ours holds: codec, flat index or IVF index; None of another file."""
    with open(as_file_name(path), "rb") as file:
        header = file.read(16)
    if not header.startswith(_MAGIC) or len(header) < 16:
        return None
    return _KINDS.get(int.from_bytes(header[12:], "little"))


def _stored(path: Path) -> Stored:
    try:
        return _core.read_index(as_file_name(path))
    except _core.FormatError as error:
        raise _core.FormatError(f"{os.fspath(path)}: {error}") from None
