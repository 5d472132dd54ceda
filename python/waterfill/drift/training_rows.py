"""Rows that a codec was not trained on."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from waterfill import _core
from waterfill.codec import Codec
from waterfill.manifest import digest
from waterfill.rows import Rows
from waterfill.training import drawn_rows

_FEWEST = 500


def untrained(codec: Codec, rows: Rows) -> NDArray[np.int64] | None:
    """Return which rows the codec was not trained on: None for all.

    Of other data nothing can be told. Of the very array that it was trained on the draw is made
    again, and compared with the hash that its manifest keeps.

    Raises
    ------
    ValueError
        If the codec was trained on almost all of the rows.
    """
    manifest = codec.manifest
    if manifest is None or (manifest.rows, manifest.d) != (rows.n, rows.d):
        return None
    train, held = drawn_rows(rows.n, rows.d, manifest.training["seed"])
    drawn = rows.take(train), rows.take(held)
    if codec.plan.normalize:
        drawn = _core.normalize_rows(drawn[0]), _core.normalize_rows(drawn[1])
    if digest(*drawn) != manifest.data_sha256:
        return None
    left = np.setdiff1d(np.arange(rows.n), train)
    if len(left) < _FEWEST:
        raise ValueError(
            f"reference is what the codec was trained on: {len(left)} of {rows.n} rows were not "
            f"drawn, and {_FEWEST} are needed, as the error of the others is too small to compare "
            "with. Give other vectors of that time, or none: then the first ones become the "
            "baseline"
        )
    return left
