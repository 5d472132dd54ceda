"""Streams of real vectors, with and without drift, to test drift detectors on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.float32]
Numbers = NDArray[np.int64]
Window = tuple[Rows, Numbers | None]

KINDS = ("iid", "duplicated", "sessions")
_SEEDS = 4000  # rows that start sessions
_NEAR = 64  # nearest neighbours of such a row, from which its session is drawn


@dataclass
class Traffic:
    """Three kinds of traffic, drawn from a pool of rows.

    ``iid``: rows drawn without replacement. ``duplicated``: each row is repeated, four times
    on average (geometric). ``sessions``: 5 to 20 of the nearest neighbours of a random row; the
    session is their block.

    `shuffle` splits the pool in two: `reference` and `window` draw disjoint rows, except for shared
    neighbours of sessions.
    """

    pool: Rows
    rng: np.random.Generator

    def __post_init__(self) -> None:
        seeds = self.pool[:_SEEDS]
        scores = 2 * seeds @ self.pool.T - np.square(self.pool).sum(axis=1)
        self._near = np.argpartition(-scores, _NEAR, axis=1)[:, :_NEAR]
        self._sessions = 0
        self.shuffle()

    def shuffle(self) -> None:
        """Split the pool at random into rows for baselines and rows for windows."""
        self._rows = np.array_split(self.rng.permutation(len(self.pool)), 2)
        self._seeds = np.array_split(self.rng.permutation(len(self._near)), 2)

    def reference(self, kind: str, n: int) -> Window:
        """Draw the rows of a baseline."""
        return self._draw(kind, n, 0)

    def window(self, kind: str, n: int) -> Window:
        """Draw the rows of a window."""
        return self._draw(kind, n, 1)

    def _draw(self, kind: str, n: int, side: int) -> Window:
        if kind == "sessions":
            return self._draw_sessions(n, side)
        rows = self.rng.permutation(self._rows[side])
        if kind == "duplicated":
            rows = self.rng.permutation(np.repeat(rows, self.rng.geometric(0.25, len(rows)))[:n])
        return self.pool[rows[:n]], None

    def _draw_sessions(self, n: int, side: int) -> Window:
        rows, blocks = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
        while sum(map(len, rows)) < n:
            length, seed = self.rng.integers(5, 21), self.rng.choice(self._seeds[side])
            rows.append(self.rng.choice(self._near[seed], length, replace=False))
            self._sessions += 1
            blocks.append(np.full(length, self._sessions))
        return self.pool[np.concatenate(rows)[:n]], np.concatenate(blocks)[:n]


@dataclass(frozen=True)
class Drift:
    """A change of the distribution of vectors.

    Attributes
    ----------
    name : str
    change : callable
        Takes the rows of a window and a random generator; returns the drifted rows.
    cause : tuple or None
        (kind, number, change) that a report should name first, if there is a single cause.
    """

    name: str
    change: Callable[[Rows, np.random.Generator], Rows]
    cause: tuple[str, int, str] | None = None


def rotation(d: int, seed: int) -> Rows:
    """Return a random rotation, which affects a codec like another model."""
    random = np.random.default_rng(seed).standard_normal((d, d))
    return np.linalg.qr(random)[0].astype(np.float32)


def drifts(
    pool: Rows, basis: Rows, topic: Rows, foreign: Rows, rng: np.random.Generator
) -> list[Drift]:
    """Return random changes that a detector should detect within one window.

    Parameters
    ----------
    pool : float32 (n, d)
    basis : float32 (q, d)
        The codec's eigenvectors, by descending eigenvalue.
    topic : float32 (m, d)
        Rows of a topic that is absent from the pool.
    foreign : float32 (l, d)
        Rows of another model.
    """
    mean, spread = pool.mean(axis=0), pool.std(axis=0)
    usable = np.flatnonzero(spread > 0.1 * np.median(spread))
    dimension, direction = int(rng.choice(usable)), int(rng.integers(len(basis) * 9 // 10))
    along = basis[direction]
    deviation = float(((pool - mean) @ along).std())

    def shifted(x: Rows, _: np.random.Generator) -> Rows:
        x = x.copy()
        x[:, dimension] += 0.5 * spread[dimension]
        return x

    def dead(x: Rows, _: np.random.Generator) -> Rows:
        x = x.copy()
        x[:, dimension] = 0
        return x

    def wider(x: Rows, _: np.random.Generator) -> Rows:
        products = (x - mean) @ along
        return x + np.outer(products, along)

    def mixed(x: Rows, own: np.random.Generator) -> Rows:
        x = x.copy()
        replaced = own.permutation(len(x))[: len(x) // 5]
        x[replaced] = topic[own.integers(len(topic), size=len(replaced))]
        return x

    return [
        Drift("dimension +0.5 sd", shifted, ("dimension", dimension, "mean")),
        Drift("dimension dead", dead, ("dimension", dimension, "dead")),
        Drift(
            "direction +0.5 sd",
            lambda x, _: x + np.float32(0.5 * deviation) * along,
            ("direction", direction, "mean"),
        ),
        Drift("direction spread x2", wider, ("direction", direction, "spread")),
        Drift("spread x1.3", lambda x, _: mean + np.float32(1.3) * (x - mean)),
        Drift("norm x1.02", lambda x, _: np.float32(1.02) * x),
        Drift("20 % new topic", mixed),
        Drift("rotated", lambda x, own: x @ rotation(x.shape[1], int(own.integers(1 << 30)))),
        Drift("another model", lambda x, own: foreign[own.integers(len(foreign), size=len(x))]),
    ]


def normalized(x: Rows, _: np.random.Generator) -> Rows:
    """Divide by norms that are 1 up to rounding, which should not count as drift."""
    return (x / np.linalg.norm(x.astype(np.float64), axis=1, keepdims=True)).astype(np.float32)


def subtle(pool: Rows, basis: Rows, topic: Rows, rng: np.random.Generator) -> list[Drift]:
    """Return random changes that are weak or invisible to means and variances."""
    mean, spread = pool.mean(axis=0), pool.std(axis=0)
    usable = np.flatnonzero(spread > 0.1 * np.median(spread))
    dimension, along = int(rng.choice(usable)), basis[rng.integers(len(basis) * 9 // 10)]
    deviation = float(((pool - mean) @ along).std())

    def two_values(x: Rows, _: np.random.Generator) -> Rows:
        x = x.copy()
        centred = x[:, dimension] - mean[dimension]
        x[:, dimension] = mean[dimension] + np.copysign(spread[dimension], centred)
        return x

    def mixed(x: Rows, own: np.random.Generator) -> Rows:
        x = x.copy()
        replaced = own.permutation(len(x))[: len(x) // 20]
        x[replaced] = topic[own.integers(len(topic), size=len(replaced))]
        return x

    return [
        Drift("5 % new topic", mixed),
        Drift(
            "direction +0.2 sd",
            lambda x, _: x + np.float32(0.2 * deviation) * along,
        ),
        Drift("all dimensions +0.1 sd", lambda x, _: x + np.float32(0.1) * spread),
        Drift("spread x1.05", lambda x, _: mean + np.float32(1.05) * (x - mean)),
        Drift("dimension of two values", two_values),
        Drift("dimensions shuffled apart", lambda x, own: own.permuted(x, axis=0)),
    ]
