"""From rows and a plan to a trained core: what is drawn, tried and learnt."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from waterfill import _core
from waterfill._util.validation import as_int
from waterfill.data.row_policy import Policy, admit
from waterfill.data.rows import FloatRows, Rows
from waterfill.plan import Plan
from waterfill.training.cells import FEWEST_QUERIES, MOST_CELLS, Cells, choose_cells
from waterfill.training.itq import rotated_basis
from waterfill.training.sampling import (
    MOST_HELD_OUT,
    ROWS_PER_CELL,
    draw_cell_rows,
    draw_queries,
    draw_training_rows,
)

Effort = Literal["fast", "balanced", "best"]
Judge = Literal["ip", "l2", "cosine"]

QUARTERS = 4  # alpha is counted in them
_ITERATIONS = {"fast": 8, "balanced": 25, "best": 50}
_TRIAL_STEPS = 8
_JOINT_WEIGHTING = 0.35  # exponent of the variances that errors are weighted with


@dataclass(frozen=True)
class Trained:
    """The core, and what it was made of."""

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
    metric: Judge | None,
    effort: Effort,
    alpha: float | None,
    policy: Policy,
) -> Trained:
    """Do what `Codec.train` says."""
    if not isinstance(plan, Plan):
        raise TypeError(f"plan must be a waterfill.Plan, got {type(plan).__name__}")
    seed = as_int("seed", seed)
    if not 0 <= seed < 2**64:
        raise ValueError(f"seed={seed} must be from 0 to 2**64 - 1")
    cells = _checked_cells(cells, plan)
    if effort not in _ITERATIONS:
        raise ValueError(f"effort={effort!r} must be 'fast', 'balanced' or 'best'")
    if metric not in (None, "ip", "l2", "cosine"):
        raise ValueError(f"metric={metric!r} must be 'ip', 'l2', 'cosine' or None")
    if alpha is not None and plan.pq_multiplier is not None:
        raise ValueError(f"alpha={alpha!r}: a plan with pq_multiplier has a score of its own")
    quarters = None if alpha is None else to_quarters(alpha)
    rows = admit(Rows(x, "x", plan.d), policy).rows
    if rows.n == 0:
        raise ValueError("x has no rows; at least 1 is needed to train")
    sample, held_out = draw_training_rows(rows, seed, plan.normalize)
    asked = None if queries is None else draw_queries(queries, plan, seed, policy)
    if effort == "fast" and isinstance(cells, str):
        cells = 0
    # Fewer queries than calibration wants leave it to rows that were held out.
    judges = held_out if asked is None or len(asked) < FEWEST_QUERIES else asked[:MOST_HELD_OUT]
    joint = _JOINT_WEIGHTING / plan.weighting if effort == "best" and plan.weighting else 0.0

    def trial(plan: Plan, centroids: FloatRows, rows: FloatRows) -> tuple[float, float]:
        # With the alpha that is best for it: what was asked for is not measured.
        core = _learn(plan, centroids, rows, judges, seed, _TRIAL_STEPS, None, joint)
        ip, l2 = core.settings["recall"]
        return (l2 if metric == "l2" else ip, ip if metric in ("ip", "cosine") else l2)

    def crowd() -> FloatRows:
        if (
            not isinstance(cells, int)
            or rows.n <= len(sample)
            or cells <= len(sample) // ROWS_PER_CELL
        ):
            return sample
        return draw_cell_rows(rows, cells, seed, plan.normalize)

    plan, centroids = choose_cells(plan, sample, held_out, rows.n, crowd, cells, asked, seed, trial)
    core = _learn(plan, centroids, sample, judges, seed, _ITERATIONS[effort], quarters, joint)
    return Trained(core, rows, sample, held_out, asked)


def to_quarters(alpha: float) -> int:
    """Return alpha in quarters; ValueError if it is none of them."""
    quarters = alpha * QUARTERS
    if quarters not in range(QUARTERS + 1):
        raise ValueError(f"alpha={alpha!r} must be 0, 0.25, 0.5, 0.75 or 1")
    return int(quarters)


def _checked_cells(cells: Cells, plan: Plan) -> Cells:
    """Return them as a number, 'auto' or centroids."""
    if isinstance(cells, str) and cells == "auto":
        return cells
    if not isinstance(cells, int | np.integer | np.ndarray) or isinstance(cells, bool):
        raise TypeError(f"cells must be an int, 'auto' or an array of centroids, got {cells!r}")
    count = len(cells) if isinstance(cells, np.ndarray) else int(cells)
    if not 0 <= count <= MOST_CELLS:
        raise ValueError(f"cells={count} must be from 0 to {MOST_CELLS}")
    if count and plan.maker != "waterfill":
        raise ValueError(f"cells={count}: a {plan.maker} plan codes vectors from the mean; use 0")
    if not isinstance(cells, np.ndarray):
        return count
    return Rows(cells, "cells", plan.d).take(np.arange(count))


def _learn(
    plan: Plan,
    centroids: FloatRows,
    sample: FloatRows,
    queries: FloatRows,
    seed: int,
    iterations: int,
    quarters: int | None,
    joint: float,
) -> _core.Codec:
    order = [dim for group in plan.groups for dim in group.dims]
    return _core.Codec.train(
        mean=plan.mean,
        basis=np.ascontiguousarray(rotated_basis(plan, sample)[order]),
        weights=plan.weights[order],
        shapes=[(len(group.dims), group.kind) for group in plan.groups],
        rests=_rests(order),
        centroids=centroids,
        sample=sample,
        held_out=queries,
        seed=seed,
        iterations=iterations,
        alpha=quarters,
        joint=joint,
        constant_norm=plan.constant_norm,
        pq_multiplier=plan.pq_multiplier or 0.0,
        normalize=plan.normalize,
        plan=plan.to_json(),
    )


def _rests(order: list[int]) -> list[tuple[int, int]]:
    """Pair the columns of dimensions that stand twice, by the first of them."""
    first = {dim: column for column, dim in reversed(list(enumerate(order)))}
    pairs = [(column, first[dim]) for column, dim in enumerate(order) if first[dim] != column]
    return sorted(pairs, key=lambda pair: pair[1])
