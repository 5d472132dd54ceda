"""Random samples: rows to train on, rows held out for calibration, and queries."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from waterfill import _core
from waterfill.data.row_policy import Policy, admit
from waterfill.data.rows import FloatRows, Rows
from waterfill.plan import Plan

Labels = NDArray[np.int64]

MAX_HELD_OUT = 256
ROWS_PER_CELL = 100
_SAMPLE_ROWS = 65_536  # 256 rows for each of 256 centroids
_SAMPLE_BYTES = 256 << 20
_CELL_SAMPLE_BYTES = 1 << 30


def drawn_rows(n: int, d: int, seed: int) -> tuple[Labels, Labels]:
    """Return the ascending numbers of the rows to train on and of those held out as queries."""
    held = min(MAX_HELD_OUT, n // 8)
    rng = np.random.default_rng(seed)
    chosen = rng.choice(n, size=min(n, _max_rows(d) + held), replace=False)
    return np.sort(chosen[held:]), np.sort(chosen[:held])


def draw_training_rows(rows: Rows, seed: int, normalize: bool) -> tuple[FloatRows, FloatRows]:
    """Draw rows to train on, and held-out rows that calibration uses as queries."""
    train, queries = drawn_rows(rows.n, rows.d, seed)
    drawn = rows.take(train), rows.take(queries)
    return (_core.normalize_rows(drawn[0]), _core.normalize_rows(drawn[1])) if normalize else drawn


def draw_queries(queries: Any, plan: Plan, seed: int, policy: Policy) -> FloatRows:
    """Draw a sample of queries, in random order."""
    rows = admit(Rows(queries, "queries", plan.d), policy).rows
    if rows.n == 0:
        raise ValueError("queries has no rows; at least 1 is needed")
    rng = np.random.default_rng(seed)
    chosen = np.sort(rng.choice(rows.n, size=min(rows.n, _max_rows(rows.d)), replace=False))
    drawn = rows.take(chosen)[rng.permutation(len(chosen))]
    return _core.normalize_rows(drawn) if plan.normalize else drawn


def needs_cell_rows(n: int, sample_rows: int, cells: int) -> bool:
    """Return whether k-means of this many cells draws more than the rows of the sample."""
    return n > sample_rows and cells > sample_rows // ROWS_PER_CELL


def cell_rows(n: int, d: int, cells: int, seed: int) -> Labels:
    """Return ascending numbers of rows for k-means: `ROWS_PER_CELL` each, up to a memory limit."""
    limit = max(_max_rows(d), _CELL_SAMPLE_BYTES // (4 * d), cells)
    count = min(n, ROWS_PER_CELL * cells, limit)
    return np.sort(np.random.default_rng(seed).choice(n, count, replace=False))


def draw_cell_rows(rows: Rows, cells: int, seed: int, normalize: bool) -> FloatRows:
    """Draw rows for k-means with many cells."""
    drawn = rows.take(cell_rows(rows.n, rows.d, cells, seed))
    return _core.normalize_rows(drawn) if normalize else drawn


def drawn_at_most(d: int) -> int:
    """Return how many rows `draw_training_rows` draws of however many, held-out ones included."""
    return _max_rows(d) + MAX_HELD_OUT


def _max_rows(d: int) -> int:
    return min(_SAMPLE_ROWS, max(1024, _SAMPLE_BYTES // (4 * d)))
