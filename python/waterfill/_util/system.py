"""What Linux, macOS and Windows do differently: files, their locks and names, and processes."""

from __future__ import annotations

import ctypes
import os
import sys
import time
from collections.abc import Callable
from typing import Any, TypeVar

Result = TypeVar("Result")

OPEN_FLAGS = getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
"""Flags of every `os.open`: children do not inherit the file, and its bytes are not translated."""

GONE: tuple[type[OSError], ...] = (FileNotFoundError,)
"""What opening a removed file raises; on Windows others may still have it open."""
if os.name == "nt":
    GONE = (FileNotFoundError, PermissionError)

_NAME_PATIENCE = 5.0  # seconds
_STILL_ACTIVE = 259
_QUERY_LIMITED_INFORMATION = 0x1000
_LOCKED_BYTE = 1 << 30  # behind all content, as Windows also forbids to read what is locked


def sync_directory(path: str | os.PathLike[str]) -> None:
    """Wait until the names in a directory are on the disk. Windows writes them by itself."""
    if os.name == "nt":
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def read_at(handle: int, size: int, offset: int) -> bytes:
    """Return up to `size` bytes of a file from `offset` on. On Windows this moves its position."""
    if sys.platform != "win32":
        return os.pread(handle, size, offset)
    os.lseek(handle, offset, os.SEEK_SET)
    return os.read(handle, size)


def write_at(handle: int, data: Any, offset: int) -> None:
    """Write all of a buffer to a file from `offset` on. On Windows this moves its position."""
    view = memoryview(data)
    while view:
        if sys.platform != "win32":
            written = os.pwrite(handle, view, offset)
        else:
            os.lseek(handle, offset, os.SEEK_SET)
            written = os.write(handle, view)
        view, offset = view[written:], offset + written


def try_lock(handle: int) -> bool:
    """Lock a file for this process, until it is closed; return False if another one has it."""
    try:
        if sys.platform == "win32":
            import msvcrt

            os.lseek(handle, _LOCKED_BYTE, os.SEEK_SET)
            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    return True


def replace(source: str, target: str) -> None:
    """Give a file a name, in place of the file that has it.

    Windows refuses this while anybody reads the old file, so it is tried again for some seconds. A
    file that is mapped cannot be replaced there.
    """
    _patiently(lambda: os.replace(source, target))


def read_replaced(path: str) -> bytes:
    """Return the content of a file that others replace; meanwhile Windows does not open it."""

    def read() -> bytes:
        with open(path, "rb") as file:
            return file.read()

    return _patiently(read)


def _patiently(work: Callable[[], Result]) -> Result:
    end, pause = time.monotonic() + _NAME_PATIENCE, 0.001
    while True:
        try:
            return work()
        except PermissionError:
            if os.name != "nt" or time.monotonic() > end:
                raise
        time.sleep(pause)
        pause = min(2 * pause, 0.1)


def remove_unused(path: str) -> None:
    """Remove a file that nobody refers to. Windows keeps one that is open or mapped."""
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass
    except OSError:
        if os.name != "nt":
            raise


def is_running(process: int) -> bool:
    """Return whether a process exists; one of another user counts."""
    if sys.platform == "win32":
        return _is_running_on_windows(process)
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


if sys.platform == "win32":  # elsewhere ctypes has no such functions

    def _is_running_on_windows(process: int) -> bool:
        # os.kill would end it.
        kernel = ctypes.WinDLL("kernel32", use_last_error=True)
        kernel.OpenProcess.restype = ctypes.c_void_p
        handle = kernel.OpenProcess(_QUERY_LIMITED_INFORMATION, False, process)
        if not handle:
            access_denied = 5
            return bool(ctypes.get_last_error() == access_denied)
        try:
            code = ctypes.c_ulong()
            kernel.GetExitCodeProcess(ctypes.c_void_p(handle), ctypes.byref(code))
            return code.value == _STILL_ACTIVE
        finally:
            kernel.CloseHandle(ctypes.c_void_p(handle))
