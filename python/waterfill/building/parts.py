"""Parts of a source: its files, fragments or arrays, each with what tells it from another one."""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from waterfill.building.file_reader import sequential
from waterfill.building.id_columns import IdColumn, array_ids, file_ids
from waterfill.data.block_source import NoRowsError
from waterfill.data.rows import Rows, as_source
from waterfill.data.vector_files import BASE_DATASETS, open_file

Identity = list[Any]

_BLOCK_BYTES = 1 << 20
_COMPARED_ROWS = 1024  # of vectors that are in no file of their own


@dataclass(frozen=True)
class Part:
    """Vectors that are opened together: a file, a fragment of a dataset, or an array.

    Attributes
    ----------
    name : str
        For messages.
    n, d : int
        Numbers of rows and dimensions.
    starts : int64 array or None
        Rows from which reading can start without decoding others before them; None for all.
    block_rows : int
        Rows to read at once.
    identity_now : callable
        Returns what changes if the vectors do, for JSON.
    open : callable
        Returns the vectors, a `BlockSource`. Each worker opens its own.
    opened_anew : bool
        Whether `open` returns another object each time, which may be closed.
    open_ids : callable
        Given the name of a column, returns the ids in it.
    """

    name: str
    n: int
    d: int
    starts: NDArray[np.int64] | None
    block_rows: int
    identity_now: Callable[[], Identity] = field(repr=False)
    open: Callable[[], Any] = field(repr=False)
    open_ids: Callable[[str], IdColumn] = field(repr=False)
    opened_anew: bool = True


def file_part(path: str, key: str | None, format: str | None) -> Part | None:
    """Return a file as a part; None if it has no rows."""

    def opened() -> Any:
        vectors = open_file(path, key, BASE_DATASETS, format)
        return sequential(vectors) or as_source(vectors, path)

    try:
        source = opened()
    except NoRowsError:
        return None
    n, d = source.shape
    if n == 0:
        return None
    starts = getattr(source, "starts", None)
    name = getattr(source, "name", path)
    return Part(
        name=name,
        n=int(n),
        d=int(d),
        starts=starts,
        block_rows=block_rows(source),
        identity_now=lambda: file_identity(path),
        open=opened,
        open_ids=lambda column: file_ids(path, column, format),
    )


def block_rows(source: Any) -> int:
    """Return how many rows of a source to read at once: what stays in the cache of a core."""
    own = getattr(source, "block_rows", None)
    return max(64, _BLOCK_BYTES // (4 * int(source.shape[1]))) if own is None else int(own)


def file_identity(path: str) -> Identity:
    """Return what a change of a file changes: its size and the time of its last change."""
    stat = os.stat(path)
    return [os.path.abspath(path), stat.st_size, stat.st_mtime_ns]


def array_part(x: Any, name: str, ids: Callable[[str], IdColumn] | None = None) -> Part | None:
    """Return vectors in memory, or a block source, as a part; None if there are no rows."""
    rows = Rows(x, name)
    if rows.n == 0:
        return None
    return Part(
        name=rows.name,
        n=rows.n,
        d=rows.d,
        starts=getattr(rows.source, "starts", None),
        block_rows=block_rows(rows.source),
        identity_now=lambda: _content_identity(rows),
        open=lambda: rows.source,
        open_ids=ids or (lambda column: array_ids(x, column, name)),
        opened_anew=False,
    )


def _content_identity(rows: Rows) -> Identity:
    """Return the shape, and a checksum of evenly spaced rows."""
    numbers = np.unique(np.linspace(0, rows.n - 1, _COMPARED_ROWS).astype(np.int64))
    taken = rows.take(numbers, finite=False, missing=True)
    return [rows.name, rows.n, rows.d, str(rows.dtype), zlib.crc32(taken.tobytes())]
