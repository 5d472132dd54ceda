"""How near a codec comes to what is possible at its rate."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Report:
    """Error of decoded directions, and the least that any code of as many bits could have.

    Attributes
    ----------
    bits : float
        Per dimension of the vectors, the scale and the cell's number not counted.
    cells : int
        Cells whose centroids vectors are coded from; what they take off is not in `distortion`.
    distortion : float
        Mean squared error of decoded directions as a share of their energy, on rows that were held
        out of training; with the least expected error (alpha 0).
    expected : float
        What the plan predicted.
    bound : float
        Shannon's for Gaussian dimensions with the plan's variances: reverse water-filling (Cover &
        Thomas, Elements of Information Theory, 10.3.3).
    """

    bits: float
    cells: int
    distortion: float
    expected: float
    bound: float

    @property
    def gap_db(self) -> float:
        """Distortion above the bound, in decibels; 6.02 of them are a bit a dimension."""
        return 10 * math.log10(self.distortion / self.bound) if self.distortion > 0 else -math.inf

    def __str__(self) -> str:
        return (
            f"{self.bits:.2f} bits a dimension: distortion {self.distortion:.3%} (expected "
            f"{self.expected:.3%}), Shannon bound {self.bound:.3%}, gap {self.gap_db:.2f} dB"
        )
