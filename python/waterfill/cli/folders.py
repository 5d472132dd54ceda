"""Indexes and codecs that a command reads, from a file or a folder; folders that it changes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import waterfill as wf
from waterfill.cli.description import Index
from waterfill.cli.errors import UsageError
from waterfill.folder.directory import BUILD_RECORD

SUFFIX = ".wfx"
"""Suffix of the name by which ``build`` makes a folder."""

_HOW = f"waterfill build FILES -o NAME{SUFFIX} makes one"


def read_index(path: Path) -> wf.IndexFlat | wf.IndexIVF:
    """Open an index of codes to read: a file, or a folder as it is now."""
    index = read_any_index(path)
    if isinstance(index, wf.IndexHNSW):
        raise UsageError(
            f"{path} holds a graph, which the command does not take; use waterfill.read_index in "
            "Python"
        )
    return index


def read_any_index(path: Path) -> Index:
    """Open an index to read, which may be a graph."""
    if not path.is_dir():
        return wf.read_index(path)
    with explained(path):
        return wf.open_index(path)


def bytes_on_disk(path: Path) -> int:
    """Return the size of a file, or of the files in a folder."""
    return folder_bytes(path) if path.is_dir() else path.stat().st_size


def read_codec(path: Path) -> wf.Codec:
    """Read a codec: of its own file, of an index file, or of a folder."""
    if not path.is_dir():
        return wf.read_codec(path)
    codec = read_index(path).codec
    assert codec is not None
    return codec


def folder_bytes(path: Path) -> int:
    """Return the bytes of the files in a folder."""
    return sum(entry.stat().st_size for entry in os.scandir(path) if entry.is_file())


@contextmanager
def changed_folder(path: Path) -> Iterator[Any]:
    """Open a folder for changes, each of which is on the disk when its call returns."""
    if path.exists() and not path.is_dir():
        raise NotADirectoryError(20, f"expected a folder, got a file; {_HOW}", str(path))
    with explained(path):
        index = wf.open_index(path, "a", background="off")
    with index:
        yield index


@contextmanager
def explained(path: Path, way_out: str = "end it first") -> Iterator[None]:
    """Replace errors that name functions of the library by errors that name commands."""
    try:
        yield
    except BlockingIOError as error:
        reason = str(error.strerror).partition(";")[0]
        raise BlockingIOError(error.errno, f"{reason}; {way_out}", str(path)) from None
    except FileNotFoundError:
        if (path / BUILD_RECORD).exists():
            reason = "the build of this folder is not finished; repeat waterfill build"
            raise FileNotFoundError(2, reason, str(path)) from None
        raise FileNotFoundError(2, f"no index in this folder; {_HOW}", str(path)) from None


def check_target(path: Path) -> None:
    """Refuse, before any work, a name of a folder that holds something else or cannot be made.

    Raises
    ------
    UsageError
        With the name of the option.
    """
    if os.path.lexists(path):
        if not path.is_dir() or (any(path.iterdir()) and not (path / BUILD_RECORD).exists()):
            raise UsageError(
                f"-o {path} exists, and was not built; waterfill add adds vectors to a folder; to "
                "make it anew, delete it"
            )
        return
    parent = path.absolute().parent
    if not parent.is_dir():
        raise UsageError(f"-o {path}: directory {parent} does not exist; create it")
    if not os.access(parent, os.W_OK | os.X_OK):
        raise UsageError(f"-o {path}: directory {parent} is not writable")
