"""The result of `optimize`, and the extrapolations that it offers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from waterfill._util.validation import Metric, as_number, as_positive_int
from waterfill.analysis import Analysis
from waterfill.codec import Codec
from waterfill.evaluation.recall_extrapolation import Expected, Growth
from waterfill.evaluation.sample_split import Accuracy, Split
from waterfill.optimizer.resource_estimate import Estimate, Rates
from waterfill.optimizer.trial import Frontier, Trial


@dataclass(frozen=True, eq=False, repr=False)
class Result:
    """The best codec for an objective, and all trials. Returned by `optimize`.

    Attributes
    ----------
    codec : Codec
        Trained on the sample with the best settings.
    best : Trial
        Its measurements.
    reason : str
        Why it was chosen.
    objective : str
        The objective in words.
    trials : tuple of Trial
        All trials, in order.
    reached : bool
        Whether the codec reaches the target, and is within the bytes and the constraints.
    complete : bool
        False if Ctrl-C or the time budget stopped the search.
    metric : {'ip', 'l2', 'cosine'}
        The metric of the search.
    k : int
        Number of neighbours of recall@k.
    seed : int
        The seed of the sample, of training and of the search strategy.
    accuracy : {'recall', 'forgiving_accuracy'}
        The meaning of `Trial.expected_accuracy`.
    ntotal : int
        Number of vectors that the codec is meant for.
    analysis : Analysis
        Analysis of the stored part of the sample.
    growth : Growth
        How recall falls as the collection grows.
    rates : Rates
        Measured times and bytes per vector.
    seconds : float
        Duration of the search.
    split : Split
        Stored vectors, queries and true neighbours.
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
        """The trials that no other one beats in both bytes and accuracy."""
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
            ``recall``, and its 95 % interval from ``low`` to ``high``.

        Raises
        ------
        ValueError, TypeError
            If `n` is not an int of at least 1.
        """
        return self.growth.at(self.ntotal if n is None else as_positive_int("n", n))

    def estimate(self, n: int | None = None, *, price_per_gb: float | None = None) -> Estimate:
        """Estimate the memory, file size, time and cost of a flat index of n vectors.

        Parameters
        ----------
        n : int, optional
            By default `ntotal`.
        price_per_gb : float, optional
            Price of 10**9 bytes of memory for a month, in any currency.

        Returns
        -------
        Estimate
            Memory, size, times and cost.

        Raises
        ------
        ValueError, TypeError
            If `n` is not an int of at least 1, or the price is not a number of at least 0.
        """
        n = self.ntotal if n is None else as_positive_int("n", n)
        price = None if price_per_gb is None else as_number("price_per_gb", price_per_gb, 0)
        return self.rates.estimate(n, self.growth.at(n), price)

    def plot(self) -> Any:
        """Draw recall against bytes, the spectrum with the water level, and bits per dimension.

        Returns
        -------
        matplotlib.figure.Figure
            A new figure.

        Raises
        ------
        ImportError
            If Matplotlib is not installed: ``pip install ".[plot]"``.
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
