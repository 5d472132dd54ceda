"""Training of a codec: samples, cells, codebooks and calibration."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from waterfill import _core
from waterfill._util.progress import Share, part_of
from waterfill._util.validation import METRICS, Metric, as_int
from waterfill.data.row_policy import Policy, admit
from waterfill.data.rows import FloatRows, Rows
from waterfill.device.codebook_settings import CodebookSettings
from waterfill.plan import Plan
from waterfill.training.cells import MAX_CELLS, MIN_QUERIES, Cells, by_direction, choose_cells
from waterfill.training.itq import rotated_basis
from waterfill.training.sampling import (
    MAX_HELD_OUT,
    draw_cell_rows,
    draw_queries,
    draw_training_rows,
    needs_cell_rows,
)
from waterfill.training.trainer import Trainer, trainer_of

Effort = Literal["fast", "balanced", "best"]

QUARTERS = 4  # alpha is a multiple of 1/4
_ITERATIONS = {"fast": 8, "balanced": 25, "best": 50}  # of k-means
_TRIAL_ITERATIONS = 8
_DRAWN, _CELLS_END = 0.05, 0.5  # shares of the time: until rows are drawn, until cells are chosen
_JOINT_WEIGHTING = 0.35  # exponent of the variances that weight errors in joint encoding


@dataclass(frozen=True)
class Trained:
    """A trained core and the rows that it was trained on."""

    core: _core.Codec
    rows: Rows
    sample: FloatRows
    held_out: FloatRows
    queries: FloatRows | None


def train(
    x: Any,
    plan: Plan,
    seed: int,
    *,
    cells: Cells,
    queries: Any,
    metric: Metric | None,
    effort: Effort,
    alpha: float | None,
    policy: Policy,
    tell: Share | None = None,
) -> Trained:
    """Train the core of a codec; see `Codec.train` for the parameters.

    `tell` takes the share that is done.
    """
    if not isinstance(plan, Plan):
        raise TypeError(f"plan must be a waterfill.Plan, got {type(plan).__name__}")
    seed = as_seed(seed)
    cells = _checked_cells(cells, plan)
    effort = as_effort(effort)
    if metric is not None and metric not in METRICS:
        raise ValueError(f"metric={metric!r} must be 'ip', 'l2', 'cosine' or None")
    if alpha is not None and plan.pq_multiplier is not None:
        raise ValueError(f"alpha={alpha!r} must be None for a plan with pq_multiplier")
    quarters = None if alpha is None else to_quarters(alpha)
    given = Rows(x, "x", plan.d)
    trainer = trainer_of(given)
    rows = admit(given, policy).rows
    if rows.n == 0:
        raise ValueError("x has no rows; at least 1 is needed to train")
    sample, held_out = draw_training_rows(rows, seed, plan.normalize)
    drawn_queries = None if queries is None else draw_queries(queries, plan, seed, policy)
    if effort == "fast" and isinstance(cells, str):
        cells = 0
    if drawn_queries is None or len(drawn_queries) < MIN_QUERIES:
        calibration = held_out
    else:
        calibration = drawn_queries[:MAX_HELD_OUT]
    rule = by_direction(plan) and not isinstance(cells, np.ndarray)
    cells_end = _DRAWN if isinstance(cells, int) and cells == 0 else _CELLS_END
    joint = _JOINT_WEIGHTING / plan.weighting if effort == "best" and plan.weighting else 0.0

    def trial(
        plan: Plan, centroids: FloatRows, rows: FloatRows, tell: Share | None
    ) -> tuple[float, float]:
        # Each plan is tried with its best alpha: recall with a fixed one is not measured.
        core = _train_core(
            trainer, plan, centroids, rule, rows, calibration, seed, _TRIAL_ITERATIONS, None, joint,
            tell,
        )  # fmt: skip
        ip, l2 = core.settings["recall"]
        return (l2 if metric == "l2" else ip, ip if metric in ("ip", "cosine") else l2)

    def cell_sample() -> FloatRows:
        if not isinstance(cells, int) or not needs_cell_rows(rows.n, len(sample), cells):
            return sample
        return draw_cell_rows(rows, cells, seed, plan.normalize)

    plan, centroids = choose_cells(
        trainer, plan, sample, held_out, rows.n, cell_sample, cells, drawn_queries, seed, trial,
        part_of(tell, _DRAWN, cells_end),
    )  # fmt: skip
    core = _train_core(
        trainer, plan, centroids, rule, sample, calibration, seed, _ITERATIONS[effort], quarters,
        joint, part_of(tell, cells_end, 1.0),
    )  # fmt: skip
    return Trained(core, rows, sample, held_out, drawn_queries)


def as_seed(seed: Any) -> int:
    """Validate the seed of training."""
    number = as_int("seed", seed)
    if not 0 <= number < 2**64:
        raise ValueError(f"seed={number} must be from 0 to 2**64 - 1")
    return number


def as_effort(effort: Any) -> Effort:
    """Validate the name of an effort."""
    if effort not in _ITERATIONS:
        raise ValueError(f"effort={effort!r} must be 'fast', 'balanced' or 'best'")
    checked: Effort = effort
    return checked


def as_cells(cells: Any) -> int:
    """Validate a number of cells."""
    if not isinstance(cells, int | np.integer) or isinstance(cells, bool):
        raise TypeError(f"cells must be an int, 'auto' or an array of centroids, got {cells!r}")
    if not 0 <= cells <= MAX_CELLS:
        raise ValueError(f"cells={cells} must be from 0 to {MAX_CELLS}")
    return int(cells)


def to_quarters(alpha: float) -> int:
    """Return alpha in quarters; ValueError unless it is 0, 0.25, 0.5, 0.75 or 1."""
    quarters = alpha * QUARTERS
    if quarters not in range(QUARTERS + 1):
        raise ValueError(f"alpha={alpha!r} must be 0, 0.25, 0.5, 0.75 or 1")
    return int(quarters)


def _checked_cells(cells: Cells, plan: Plan) -> Cells:
    """Return `cells` as an int, 'auto' or float32 centroids."""
    if isinstance(cells, str) and cells == "auto":
        return cells
    count = as_cells(len(cells) if isinstance(cells, np.ndarray) else cells)
    if count and plan.maker != "waterfill":
        raise ValueError(f"cells={count} must be 0 for a {plan.maker} plan")
    if not isinstance(cells, np.ndarray):
        return count
    return Rows(cells, "cells", plan.d).take(np.arange(count))


def _train_core(
    trainer: Trainer,
    plan: Plan,
    centroids: FloatRows,
    by_direction: bool,
    sample: FloatRows,
    held_out: FloatRows,
    seed: int,
    iterations: int,
    quarters: int | None,
    joint: float,
    tell: Share | None,
) -> _core.Codec:
    order = [dim for group in plan.groups for dim in group.dims]
    settings = CodebookSettings(
        mean=plan.mean,
        basis=np.ascontiguousarray(rotated_basis(plan, sample)[order]),
        weights=plan.weights[order],
        shapes=[(len(group.dims), group.kind) for group in plan.groups],
        rests=_rests(order),
        centroids=centroids,
        by_direction=by_direction,
        seed=seed,
        iterations=iterations,
    )
    return _core.Codec.train(
        **vars(settings),
        sample=sample,
        held_out=held_out,
        alpha=quarters,
        joint=joint,
        constant_norm=plan.constant_norm,
        pq_multiplier=plan.pq_multiplier or 0.0,
        normalize=plan.normalize,
        plan=plan.to_json(),
        codebooks=trainer.codebooks(sample, settings),
        tell=tell,
    )


def _rests(order: list[int]) -> list[tuple[int, int]]:
    """Return (second, first) column of each dimension that is in two groups, by the first."""
    first = {dim: column for column, dim in reversed(list(enumerate(order)))}
    pairs = [(column, first[dim]) for column, dim in enumerate(order) if first[dim] != column]
    return sorted(pairs, key=lambda pair: pair[1])
