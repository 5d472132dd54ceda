"""How recall falls as a collection grows."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Expected:
    """A recall that was not measured, and an interval of 95 %."""

    recall: float
    low: float
    high: float


@dataclass(frozen=True)
class Growth:
    """Recall at several sizes of a collection, and a line through them.

    Attributes
    ----------
    sizes : tuple of int
        Ascending; the last one is the whole sample.
    recalls : tuple of float
        Measured, with vectors that the codec was trained on allowed for.
    """

    sizes: tuple[int, ...]
    recalls: tuple[float, ...]

    def at(self, n: int) -> Expected:
        """Return the recall to expect among n vectors."""
        raise NotImplementedError
