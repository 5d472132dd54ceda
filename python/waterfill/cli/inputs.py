"""Files that a command reads, and names of those that it writes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from waterfill.cli.errors import UsageError
from waterfill.cli.output import Advance
from waterfill.data.block_source import ConcatenatedSource, FileSource
from waterfill.data.rows import as_source
from waterfill.data.vector_files import BASE_DATASETS, QUERY_DATASETS, open_file


class Vectors(FileSource):
    """Vectors of any file, which errors call by its name, and a count of what was read.

    Attributes
    ----------
    advance : callable
        Is told how many rows were read, block by block.
    """

    def __init__(self, source: Any, name: str) -> None:
        self._source = as_source(source, name)
        n, d = self._source.shape
        super().__init__(name, (int(n), int(d)), self._source.dtype)
        self.advance: Advance = lambda n: None
        if self.shape[0] == 0:
            raise ValueError(f"{name}: has no rows; at least 1 is needed")

    @property
    def n(self) -> int:
        """Number of rows."""
        return self.shape[0]

    @property
    def d(self) -> int:
        """Dimensions."""
        return self.shape[1]

    def read(self, first: int, n: int) -> NDArray[Any]:
        """Return rows one after the other."""
        rows = self._source.read(first, n)
        self.advance(n)
        return rows

    def take(self, rows: NDArray[np.int64]) -> NDArray[Any]:
        """Return some rows."""
        return self._source.take(rows)


def read_stored(path: Path, key: str | None) -> Vectors:
    """Open vectors to analyze, train on, or store."""
    return Vectors(open_file(path, key, BASE_DATASETS), str(path))


def read_queries(path: Path | None, key: str | None, d: int) -> Vectors | None:
    """Open queries for vectors of d dimensions."""
    if path is None:
        if key is not None:
            raise UsageError(f"--queries-key {key} needs --queries, the file that has it")
        return None
    queries = Vectors(open_file(path, key, (*QUERY_DATASETS, *BASE_DATASETS)), str(path))
    if queries.d != d:
        raise ValueError(f"{path}: queries of {queries.d} dimensions, wanted are {d}")
    return queries


def joined(parts: Sequence[Vectors]) -> Vectors:
    """Return several files as one."""
    if len(parts) == 1:
        return parts[0]
    whole = ConcatenatedSource(parts, [part.name for part in parts])
    return Vectors(whole, whole.name)


def check_output(path: Path, inputs: Sequence[Path | None], option: str = "-o") -> None:
    """Refuse, before any work, a name that cannot be written or that is an input's."""
    if path.is_dir():
        raise UsageError(f"{option} {path} is a directory; give a file name")
    if not path.absolute().parent.is_dir():
        raise UsageError(
            f"{option} {path}: there is no directory {path.absolute().parent}; make it"
        )
    for given in inputs:
        if given is not None and path.exists() and given.exists() and path.samefile(given):
            raise UsageError(f"{option} {path} is a file that is read; give another name")
