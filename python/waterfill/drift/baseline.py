"""Arguments and measurements of a monitor's baseline: untrained rows, probes, baseline recall."""

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
from waterfill.drift.model_change import MAX_PROBES
from waterfill.drift.recall_sensitivity import Sensitivity
from waterfill.evaluation.sample_split import Draw
from waterfill.training.manifest import digest
from waterfill.training.sampling import cell_rows, drawn_rows, needs_cell_rows

BASELINE_ROWS = 3000
"""Vectors of the stream that become the baseline of a monitor without a reference."""

_MIN_ROWS = 500
_MIN_PROBES = 8
_MIN_PERMUTATIONS = 99
_MAX_PERMUTATIONS = 100_000  # minutes; the tail of the distribution is fitted anyway
_MAX_ALPHA = 0.2


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
    """Return the positions of the rows that the codec was not trained on, or None for all rows.

    Parameters
    ----------
    codec : Codec
    rows : Rows

    Returns
    -------
    int64 (m,), ascending, or None

    Raises
    ------
    ValueError
        If fewer than 500 rows were not used for training.
    """
    trained = training_rows(codec, rows)
    if trained is None:
        return None
    unused = np.setdiff1d(np.arange(rows.n), trained)
    if len(unused) < _MIN_ROWS:
        raise ValueError(
            f"reference: expected at least {_MIN_ROWS} rows that the codec was not trained on, got "
            f"{len(unused)} of {rows.n} (the error of training rows is too small for a baseline); "
            "give other vectors of the same period, or none to make the first rows of the stream "
            "the baseline"
        )
    return unused


def checked_alpha(alpha: Any) -> float:
    """Validate a probability of false alarms."""
    number = as_number("alpha", alpha, 0.0)
    if not 0 < number <= _MAX_ALPHA:
        raise ValueError(f"alpha={number} must be above 0 and at most {_MAX_ALPHA}")
    return number


def checked_permutations(permutations: Any) -> int:
    """Validate a number of permutations."""
    number = as_int("permutations", permutations)
    if number < _MIN_PERMUTATIONS:
        raise ValueError(f"permutations={number} must be at least {_MIN_PERMUTATIONS}")
    if number > _MAX_PERMUTATIONS:
        raise ValueError(f"permutations must be at most {_MAX_PERMUTATIONS}, got {number}")
    return number


def checked_seed(seed: Any) -> int:
    """Validate a seed of NumPy's generators."""
    number = as_int("seed", seed)
    if number < 0:
        raise ValueError(f"seed={number} must be at least 0")
    return number


def baseline_recall(codec: Codec, canary: Any) -> CanaryRecall | None:
    """Return the baseline's canary recall; measure it if `canary` is a Canary."""
    if canary is None or isinstance(canary, CanaryRecall):
        return canary
    if not isinstance(canary, Canary):
        raise TypeError(f"canary must be a Canary or CanaryRecall, got {type(canary).__name__}")
    return canary.measure(codec)


def probe_rows(d: int, probes: Any) -> FloatRows:
    """Validate probes and return them as rows."""
    rows = Rows(probes, "probes", d)
    if rows.n < _MIN_PROBES:
        raise ValueError(f"probes: expected at least {_MIN_PROBES} rows, got {rows.n}")
    if rows.n > MAX_PROBES:
        raise ValueError(f"probes: expected at most {MAX_PROBES} rows, got {rows.n}")
    return rows.take(np.arange(rows.n))


def baseline_sensitivity(
    codec: Codec, rows: Rows, positions: Any, queries: Any, metric: Metric
) -> Sensitivity:
    """Measure the sensitivity of recall to the codec's error on up to 3,000 baseline rows."""
    sample = np.arange(rows.n) if positions is None else positions
    if len(sample) > BASELINE_ROWS:
        sample = sample[np.linspace(0, len(sample) - 1, BASELINE_ROWS).astype(np.int64)]
    return Sensitivity.measure(codec, rows.take(sample), queries, metric=metric)
