"""How large shards and samples may be, within the memory that the caller allows."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from waterfill._util.validation import as_positive_int

MOST_ROWS = 1 << 20
"""Of a shard: more make builds coarser, fewer make searches slower."""

_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
_FIXED = 160 << 20  # Python, NumPy, Arrow and the codec
_PER_WORKER = 48 << 20  # blocks of vectors, and buffers of readers
_GROWTH = 1.6  # of the vectors in memory, while they grow and are written
_AT_ONCE = 2  # shards of a worker: one is encoded, one written
_FEWEST_ROWS = 1024
_LIST_ROWS = 32  # unused places of a list
_SAMPLE_SHARE = 8  # of the memory: training works on several copies of the sample


def as_bytes(memory: Any) -> int:
    """Return a number of bytes, given as such or like ``"1GB"`` or ``"512 MiB"``."""
    if not isinstance(memory, str):
        return as_positive_int("memory", memory)
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]?)(i?)b?\s*", memory.lower())
    if match is None or (match[3] and not match[2]):
        raise ValueError(f"memory={memory!r}: expected bytes, such as '1GB', '512MiB' or 10**9")
    unit = 1024 ** "kmgt".index(match[2]) * 1024 if match[3] else _UNITS[match[2]]
    return as_positive_int("memory", int(float(match[1]) * unit))


@dataclass(frozen=True)
class Budget:
    """The memory of a build, and who needs it.

    Attributes
    ----------
    memory : int
        Bytes that the process may hold.
    workers : int
    row_bytes : int
        Of a vector in a segment: code, id, and refine row.
    lists : int
        Lists of a segment, 0 for none.
    """

    memory: int
    workers: int
    row_bytes: int
    lists: int

    @property
    def shard_rows(self) -> int:
        """Most rows of a shard, so that all workers have room."""
        room = (self.memory - _FIXED) / self.workers - _PER_WORKER
        rows = int(room / (_AT_ONCE * _GROWTH * self.row_bytes)) - self.lists * _LIST_ROWS
        if rows < _FEWEST_ROWS:
            raise ValueError(
                f"memory={self.memory}: expected at least {self.needed(_FEWEST_ROWS):,} bytes for "
                f"{self.workers} workers; give more, or fewer workers"
            )
        return min(rows, MOST_ROWS)

    def workers_for(self, shard_rows: int) -> int:
        """Return how many workers have room for shards of this size."""
        for workers in range(self.workers, 0, -1):
            if self.with_workers(workers).needed(shard_rows) <= self.memory:
                return workers
        raise ValueError(
            f"memory={self.memory}: shards of {shard_rows:,} rows need "
            f"{self.with_workers(1).needed(shard_rows):,} bytes; give as much, or smaller shards"
        )

    def with_workers(self, workers: int) -> Budget:
        """Return the same with another number of workers."""
        return Budget(self.memory, workers, self.row_bytes, self.lists)

    def needed(self, shard_rows: int) -> int:
        """Return the bytes for shards of this size, one at each worker and one written."""
        rows = shard_rows + self.lists * _LIST_ROWS
        each = _PER_WORKER + int(_AT_ONCE * _GROWTH * self.row_bytes * rows)
        return _FIXED + self.workers * each

    def sample_rows(self, d: int, wanted: int) -> int:
        """Return how many rows to draw for training: those wanted, or as many as have room."""
        return max(1024, min(wanted, self.memory // _SAMPLE_SHARE // (4 * d)))
