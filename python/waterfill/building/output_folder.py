"""The folder that a build fills: whether it is free, and a lock on it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from waterfill._util.system import sync_directory
from waterfill.folder.directory import BUILD_RECORD, LOCK, MANIFEST, WriterLock


def unfinished(path: str) -> bool:
    """Whether a folder is no index yet."""
    return not os.path.exists(os.path.join(path, MANIFEST))


@contextmanager
def locked(path: str) -> Iterator[None]:
    """Make a folder if there is none, and keep other writers out of it.

    Raises
    ------
    FileExistsError
        If there is something else.
    BlockingIOError
        If another process builds it.
    """
    if os.path.lexists(path) and not os.path.isdir(path):
        raise FileExistsError(17, "expected a folder or nothing, got a file", path)
    if os.path.isdir(path):
        _require_own(path)
    else:
        os.makedirs(path)
        sync_directory(os.path.dirname(path))
    lock = WriterLock(path)
    try:
        _require_own(path)  # another process may have been faster
        yield
    finally:
        lock.release()


def _require_own(path: str) -> None:
    names = set(os.listdir(path)) - {LOCK}
    if not names or BUILD_RECORD in names:
        return
    if not unfinished(path):
        raise FileExistsError(
            17,
            "this folder is an index that was not built from a source; open_index(path, 'a') adds "
            "vectors to it; to build, delete it, or choose another path",
            path,
        )
    others = {name for name in names if not name.startswith(f".{BUILD_RECORD}.")}
    if others:
        raise FileExistsError(
            17, f"the folder has other files, such as {min(others)}; choose another path", path
        )
