"""The directory of a folder: names of its files, copies of them, and the lock of the writer."""

from __future__ import annotations

import errno
import os
import re
import shutil
import weakref
from collections.abc import Collection
from typing import BinaryIO

from waterfill import _core
from waterfill._util.system import (
    OPEN_FLAGS,
    read_at,
    remove_unused,
    sync_directory,
    try_lock,
    write_at,
)

MANIFEST = "MANIFEST"
LOCK = "LOCK"
BUILD_RECORD = "BUILD"
"""What the folder was built from, if it was: see `waterfill.build`."""
BUILD_JOURNAL = "BUILD.journal"
"""What an unfinished build has done."""
_OURS = re.compile(
    r"(codec|segment|log)-\d{6,}(\.\d{6,})?\.(wf|wfl|dead)|\.(MANIFEST|segment-\d{6,}\.wf)\.[0-9a-f]+\.tmp"
)
HEADER_BYTES = 64  # of any file


def codec_name(number: int) -> str:
    """Return the name of a codec file."""
    return f"codec-{number:06}.wf"


def segment_name(number: int) -> str:
    """Return the name of a segment file."""
    return f"segment-{number:06}.wf"


def tombstones_name(segment: int, number: int) -> str:
    """Return the name of the file of a segment's removed vectors."""
    return f"segment-{segment:06}.{number:06}.dead"


def log_name(number: int) -> str:
    """Return the name of a write-ahead log."""
    return f"log-{number:06}.wfl"


def files_of(manifest: _core.Manifest) -> set[str]:
    """Return the names of all files that a manifest refers to."""
    names = {MANIFEST, LOCK, log_name(manifest.log)}
    names.update(codec_name(codec.number) for codec in manifest.codecs)
    for segment in manifest.segments:
        names.add(segment_name(segment.number))
        if segment.tombstones:
            names.add(tombstones_name(segment.number, segment.tombstones))
    return names


def remove_others(path: str, names: Collection[str]) -> None:
    """Remove the files of a folder that are not among some names; leave what is not ours."""
    for entry in os.listdir(path):
        if entry not in names and _OURS.fullmatch(entry):
            remove_unused(os.path.join(path, entry))


def copy_folder(path: str, manifest: _core.Manifest, log_size: int, target: str) -> None:
    """Make a folder of the files of a manifest, which never change, and the start of its log.

    The files become hard links where the file system has them. The folder appears when it is
    complete.
    """
    if os.path.lexists(target):
        raise FileExistsError(17, "expected a path that does not exist", target)
    parent, base = os.path.split(os.path.abspath(target))
    temporary = os.path.join(parent, f".{base}.{os.urandom(8).hex()}.tmp")
    os.mkdir(temporary)
    try:
        for name in files_of(manifest) - {MANIFEST, LOCK, log_name(manifest.log)}:
            _link(os.path.join(path, name), os.path.join(temporary, name))
        _copy(path, temporary, log_name(manifest.log), log_size)
        with open(os.path.join(temporary, MANIFEST), "xb") as file:
            _write(file, manifest.to_bytes())
        sync_directory(temporary)
        os.rename(temporary, target)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    sync_directory(parent)


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except FileNotFoundError:
        raise
    except OSError:  # another file system, or one without hard links
        with open(source, "rb") as old, open(target, "xb") as new:
            shutil.copyfileobj(old, new, 1 << 20)
            new.flush()
            os.fsync(new.fileno())


def _copy(path: str, target: str, name: str, size: int) -> None:
    with open(os.path.join(path, name), "rb") as old:
        data = old.read(size)
    with open(os.path.join(target, name), "xb") as new:
        _write(new, data)


def _write(file: BinaryIO, data: bytes) -> None:
    file.write(data)
    file.flush()
    os.fsync(file.fileno())


def header_checksum(path: str) -> int:
    """Return the CRC-32C of a file's header, which holds the checksum of its table of sections."""
    with open(path, "rb") as file:
        return _core.crc32c(file.read(HEADER_BYTES))


class WriterLock:
    """The lock of a folder for one writer: an advisory lock of the system, which ends with it.

    A forked child does not share it.
    """

    def __init__(self, path: str) -> None:
        name = os.path.join(path, LOCK)
        self._handle = os.open(name, os.O_RDWR | os.O_CREAT | OPEN_FLAGS, 0o666)
        try:
            if not try_lock(self._handle):
                owner = read_at(self._handle, 32, 0).decode("ascii", "replace").strip()
                raise BlockingIOError(
                    errno.EWOULDBLOCK,
                    f"process {owner or 'unknown'} has the folder open for changes; close it "
                    "there, or open it with mode='r'",
                    path,
                )
        except BaseException:
            os.close(self._handle)
            raise
        os.ftruncate(self._handle, 0)
        write_at(self._handle, b"%d\n" % os.getpid(), 0)
        self._pid = os.getpid()
        _locks.add(self)

    @property
    def held(self) -> bool:
        """Whether this process holds the lock: not after `release`, and not in a forked child."""
        return self._handle >= 0 and self._pid == os.getpid()

    def release(self) -> None:
        """Give the lock back."""
        handle, self._handle = self._handle, -1
        if handle >= 0:
            os.close(handle)

    def __del__(self) -> None:
        if hasattr(self, "_pid"):
            self.release()


_locks: weakref.WeakSet[WriterLock] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for lock in list(_locks):  # the lock stays with the parent, which has a descriptor of its own
        lock.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
