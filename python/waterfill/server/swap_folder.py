"""Reads an index from the swap folder, and nothing outside of it."""

from __future__ import annotations

import errno
import os
import stat
import sys
from typing import Any

from waterfill._core import FormatError
from waterfill.io import read_index
from waterfill.server.responses import Problem

_MAX_NAME = 255  # bytes


def read_from(folder: str | os.PathLike[str], name: Any) -> Any:
    """Read an index from a folder.

    The file is opened relative to the folder's descriptor, without following a link, and read
    through its own descriptor, so that the file that was checked is the file that is read.

    Raises
    ------
    Problem
        If the name is invalid (422), not in the folder (404), or not a regular file (403); if the
        file is not an index (422).
    """
    handle = _open(folder, _file_name(name))
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise Problem(403, f"file={name!r} is not a regular file")
        return read_index(f"/dev/fd/{handle}")
    except FormatError:
        raise Problem(422, f"file={name!r} is not an index, or damaged") from None
    except OSError as error:
        raise Problem(422, f"file={name!r} cannot be read: {error.strerror}") from None
    except MemoryError:
        raise Problem(503, "not enough memory for a second index") from None
    finally:
        os.close(handle)


def _file_name(name: Any) -> bytes:
    if not isinstance(name, str) or not name:
        raise Problem(422, f"file must be the name of a file, got {name!r}")
    if any(character in name for character in "/\\\0") or name.startswith("."):
        raise Problem(
            422, f"file={name!r} must not contain /, \\ or a null character, nor begin with a dot"
        )
    try:
        encoded = os.fsencode(name)
    except UnicodeEncodeError:
        raise Problem(422, f"file={name!r} is not a valid file name") from None
    if len(encoded) > _MAX_NAME:
        raise Problem(422, f"file must have at most {_MAX_NAME} bytes, got {len(encoded)}")
    return encoded


def _open(folder: str | os.PathLike[str], name: bytes) -> int:
    if sys.platform == "win32":  # no descriptors of folders
        raise Problem(501, "the service swaps files on Linux and macOS; here, restart it")
    try:
        directory = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        raise Problem(404, "the swap folder does not exist") from None
    try:
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        return os.open(name, flags, dir_fd=directory)
    except FileNotFoundError:
        raise Problem(404, f"file={os.fsdecode(name)!r} is not in the swap folder") from None
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.EMLINK):
            reason = "is a link, which is not followed"
        else:
            reason = "cannot be opened"
        raise Problem(403, f"file={os.fsdecode(name)!r} {reason}") from None
    finally:
        os.close(directory)
