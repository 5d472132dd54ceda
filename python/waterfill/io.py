"""Read and write indexes and codecs as files."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, Literal

from waterfill import _core
from waterfill._util.atomic_file import atomic_write
from waterfill._util.input_file import is_open_pipe, open_input, read_input, require_regular
from waterfill._util.validation import as_file_name
from waterfill.codec import Codec
from waterfill.index.base import Stored
from waterfill.index.flat import IndexFlat
from waterfill.index.hnsw import IndexHNSW
from waterfill.index.ivf import IndexIVF
from waterfill.index.vector_index import VectorIndex

Path = str | os.PathLike[str]

MAGIC = b"\x89WFL\r\n\x1a\n"
_KINDS = {1: "codec", 2: "flat index", 3: "IVF index", 7: "graph index"}


def write_index(index: IndexFlat | IndexIVF | IndexHNSW, path: Path) -> None:
    """Write an index and its codec to a file, in the format of ``cpp/FORMAT.md``.

    The write is atomic: a new file is written beside the old one, synced, and takes its place with
    its mode and owner. A symbolic link stays, and its target is replaced; other hard links of the
    file keep the old index. A device or a pipe is written to.

    Parameters
    ----------
    index : IndexFlat, IndexIVF or IndexHNSW
        Its ids and the rows of `refine` are written as well, but not an array of your own.
    path : str or path-like
        The file; an existing one is replaced.

    Raises
    ------
    OSError
        If the file cannot be written: no such directory, no space, no permission.
    ValueError
        If `path` has a null character.
    TypeError
        If `index` is not a waterfill index, or `path` is not a path.
    NotTrainedError
        If `index` is not trained.
    """
    if not isinstance(index, VectorIndex):
        raise TypeError(f"index must be a waterfill index, got {type(index).__name__}")
    index._trained()
    with atomic_write(path) as file:
        index._trained().write(file.fileno(), as_file_name(path), **index._settings())


def read_index(
    path: Path,
    *,
    refine: Any = None,
    mmap: bool = False,
    rows: Literal["memory", "mmap"] | None = None,
    verify: Literal["full", "header"] | None = None,
) -> IndexFlat | IndexIVF | IndexHNSW:
    """Read an index written by `write_index`, or use it where it lies.

    With ``mmap=True`` the file is mapped: opening takes milliseconds, a search reads only the
    pages that it needs, and processes that map the same file share them. ``rows="mmap"`` maps only
    the rows of `refine`, where these are too many for memory and the codes are not. A mapped index
    cannot be changed. Do not change or shorten a mapped file in place, or the system ends the
    process with SIGBUS; `write_index` replaces files as a whole, which is safe.

    Parameters
    ----------
    path : str or path-like
        A file of `write_index`.
    refine : array, shape (m, d), optional
        Your own rows to refine with, as for `IndexFlat`.
    mmap : bool
        Use codes, ids, lists and rows where they lie in the file.
    rows : {'memory', 'mmap'}, optional
        Where the rows of `refine` stay; by default, with the codes.
    verify : {'full', 'header'}, optional
        ``full`` reads all of the file and verifies it: the default where nothing is mapped.
        ``header`` verifies the header, the table of sections, the codec, the sizes of the lists
        and what is read into memory, and leaves what is mapped. Searching a damaged file is then
        safe, but its answers may be wrong.

    Returns
    -------
    IndexFlat, IndexIVF or IndexHNSW
        The index, equal to the one that was written.

    Raises
    ------
    FormatError
        If the file is not a waterfill index, is damaged, or has a later format version.
    OSError
        If it cannot be opened or read, or is neither a regular file nor an open pipe such as
        ``/dev/stdin`` or a shell's ``<(command)``.
    ValueError
        If `path` has a null character, `refine` is invalid (see `IndexFlat`), options contradict
        each other, or a file to be mapped is a pipe, holds a graph or was written before format
        1.5.
    TypeError
        If `path` is not a path, or `refine` has another dtype than float32 and float16.
    """
    if rows not in (None, "memory", "mmap"):
        raise ValueError(f"rows={rows!r} must be 'memory' or 'mmap'")
    if verify not in (None, "full", "header"):
        raise ValueError(f"verify={verify!r} must be 'full' or 'header'")
    if mmap and rows == "memory":
        raise ValueError("rows='memory' needs mmap=False; with mmap=True rows are mapped as well")
    maps = mmap or rows == "mmap"
    if not maps and verify == "header":
        raise ValueError("verify='header' needs mmap=True or rows='mmap'; what is read is verified")
    if not is_open_pipe(path) and file_kind(path) == "graph index":
        if maps or refine is not None:
            option = "refine" if refine is not None else "mmap=True and rows='mmap'"
            raise ValueError(f"{option}: {os.fspath(path)!s} holds a graph, which is read as it is")
        return IndexHNSW._from_stored(_core_read(_core.read_graph, path, as_file_name(path)))
    if is_open_pipe(path) and not maps:
        return from_bytes(read_input(path), refine, path)
    stored = _mapped(path, codes=mmap, verify=verify == "full") if maps else _stored(path)
    index = (IndexIVF if stored[1] else IndexFlat)._from_stored(stored, refine)
    if maps:
        index._frozen = "it lies in a mapped file; call read_index without mmap and rows"
    return index


def from_bytes(data: Any, refine: Any = None, path: Path = "") -> IndexFlat | IndexIVF | IndexHNSW:
    """Make an index from the bytes of a file; `path` is for messages."""
    if _kind(bytes(data[:16])) == "graph index":
        if refine is not None:
            raise ValueError("refine: the data holds a graph, which is read as it is")
        return IndexHNSW._from_stored(_core_read(_core.graph_from_bytes, path, data))
    stored = _core_read(_core.index_from_bytes, path, data)
    return (IndexIVF if stored[1] else IndexFlat)._from_stored(stored, refine)


def _core_read(read: Callable[[Any], Any], path: Path, source: Any) -> Any:
    """Read with the core; errors name the file."""
    try:
        return read(source)
    except _core.FormatError as error:
        name = f"{os.fspath(path)}: " if path else ""
        raise _core.FormatError(f"{name}{error}") from None


def write_codec(codec: Codec, path: Path) -> None:
    """Write a codec to a file (see `Codec.to_bytes`); the write is atomic.

    Parameters
    ----------
    codec : Codec
        The codec.
    path : str or path-like
        An existing file is replaced.

    Raises
    ------
    OSError
        If the file cannot be written.
    ValueError
        If `path` has a null character.
    TypeError
        If `codec` is not a `Codec`, or `path` is not a path.
    """
    if not isinstance(codec, Codec):
        raise TypeError(f"codec must be a waterfill.Codec, got {type(codec).__name__}")
    with atomic_write(path) as file:
        file.write(codec.to_bytes())


def read_codec(path: Path) -> Codec:
    """Read a codec from a file of `write_codec`, or of an index from a file of `write_index`.

    Parameters
    ----------
    path : str or path-like
        All checksums are verified. The file of an index is read completely.

    Returns
    -------
    Codec
        The codec, equal to the one that was written.

    Raises
    ------
    FormatError
        If the file is neither, is damaged, or has a later format version.
    OSError
        If it cannot be opened or read, or is neither a regular file nor an open pipe such as
        ``/dev/stdin`` or a shell's ``<(command)``.
    ValueError
        If `path` has a null character.
    TypeError
        If `path` is not a path.
    """
    piped = is_open_pipe(path)
    if not piped and file_kind(path) in ("flat index", "IVF index"):
        return Codec(_stored(path)[0].codec)
    data = read_input(path)
    try:
        if piped and _kind(data) in ("flat index", "IVF index"):
            return Codec(_core.index_from_bytes(data)[0].codec)
        return Codec.from_bytes(data)
    except _core.FormatError as error:
        raise _core.FormatError(f"{os.fspath(path)}: {error}") from None


def file_kind(path: Path) -> str | None:
    """Return 'codec', 'flat index', 'IVF index' or 'graph index', or None for other files."""
    with open_input(path) as file:
        return _kind(file.read(16))


def _kind(header: bytes) -> str | None:
    header = header[:16]
    if not header.startswith(MAGIC) or len(header) < 16:
        return None
    return _KINDS.get(int.from_bytes(header[12:], "little"))


def _mapped(path: Path, *, codes: bool, verify: bool) -> Stored:
    if is_open_pipe(path):
        raise ValueError(f"path={str(path)!r} is a pipe, which cannot be mapped; read it instead")
    require_regular(path)
    try:
        if codes:
            return _core.map_index(as_file_name(path), verify)
        return _core.read_codes_and_map_rows(as_file_name(path), verify)
    except _core.FormatError as error:
        raise _core.FormatError(f"{os.fspath(path)}: {error}") from None


def _stored(path: Path) -> Stored:
    try:
        if is_open_pipe(path):
            return _core.index_from_bytes(read_input(path))
        require_regular(path)
        return _core.read_index(as_file_name(path))
    except _core.FormatError as error:
        raise _core.FormatError(f"{os.fspath(path)}: {error}") from None
