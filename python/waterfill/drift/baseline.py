"""The baseline of a monitor: rows the codec was not trained on, probes and baseline recall."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from waterfill import _core
from waterfill._util.validation import Metric, as_int, as_number
from waterfill.codec import Codec
from waterfill.data.rows import FloatRows, Rows
from waterfill.drift.canary import Canary
from waterfill.drift.canary_recall import CanaryRecall
from waterfill.drift.recall_sensitivity import Sensitivity
from waterfill.evaluation.sample_split import Draw
from waterfill.training.manifest import digest
from waterfill.training.sampling import cell_rows, drawn_rows, needs_cell_rows

LEARNT_ROWS = 3000
"""Rows that a monitor without a reference learns its baseline from."""

_FEWEST = 500
_FEWEST_PROBES = 8
_FEWEST_PERMUTATIONS = 99


def training_rows(codec: Codec, rows: Rows) -> NDArray[np.int64] | None:
    """Return the ascending numbers of the rows that a codec was trained on; None for other data.

    The draw is repeated, and the hash of what it gives compared with that in the manifest.
    """
    manifest = codec.manifest
    if manifest is None or manifest.d != rows.d:
        return None
    try:
        draw = None if manifest.draw is None else Draw(**manifest.draw)
    except TypeError:  # of a later release
        return None
    if rows.n != (manifest.rows if draw is None else draw.rows):
        return None
    numbers = np.arange(rows.n) if draw is None else draw.stored_numbers()
    n, seed = len(numbers), manifest.training["seed"]
    train, held = drawn_rows(n, rows.d, seed)
    drawn = tuple(rows.take_unordered(numbers[part]) for part in (train, held))
    if codec.plan.normalize:
        drawn = tuple(map(_core.normalize_rows, drawn))
    if digest(*drawn) != manifest.data_sha256:
        return None
    cells = manifest.training["cells"]
    if isinstance(cells, int) and needs_cell_rows(n, len(train), cells):
        train = np.union1d(train, cell_rows(n, rows.d, cells, seed))
    return np.sort(numbers[train])


def untrained(codec: Codec, rows: Rows) -> NDArray[np.int64] | None:
    """Return the rows that the codec was not trained on, or None for all rows.

    Raises
    ------
    ValueError
        If the codec was trained on almost all of the rows.
    """
    trained = training_rows(codec, rows)
    if trained is None:
        return None
    left = np.setdiff1d(np.arange(rows.n), trained)
    if len(left) < _FEWEST:
        raise ValueError(
            f"reference is what the codec was trained on: {len(left)} of {rows.n} rows were not "
            f"drawn, and {_FEWEST} are needed, as the error of the others is too small to compare "
            "with. Give other vectors of that time, or none: then the first ones become the "
            "baseline"
        )
    return left


def checked_alpha(alpha: Any) -> float:
    """Validate a probability of false alarms."""
    number = as_number("alpha", alpha, 0.0)
    if not 0 < number <= 0.2:
        raise ValueError(f"alpha={number} must be above 0 and at most 0.2")
    return number


def checked_permutations(permutations: Any) -> int:
    """Validate a number of permutations."""
    number = as_int("permutations", permutations)
    if number < _FEWEST_PERMUTATIONS:
        raise ValueError(f"permutations={number} must be at least {_FEWEST_PERMUTATIONS}")
    return number


def baseline_recall(codec: Codec, canary: Any) -> CanaryRecall | None:
    """Return the recall of a canary before any drift, measured if necessary."""
    if canary is None or isinstance(canary, CanaryRecall):
        return canary
    if not isinstance(canary, Canary):
        raise TypeError(f"canary must be a Canary or CanaryRecall, got {type(canary).__name__}")
    return canary.measure(codec)


def probe_rows(d: int, probes: Any) -> FloatRows:
    """Validate probes and return them as rows."""
    rows = Rows(probes, "probes", d)
    if rows.n < _FEWEST_PROBES:
        raise ValueError(f"probes has {rows.n} rows; at least {_FEWEST_PROBES} are needed")
    return rows.take(np.arange(rows.n))


def learnt_sensitivity(
    codec: Codec, rows: Rows, chosen: Any, queries: Any, metric: Metric
) -> Sensitivity:
    """Fit the sensitivity of recall to the reconstruction error on rows of the baseline."""
    numbers = np.arange(rows.n) if chosen is None else chosen
    if len(numbers) > LEARNT_ROWS:
        numbers = numbers[np.linspace(0, len(numbers) - 1, LEARNT_ROWS).astype(np.int64)]
    return Sensitivity.measure(codec, rows.take(numbers), queries, metric=metric)
