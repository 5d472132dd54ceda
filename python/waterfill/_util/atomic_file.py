"""Atomic replacement of files."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from typing import BinaryIO

from waterfill._util.system import OPEN_FLAGS, replace, sync_directory
from waterfill._util.validation import as_file_name

_NEW_MODE = 0o666  # less the umask
_UNSUPPORTED = (errno.EISDIR, errno.EOPNOTSUPP, errno.EINVAL)  # of O_TMPFILE


@contextlib.contextmanager
def atomic_write(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Open a file for writing that appears at `path` only if the block ends without an error.

    The data go to a file without a name, where the file system has such, so that a process that is
    killed while it writes leaves nothing behind; otherwise to a temporary one. It is synced, gets
    the mode and owner of the file at `path`, and takes its place. Where `path` is a symbolic link,
    the target is replaced. A device, a pipe or another special file is written to once the block
    has ended.
    """
    name = os.fsdecode(as_file_name(path))
    try:
        old: os.stat_result | None = os.stat(name)
    except FileNotFoundError:
        old = None
    if old is not None and stat.S_ISDIR(old.st_mode):
        raise IsADirectoryError(f"path={str(path)!r} is a directory")
    if old is not None and not stat.S_ISREG(old.st_mode):
        with tempfile.TemporaryFile() as file:
            yield file
            file.seek(0)
            with open(name, "wb") as special:
                shutil.copyfileobj(file, special, 1 << 20)
        return
    if old is not None and not os.access(name, os.W_OK):
        raise PermissionError(errno.EACCES, "Permission denied", name)
    target = os.path.realpath(name) if os.path.islink(name) else name
    with _temporary(target) as (file, rename):
        yield file
        file.flush()
        if old is not None:
            _take_over(file.fileno(), old)
        os.fsync(file.fileno())
        if os.name == "nt":
            file.close()  # an open file keeps its name
        rename()
    sync_directory(os.path.dirname(target) or ".")


@contextlib.contextmanager
def _temporary(target: str) -> Iterator[tuple[BinaryIO, _Rename]]:
    """Open a file in the directory of `target`, with a function that gives it that name."""
    unnamed = _open_unnamed(os.path.dirname(target) or ".")
    rename = _Rename(target, unnamed)
    descriptor = unnamed
    if descriptor is None:
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | OPEN_FLAGS
        descriptor = os.open(rename.temporary, flags, _NEW_MODE)
    try:
        with os.fdopen(descriptor, "wb+") as file:
            yield file, rename
    except BaseException:
        rename.undo()
        raise


class _Rename:
    """Gives a file the name of a target, through a temporary name in its directory."""

    def __init__(self, target: str, unnamed: int | None) -> None:
        directory, base = os.path.split(target)
        self.temporary = os.path.join(directory, f".{base}.{os.urandom(8).hex()}.tmp")
        self._target = target
        self._unnamed = unnamed

    def __call__(self) -> None:
        if self._unnamed is not None:
            # Only with a directory, ignored for an absolute path, does Python follow the link.
            source = f"/proc/self/fd/{self._unnamed}"
            os.link(source, self.temporary, src_dir_fd=self._unnamed, follow_symlinks=True)
        replace(self.temporary, self._target)

    def undo(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.temporary)


def _open_unnamed(directory: str) -> int | None:
    """Open a file without a name in a directory, or return None where there are none."""
    if not hasattr(os, "O_TMPFILE") or not os.path.isdir("/proc/self/fd"):
        return None
    try:
        return os.open(directory, os.O_TMPFILE | os.O_RDWR | OPEN_FLAGS, _NEW_MODE)
    except OSError as error:
        if error.errno in _UNSUPPORTED:
            return None
        raise


def _take_over(descriptor: int, old: os.stat_result) -> None:
    """Give a file the mode and owner of the one that it replaces; Windows has neither."""
    if not hasattr(os, "fchown"):
        return
    new = os.fstat(descriptor)
    if (new.st_uid, new.st_gid) != (old.st_uid, old.st_gid):
        with contextlib.suppress(PermissionError):
            os.fchown(descriptor, old.st_uid, old.st_gid)
    os.fchmod(descriptor, stat.S_IMODE(old.st_mode))  # after fchown, which clears bits
