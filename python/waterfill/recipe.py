"""Recipes: the parameters of analysis, plan and training, for indexes that train a codec."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from waterfill._util.validation import Metric, as_int
from waterfill.analysis import analyze
from waterfill.codec import Codec
from waterfill.data.rows import Rows
from waterfill.plan import Plan
from waterfill.training.cells import Cells
from waterfill.training.train import Effort, as_effort, as_seed


@dataclass(frozen=True)
class Recipe:
    """Parameters of analysis, plan and training, for an index that trains its own codec.

    Parameters
    ----------
    d : int
        Number of dimensions of the vectors.
    code_bytes : int
        Bytes per code, 1 to d, without the byte for the scale. See `Plan.waterfill`.
    weighting : float
        See `Plan.waterfill`.
    seed : int
        Seed of sampling and k-means, 0 to 2**64 - 1.
    effort : {'fast', 'balanced', 'best'}
        See `Codec.train`.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or is out of range.
    """

    d: int
    code_bytes: int = 48
    weighting: float = 0.2
    seed: int = 0
    effort: Effort = "balanced"

    def __post_init__(self) -> None:
        for name in ("d", "code_bytes"):
            object.__setattr__(self, name, as_int(name, getattr(self, name)))
        if self.d < 1:
            raise ValueError(f"d={self.d} must be at least 1")
        if not 1 <= self.code_bytes <= self.d:
            raise ValueError(
                f"code_bytes={self.code_bytes} must be from 1 to the number of dimensions, {self.d}"
            )
        object.__setattr__(self, "seed", as_seed(self.seed))
        as_effort(self.effort)

    def train(self, x: Any, metric: Metric, *, cells: Cells = "auto", queries: Any = None) -> Codec:
        """Analyze vectors, make a water-filling plan and train a codec for one metric.

        Parameters
        ----------
        x : array_like, shape (n, d)
            All rows are analysed; codebooks are trained on a sample.
        metric : {'ip', 'l2', 'cosine'}
            ``cosine``: vectors are divided by their norms.
        cells : int, 'auto', or array_like, shape (c, d)
            See `Codec.train`.
        queries : array_like, shape (m, d), optional
            See `Codec.train`.

        Returns
        -------
        Codec
            The trained codec.

        Raises
        ------
        ValueError, TypeError
            As `analyze` and `Codec.train`.
        """
        Rows(x, "x", self.d)  # both before the analysis, which reads all rows
        if queries is not None and Rows(queries, "queries", self.d).n == 0:
            raise ValueError("queries has no rows; at least 1 is needed")
        analysis = analyze(x, normalize=metric == "cosine")
        plan = Plan.waterfill(analysis, self.code_bytes, self.weighting)
        return Codec.train(
            x, plan, self.seed, cells=cells, queries=queries, metric=metric, effort=self.effort
        )


def train_codec(
    source: Plan | Recipe, x: Any, metric: Metric, *, cells: Cells = "auto", queries: Any = None
) -> Codec:
    """Train a codec from the plan or recipe that an index was created with."""
    if isinstance(source, Recipe):
        return source.train(x, metric, cells=cells, queries=queries)
    return Codec.train(x, source, cells=cells, queries=queries, metric=metric)
