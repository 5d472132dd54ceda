"""Iterative quantization (ITQ): the rotation of the dimensions that get one bit each."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from waterfill import _core
from waterfill.data.rows import FloatRows
from waterfill.plan import Plan

_ITERATIONS = 50


def itq_rotation(y: NDArray[np.float32], iterations: int = _ITERATIONS) -> NDArray[np.float64]:
    """Find a rotation R that minimises the distance of ``y R`` from ``sign(y R)``.

    Gong & Lazebnik, Iterative quantization: a Procrustean approach to learning binary codes,
    CVPR 2011. It starts from the identity and not at random, so that the result is reproducible.

    Parameters
    ----------
    y : float32 (n, m)
        Centred coordinates.
    iterations : int
        Number of alternations between signs and rotation.

    Returns
    -------
    float64 (m, m)
        Orthogonal; rotated coordinates are ``y @ R``.
    """
    values = y.astype(np.float64)
    rotation = np.eye(values.shape[1])
    for _ in range(iterations):
        signs = np.where(values @ rotation > 0, 1.0, -1.0)
        left, _, right = np.linalg.svd(values.T @ signs)
        rotation = left @ right
    return rotation


def rotated_basis(plan: Plan, sample: FloatRows) -> FloatRows:
    """Return the plan's basis with its medium class rotated for one-bit codes."""
    medium = [dim for group in plan.groups if group.kind == "binary" for dim in group.dims]
    if not medium:
        return plan.basis
    basis = np.array(plan.basis)
    medium_basis = np.ascontiguousarray(basis[medium])
    y, _, used = _core.project_directions(
        plan.mean, medium_basis, np.ones(len(medium), dtype=np.float32), sample
    )
    rotation = itq_rotation(y[:, :used])
    basis[medium] = (rotation.T @ medium_basis.astype(np.float64)).astype(np.float32)
    return basis
