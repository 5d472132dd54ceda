"""What `optimize` found, and what follows from it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from waterfill._util.validation import Metric, as_number, as_positive_int
from waterfill.analysis import Analysis
from waterfill.codec import Codec
from waterfill.evaluation.recall_forecast import Expected, Growth
from waterfill.evaluation.split import Accuracy, Split
from waterfill.optimizer.estimate import Estimate, Rates
from waterfill.optimizer.trial import Frontier, Trial


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
    reached : bool
        Whether it is what was asked for: the target, within the bytes, within the constraints.
    complete : bool
        Whether the search ended by itself: not stopped by Ctrl-C or the time budget.
    metric : {'ip', 'l2', 'cosine'}
    k : int
        Neighbours that recall counts.
    seed : int
    accuracy : {'recall', 'forgiving_accuracy'}
        What `Trial.expected_accuracy` is.
    ntotal : int
        Vectors that the codec is meant for.
    analysis : Analysis
        Of the stored part of the sample.
    growth : Growth
        How recall falls as a collection grows.
    rates : Rates
        What this machine takes for a vector.
    seconds : float
        That the search took.
    split : Split
        The sample as it was used.
    """

    codec: Codec
    best: Trial
    reason: str
    objective: str
    trials: tuple[Trial, ...]
    reached: bool
    complete: bool
    metric: Metric
    k: int
    seed: int
    accuracy: Accuracy
    ntotal: int
    analysis: Analysis
    growth: Growth
    rates: Rates
    seconds: float
    split: Split = field(repr=False)

    @property
    def frontier(self) -> Frontier:
        """Trials that no other beats in both bytes and recall."""
        return Frontier(self.trials)

    def expected_recall(self, n: int | None = None) -> Expected:
        """Extrapolate recall@k to a collection of n vectors like the sample's.

        Parameters
        ----------
        n : int, optional
            By default `ntotal`.

        Returns
        -------
        Expected
            ``recall``, and ``low`` and ``high`` between which it lies in 95 % of cases.

        Raises
        ------
        ValueError, TypeError
            If `n` is no int of 1 or more.
        """
        return self.growth.at(self.ntotal if n is None else as_positive_int("n", n))

    def estimate(self, n: int | None = None, *, price_per_gb: float | None = None) -> Estimate:
        """Say what a flat index of n vectors takes on this machine.

        Parameters
        ----------
        n : int, optional
            By default `ntotal`.
        price_per_gb : float, optional
            Of 10**9 bytes of memory for a month, in your currency.

        Returns
        -------
        Estimate

        Raises
        ------
        ValueError, TypeError
            If `n` is no int of 1 or more, or the price no number of 0 or more.
        """
        n = self.ntotal if n is None else as_positive_int("n", n)
        price = None if price_per_gb is None else as_number("price_per_gb", price_per_gb, 0)
        return self.rates.estimate(n, self.growth.at(n), price)

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
        from waterfill.reporting.result_plot import plot

        return plot(self)

    def _other_accuracy(self) -> list[str]:
        best = self.best
        if self.accuracy == "recall":
            return []
        return [
            f"  {self.accuracy.replace('_', ' ')} {best.forgiving_accuracy:.3f}, "
            f"{best.expected_accuracy:.3f} expected among {self.ntotal:,}"
        ]

    def __repr__(self) -> str:
        best = self.best
        lines = [
            f"Result: {best.settings}",
            f"  {self.reason}",
            f"  bytes a vector  {best.bytes_per_vector:.1f}, {best.memory_ratio:.1f} times smaller "
            "than float32",
            f"  recall@{self.k:<8} {best.recall:.3f} among {len(self.split.base):,} vectors of the "
            "sample",
            *self._other_accuracy(),
            *(
                f"  expected        {self.expected_recall(n)} among {n:,}"
                for n in (self.ntotal, 10 * self.ntotal, 100 * self.ntotal)
            ),
            f"  searched        {len(self.trials)} trials in {self.seconds:.0f} s"
            + ("" if self.complete else ", stopped early"),
            "",
            f"  no other trial beats these; expected {self.accuracy.replace('_', ' ')} is among "
            f"{self.ntotal:,}:",
            *("  " + line for line in repr(self.frontier).splitlines()),
        ]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        from waterfill.reporting.notebook import result_html

        return result_html(self)
