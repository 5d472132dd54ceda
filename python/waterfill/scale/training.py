"""Analysis and training from the rows of a Ray dataset, as one process does it."""

from __future__ import annotations

from typing import Any

import numpy as np

from waterfill._util.validation import Metric
from waterfill.analysis import Analysis, centre_rows
from waterfill.analysis import analyze as analyze_rows
from waterfill.codec import Codec
from waterfill.plan import Plan
from waterfill.recipe import Recipe
from waterfill.scale.dataset_rows import DatasetRows, DatasetVectors
from waterfill.training.cells import Cells
from waterfill.training.sampling import drawn_rows
from waterfill.training.train import as_seed

_CODE_BYTES = 48


def analyze(dataset: Any, *, column: str | None = None, normalize: bool = False) -> Analysis:
    """Analyse the vectors of a Ray dataset: workers sum, this process adds their sums in order.

    Parameters
    ----------
    dataset : ray.data.Dataset
        Each pass must give the same rows in the same order. Of a random transformation, call
        ``materialize()`` first.
    column : str, optional
        The column of vectors, if there are several.
    normalize : bool
        See `waterfill.analyze`.

    Returns
    -------
    Analysis
        What `waterfill.analyze` returns for the same rows in one array, to the bit, whatever the
        blocks of the dataset and the number of workers.

    Raises
    ------
    ValueError
        If there are no rows, no finite ones, or not one column of vectors.
    TypeError
        If `dataset` is no dataset of Ray.
    """
    return analyze_rows(DatasetRows(DatasetVectors(dataset, column)), normalize=normalize)


def train(
    dataset: Any,
    source: Recipe | Plan | None = None,
    *,
    column: str | None = None,
    metric: Metric = "ip",
    cells: Cells = "auto",
    queries: Any = None,
    seed: int = 0,
) -> Codec:
    """Train a codec on the vectors of a Ray dataset.

    Workers read the rows, draw the sample and sum the moments. Codebooks are trained in this
    process, on at most 65,536 rows, or 100 for each of many cells.

    Parameters
    ----------
    dataset : ray.data.Dataset
        As for `analyze`.
    source : Recipe or Plan, optional
        By default a recipe of 48 bytes.
    column : str, optional
        The column of vectors, if there are several.
    metric : {'ip', 'l2', 'cosine'}
        See `Codec.train`; with a recipe and ``metric="cosine"`` vectors are normalised.
    cells : int, 'auto', or array_like, shape (c, d)
        See `Codec.train`.
    queries : array_like, shape (m, d), optional
        See `Codec.train`.
    seed : int
        Of the sample and of training. A recipe has its own.

    Returns
    -------
    Codec
        What ``recipe.train(x, metric)`` or ``Codec.train(x, plan, seed)`` returns for the same rows
        in one array, to the bit. The rows that are drawn depend on their number and the seed alone.

    Raises
    ------
    ValueError, TypeError
        As `analyze` and `Codec.train`.
    """
    seed = as_seed(seed)
    rows = DatasetRows(DatasetVectors(dataset, column))
    n, d = rows.shape
    if source is None:
        source = Recipe(d, min(_CODE_BYTES, d), seed=seed)
    if not isinstance(source, Recipe | Plan):
        raise TypeError(f"source must be a Recipe or a Plan, got {type(source).__name__}")
    if isinstance(source, Recipe):
        seed = source.seed
    # One pass for what training is going to ask for.
    rows.fetch(np.unique(np.concatenate([centre_rows(n), *drawn_rows(n, d, seed)])))
    if isinstance(source, Recipe):
        return source.train(rows, metric, cells=cells, queries=queries)
    return Codec.train(rows, source, seed, cells=cells, queries=queries, metric=metric)
