"""Cells: centroids that vectors are coded relative to, and the plan for the residuals.

The plan is refitted to the residuals of the cells and to the second moments of queries.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from waterfill import _core
from waterfill._util.progress import Share, part_of
from waterfill.analysis import Analysis, from_moments
from waterfill.data.rows import FloatRows
from waterfill.plan import Plan
from waterfill.training.trainer import Trainer

LOG = logging.getLogger("waterfill.training")

Cells = int | Literal["auto"] | FloatRows
Trial = Callable[[Plan, FloatRows, FloatRows, Share | None], tuple[float, float]]

MAX_CELLS = 65_536
AUTO_CELLS = 1024
"""At most, for `auto`."""

MIN_QUERIES = 32  # fewer make calibration meaningless
_AUTO_MIN_CELLS = 16
_AUTO_ROWS_PER_CELL = 48  # with fewer rows, centroids would overfit the sample
_MAX_ERROR_RATIO = 0.95  # expected error with cells to that without, for `auto` to use them
_MAX_RECALL_LOSS = 0.01  # within the noise of a trial
_TRIAL_ROWS = 16_384
_TRIED = 0.7  # of the time for cells, until it is known whether they help
_MOMENT_ROWS_PER_DIMENSION = 40
_FLOOR = 0.01  # of the mean squared distance: caps the weight of rows near the mean
_BLOCK_ROWS = 4096


def choose_cells(
    trainer: Trainer,
    plan: Plan,
    sample: FloatRows,
    held_out: FloatRows,
    n: int,
    cell_sample: Callable[[], FloatRows],
    cells: Cells,
    queries: FloatRows | None,
    seed: int,
    trial: Trial,
    tell: Share | None = None,
) -> tuple[Plan, FloatRows]:
    """Train cells and fit the plan to their residuals, or return a plan without cells.

    Parameters
    ----------
    trainer : Trainer
        Who does k-means.
    plan : Plan
        For directions from the mean.
    sample : float32 (s, d)
        Rows to train on.
    held_out : float32 (m, d)
        Other rows, on which ``auto`` compares plans with and without cells.
    n : int
        Number of rows that the sample was drawn from.
    cell_sample : callable
        Returns the rows for k-means: more than `sample` if there are many cells.
    cells : int, 'auto' or float32 (c, d)
        The number of cells, 0 for none; or their centroids. ``auto``: up to 1,024 cells of 48 rows
        or more, if they reduce the expected error by 5 % or more and lose no recall in a trial on
        part of the sample. (Inner products can lose recall on data in distant clusters: the scale
        of a vector that is coded from the mean preserves its length, which dominates the ranking.)
    queries : float32 (k, d) or None
        Queries to fit the basis to.
    seed : int
    trial : callable
        ``trial(plan, centroids, rows, tell)`` trains a codec and returns its recall on held-out
        rows, for inner product and for L2.
    tell : callable, optional
        Takes the share that is done.

    Returns
    -------
    plan : Plan
        Basis and groups for directions from the centroids.
    centroids : float32 (c, d)
        Shape (0, d) if there are no cells.
    """
    if isinstance(cells, np.ndarray):
        return _refit(plan, sample, cells, queries), cells
    none = np.empty((0, plan.d), dtype=np.float32)
    if plan.maker != "waterfill":
        return plan, none
    without = plan if queries is None else _refit(plan, sample, plan.mean[None], queries)
    auto = cells == "auto"
    count = _auto_cells(n) if cells == "auto" else min(cells, n)
    if count == 0 or (auto and len(held_out) < MIN_QUERIES):
        return without, none
    tried = _TRIED if auto else 0.0
    if auto and not _cells_help(
        trainer, without, sample, held_out, queries, seed, trial, part_of(tell, 0.0, tried)
    ):
        return without, none
    centroids = trainer.cells(
        cell_sample(), plan.mean, count, by_direction(plan), seed, part_of(tell, tried, 1.0)
    )
    return _refit(plan, sample, centroids, queries, by_direction(plan)), centroids


def by_direction(plan: Plan) -> bool:
    """Return whether trained cells divide vectors by direction: if their norms are equal."""
    return plan.normalize or plan.constant_norm > 0


def _cells_help(
    trainer: Trainer,
    plan: Plan,
    sample: FloatRows,
    held_out: FloatRows,
    queries: FloatRows | None,
    seed: int,
    trial: Trial,
    tell: Share | None,
) -> bool:
    """Compare the plan without cells to one with cells, on part of the sample."""
    rows = np.ascontiguousarray(sample[:: max(1, len(sample) // _TRIAL_ROWS)])
    count, rule = max(_auto_cells(len(rows)), 1), by_direction(plan)
    centroids = trainer.cells(rows, plan.mean, count, rule, seed, part_of(tell, 0.0, 0.2))
    with_cells = _refit(plan, rows, centroids, queries, rule)
    energy_with = _energy(_core.residuals(held_out, plan.mean, centroids, rule))
    error_with = with_cells.predicted_distortion * energy_with
    error_without = plan.predicted_distortion * _energy(held_out - plan.mean)
    ratio = error_with / error_without if error_without else 1.0
    if not error_with < _MAX_ERROR_RATIO * error_without:
        LOG.debug("no cells: the expected error with them is %.3f of that without", ratio)
        return False
    gains = np.subtract(
        trial(with_cells, centroids, rows, part_of(tell, 0.2, 0.6)),
        trial(plan, centroids[:0], rows, part_of(tell, 0.6, 1.0)),
    )
    LOG.debug("with cells: %.3f of the expected error, recall %+.3f", ratio, gains.min())
    return bool(gains.min() > -_MAX_RECALL_LOSS)


def _auto_cells(n: int) -> int:
    """Return the number of cells that n rows suffice for; 0 if it is too small."""
    count = AUTO_CELLS
    while count * _AUTO_ROWS_PER_CELL > n:
        count //= 2
    return count if count >= _AUTO_MIN_CELLS else 0


def _refit(
    plan: Plan,
    sample: FloatRows,
    centroids: FloatRows,
    queries: FloatRows | None,
    by_direction: bool = False,
) -> Plan:
    """Make a plan of as many bytes for the residuals of the rows."""
    step = max(1, len(sample) // (_MOMENT_ROWS_PER_DIMENSION * plan.d))
    rows = sample[::step]
    first = _core.residuals(
        np.ascontiguousarray(rows[:_BLOCK_ROWS]), plan.mean, centroids, by_direction
    )
    moments = _core.Moments(np.zeros(plan.d), _FLOOR * _energy(first))
    for start in range(0, len(rows), _BLOCK_ROWS):
        block = np.ascontiguousarray(rows[start : start + _BLOCK_ROWS])
        moments.update(_core.residuals(block, plan.mean, centroids, by_direction))
    analysis, query_variances = from_moments(moments), None
    if queries is not None:
        query_moment = _second_moment(queries, plan)
        analysis, query_variances = _fit_to_queries(analysis, query_moment, len(queries))
    return replace(
        Plan.waterfill(analysis, len(plan.groups), plan.weighting),
        mean=plan.mean,
        constant_norm=plan.constant_norm,
        normalize=plan.normalize,
        query_variances=query_variances,
    )


def _second_moment(queries: FloatRows, plan: Plan) -> NDArray[np.float64]:
    """Return the second moment of queries about the mean of the data, (d, d)."""
    moment = np.zeros((plan.d, plan.d))
    for start in range(0, len(queries), _BLOCK_ROWS):
        block = queries[start : start + _BLOCK_ROWS].astype(np.float64) - plan.mean
        moment += block.T @ block
    return moment / len(queries)


def _fit_to_queries(
    analysis: Analysis, query_moment: NDArray[np.float64], count: int
) -> tuple[Analysis, NDArray[np.float64]]:
    """Return the analysis in a basis between data and queries, and the queries' variances in it.

    Weights act along the basis, so it should nearly diagonalise both second moments. That of the
    queries is shrunk towards that of the data, as if d more queries were distributed as the data.
    """
    vectors = analysis.eigenvectors
    data = (vectors * analysis.eigenvalues) @ vectors.T
    trace = np.trace(query_moment)
    share = count / (count + analysis.d) if trace > 0 else 0.0
    mixed = share * query_moment / (trace or 1.0) + (1 - share) * data
    basis = np.linalg.eigh(data + mixed)[1]
    values = np.maximum(((data @ basis) * basis).sum(axis=0), 0)
    order = np.argsort(-values, kind="stable")
    basis, values = basis[:, order], values[order] / (values.sum() or 1.0)
    variances = np.maximum(((mixed @ basis) * basis).sum(axis=0), 1e-9)
    return replace(analysis, eigenvalues=values, eigenvectors=basis), variances / variances.sum()


def _energy(x: FloatRows) -> float:
    """Return the mean squared norm of rows."""
    return float(np.square(x, dtype=np.float64).sum(axis=1).mean())
