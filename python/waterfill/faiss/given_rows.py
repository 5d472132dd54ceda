"""Original vectors in place of those that a FAISS index decodes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from waterfill.data.rows import FloatRows, Rows
from waterfill.faiss.stored_index import Stored
from waterfill.index.selector_graph import Ids

_COMPARED = 256
_LEAST_NEARER = 0.75  # of rows in another order, half are nearer to their own code


def with_rows(stored: Stored, rows: Any, row_ids: Any = None) -> Stored:
    """Replace the vectors of an index by given ones; ids, metric and lists stay.

    Parameters
    ----------
    stored : Stored
    rows : array_like or BlockSource, shape (m, d)
    row_ids : array_like of int64, shape (m,), optional
        See `compress`.

    Raises
    ------
    ValueError
        If the number of rows or their ids do not match the index, or most rows are far from the
        vectors that the index decodes.
    TypeError
        If `rows` cannot be read as vectors, or `row_ids` are given alone.
    """
    if rows is None:
        raise TypeError("row_ids are the ids of rows; pass rows, too")
    given = Rows(rows, "rows", stored.d)
    numbers = _numbers(stored, given.n, row_ids)
    _require_same(stored, given, numbers)
    return replace(stored, vectors=_GivenVectors(given, numbers), losses=(), why="")


class _GivenVectors:
    """Rows by the numbers that vectors have in an index; rows that are not finite stay so."""

    def __init__(self, rows: Rows, numbers: Ids | None) -> None:
        self._rows, self._numbers = rows, numbers

    def read(self, first: int, n: int) -> FloatRows:
        return self.take(np.arange(first, first + n))

    def take(self, numbers: Ids) -> FloatRows:
        chosen = numbers if self._numbers is None else self._numbers[numbers]
        return self._rows.take_unordered(chosen, finite=False)


def _numbers(stored: Stored, n: int, row_ids: Any) -> Ids | None:
    """Return the row of each vector of the index; None if they are in the same order."""
    if row_ids is not None:
        return _by_id(stored, _as_ids(row_ids, n))
    if stored.in_order and n == stored.n:
        return None
    if stored.in_order and stored.ids is None:
        raise ValueError(f"rows has {n} rows, expected {stored.n}, as many as the index")
    ids = stored.ids
    assert ids is not None
    if len(ids) and ids.min() >= 0 and ids.max() < n:
        return ids
    raise ValueError(
        f"rows has {n} rows, and the index {stored.n} vectors with ids from {ids.min()} to "
        f"{ids.max()}; pass row_ids=, the id of each row"
    )


def _as_ids(row_ids: Any, n: int) -> Ids:
    ids: NDArray[Any] = np.asarray(row_ids)
    if ids.shape != (n,) or ids.dtype.kind not in "iu":
        raise ValueError(
            f"row_ids: expected {n} integers, one for each row, got shape {ids.shape} and dtype "
            f"{ids.dtype}"
        )
    return ids.astype(np.int64)


def _by_id(stored: Stored, row_ids: Ids) -> Ids:
    wanted = np.arange(stored.n) if stored.ids is None else stored.ids
    order = np.argsort(row_ids, kind="stable")
    places = np.minimum(np.searchsorted(row_ids[order], wanted), len(order) - 1)
    found: Ids = order[places] if len(order) else np.zeros(len(wanted), np.int64)
    missing = wanted[row_ids[found] != wanted] if len(order) else wanted
    if len(missing):
        raise ValueError(
            f"row_ids: {len(missing)} of the {stored.n} ids of the index are missing, the first is "
            f"{missing[0]}"
        )
    return found


def _require_same(stored: Stored, rows: Rows, numbers: Ids | None) -> None:
    """Refuse rows of which a sample is not nearer to its own codes than to those of others."""
    if stored.vectors is None or stored.n < 2:
        return
    rng = np.random.default_rng(0)
    count = min(_COMPARED, stored.n)
    drawn = np.sort(rng.choice(stored.n, count, replace=False))
    kept = _unit(stored.vectors.take(drawn))
    given = _unit(_GivenVectors(rows, numbers).take(drawn))
    own = np.einsum("ij,ij->i", kept, given)
    other = np.einsum("ij,ij->i", kept, np.roll(given, 1, axis=0))
    usable = np.isfinite(own) & np.isfinite(other)
    nearer = int((own >= other)[usable].sum())
    if usable.any() and nearer < _LEAST_NEARER * usable.sum():
        raise ValueError(
            f"rows: of {usable.sum()} that were compared, only {nearer} are nearer to their own "
            "code than to that of another row; expected the vectors that were added to the index, "
            "in that order, or with row_ids="
        )


def _unit(rows: FloatRows) -> NDArray[np.float64]:
    """Divide rows by their norm: an index may have normalised its vectors."""
    wide = rows.astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        norms = np.linalg.norm(wide, axis=1, keepdims=True)
        unit: NDArray[np.float64] = wide / np.where(norms > 0, norms, 1)
    return unit
