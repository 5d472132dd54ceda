"""The distortion of a codec, beside the prediction of its plan and the Shannon bound."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from waterfill import _core
from waterfill.data.rows import FloatRows
from waterfill.encoding import encode_block
from waterfill.plan import Plan


@dataclass(frozen=True)
class DistortionReport:
    """Distortion of a codec, beside the prediction of its plan and the Shannon bound.

    Attributes
    ----------
    bits : float
        Bits per dimension, without the scale and the number of the cell.
    cells : int
        Number of cells. With cells, distortion is relative to the energy of the residuals.
    distortion : float
        Mean squared error of decoded directions (alpha 0) relative to their energy, on rows that
        were held out of training.
    expected : float
        Distortion that the plan predicts.
    bound : float
        Shannon bound [1]_ for Gaussian dimensions with the plan's variances, by reverse
        water-filling [2]_.

    References
    ----------
    .. [1] C. E. Shannon, "Coding theorems for a discrete source with a fidelity criterion", IRE
       National Convention Record, 1959.
    .. [2] T. M. Cover and J. A. Thomas, Elements of Information Theory, 2nd edition, Wiley, 2006,
       section 10.3.3.
    """

    bits: float
    cells: int
    distortion: float
    expected: float
    bound: float

    @property
    def gap_db(self) -> float:
        """Distortion above the bound in decibels; 6.02 dB are one bit per dimension."""
        return 10 * math.log10(self.distortion / self.bound) if self.distortion > 0 else -math.inf

    def __str__(self) -> str:
        return (
            f"{self.bits:.2f} bits per dimension: distortion {self.distortion:.3%} (expected "
            f"{self.expected:.3%}), Shannon bound {self.bound:.3%}, gap {self.gap_db:.2f} dB"
        )


def measure_distortion(core: _core.Codec, plan: Plan, x: FloatRows) -> float:
    """Return the mean squared error of decoded rows, relative to the energy of their residuals."""
    if plan.normalize:
        x = _core.normalize_rows(x)
    centroids = core.arrays["centroids"] if core.cells else plan.mean[None]
    by_direction = core.settings["by_direction"]
    residuals = _core.residuals(x, plan.mean, centroids, by_direction).astype(np.float64)
    errors = core.decode(encode_block(core, x), 0).astype(np.float64) - x
    energy = np.square(residuals).sum(axis=1)
    nonzero = energy > 0
    if not nonzero.any():
        return 0.0
    return float((np.square(errors).sum(axis=1)[nonzero] / energy[nonzero]).mean())
