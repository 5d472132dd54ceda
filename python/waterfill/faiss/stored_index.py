"""What a FAISS index stores: its vectors, as they are or decoded, their ids and lists."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from waterfill._util.validation import Metric
from waterfill.data.rows import FloatRows
from waterfill.index.selector_graph import Ids

_SAMPLE_ROWS = 65_536 + 256  # rows that training draws and holds out
_SAMPLE_BYTES = 256 << 20
_WITH_ROWS = "pass the vectors themselves as rows="


class Vectors(Protocol):
    """Vectors of an index by their numbers, 0 to n - 1."""

    def read(self, first: int, n: int) -> FloatRows:
        """Return `n` consecutive vectors."""
        ...

    def take(self, numbers: Ids) -> FloatRows:
        """Return the vectors of these numbers."""
        ...


class ArrayVectors:
    """Vectors in one array."""

    def __init__(self, rows: FloatRows) -> None:
        self.rows = rows

    def read(self, first: int, n: int) -> FloatRows:
        """Return `n` consecutive vectors."""
        return self.rows[first : first + n]

    def take(self, numbers: Ids) -> FloatRows:
        """Return the vectors of these numbers."""
        taken: FloatRows = self.rows[numbers]
        return taken


@dataclass(frozen=True)
class Lists:
    """The inverted lists of an index, and how many a search scans.

    `quantizer` is a FAISS index of their centroids; None if these are not to be had.
    """

    quantizer: Any
    nlist: int
    nprobe: int


@dataclass(frozen=True)
class Stored:
    """What an index stores.

    Attributes
    ----------
    vectors : Vectors or None
        None if the index cannot give vectors back; `why` says why.
    n, d : int
    metric : {'ip', 'l2', 'cosine'}
    ids : int64 (n,), optional
        None if ids are positions.
    lists : Lists, optional
    in_order : bool
        Whether vectors come in the order in which they were added.
    losses : tuple of str
        What vectors have lost in the index; empty if they are what was added.
    why : str
    """

    vectors: Vectors | None
    n: int
    d: int
    metric: Metric
    ids: Ids | None = None
    lists: Lists | None = None
    in_order: bool = True
    losses: tuple[str, ...] = ()
    why: str = ""

    def read(self) -> Vectors:
        """Return the vectors; TypeError if the index cannot give them back."""
        if self.vectors is None:
            raise TypeError(f"index: {self.why}; {_WITH_ROWS}")
        return self.vectors

    def sample(self, seed: int) -> FloatRows:
        """Return all vectors if they lie in one array, otherwise a sample for training."""
        vectors = self.read()
        if isinstance(vectors, ArrayVectors):
            return vectors.rows
        count = min(self.n, _SAMPLE_ROWS, max(1024, _SAMPLE_BYTES // (4 * self.d)))
        rng = np.random.default_rng(seed)
        return vectors.take(np.sort(rng.choice(self.n, count, replace=False)))
