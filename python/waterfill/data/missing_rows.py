"""Sources with rows that may be null or of another length: an error, or NaN for a policy."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
from numpy.typing import NDArray

RowNumbers = NDArray[np.int64]


class SourceWithMissing(ABC):
    """A block source whose `take` raises for rows that are no vectors.

    Attributes
    ----------
    name : str
    shape : (int, int)
    dtype : numpy.dtype
    """

    name: str
    shape: tuple[int, int]
    dtype: np.dtype[Any]
    missing_error: type[ValueError] = ValueError

    @abstractmethod
    def gather(self, rows: RowNumbers) -> tuple[NDArray[Any], dict[int, str]]:
        """Return the rows with these ascending numbers, and what is in those that are no vectors.

        The values of rows that are no vectors are arbitrary.
        """

    def take(self, rows: RowNumbers) -> NDArray[Any]:
        """Return the rows with these ascending numbers, shape (len(rows), d)."""
        values, flaws = self.gather(rows)
        if flaws:
            row = min(flaws)
            raise self.missing_error(f"{self.name}: row {row}: {flaws[row]}")
        return values

    def missing_as_nan(self) -> MissingAsNan:
        """Return a view in which rows that are no vectors are NaN."""
        return MissingAsNan(self)


class MissingAsNan:
    """A view of a source in which rows that are no vectors are NaN."""

    def __init__(self, source: SourceWithMissing) -> None:
        self._source = source
        self.name, self.shape = source.name, source.shape
        self.dtype = source.dtype if source.dtype.kind == "f" else np.dtype(np.float32)

    def read(self, first: int, n: int) -> NDArray[Any]:
        """Return the rows from `first` to ``first + n - 1``, shape (n, d)."""
        return self.take(np.arange(first, first + n, dtype=np.int64))

    def take(self, rows: RowNumbers) -> NDArray[Any]:
        """Return the rows with these ascending numbers, shape (len(rows), d)."""
        values, flaws = self._source.gather(rows)
        if not flaws:
            return values
        values = values.astype(self.dtype)
        values[np.isin(rows, list(flaws))] = np.nan
        return values


def missing_as_nan(source: Any) -> Any:
    """Return a view of a block source in which rows that are no vectors are NaN."""
    view = getattr(source, "missing_as_nan", None)
    return source if view is None else view()
