"""A sample of the vectors of an index that keeps no rows, from which codecs are trained later."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from waterfill import _core
from waterfill._util.atomic_file import atomic_write
from waterfill._util.fork_safe_lock import fork_safe_lock
from waterfill.data.rows import FloatRows, Rows
from waterfill.index.vector_index import Labels

RESERVOIR = "MANAGED.rows"
"""The file in the folder."""

_MOST_ROWS = 32_768
_MOST_BYTES = 64 << 20
_FEWEST_ROWS = 1000  # to train with
_LATEST = 3000  # rows
_MAGIC = b"waterfill-rows-2"
_MAGIC_WITHOUT_IDS = b"waterfill-rows-1"
_NO_ID = -1
_MOST_GAPS = 10**9 - 1  # NumPy draws no hypergeometric numbers from more


class Reservoir:
    """A random sample of the vectors in an index, whose rows are kept nowhere else.

    New vectors are sampled as by Vitter ("Random sampling with a reservoir", 1985). Removed ones
    leave the sample, and the next ones that come are taken in with the probability that keeps it
    uniform ("random pairing" of Gemulla, Lehner and Haas, "A dip in the reservoir", 2006). Rows are
    of float16, at most 64 MB. What happened since the last `save` is lost with the process.
    Thread-safe.

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
        self._n = 0  # of the arrays, which have room for more
        self._ids = np.empty(0, np.int64)
        self._rows = np.empty((0, d), np.float16)
        self._latest = np.empty((0, d), np.float32)
        # Vectors of the index, and removed ones that no later vector has made up for: those that
        # were in the sample, and the others.
        self._vectors = self._gaps = self._gaps_outside = 0
        if os.path.exists(self._path):
            counts, self._ids, self._rows = _read(self._path, d)
            self._vectors, self._gaps, self._gaps_outside = counts
            self._n = len(self._ids)

    def start(self, ids: Labels, rows: FloatRows, vectors: int) -> None:
        """Begin with a random sample of so many vectors."""
        with self._lock:
            self._ids, self._rows = ids[: self._size].copy(), _half(rows[: self._size])
            self._n = len(self._ids)
            self._vectors, self._gaps, self._gaps_outside = vectors, 0, 0
            self._latest = rows[-_LATEST:]

    def note(self, ids: Labels, x: Rows) -> None:
        """Take some of the vectors that have come; rows that are not finite are passed over."""
        with self._lock:
            paired = min(x.n, self._gaps + self._gaps_outside)
            taken = int(self._random.hypergeometric(self._gaps, self._gaps_outside, paired))
            self._gaps -= taken
            self._gaps_outside -= paired - taken
            room = max(0, min(self._size - self._vectors, x.n) - paired)
            chosen = np.sort(self._random.choice(paired, taken, replace=False))
            self._append(ids, x, np.concatenate([chosen, np.arange(paired, paired + room)]))
            self._replace(ids, x, paired + room)
            self._vectors += x.n
            latest = _finite(x, np.arange(max(0, x.n - _LATEST), x.n))[1]
            self._latest = np.concatenate([self._latest, latest])[-_LATEST:]

    def _append(self, ids: Labels, x: Rows, numbers: NDArray[np.int64]) -> None:
        """Take rows of these numbers."""
        held, rows = _finite(x, numbers)
        first, self._n = self._n, self._n + len(rows)
        if self._n > len(self._ids):
            room = max(self._n, min(2 * len(self._ids), self._size))
            self._ids = np.resize(self._ids, room)
            self._rows = np.resize(self._rows, (room, self._rows.shape[1]))
        self._ids[first : self._n] = ids[numbers[held]]
        self._rows[first : self._n] = _half(rows)

    def _replace(self, ids: Labels, x: Rows, first: int) -> None:
        """Let the rows from number `first` on take places of others, by chance."""
        numbers = np.arange(first, x.n)
        places = self._random.integers(0, self._vectors + numbers + 1) if len(numbers) else numbers
        within = places < self._n
        places, numbers = places[within], numbers[within]
        held, rows = _finite(x, numbers)
        for place, number, row in zip(places[held], numbers[held], _half(rows), strict=True):
            self._ids[place], self._rows[place] = ids[number], row

    def remove(self, ids: Labels, removed: int) -> None:
        """Leave out vectors of ids, with which so many were removed from the index."""
        with self._lock:
            self._keep(~np.isin(self._ids[: self._n], ids), removed)

    def keep(
        self, known: Callable[[Labels], NDArray[np.bool_]], vectors: int, *, unknown: bool
    ) -> None:
        """Leave out vectors that the index has no more.

        Parameters
        ----------
        known : callable
            Given ids, int64 (n,), returns which the index has, bool (n,).
        vectors : int
            Number of vectors of the index.
        unknown : bool
            Whether rows stay whose ids the file does not tell.
        """
        with self._lock:
            ids = self._ids[: self._n]
            stays = np.where(ids == _NO_ID, unknown, known(ids))
            gone = self._n - int(np.count_nonzero(stays))
            self._keep(stays, max(gone, self._vectors - vectors))

    def _keep(self, stays: NDArray[np.bool_], removed: int) -> None:
        """Leave out some rows, after so many vectors were removed from the index."""
        left = int(np.count_nonzero(stays))
        gone, self._n = self._n - left, left
        holes, last = np.flatnonzero(~stays[:left]), left + np.flatnonzero(stays[left:])
        self._ids[holes], self._rows[holes] = self._ids[last], self._rows[last]
        removed = min(removed, self._vectors)
        self._vectors -= removed
        self._gaps += min(gone, removed)
        outside = self._gaps_outside + removed - min(gone, removed)
        self._gaps_outside = min(outside, _MOST_GAPS - self._gaps)

    @property
    def enough(self) -> bool:
        """Whether the sample is large enough to train and to measure with."""
        return self._n >= min(_FEWEST_ROWS, self._size)

    @property
    def rows(self) -> FloatRows:
        """The sample, float32 (n, d)."""
        with self._lock:
            return self._rows[: self._n].astype(np.float32)

    @property
    def latest(self) -> FloatRows:
        """The last vectors that came in this process, at most 3,000, float32 (n, d)."""
        with self._lock:
            return self._latest

    def save(self) -> None:
        """Write the sample; OSError if that fails."""
        with self._lock, atomic_write(self._path) as file:
            ids, rows = self._ids[: self._n], self._rows[: self._n]
            head = np.array([self._vectors, self._n], "<u8").tobytes()
            data = np.array([self._gaps, self._gaps_outside], "<u8").tobytes()
            data += ids.astype("<i8").tobytes() + rows.astype("<f2").tobytes()
            check = _core.crc32c(head + data).to_bytes(4, "little")
            file.write(_MAGIC + head + check + data)


def _finite(x: Rows, numbers: NDArray[np.int64]) -> tuple[NDArray[np.int64], FloatRows]:
    """Return the positions of numbers whose rows float16 can hold, and these rows."""
    rows = x.take(numbers, finite=False)
    held = np.flatnonzero(np.isfinite(_half(rows)).all(axis=1))
    return held, rows[held]


def _half(rows: FloatRows) -> NDArray[np.float16]:
    with np.errstate(over="ignore"):  # infinities are left out
        return rows.astype(np.float16)


def _read(path: str, d: int) -> tuple[tuple[int, int, int], Labels, NDArray[np.float16]]:
    """Return the counts, the ids and the rows of a file."""
    with open(path, "rb") as file:
        magic, head, check, data = file.read(16), file.read(16), file.read(4), file.read()
    vectors, n = np.frombuffer(head, "<u8").tolist() if len(head) == 16 else (0, 0)
    old = magic == _MAGIC_WITHOUT_IDS
    sizes = (0, 0, 2 * d * n) if old else (16, 8 * n, 2 * d * n)
    if (
        not (old or magic == _MAGIC)
        or len(data) != sum(sizes)
        or _core.crc32c(data if old else head + data) != int.from_bytes(check, "little")
    ):
        raise _core.FormatError(f"{path}: damaged: not a sample of vectors of {d} dimensions")
    rows = np.frombuffer(data[sum(sizes[:2]) :], "<f2").reshape(n, d).astype(np.float16)
    if old:
        return (vectors, 0, 0), np.full(n, _NO_ID, np.int64), rows
    gaps, outside = np.frombuffer(data[:16], "<u8").tolist()
    ids = np.frombuffer(data[16 : 16 + sizes[1]], "<i8").astype(np.int64)
    return (vectors, gaps, outside), ids, rows
