"""What `optimize` found, and what follows from it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from waterfill.analysis import Analysis
from waterfill.arguments import Metric
from waterfill.codec import Codec
from waterfill.tuning.estimate import Estimate, estimate
from waterfill.tuning.growth import Expected, Growth
from waterfill.tuning.split import Split
from waterfill.tuning.trial import Frontier, Trial


@dataclass(frozen=True, eq=False, repr=False)
class Result:
    """The codec that an objective chose, and what led there. Made by `optimize`.

    Attributes
    ----------
    codec : Codec
        Trained on the sample.
    best : Trial
        What was measured of it.
    reason : str
        Why it was chosen.
    objective : str
        What was asked for, in words.
    trials : tuple of Trial
        All that was tried, in order.
    frontier : Frontier
        Those of them that no other beats in both bytes and recall.
    complete : bool
        Whether the search ended by itself: not stopped by Ctrl-C or the time budget.
    metric : {'ip', 'l2', 'cosine'}
    k : int
        Neighbours that recall counts.
    seed : int
    analysis : Analysis
        Of the sample.
    growth : Growth
        How recall falls as a collection grows.
    seconds : float
        That the search took.
    """

    codec: Codec
    best: Trial
    reason: str
    objective: str
    trials: tuple[Trial, ...]
    complete: bool
    metric: Metric
    k: int
    seed: int
    analysis: Analysis
    growth: Growth
    seconds: float
    split: Split = field(repr=False)

    @property
    def frontier(self) -> Frontier:
        return Frontier(self.trials)

    def expected_recall(self, n: int) -> Expected:
        """Extrapolate recall@k to a collection of n vectors like the sample's.

        Returns
        -------
        Expected
            ``recall``, and ``low`` and ``high`` between which it lies with 95 % confidence.
        """
        return self.growth.at(n)

    def estimate(self, n: int, *, price_per_gb: float | None = None) -> Estimate:
        """Say what a flat index of n vectors takes: see `Estimate`."""
        return estimate(self, n, price_per_gb)

    def plot(self) -> Any:
        """Draw recall against bytes, the spectrum with the water level, and bits per dimension.

        Returns
        -------
        matplotlib.figure.Figure

        Raises
        ------
        ImportError
            If Matplotlib is not installed: ``pip install "waterfill[plot]"``.
        """
        from waterfill.reporting.plot import plot

        return plot(self)

    def _repr_html_(self) -> str:
        from waterfill.reporting.notebook import result_html

        return result_html(self)
