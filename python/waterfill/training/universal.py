"""Universal codecs: codebooks for any data, made without a sample.

A random rotation makes the coordinates of any direction nearly normal and equally distributed, so
one codebook for normal vectors serves all groups (the idea of data-oblivious codes: Vargaftik et
al., "EDEN", 2022; Gao and Long, "RaBitQ", 2024). They take more bytes than trained codecs for the
same recall, and need no training and no retraining.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from waterfill import _core
from waterfill._util.validation import Metric, as_number, as_positive_int, metric_name
from waterfill.data.rows import FloatRows, Rows
from waterfill.plan import Group, Plan
from waterfill.training.train import QUARTERS, as_seed

BITS = (1, 2, 4, 8)
"""Bits per dimension: they divide the eight bits of a group."""

_SAMPLE_ROWS = 8192  # that calibrate scales and search depths
_HELD_OUT = 256
_ITERATIONS = 50  # of k-means
_ROUNDS = 6  # of random plane rotations, times log2(d)


@dataclass(frozen=True)
class UniversalSettings:
    """Validated parameters of `Codec.universal`."""

    d: int
    bits: int
    normalize: bool
    norms: tuple[float, float]
    seed: int
    center: FloatRows

    @classmethod
    def of(
        cls,
        d: int,
        bits: int,
        metric: Metric | int,
        norms: tuple[float, float],
        seed: int,
        center: Any = None,
    ) -> UniversalSettings:
        """Validate the parameters."""
        d = as_positive_int("d", d)
        if bits not in BITS or isinstance(bits, bool):
            raise ValueError(f"bits={bits!r} must be one of {', '.join(map(str, BITS))}")
        normalize = metric_name(metric) == "cosine"
        try:
            low, high = norms
        except (TypeError, ValueError):
            raise TypeError(f"norms must be (smallest, largest), got {norms!r}") from None
        low, high = (as_number("norms", norm, 0, finite=True) for norm in (low, high))
        if not 0 < low <= high:
            raise ValueError(f"norms={norms!r}: expected 0 < smallest <= largest")
        if normalize and center is not None:
            raise ValueError("center: vectors of metric 'cosine' have none; leave it out")
        norms = (1.0, 1.0) if normalize else (low, high)
        return cls(d, bits, normalize, norms, as_seed(seed), _center(center, d))


def _center(center: Any, d: int) -> FloatRows:
    """Return a center, float32 (d,); zeros for None."""
    if center is None:
        return np.zeros(d, np.float32)
    one = np.asarray(center, np.float32)
    if one.shape != (d,):
        raise ValueError(f"center: expected shape ({d},), got {one.shape}")
    row: FloatRows = Rows(one[None], "center").take(np.arange(1))[0]  # no NaN and no infinity
    return row


def train_universal(settings: UniversalSettings, *, lists: bool = False) -> _core.Codec:
    """Make the core of a universal codec.

    lists: with one cell, so that an index with lists can have it.
    """
    d = settings.d
    random = np.random.default_rng(settings.seed)
    plan = _plan(settings, _rotation(d, random))
    rows = random.standard_normal((_SAMPLE_ROWS + _HELD_OUT, d), dtype=np.float32)
    rows /= np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), np.float32(1e-30))
    # Both ends of the range, so that the byte of the scale covers it.
    norms = np.geomspace(*settings.norms, len(rows), dtype=np.float32)
    rows *= random.permutation(norms)[:, None]
    rows += plan.mean
    return _core.Codec.train(
        mean=plan.mean,
        basis=plan.basis,
        weights=plan.weights,
        shapes=[(len(group.dims), group.kind) for group in plan.groups],
        rests=[],
        centroids=np.zeros((int(lists), d), np.float32),
        by_direction=False,
        sample=rows[_HELD_OUT:],
        held_out=rows[:_HELD_OUT],
        seed=settings.seed,
        iterations=_ITERATIONS,
        alpha=QUARTERS,
        joint=0.0,
        constant_norm=plan.constant_norm,
        pq_multiplier=0.0,
        normalize=plan.normalize,
        plan=plan.to_json(),
        shared=True,
    )


def _plan(settings: UniversalSettings, rotation: FloatRows) -> Plan:
    d, width = settings.d, 8 // settings.bits
    smallest, largest = settings.norms
    groups = tuple(
        Group(tuple(range(first, min(first + width, d)))) for first in range(0, d, width)
    )
    return Plan(
        maker="waterfill",
        mean=settings.center,
        basis=rotation,
        variances=np.full(d, 1 / d),
        groups=groups,
        weighting=0.0,
        constant_norm=smallest if smallest == largest else 0.0,
        normalize=settings.normalize,
    )


def _rotation(d: int, random: np.random.Generator) -> FloatRows:
    """Return a random rotation: random walk on the rotations by planes (Kac 1956).

    Only sums, products and quotients of float64 are used, so that it is the same on every machine;
    a QR decomposition of a normal matrix is not.
    """
    rows = np.eye(d)
    for _ in range(_ROUNDS * max(1, d.bit_length())):
        order = random.permutation(d)
        first, second = order[: d // 2], order[d // 2 : d // 2 * 2]
        tangent = random.uniform(-1, 1, (d // 2, 1))  # of half the angle
        cosine = (1 - tangent**2) / (1 + tangent**2)
        sine = 2 * tangent / (1 + tangent**2)
        a, b = rows[first], rows[second]
        rows[first] = cosine * a - sine * b
        rows[second] = sine * a + cosine * b
    return np.ascontiguousarray(rows, dtype=np.float32)
