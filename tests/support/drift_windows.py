"""Sizes and data of drift tests, and a monitor's report on one window."""

import numpy as np

REFERENCE, WINDOW = 1400, 400  # rows


def uneven(x: np.ndarray) -> np.ndarray:
    """Return unit vectors with 90 % of their variance in half of the directions.

    All 384 dimensions of the sample have about that share there. Its first 64 have nearly equal
    variances, among which another embedding model cannot be told by the energy of its vectors.
    """
    d = x.shape[1]
    axes = np.linalg.qr(np.random.default_rng(3).standard_normal((d, d)))[0]
    y = x @ (axes * np.geomspace(1, 0.1, d)) @ axes.T
    return (y / np.linalg.norm(y, axis=1, keepdims=True)).astype(np.float32)


def report_on(monitor, x, **blocks):
    """Return the report on a window that holds `x` alone."""
    monitor.reset()
    monitor.update(x, **blocks)
    return monitor.report()
