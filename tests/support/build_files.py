"""Tables of vectors with ids, that builds read."""

from __future__ import annotations

import numpy as np


def table_of(arrow, x, first):
    """A table of vectors, and of ids that fall."""
    column = arrow.FixedSizeListArray.from_arrays(x.reshape(-1), x.shape[1])
    ids = ids_of(first, len(x))
    return arrow.table({"id": ids, "vector": column, "text": ["a"] * len(x)})


def ids_of(first, n):
    """The ids in the Parquet files."""
    return 10_000_000 - 7 * np.arange(first, first + n)
