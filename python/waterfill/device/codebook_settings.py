"""What codebooks are trained from, besides rows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatRows = NDArray[np.float32]


@dataclass(frozen=True)
class CodebookSettings:
    """Arguments of `_core.Codec.train`.

    Attributes
    ----------
    mean : float32 (d,)
    basis : float32 (columns, d)
        In the order of the groups.
    weights : float32 (columns,)
    shapes : list of (int, str)
        The number of columns and the kind of each group.
    rests : list of (int, int)
        The columns of second bytes, with those of the first bytes.
    centroids : float32 (cells, d)
    by_direction : bool
    seed : int
    iterations : int
    """

    mean: FloatRows
    basis: FloatRows
    weights: FloatRows
    shapes: list[tuple[int, str]]
    rests: list[tuple[int, int]]
    centroids: FloatRows
    by_direction: bool
    seed: int
    iterations: int
