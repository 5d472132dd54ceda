"""The expected score of a vector with itself, estimated from codes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from waterfill.index.base import Index

Doubles = NDArray[np.float64]

_SAMPLE = 4096  # codes that the estimate uses


def self_score(index: Index) -> float:
    """Estimate the score of a stored vector with itself: see `Index.expected_self_score`.

    The centroids of a codebook are means of the training vectors, so the expected residual of a
    vector with some code is the decoded one before its scale is corrected (the centroid condition:
    Gersho and Gray, Vector Quantization and Signal Compression, 1992, 11.2). The norm of the
    residual is stored, so the expected products of the vector with itself and with the decoded one
    follow.
    """
    core, codec = index._trained(), index.codec
    assert codec is not None
    if index.ntotal == 0:
        raise ValueError("the index has no vectors; add some first")
    l2 = index.metric == "l2"
    if core.refine_row_kind is not None:
        return 0.0 if l2 else 1.0
    codes = core.codes(0, min(index.ntotal, _SAMPLE))
    arrays = core.codec.arrays
    centroids = arrays["centroids"] if len(arrays["centroids"]) else arrays["mean"][None]
    origins: Doubles = centroids[index._cells_of(codes)].astype(np.float64)
    residual: Doubles = codec.decode(codes, alpha=0) - origins
    squares = np.square(codec.decode(codes, alpha=1) - origins).sum(axis=1)
    decoded: Doubles = index._decode(codes) - origins
    if l2:
        distances = squares + _products(decoded, decoded - 2 * residual)
        return float(distances.mean())
    own = _products(origins, origins + residual)
    scores = own + _products(origins + residual, decoded)
    norms = own + _products(origins, residual) + squares
    return float(scores.mean() / norms.mean())


def _products(a: Doubles, b: Doubles) -> Doubles:
    """Return the inner products of rows."""
    products: Doubles = (a * b).sum(axis=1)
    return products
