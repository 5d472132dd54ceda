"""Rows with whatever may be wrong with them."""

from __future__ import annotations

import numpy as np


def rows_with_flaws(kinds: list[str], d: int, seed: int) -> np.ndarray:
    """Rows of these kinds."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((len(kinds), d)).astype(np.float32)
    for i, kind in enumerate(kinds):
        at = int(rng.integers(d))
        if kind in ("nan", "infinite"):
            x[i, at] = np.nan if kind == "nan" else rng.choice([-np.inf, np.inf])
        elif kind == "both":
            x[i, at], x[i, at - 1] = np.nan, np.inf
        elif kind == "zero":
            x[i] = rng.choice([-0.0, 0.0])
        elif kind in ("far", "near"):
            x[i] *= 1e30 if kind == "far" else 1e-30  # squares are no float32
        elif kind == "copy":
            x[i] = x[rng.integers(i + 1)]
    return x
