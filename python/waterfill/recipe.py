"""Recipes: the parameters of analysis, plan and training, for indexes that train a codec."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from waterfill._util.progress import Option, metered
from waterfill._util.validation import Metric, as_int
from waterfill.analysis import analyze_rows
from waterfill.codec import Codec
from waterfill.data.rows import Rows
from waterfill.plan import Plan
from waterfill.training.cells import Cells
from waterfill.training.train import Effort, as_cells, as_effort, as_seed


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
        Seed of training, 0 to 2**64 - 1.
    effort : {'fast', 'balanced', 'best'}
        See `Codec.train`.
    cells : int or 'auto'
        Number of cells: see `Codec.train`. An index with lists has as many as lists.

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
    cells: int | Literal["auto"] = "auto"

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
        if self.cells != "auto":
            object.__setattr__(self, "cells", as_cells(self.cells))

    def train(
        self,
        x: Any,
        metric: Metric,
        *,
        cells: Cells | None = None,
        queries: Any = None,
        progress: Option = False,
    ) -> Codec:
        """Analyze vectors, make a water-filling plan [1]_ and train a codec for one metric.

        Parameters
        ----------
        x : array_like, shape (n, d)
            All rows are analysed; codebooks are trained on a sample.
        metric : {'ip', 'l2', 'cosine'}
            ``cosine``: vectors are divided by their norms.
        cells : int, 'auto', or array_like, shape (c, d)
            See `Codec.train`; by default those of the recipe.
        queries : array_like, shape (m, d), optional
            See `Codec.train`.
        progress : bool or callable, optional
            See `Codec.train`.

        Returns
        -------
        Codec
            The trained codec.

        Raises
        ------
        ValueError, TypeError
            As `analyze` and `Codec.train`.

        References
        ----------
        .. [1] T. M. Cover and J. A. Thomas, Elements of Information Theory, 2nd edition, Wiley,
           2006, section 10.3.3.
        """
        Rows(x, "x", self.d)  # both before the analysis, which reads all rows
        if queries is not None and Rows(queries, "queries", self.d).n == 0:
            raise ValueError("queries has no rows; at least 1 is needed")
        with metered(progress) as meter:
            analysis = analyze_rows(Rows(x), normalize=metric == "cosine", meter=meter)
            plan = Plan.waterfill(analysis, self.code_bytes, self.weighting)
            return Codec.train(
                x,
                plan,
                self.seed,
                cells=self.cells if cells is None else cells,
                queries=queries,
                metric=metric,
                effort=self.effort,
                progress=meter,
            )


def train_codec(
    source: Plan | Recipe,
    x: Any,
    metric: Metric,
    *,
    cells: Cells | None = None,
    **options: Any,
) -> Codec:
    """Train a codec from the plan or recipe that an index was created with."""
    if isinstance(source, Recipe):
        return source.train(x, metric, cells=cells, **options)
    return Codec.train(
        x, source, metric=metric, cells="auto" if cells is None else cells, **options
    )
