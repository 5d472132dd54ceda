"""A plan made anew for what training finds: cells that vectors are coded from, and real queries."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from waterfill import _core
from waterfill.analysis import Analysis, from_moments
from waterfill.data.rows import FloatRows
from waterfill.plan import Plan

Cells = int | Literal["auto"] | FloatRows
Trial = Callable[[Plan, FloatRows, FloatRows], tuple[float, float]]

MOST_CELLS = 65_536
_AUTO_MOST = 1024
_AUTO_LEAST = 16
_ROWS_PER_CELL = 48  # fewer, and centroids would be the training rows' own
FEWEST_QUERIES = 32  # that calibration says anything with
_PAYS = 0.95  # of the error without cells
_TRIAL_ROWS = 16_384
_TOLERATED = 0.01  # loss of recall in the trial: chance
_MOMENT_ROWS = 40  # a dimension
_FLOOR = 0.01  # of the mean squared distance: nearer rows do not weigh more
_BLOCK = 4096


def choose_cells(
    plan: Plan,
    sample: FloatRows,
    held_out: FloatRows,
    rows: int,
    crowd: Callable[[], FloatRows],
    wanted: Cells,
    queries: FloatRows | None,
    seed: int,
    trial: Trial,
) -> tuple[Plan, FloatRows]:
    """Train cells and make the plan for what they leave, or return one without cells.

    Parameters
    ----------
    plan : Plan
        For directions from the mean.
    sample : float32 (n, d)
        Rows to train on.
    held_out : float32 (m, d)
        Others, which tell whether cells pay.
    rows : int
        How many there were to draw the sample from.
    crowd : callable
        Gives rows to learn the cells from: more than the sample, where many cells are wanted.
    wanted : int, 'auto' or float32 (cells, d)
        The number of cells, 0 for none; or their centroids. ``auto``: as many as there are rows
        for, if that makes the expected error smaller by a twentieth or more and a trial on some
        rows finds no fewer neighbours. (Inner products with data in far clumps can lose: the scale
        of a vector that is coded from the mean keeps its length, which ranks there.)
    queries : float32 (k, d) or None
        Queries to fit the basis to.
    seed : int
    trial : callable
        Trains a codec with a plan, centroids and rows, and returns its recall on held-out rows, for
        inner product and for L2.

    Returns
    -------
    plan : Plan
        Basis and groups for directions from the centroids.
    centroids : float32 (cells, d)
        Of no rows where there are no cells.
    """
    if isinstance(wanted, np.ndarray):
        return _refit(plan, sample, wanted, queries), wanted
    none = np.empty((0, plan.d), dtype=np.float32)
    if plan.maker != "waterfill":
        return plan, none
    without = plan if queries is None else _refit(plan, sample, plan.mean[None], queries)
    auto = wanted == "auto"
    number = _affordable(rows) if wanted == "auto" else min(wanted, rows)
    if number == 0 or (auto and len(held_out) < FEWEST_QUERIES):
        return without, none
    if auto and not _pays(without, sample, held_out, queries, seed, trial):
        return without, none
    centroids = _core.train_partition(crowd(), plan.mean, number, seed)
    return _refit(plan, sample, centroids, queries), centroids


def _pays(
    plan: Plan,
    sample: FloatRows,
    held_out: FloatRows,
    queries: FloatRows | None,
    seed: int,
    trial: Trial,
) -> bool:
    """Try both ways on some of the rows."""
    rows = np.ascontiguousarray(sample[:: max(1, len(sample) // _TRIAL_ROWS)])
    centroids = _core.train_partition(rows, plan.mean, max(_affordable(len(rows)), 1), seed)
    with_cells = _refit(plan, rows, centroids, queries)
    left = _energy(_core.residuals(held_out, plan.mean, centroids))
    before = _energy(held_out - plan.mean)
    if not with_cells.predicted_distortion * left < _PAYS * plan.predicted_distortion * before:
        return False
    gains = np.subtract(trial(with_cells, centroids, rows), trial(plan, centroids[:0], rows))
    return bool(gains.min() > -_TOLERATED)


def _affordable(rows: int) -> int:
    number = _AUTO_MOST
    while number * _ROWS_PER_CELL > rows:
        number //= 2
    return number if number >= _AUTO_LEAST else 0


def _refit(plan: Plan, sample: FloatRows, centroids: FloatRows, queries: FloatRows | None) -> Plan:
    """Make a plan of as many bytes for what is left of the rows once their centroid is taken."""
    step = max(1, len(sample) // (_MOMENT_ROWS * plan.d))
    rows = sample[::step]
    first = _core.residuals(np.ascontiguousarray(rows[:_BLOCK]), plan.mean, centroids)
    moments = _core.Moments(np.zeros(plan.d), _FLOOR * _energy(first))
    for start in range(0, len(rows), _BLOCK):
        block = np.ascontiguousarray(rows[start : start + _BLOCK])
        moments.update(_core.residuals(block, plan.mean, centroids))
    analysis, spread = from_moments(moments), None
    if queries is not None:
        analysis, spread = _turn_to_queries(analysis, _second_moment(queries, plan), len(queries))
    made = Plan.waterfill(analysis, len(plan.groups), plan.weighting)
    return replace(
        made,
        mean=plan.mean,
        constant_norm=plan.constant_norm,
        normalize=plan.normalize,
        query_variances=spread,
    )


def _second_moment(queries: FloatRows, plan: Plan) -> NDArray[np.float64]:
    """Take it about the data's mean, a block of queries at a time."""
    moment = np.zeros((plan.d, plan.d))
    for start in range(0, len(queries), _BLOCK):
        block = queries[start : start + _BLOCK].astype(np.float64) - plan.mean
        moment += block.T @ block
    return moment / len(queries)


def _turn_to_queries(
    analysis: Analysis, asked: NDArray[np.float64], count: int
) -> tuple[Analysis, NDArray[np.float64]]:
    """Take a basis between those of the data and of the queries, and their spreads along it.

    Weights act along the basis: one in which both second moments are nearly diagonal lets them act
    where queries look. The queries' moment is shrunk towards the data's as if there were d queries
    more, spread as the data.
    """
    vectors = analysis.eigenvectors
    data = (vectors * analysis.eigenvalues) @ vectors.T
    trace = np.trace(asked)
    share = count / (count + analysis.d) if trace > 0 else 0.0
    mixed = share * asked / (trace or 1.0) + (1 - share) * data
    basis = np.linalg.eigh(data + mixed)[1]
    values = np.maximum(((data @ basis) * basis).sum(axis=0), 0)
    order = np.argsort(-values, kind="stable")
    basis, values = basis[:, order], values[order] / (values.sum() or 1.0)
    spread = np.maximum(((mixed @ basis) * basis).sum(axis=0), 1e-9)
    return replace(analysis, eigenvalues=values, eigenvectors=basis), spread / spread.sum()


def _energy(x: FloatRows) -> float:
    return float(np.square(x, dtype=np.float64).sum(axis=1).mean())
