"""The files that a command reads, and checks of the file names that it writes to."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from waterfill._util.input_file import open_input, read_input
from waterfill.cli.errors import UsageError, print_line
from waterfill.cli.output import Advance, Output
from waterfill.data.block_source import ConcatenatedSource, FileSource
from waterfill.data.rows import Rows, as_source
from waterfill.data.vector_files import BASE_DATASETS, QUERY_DATASETS, open_file, open_files


class Vectors(FileSource):
    """The vectors of a file: errors give the file's name, and reads advance a progress bar.

    Attributes
    ----------
    advance : callable
        Called with the number of rows of each block that was read.
    """

    def __init__(self, source: Any, name: str) -> None:
        self._source = as_source(source, name)
        n, d = self._source.shape
        super().__init__(name, (int(n), int(d)), self._source.dtype)
        self.advance: Advance = lambda n: None
        if self.shape[0] == 0:
            raise ValueError(f"{name}: expected at least 1 row, got 0")

    @property
    def n(self) -> int:
        """Number of rows."""
        return self.shape[0]

    @property
    def d(self) -> int:
        """Number of dimensions."""
        return self.shape[1]

    def read(self, first: int, n: int) -> NDArray[Any]:
        """Return `n` consecutive rows."""
        rows = self._source.read(first, n)
        self.advance(n)
        return rows

    def take(self, rows: NDArray[np.int64]) -> NDArray[Any]:
        """Return the rows of the given numbers."""
        return self._source.take(rows)


def open_stored(path: Path, key: str | None, format: str | None = None) -> Vectors:
    """Open vectors to analyze, train on, or store."""
    return Vectors(open_file(path, key, BASE_DATASETS, format), str(path))


def open_parts(paths: Sequence[Path], key: str | None, format: str | None = None) -> list[Vectors]:
    """Open the files of one collection; those without rows are skipped, with a note."""
    opened, skipped = open_files(paths, key, format)
    for name in skipped:
        print_line(f"note: {name} has no rows, and is skipped")
    return [Vectors(vectors, name) for name, vectors in opened]


def open_queries(
    path: Path | None, key: str | None, d: int, format: str | None = None
) -> Vectors | None:
    """Open queries of `d` dimensions; None without a path."""
    if path is None:
        if key is not None:
            raise UsageError(f"--queries-key {key} needs --queries FILE")
        if format is not None:
            raise UsageError(f"--queries-format {format} needs --queries FILE")
        return None
    queries = Vectors(open_file(path, key, (*QUERY_DATASETS, *BASE_DATASETS), format), str(path))
    if queries.d != d:
        raise ValueError(f"{path}: expected queries of {d} dimensions, got {queries.d}")
    return queries


def read_ids(path: Path, n: int | None = None) -> NDArray[np.int64]:
    """Read ids: an array of integers in a .npy file, or a text file with an id on each line.

    Parameters
    ----------
    path : Path
    n : int, optional
        The number of ids to expect.
    """
    if path.suffix == ".npy":
        with open_input(path) as file:
            found: NDArray[Any] = np.load(file, allow_pickle=False)
        if found.ndim != 1 or found.dtype.kind not in "iu":
            raise ValueError(
                f"{path}: expected a one-dimensional array of integers, got shape {found.shape} "
                f"and dtype {found.dtype}"
            )
        if len(found) and int(found.max()) >= 2**63:
            raise ValueError(f"{path}: expected ids within int64, got {found.max()}")
        ids = found.astype(np.int64)
    else:
        lines = read_input(path).decode("utf-8", "replace").splitlines()
        ids = np.array([_as_id(path, number, line) for number, line in enumerate(lines)], np.int64)
    if n is not None and len(ids) != n:
        raise ValueError(f"{path}: expected {n} ids, one for each vector, got {len(ids)}")
    return ids


def _as_id(path: Path, number: int, line: str) -> int:
    if re.fullmatch(r"\s*-?[0-9]{1,19}\s*", line) and -(2**63) <= int(line) < 2**63:
        return int(line)
    raise ValueError(f"{path}: line {number + 1}: expected an id within int64, got {line[:40]!r}")


def concatenated(parts: Sequence[Vectors]) -> Vectors:
    """Return several files as one."""
    if len(parts) == 1:
        return parts[0]
    joined = ConcatenatedSource(parts, [part.name for part in parts])
    return Vectors(joined, joined.name)


def check_output(path: Path, inputs: Sequence[Path | None], option: str = "-o") -> None:
    """Refuse, before any work, a file name that cannot be written to or that is an input.

    Raises
    ------
    UsageError
        With the name of the option.
    """
    if path.is_dir():
        raise UsageError(f"{option} {path} is a directory; give a file name")
    directory = path.absolute().parent
    if not directory.is_dir():
        raise UsageError(f"{option} {path}: directory {directory} does not exist; create it")
    if not os.access(directory, os.W_OK | os.X_OK):
        raise UsageError(f"{option} {path}: directory {directory} is not writable")
    for source in inputs:
        if source is not None and path.exists() and source.exists() and path.samefile(source):
            raise UsageError(f"{option} {path} is an input file; give another name")


def add_parts(out: Output, add: Callable[[Any], object], parts: Sequence[Vectors]) -> None:
    """Add the vectors of several files, one block at a time."""
    with out.progress("adding", sum(part.n for part in parts)) as advance:
        for part in parts:
            part.advance = advance
            with sum_warnings(part):
                for _, block in Rows(part).blocks():
                    add(block)


@contextmanager
def sum_warnings(vectors: Vectors) -> Iterator[None]:
    """Replace the warnings about single blocks by one about the whole file."""
    counts: dict[str, int] = {}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
    for warning in caught:
        match = re.fullmatch(r"\w+: (\d+) of \d+ (vectors .*)", str(warning.message))
        if match is None:
            warnings.warn(str(warning.message), warning.category, stacklevel=2)
        else:
            counts[match[2]] = counts.get(match[2], 0) + int(match[1])
    for text, count in counts.items():
        message = f"{vectors.name}: {count} of {vectors.n} {text}"
        warnings.warn(message, RuntimeWarning, stacklevel=2)
