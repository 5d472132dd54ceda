"""Opening files to read: regular ones, and pipes that a shell has opened.

Opening a named pipe waits for a writer, for ever if there is none, and a device may have no end. A
pipe by descriptor (``/dev/stdin``, or ``<(command)`` of a shell) has its writer.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import BinaryIO

from waterfill._util.system import OPEN_FLAGS
from waterfill._util.validation import as_file_name

_DESCRIPTORS = (b"/dev/fd/", b"/proc/self/fd/")
_STDIN = b"/dev/stdin"
_NONBLOCK = getattr(os, "O_NONBLOCK", 0)
_KINDS = (
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def require_regular(path: str | bytes | os.PathLike[str]) -> None:
    """Raise OSError unless a path names a regular file, or a link to one, that exists."""
    name = as_file_name(path)
    _require_kind(_status(name), name, pipes=False)


def open_input(path: str | bytes | os.PathLike[str], *, pipes: bool = False) -> BinaryIO:
    """Open a regular file to read; never wait for the writer of a named pipe.

    Parameters
    ----------
    path : path
    pipes : bool
        Also accept an open pipe, by the name of its descriptor: for files that are read once, from
        the start to the end.

    Raises
    ------
    OSError
        If the file cannot be opened, or is of another kind.
    """
    name = as_file_name(path)
    pipes = pipes and (name == _STDIN or name.startswith(_DESCRIPTORS))
    _require_kind(_status(name), name, pipes=pipes)  # opening a device can have effects
    descriptor = os.open(name, os.O_RDONLY | OPEN_FLAGS | (0 if pipes else _NONBLOCK))
    try:
        _require_kind(os.fstat(descriptor), name, pipes=pipes)
        return open(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def read_input(path: str | bytes | os.PathLike[str]) -> bytes:
    """Return the content of a regular file or an open pipe."""
    with open_input(path, pipes=True) as file:
        return file.read()


def is_open_pipe(path: str | bytes | os.PathLike[str]) -> bool:
    """Return whether a path is the descriptor of a pipe, which can be read once."""
    name = as_file_name(path)
    if name != _STDIN and not name.startswith(_DESCRIPTORS):
        return False
    return stat.S_ISFIFO(os.stat(name).st_mode)


def _status(name: bytes) -> os.stat_result:
    try:
        return os.stat(name)
    except OSError as error:
        # With the name as text, as the user passed it.
        raise OSError(error.errno, f"cannot open: {error.strerror}", os.fsdecode(name)) from None


def _require_kind(status: os.stat_result, name: bytes, *, pipes: bool) -> None:
    mode = status.st_mode
    if stat.S_ISREG(mode) or (pipes and stat.S_ISFIFO(mode)):
        return
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), os.fsdecode(name))
    kind = next((text for test, text in _KINDS if test(mode)), "a special file")
    reason = f"expected a regular file, got {kind}; copy its content to a file"
    raise OSError(errno.EINVAL, reason, os.fsdecode(name))
