"""The folder that indexes are swapped in from, and nothing beyond it."""

from __future__ import annotations

import errno
import os
import stat
from typing import Any

from waterfill._core import FormatError
from waterfill.io import read_index
from waterfill.server.responses import Problem

_LONGEST = 255  # bytes of a name
_WAYS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def read_from(folder: str | os.PathLike[str], name: Any) -> Any:
    """Read an index of a folder.

    The file is opened below the folder's own handle, without following a link, and read through
    that handle: what was looked at is what is read.

    Raises
    ------
    Problem
        If the name is no file's in this folder (422, 404, 403), or it is no index (422).
    """
    handle = _open(folder, _file_name(name))
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise Problem(403, f"file={name!r} is no ordinary file")
        return read_index(f"/dev/fd/{handle}")
    except FormatError:
        raise Problem(422, f"file={name!r} is no index, or damaged") from None
    except OSError as error:
        raise Problem(422, f"file={name!r} cannot be read: {error.strerror}") from None
    except MemoryError:
        raise Problem(503, "there is not enough memory for a second index") from None
    finally:
        os.close(handle)


def _file_name(name: Any) -> bytes:
    if not isinstance(name, str) or not name:
        raise Problem(422, f"file is {name!r}, wanted is the name of a file")
    if any(each in name for each in "/\\\0") or name.startswith("."):
        raise Problem(
            422, f"file={name!r} must be a name without /, \\ or a null, not beginning with a dot"
        )
    try:
        encoded = os.fsencode(name)
    except UnicodeEncodeError:
        raise Problem(422, f"file={name!r} is no name of a file") from None
    if len(encoded) > _LONGEST:
        raise Problem(422, f"file has {len(encoded)} bytes, at most {_LONGEST} are a name")
    return encoded


def _open(folder: str | os.PathLike[str], name: bytes) -> int:
    try:
        directory = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        raise Problem(404, "the folder for swapping is not there") from None
    try:
        return os.open(name, _WAYS, dir_fd=directory)
    except FileNotFoundError:
        raise Problem(404, f"file={os.fsdecode(name)!r} is not in the folder") from None
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.EMLINK):
            words = "is a link, which is not followed"
        else:
            words = "cannot be opened"
        raise Problem(403, f"file={os.fsdecode(name)!r} {words}") from None
    finally:
        os.close(directory)
