"""Estimate of the recall that a larger quantization error costs, for use without a canary.

A rotation about the origin keeps inner products and distances: the true neighbours stay the same,
and a codec trained on the rotated vectors has the recall that the current codec had before. So
retraining wins back what the current codec loses by a rotation. Reference vectors rotated by
increasing angles show which loss of recall belongs to which growth of the error.
"""

from __future__ import annotations

import warnings
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from waterfill import _core
from waterfill._util.stored_values import as_real, reading, require_types
from waterfill._util.validation import Metric, as_int, as_number, as_positive_int, metric_name
from waterfill.codec import Codec
from waterfill.data.rows import FloatRows, Rows
from waterfill.drift.retrain_policy import Cost
from waterfill.evaluation.ground_truth import true_neighbours
from waterfill.index.flat import IndexFlat

_ANGLES = (10, 20, 30, 45, 60, 90)  # degrees
_MAX_ROWS = 4000
_MAX_QUERIES = 300
_ROWS_PER_QUERY = 5  # without queries, a fifth of the rows are held out as queries
_MIN_ROWS_PER_K = 20
_UPPER_FACTOR = 4  # upper bound of the interval, times the loss: docs/decisions/0020
_UPPER_MARGIN = 0.01
_WORDS = (
    "estimated from the growth of the error: the true gap may be 0 if the data only became harder "
    "to compress, or up to four times as large if they became denser; measure it with a canary"
)


@dataclass(frozen=True)
class Sensitivity:
    """Recall of a codec on reference vectors that are rotated by increasing angles.

    Attributes
    ----------
    error : float
        `relative_error` of the reference vectors.
    ratios : tuple of float
        Error of the rotated vectors over `error`, ascending; 1 without a rotation.
    recalls : tuple of float
        Recall@k at each ratio, descending.
    size : int
        Number of vectors that were searched.
    k : int
        Neighbours per query.
    """

    error: float
    ratios: tuple[float, ...]
    recalls: tuple[float, ...]
    size: int
    k: int

    @classmethod
    def measure(
        cls,
        codec: Codec,
        reference: Any,
        queries: Any = None,
        k: int = 10,
        metric: Metric | int = "ip",
        seed: int = 0,
    ) -> Sensitivity:
        """Measure recall on reference vectors rotated by increasing angles.

        Parameters
        ----------
        codec : Codec
        reference : array_like, shape (n, d)
            Vectors of the codec's period that it was not trained on; at most 4,000 are drawn.
        queries : array_like, shape (m, d), optional
            At most 300 are drawn. By default, a fifth of the drawn reference vectors, at most 300,
            are held out as queries.
        k : int
            Neighbours per query.
        metric : {'ip', 'l2', 'cosine'} or int
            Metric of the index.
        seed : int
            Seed of the draw and of the rotation.

        Returns
        -------
        Sensitivity

        Raises
        ------
        ValueError
            If there are no queries or fewer than 20 k stored vectors, dimensions differ, a value is
            not finite, or the metric is unknown.
        TypeError
            If an argument has the wrong type.
        """
        if not isinstance(codec, Codec):
            raise TypeError(f"codec must be a waterfill.Codec, got {type(codec).__name__}")
        k, metric = as_positive_int("k", k), metric_name(metric)
        rng = np.random.default_rng(as_int("seed", seed))
        rows = _drawn(Rows(reference, "reference", codec.d), _MAX_ROWS, rng)
        held = min(len(rows) // _ROWS_PER_QUERY, _MAX_QUERIES) if queries is None else 0
        query_rows, stored = rows[:held], rows[held:]
        if queries is not None:
            query_rows = _drawn(Rows(queries, "queries", codec.d), _MAX_QUERIES, rng)
            if len(query_rows) == 0:
                raise ValueError("queries: expected at least 1 row, got 0")
        if len(stored) < _MIN_ROWS_PER_K * k:
            raise ValueError(
                f"reference: expected at least {_MIN_ROWS_PER_K * k} rows for k={k}, got "
                f"{len(stored)}"
                + ("" if held == 0 else f" besides {held} rows held out as queries; pass queries=")
            )
        if codec.plan.normalize:
            stored, query_rows = _core.normalize_rows(stored), _core.normalize_rows(query_rows)
        truth = true_neighbours(stored, query_rows, metric, k)
        basis = np.linalg.qr(rng.standard_normal((codec.d, codec.d)))[0]
        errors, recalls = [], []
        for angle in (0, *_ANGLES):
            rotation = _rotation(basis, angle)
            index = IndexFlat(codec, metric)
            with warnings.catch_warnings():  # rotated vectors may exceed the codec's range
                warnings.simplefilter("ignore", RuntimeWarning)
                index.add(stored @ rotation)
                errors.append(relative_error(codec, stored @ rotation))
            found = index.search(query_rows @ rotation, k)[1]
            recalls.append(float((found[:, :, None] == truth[:, None]).any(axis=1).mean()))
        ratios = np.maximum.accumulate(np.array(errors) / max(errors[0], 1e-12))
        descending = np.minimum.accumulate(recalls)
        return cls(errors[0], tuple(ratios.tolist()), tuple(descending.tolist()), len(stored), k)

    def estimate(self, error_ratio: float) -> Cost:
        """Estimate the loss of recall from the growth of the error.

        Parameters
        ----------
        error_ratio : float
            `relative_error` of current vectors over that of the baseline.

        Returns
        -------
        Cost
            With ``measured=False``. `gap` is the loss by a rotation of the same error, all of which
            retraining would win back: usually an upper bound. It is too low for data that became
            denser (new topics, for example), where the same error confuses more neighbours.

        Raises
        ------
        ValueError
            If the ratio is negative, infinite or NaN.
        TypeError
            If it is not a number.
        """
        ratio = as_number("error_ratio", error_ratio, 0.0, finite=True)
        now = float(np.interp(ratio, self.ratios, self.recalls))
        gap = self.recalls[0] - now
        high = min(_UPPER_FACTOR * gap + _UPPER_MARGIN, self.recalls[0])
        return Cost(now, now + gap, gap, 0.0, high, self.size, False, _WORDS)

    def to_dict(self) -> dict[str, Any]:
        """Return the attributes as a dictionary."""
        return {**asdict(self), "ratios": list(self.ratios), "recalls": list(self.recalls)}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Sensitivity:
        """Read what `to_dict` returned.

        Raises
        ------
        ValueError
            If `data` has missing or invalid values.
        """
        with reading("data: expected what to_dict() returned", ValueError):
            curve = {
                name: tuple(as_real(name, value, 0.0) for value in data[name])
                for name in ("ratios", "recalls")
            }
            sizes = [len(values) for values in curve.values()]
            if sizes[0] != sizes[1] or not sizes[0]:
                raise ValueError(f"{sizes[0]} ratios and {sizes[1]} recalls")
            require_types(cls, {name: data[name] for name in data if name not in curve})
            return cls(**{**data, **curve})


def relative_error(codec: Codec, x: Any) -> float:
    """Return the mean squared error of decoded vectors over the variance of the vectors.

    The variance is about the mean of `x`, so the error does not depend on scale or location.

    Parameters
    ----------
    codec : Codec
    x : array_like, shape (n, d)

    Returns
    -------
    float
        0 if the vectors are all equal.

    Raises
    ------
    ValueError, TypeError
        If `x` has no rows, or `Codec.encode` rejects it.
    """
    rows = Rows(x, "x", codec.d)
    if rows.n == 0:
        raise ValueError("x: expected at least 1 row, got 0")
    total, squares, error = np.zeros(codec.d), 0.0, 0.0
    for _, block in rows.blocks():
        block = _core.normalize_rows(block) if codec.plan.normalize else block
        decoded = codec.decode(codec.encode(block))
        error += float(np.square(decoded - block, dtype=np.float64).sum())
        squares += float(np.square(block, dtype=np.float64).sum())
        total += block.sum(axis=0, dtype=np.float64)
    energy = squares - float(total @ total) / rows.n
    return error / energy if energy > 0 else 0.0


def _drawn(rows: Rows, max_rows: int, rng: np.random.Generator) -> FloatRows:
    """Draw at most `max_rows` rows in random order."""
    positions = rng.permutation(rows.n)[:max_rows]
    return rows.take(np.sort(positions))[rng.permutation(len(positions))]


def _rotation(basis: Any, degrees: float) -> FloatRows:
    """Return the matrix that rotates each plane of two consecutive rows of a basis."""
    d = len(basis)
    inner, angle = np.eye(d), np.deg2rad(degrees)
    first = np.arange(0, d - 1, 2)
    inner[first, first] = inner[first + 1, first + 1] = np.cos(angle)
    inner[first, first + 1], inner[first + 1, first] = np.sin(angle), -np.sin(angle)
    rotation: FloatRows = (basis.T @ inner @ basis).astype(np.float32)
    return rotation
