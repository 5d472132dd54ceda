"""A sample of the vectors of an index that keeps no rows, from which codecs are trained later."""

from __future__ import annotations

import os
import threading

import numpy as np
from numpy.typing import NDArray

from waterfill import _core
from waterfill._util.atomic_file import atomic_write
from waterfill._util.fork_safe_lock import fork_safe_lock
from waterfill.data.rows import FloatRows, Rows

RESERVOIR = "MANAGED.rows"
"""The file in the folder."""

_MOST_ROWS = 32_768
_MOST_BYTES = 64 << 20
_LATEST = 3000  # rows
_MAGIC = b"waterfill-rows-1"


class Reservoir:
    """A random sample of all vectors that came (Vitter, "Random sampling with a reservoir", 1985).

    Rows are of float16, at most 64 MB. What came since the last `save` is lost with the process,
    which leaves a sample of the vectors before. Removed vectors stay in it. Thread-safe.

    Parameters
    ----------
    path : str
        The folder.
    d : int

    Raises
    ------
    FormatError
        If the file is damaged.
    """

    def __init__(self, path: str, d: int) -> None:
        self._path = os.path.join(path, RESERVOIR)
        self._lock = fork_safe_lock(self, "_lock", threading.Lock)
        self._random = np.random.default_rng()
        self._size = max(1, min(_MOST_ROWS, _MOST_BYTES // (2 * d)))
        self._rows = np.empty((0, d), np.float16)
        self._latest = np.empty((0, d), np.float32)
        self._seen = 0
        if os.path.exists(self._path):
            self._seen, self._rows = _read(self._path, d)

    def start(self, rows: FloatRows, seen: int) -> None:
        """Begin with a sample of the vectors that came so far."""
        with self._lock:
            self._rows, self._seen = _half(rows[: self._size]), seen
            self._latest = rows[-_LATEST:]

    def note(self, x: Rows) -> None:
        """Take some of the vectors that have come; rows that are not finite are passed over."""
        with self._lock:
            room = min(self._size - len(self._rows), x.n)
            numbers = np.arange(self._seen + room, self._seen + x.n)
            places = self._random.integers(0, numbers + 1) if len(numbers) else numbers
            chosen = np.flatnonzero(places < self._size)
            self._seen += x.n
            first = _finite(x, np.arange(room))
            self._rows = np.concatenate([self._rows, _half(first)])
            for place, row in zip(
                places[chosen], _half(x.take(room + chosen, finite=False)), strict=True
            ):
                if place < len(self._rows) and np.isfinite(row).all():
                    self._rows[place] = row
            latest = _finite(x, np.arange(max(0, x.n - _LATEST), x.n))
            self._latest = np.concatenate([self._latest, latest])[-_LATEST:]

    @property
    def rows(self) -> FloatRows:
        """The sample, float32 (n, d)."""
        with self._lock:
            return self._rows.astype(np.float32)

    @property
    def latest(self) -> FloatRows:
        """The last vectors that came in this process, at most 3,000, float32 (n, d)."""
        with self._lock:
            return self._latest

    def save(self) -> None:
        """Write the sample; OSError if that fails."""
        with self._lock, atomic_write(self._path) as file:
            data = self._rows.tobytes()
            file.write(_MAGIC + np.array([self._seen, len(self._rows)], "<u8").tobytes())
            file.write(_core.crc32c(data).to_bytes(4, "little") + data)


def _finite(x: Rows, numbers: NDArray[np.int64]) -> FloatRows:
    """Return rows without those that float16 cannot hold."""
    rows = x.take(numbers, finite=False)
    return rows[np.isfinite(_half(rows)).all(axis=1)]


def _half(rows: FloatRows) -> NDArray[np.float16]:
    with np.errstate(over="ignore"):  # infinities are left out
        return rows.astype(np.float16)


def _read(path: str, d: int) -> tuple[int, NDArray[np.float16]]:
    with open(path, "rb") as file:
        magic, head, check = file.read(len(_MAGIC)), file.read(16), file.read(4)
        data = file.read()
    seen, count = np.frombuffer(head, "<u8").tolist() if len(head) == 16 else (0, -1)
    if (
        magic != _MAGIC
        or len(data) != 2 * d * count
        or _core.crc32c(data) != int.from_bytes(check, "little")
    ):
        raise _core.FormatError(f"{path}: damaged: not a sample of vectors of {d} dimensions")
    return seen, np.frombuffer(data, "<f2").reshape(count, d).astype(np.float16)
