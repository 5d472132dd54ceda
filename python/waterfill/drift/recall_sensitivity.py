"""Estimate of the recall that a larger error costs, for use without a canary.

Turned about the origin, vectors and queries keep their inner products and distances: true
neighbours stay what they are, and a codec that is trained on the turned vectors finds as many as
the codec in use did before. So what the codec in use loses by a turn, retraining wins back. Turned
by growing angles, reference vectors show which loss goes with which growth of the error.
"""

from __future__ import annotations

import warnings
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from waterfill import _core
from waterfill._util.validation import Metric, as_int, as_number, as_positive_int, metric_name
from waterfill.codec import Codec
from waterfill.data.rows import FloatRows, Rows
from waterfill.drift.retrain_policy import Cost
from waterfill.evaluation.ground_truth import true_neighbours
from waterfill.index.flat import IndexFlat

_DEGREES = (10, 20, 30, 45, 60, 90)
_MOST_ROWS = 4000
_MOST_QUERIES = 300
_SHARE = 5  # of the reference, one row in so many is a query where none are given
_FEWEST_TIMES = 20
_BEYOND = 4  # times the loss, to the interval's upper end: docs/decisions/0020
_LEAST = 0.01
_WORDS = (
    "estimated from the growth of the error: nothing of it if the data have only become harder to "
    "compress, up to four times as much if they have come closer together; a canary would tell"
)


@dataclass(frozen=True)
class Sensitivity:
    """Recall of a codec on reference vectors that are turned farther and farther.

    Attributes
    ----------
    error : float
        `relative_error` of the reference vectors as they are.
    ratios : tuple of float
        Error of the turned vectors over `error`, ascending, from 1 for those as they are.
    recalls : tuple of float
        Recall@k that goes with each, not rising.
    size : int
        Vectors that were searched.
    k : int
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
        """Turn reference vectors and search them.

        Parameters
        ----------
        codec : Codec
        reference : array_like, shape (n, d)
            Vectors of the time of the codec that it was not trained on; at most 4,000 are drawn.
        queries : array_like, shape (m, d), optional
            At most 300 are drawn. By default a fifth of the rows that were drawn, or 300 of them.
        k : int
        metric : {'ip', 'l2', 'cosine'} or int
        seed : int
            Of the draw and the turn.

        Raises
        ------
        ValueError
            For too few rows (20 k are stored at least), other dimensions, a NaN or an infinity, or
            another metric.
        TypeError
            If an argument has the wrong type.
        """
        if not isinstance(codec, Codec):
            raise TypeError(f"codec must be a waterfill.Codec, got {type(codec).__name__}")
        k, metric = as_positive_int("k", k), metric_name(metric)
        rng = np.random.default_rng(as_int("seed", seed))
        rows = _drawn(Rows(reference, "reference", codec.d), _MOST_ROWS, rng)
        held = min(len(rows) // _SHARE, _MOST_QUERIES) if queries is None else 0
        asked, stored = rows[:held], rows[held:]
        if queries is not None:
            asked = _drawn(Rows(queries, "queries", codec.d), _MOST_QUERIES, rng)
        if len(stored) < _FEWEST_TIMES * k or len(asked) == 0:
            raise ValueError(
                f"reference has {len(rows)} rows and {len(asked)} queries; at least "
                f"{_FEWEST_TIMES * k} rows beside the queries, and a query, are needed for k={k}"
            )
        if codec.plan.normalize:
            stored, asked = _core.normalize_rows(stored), _core.normalize_rows(asked)
        truth = true_neighbours(stored, asked, metric, k)
        planes = np.linalg.qr(rng.standard_normal((codec.d, codec.d)))[0]
        errors, recalls = [], []
        for angle in (0, *_DEGREES):
            turn = _turn(planes, angle)
            index = IndexFlat(codec, metric)
            with warnings.catch_warnings():  # of distances that are cut off: nobody has these rows
                warnings.simplefilter("ignore", RuntimeWarning)
                index.add(stored @ turn)
                errors.append(relative_error(codec, stored @ turn))
            found = index.search(asked @ turn, k)[1]
            recalls.append(float((found[:, :, None] == truth[:, None]).any(axis=1).mean()))
        ratios = np.maximum.accumulate(np.array(errors) / max(errors[0], 1e-12))
        falling = np.minimum.accumulate(recalls)
        return cls(errors[0], tuple(ratios.tolist()), tuple(falling.tolist()), len(stored), k)

    def estimate(self, error_ratio: float) -> Cost:
        """Return what a growth of the error may cost.

        Parameters
        ----------
        error_ratio : float
            `relative_error` of today's vectors over that of the baseline.

        Returns
        -------
        Cost
            With ``measured=False``. `gap` is what a turn with such errors costs, all of which
            retraining would win back: usually a bound. It is none for data that have drawn
            together (new topics, say), where the same errors confuse more neighbours.

        Raises
        ------
        ValueError
            If the ratio is below 0, infinite or a NaN.
        TypeError
            If it is no number.
        """
        ratio = as_number("error_ratio", error_ratio, 0.0, finite=True)
        now = float(np.interp(ratio, self.ratios, self.recalls))
        gap = self.recalls[0] - now
        high = min(_BEYOND * gap + _LEAST, self.recalls[0])
        return Cost(now, now + gap, gap, 0.0, high, self.size, False, _WORDS)

    def to_dict(self) -> dict[str, Any]:
        """Return its attributes."""
        return {**asdict(self), "ratios": list(self.ratios), "recalls": list(self.recalls)}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Sensitivity:
        """Read what `to_dict` returned.

        Raises
        ------
        ValueError
            If `data` is something else.
        """
        try:
            lists = {name: tuple(map(float, data[name])) for name in ("ratios", "recalls")}
            if len(lists["ratios"]) != len(lists["recalls"]) or not lists["ratios"]:
                raise ValueError("as many ratios as recalls are needed")
            return cls(**{**data, **lists})
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"data is no record of a sensitivity: {error}") from None


def relative_error(codec: Codec, x: Any) -> float:
    """Return the mean squared error of decoded vectors over the mean squared distance from theirs.

    The distance is from the mean of `x`, so that scaling and shifting of the data do not count.

    Parameters
    ----------
    codec : Codec
    x : array_like, shape (n, d)

    Raises
    ------
    ValueError, TypeError
        For no rows, or what `Codec.encode` would refuse.
    """
    rows = Rows(x, "x", codec.d)
    if rows.n == 0:
        raise ValueError("x has no rows; at least 1 is needed")
    total, squares, error = np.zeros(codec.d), 0.0, 0.0
    for _, given in rows.blocks():
        block = _core.normalize_rows(given) if codec.plan.normalize else given
        decoded = codec.decode(codec.encode(block))
        error += float(np.square(decoded - block, dtype=np.float64).sum())
        squares += float(np.square(block, dtype=np.float64).sum())
        total += block.sum(axis=0, dtype=np.float64)
    energy = squares - float(total @ total) / rows.n
    return error / energy if energy > 0 else 0.0


def _drawn(rows: Rows, most: int, rng: np.random.Generator) -> FloatRows:
    chosen = rng.permutation(rows.n)[:most]
    return rows.take(np.sort(chosen))[rng.permutation(len(chosen))]


def _turn(basis: Any, degrees: float) -> FloatRows:
    """Return the matrix that turns every plane of two neighbouring rows of a basis."""
    d = len(basis)
    inner, angle = np.eye(d), np.deg2rad(degrees)
    first = np.arange(0, d - 1, 2)
    inner[first, first] = inner[first + 1, first + 1] = np.cos(angle)
    inner[first, first + 1], inner[first + 1, first] = np.sin(angle), -np.sin(angle)
    turn: FloatRows = (basis.T @ inner @ basis).astype(np.float32)
    return turn
