"""From rows and a plan to a trained core: what is drawn, tried and learnt."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from waterfill import _core
from waterfill.admission import Policy, admit
from waterfill.arguments import as_int
from waterfill.itq import itq_rotation
from waterfill.plan import Plan
from waterfill.refit import FEWEST_QUERIES, MOST_CELLS, Cells, choose_cells
from waterfill.rows import FloatRows, Rows

Effort = Literal["fast", "balanced", "best"]
Judge = Literal["ip", "l2", "cosine"]
Labels = NDArray[np.int64]

QUARTERS = 4  # alpha is counted in them
_SAMPLE_ROWS = 65_536  # 256 rows a centroid
_SAMPLE_BYTES = 256 << 20
_CROWD = 40  # rows a cell
_CROWD_BYTES = 1 << 30
_QUERIES = 256
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
    sample, held_out = _draw(rows, seed, plan.normalize)
    asked = None if queries is None else _draw_queries(queries, plan, seed, policy)
    if effort == "fast" and isinstance(cells, str):
        cells = 0
    # Fewer queries than calibration wants leave it to rows that were held out.
    judges = held_out if asked is None or len(asked) < FEWEST_QUERIES else asked[:_QUERIES]
    joint = _JOINT_WEIGHTING / plan.weighting if effort == "best" and plan.weighting else 0.0

    def trial(plan: Plan, centroids: FloatRows, rows: FloatRows) -> tuple[float, float]:
        # With the alpha that is best for it: what was asked for is not measured.
        core = _learn(plan, centroids, rows, judges, seed, _TRIAL_STEPS, None, joint)
        ip, l2 = core.settings["recall"]
        return (l2 if metric == "l2" else ip, ip if metric in ("ip", "cosine") else l2)

    def crowd() -> FloatRows:
        if not isinstance(cells, int) or rows.n <= len(sample) or cells <= len(sample) // _CROWD:
            return sample
        return _draw_crowd(rows, cells, seed, plan.normalize)

    plan, centroids = choose_cells(plan, sample, held_out, rows.n, crowd, cells, asked, seed, trial)
    core = _learn(plan, centroids, sample, judges, seed, _ITERATIONS[effort], quarters, joint)
    return Trained(core, rows, sample, held_out, asked)


def to_quarters(alpha: float) -> int:
    """Return alpha in quarters; ValueError if it is none of them."""
    quarters = alpha * QUARTERS
    if quarters not in range(QUARTERS + 1):
        raise ValueError(f"alpha={alpha!r} must be 0, 0.25, 0.5, 0.75 or 1")
    return int(quarters)


def _draw_queries(queries: Any, plan: Plan, seed: int, policy: Policy) -> FloatRows:
    """Draw from the queries that were given, in random order."""
    rows = admit(Rows(queries, "queries", plan.d), policy).rows
    if rows.n == 0:
        raise ValueError("queries has no rows; at least 1 is needed")
    rng = np.random.default_rng(seed)
    chosen = np.sort(rng.choice(rows.n, size=min(rows.n, _most_rows(rows.d)), replace=False))
    drawn = rows.take(chosen)[rng.permutation(len(chosen))]
    return _core.normalize_rows(drawn) if plan.normalize else drawn


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


def _draw_crowd(rows: Rows, cells: int, seed: int, normalize: bool) -> FloatRows:
    """Draw rows for k-means with many cells: `_CROWD` each, as far as memory is for them."""
    most = max(_most_rows(rows.d), _CROWD_BYTES // (4 * rows.d), cells)
    count = min(rows.n, _CROWD * cells, most)
    drawn = rows.take(np.sort(np.random.default_rng(seed).choice(rows.n, count, replace=False)))
    return _core.normalize_rows(drawn) if normalize else drawn


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
        basis=np.ascontiguousarray(_rotated_basis(plan, sample)[order]),
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


def drawn_rows(n: int, d: int, seed: int) -> tuple[Labels, Labels]:
    """Return which of n rows are trained on, and which are held out as queries; both ascending."""
    held = min(_QUERIES, n // 8)
    rng = np.random.default_rng(seed)
    chosen = rng.choice(n, size=min(n, _most_rows(d) + held), replace=False)
    return np.sort(chosen[held:]), np.sort(chosen[:held])


def _draw(rows: Rows, seed: int, normalize: bool) -> tuple[FloatRows, FloatRows]:
    """Draw rows to train on, and others that calibration uses as queries."""
    train, queries = drawn_rows(rows.n, rows.d, seed)
    drawn = rows.take(train), rows.take(queries)
    return (_core.normalize_rows(drawn[0]), _core.normalize_rows(drawn[1])) if normalize else drawn


def _most_rows(d: int) -> int:
    return min(_SAMPLE_ROWS, max(1024, _SAMPLE_BYTES // (4 * d)))


def _rotated_basis(plan: Plan, sample: FloatRows) -> FloatRows:
    """Return the plan's basis with its medium class rotated for one-bit codes."""
    medium = [dim for group in plan.groups if group.kind == "binary" for dim in group.dims]
    if not medium:
        return plan.basis
    basis = np.array(plan.basis)
    part = np.ascontiguousarray(basis[medium])
    y, _, used = _core.project_directions(
        plan.mean, part, np.ones(len(medium), dtype=np.float32), sample
    )
    rotation = itq_rotation(y[:, :used])
    basis[medium] = (rotation.T @ part.astype(np.float64)).astype(np.float32)
    return basis
