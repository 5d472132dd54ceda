"""Detection of another embedding model, or of a mixture of two.

Three signs, none of which a change of topic gives: fixed probe texts, embedded again, come out
otherwise; rows have their energy where those of the baseline have next to none; dimensions that had
one value vary.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from waterfill.drift.attribution import switched
from waterfill.drift.block_statistics import SHARES, BlockStatistics
from waterfill.drift.feature_families import Features
from waterfill.drift.permutation_test import Floats

_TOLERANCE = 0.02  # of a probe's length: rounding to float16 takes 0.0005, to int8 some 0.01
_ALL = 0.9
_SOME = 0.05
_TIMES = 20  # as many rows as the baseline has there
_TYPICAL = 0.999  # of the baseline's rows lie below the limit
_FEWEST = 5
_CLEAR = 0.1  # by which the usual share and that of another model must differ


@dataclass(eq=False)
class Probes:
    """Embeddings of fixed texts, compared with later embeddings of the same texts.

    Attributes
    ----------
    vectors : float16 (m, d)
        As the model of the baseline gave them, times `scale`.
    scale : float
        A power of two that lets float16 hold them.
    checked, changed : int
        Probes that were embedded again, and those that came out otherwise.
    cosines : float
        Sum of their cosines with what they were.
    """

    vectors: NDArray[np.float16]
    scale: float
    checked: int = 0
    changed: int = 0
    cosines: float = 0.0

    @classmethod
    def of(cls, vectors: Floats) -> Probes:
        """Store the embeddings of the baseline."""
        largest = float(np.abs(vectors).max())
        scale = 2.0 ** -np.floor(np.log2(largest)) if largest > 0 else 1.0
        return cls((vectors * scale).astype(np.float16), float(scale))

    def update(self, again: Floats) -> None:
        """Compare with new embeddings of the same texts."""
        old, new = self.vectors.astype(np.float64) / self.scale, again.astype(np.float64)
        lengths = np.linalg.norm(old, axis=1), np.linalg.norm(new, axis=1)
        far = np.linalg.norm(new - old, axis=1) > _TOLERANCE * np.maximum(lengths[0], 1e-30)
        self.checked += len(old)
        self.changed += int(far.sum())
        self.cosines += float(
            ((old * new).sum(axis=1) / np.maximum(lengths[0] * lengths[1], 1e-30)).sum()
        )

    def forget(self) -> None:
        """Start a new window."""
        self.checked, self.changed, self.cosines = 0, 0, 0.0

    def merge(self, other: Probes) -> None:
        """Add the comparisons of another worker."""
        self.checked += other.checked
        self.changed += other.changed
        self.cosines += other.cosines


@dataclass(frozen=True)
class Model:
    """Whether the embedding model is still the one of the baseline.

    Attributes
    ----------
    verdict : {'same', 'mixture', 'another'}
    foreign_rows : float
        Share of rows with their energy where those of the baseline have next to none; 0 where
        that cannot be told, as the baseline's variance is spread evenly.
    alive : tuple of int
        Dimensions that had one value and vary now.
    probes_checked, probes_changed : int
    probe_cosine : float or None
        Mean cosine of probes with what they were.
    """

    verdict: str
    foreign_rows: float
    alive: tuple[int, ...]
    probes_checked: int
    probes_changed: int
    probe_cosine: float | None

    @property
    def same(self) -> bool:
        """Whether there is no sign of another model."""
        return self.verdict == "same"

    def __str__(self) -> str:
        if self.same:
            return (
                f"the same embedding model: {self.probes_checked} probes agree"
                if self.probes_checked
                else "no sign of another embedding model"
            )
        name = (
            "another embedding model (or version, or preprocessing)"
            if self.verdict == "another"
            else "a mixture of two embedding models (or versions, or preprocessings)"
        )
        return f"{name}: " + ", ".join(self._signs())

    def _signs(self) -> list[str]:
        signs = []
        if self.probes_changed:
            signs.append(
                f"{self.probes_changed} of {self.probes_checked} probes come out otherwise "
                f"(mean cosine {self.probe_cosine:.2f})"
            )
        if self.foreign_rows:
            signs.append(
                f"{self.foreign_rows:.0%} of the vectors have their energy where those of the "
                "baseline have next to none"
            )
        if self.alive:
            some = ", ".join(map(str, self.alive[:5])) + (", ..." if len(self.alive) > 5 else "")
            signs.append(f"dimensions that had one value vary: {some}")
        return signs

    def to_dict(self) -> dict[str, Any]:
        """Return the attributes as a dictionary."""
        return asdict(self)


def model_of(
    features: Features, reference: BlockStatistics, window: BlockStatistics, probes: Probes | None
) -> Model:
    """Combine the signs of a model change."""
    foreign = _foreign_rows(features, reference, window)
    alive = tuple(map(int, np.flatnonzero(switched(reference, window)[2]))) if window.n else ()
    checked, changed = (probes.checked, probes.changed) if probes is not None else (0, 0)
    shares = [changed / checked] if changed else []
    shares += [foreign] if foreign else []
    verdict = "same"
    if shares:
        verdict = "another" if min(shares) >= _ALL else "mixture"
    elif alive:
        verdict = "mixture" if checked else "another"
    cosine = probes.cosines / checked if probes is not None and checked else None
    return Model(verdict, foreign, alive, checked, changed, cosine)


def _foreign_rows(features: Features, reference: BlockStatistics, window: BlockStatistics) -> float:
    """Return the share of rows with more energy than usual outside the leading directions."""
    if reference.n == 0 or window.n == 0:
        return 0.0
    limit = 1 + int(np.searchsorted(np.cumsum(reference.outside), _TYPICAL * reference.n))
    elsewhere = 1 - features.leading  # what a vector that knows nothing of the basis has there
    if elsewhere - limit / SHARES < _CLEAR:
        return 0.0
    beyond = window.outside[limit:]
    share = int(beyond.sum()) / window.n
    usual = int(reference.outside[limit:].sum()) / reference.n
    if beyond.sum() < _FEWEST or share < max(_SOME, _TIMES * usual):
        return 0.0
    centres = (np.arange(limit, SHARES) + 0.5) / SHARES
    typical = float((centres * beyond).sum() / beyond.sum())
    return share if typical > 0.5 * (limit / SHARES + elsewhere) else 0.0
