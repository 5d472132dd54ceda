"""The numbers behind the charts, shared by the HTML page and the Matplotlib figures."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from waterfill import _core
from waterfill.codec import DistortionReport
from waterfill.plan import Plan

if TYPE_CHECKING:
    from waterfill.codec import Codec
    from waterfill.evaluation.recall_forecast import Expected, Growth

Relevance = Literal["high", "medium", "low"]

MEANINGS: dict[Relevance, str] = {
    "high": "product-quantized",
    "medium": "one bit each",
    "low": "discarded",
}
_MAX_BARS = 256
_MAX_BITS = 16.0  # per dimension, the limit of reverse water-filling
_CURVE_POINTS = 40
_GROWTH_POINTS = 24
_GROWTH = 1000  # largest size, as a multiple of the sample, without `n`


@dataclass(frozen=True)
class Bar:
    """Consecutive eigen-dimensions of one class; a single one for up to 256 dimensions.

    Attributes
    ----------
    first, last : int
        Numbers of the dimensions, from 1.
    share : float
        Mean share of the variance.
    bits : float
        Mean bits per dimension.
    relevance : {'high', 'medium', 'low'}
    """

    first: int
    last: int
    share: float
    bits: float
    relevance: Relevance

    @property
    def width(self) -> int:
        """Number of dimensions."""
        return self.last - self.first + 1

    @property
    def name(self) -> str:
        """The number or the range of the dimensions."""
        return f"{self.first}" if self.first == self.last else f"{self.first} to {self.last}"


@dataclass(frozen=True)
class Class:
    """All dimensions of one relevance.

    Attributes
    ----------
    relevance : {'high', 'medium', 'low'}
    dimensions : int
    bits : float
        Sum over the dimensions.
    share : float
        Share of the variance, sum over the dimensions.
    """

    relevance: Relevance
    dimensions: int
    bits: float
    share: float


@dataclass(frozen=True)
class Spectrum:
    """Eigenvalues, and the classes and bits that a plan assigns to them.

    Attributes
    ----------
    bars : tuple of Bar
    level : float or None
        The water level: a dimension gets bits for its variance above the level. None for a classic
        plan, and if no dimension ends at the level.
    """

    bars: tuple[Bar, ...]
    level: float | None

    @property
    def classes(self) -> list[Class]:
        """All three classes."""
        return [self._class(name) for name in MEANINGS]

    def _class(self, name: Relevance) -> Class:
        bars = [bar for bar in self.bars if bar.relevance == name]
        return Class(
            name,
            sum(bar.width for bar in bars),
            sum(bar.width * bar.bits for bar in bars),
            sum(bar.width * bar.share for bar in bars),
        )

    @property
    def present(self) -> list[Relevance]:
        """Classes that have dimensions."""
        return [one.relevance for one in self.classes if one.dimensions]

    @property
    def floor(self) -> float:
        """The lower end of the bars on a logarithmic axis."""
        shares = [bar.share for bar in self.bars if bar.share > 0]
        low = min([*shares, self.level or 1.0])
        return max(low, max(shares) * 1e-9) / 2


def spectrum(plan: Plan) -> Spectrum:
    """Return the variance and the bits of a plan's eigen-dimensions."""
    bits, level = _rates(plan)
    kinds = {dim: group.kind for group in plan.groups for dim in group.dims}
    names: dict[str, Relevance] = {"vector": "high", "binary": "medium"}
    classes = [names[kinds[i]] if i in kinds else "low" for i in range(plan.d)]
    width = -(-plan.d // _MAX_BARS)
    bars = []
    for (relevance, _), dims in groupby(range(plan.d), key=lambda i: (classes[i], i // width)):
        members = list(dims)
        share, each = float(plan.variances[members].mean()), float(bits[members].mean())
        bars.append(Bar(members[0] + 1, members[-1] + 1, share, each, relevance))
    return Spectrum(tuple(bars), level)


def _rates(plan: Plan) -> tuple[NDArray[np.float64], float | None]:
    """Return the bits of each dimension, and the water level."""
    if plan.maker == "waterfill":
        rates = _core.reverse_waterfill(plan.variances, 8.0 * len(plan.groups))
        at_level = (rates > 0) & (rates < _MAX_BITS)
        levels = plan.variances[at_level] * 4.0 ** -rates[at_level]
        return rates, float(np.median(levels)) if len(levels) else None
    bits = np.zeros(plan.d)
    for group in plan.groups:
        bits[list(group.dims)] += 1.0 if group.kind == "binary" else 8.0 / len(group.dims)
    return bits, None


def shannon_curve(plan: Plan, max_bits: float) -> tuple[list[float], list[float]]:
    """Return numbers of bits per dimension, and the Shannon bound of the distortion for each."""
    each = np.linspace(0, max_bits, _CURVE_POINTS + 1)[1:]
    variances = plan.variances
    bounds = [
        float((variances * 4.0 ** -_core.reverse_waterfill(variances, bits * plan.d)).sum())
        for bits in each
    ]
    total = float(variances.sum())
    return [0.0, *each.tolist()], [1.0, *(bound / total for bound in bounds)]


def distortion(codec: Codec) -> DistortionReport | None:
    """Return the measured distortion; None if training held out no row to measure it on."""
    try:
        return codec.report()
    except ValueError:
        return None


def expectations(growth: Growth, n: int | None) -> list[tuple[int, Expected]]:
    """Extrapolate recall from the sample to collections of up to `n` vectors or more."""
    last = growth.sizes[-1]
    most = max(n or last * _GROWTH, 2 * last)
    sizes = sorted({round(size) for size in np.geomspace(last, most, _GROWTH_POINTS)})
    return [(size, growth.at(size)) for size in sizes]


def spread_out(length: int, most: int) -> Iterator[int]:
    """Yield positions in a sequence, denser at its start, including both ends."""
    yield from sorted({round(i) - 1 for i in np.geomspace(1, length, min(most, length))})
