"""Detection of another embedding model, or of a mixture of two.

There are three signs, none of which a change of topics causes: the embeddings of fixed probe texts
change, rows have most of their energy in directions in which the baseline has almost none, and
formerly constant dimensions vary.
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

MAX_PROBES = 4096
_TOLERANCE = 0.02  # of a probe's norm; rounding to float16 changes 0.0005, to int8 about 0.01
_ANOTHER_SHARE = 0.9  # of the rows or probes: from here on a replacement, below a mixture
_MIN_FOREIGN_SHARE = 0.05
_MIN_FOREIGN_RATIO = 20  # of the share of rows beyond the limit to that of the baseline
_BASELINE_QUANTILE = 0.999  # of the energy outside the leading directions: the limit
_MIN_FOREIGN_ROWS = 5
_MAX_NAMED = 5  # dimensions in a message
_MIN_SEPARATION = 0.1  # between the limit and the expected share of another model


@dataclass(eq=False)
class Probes:
    """Embeddings of fixed texts, compared with later embeddings of the same texts.

    Attributes
    ----------
    vectors : float16 (m, d)
        Embeddings of the baseline's model, times `scale`.
    scale : float
        A power of two that keeps them within the range of float16.
    checked, changed : int
        Number of new embeddings of probes, and how many of them differ from the baseline.
    cosines : float
        Sum of the cosines between new and baseline embeddings.
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

    def update(self, vectors: Floats) -> None:
        """Compare with new embeddings of the same texts."""
        old, new = self.vectors.astype(np.float64) / self.scale, vectors.astype(np.float64)
        norms = np.linalg.norm(old, axis=1), np.linalg.norm(new, axis=1)
        changed = np.linalg.norm(new - old, axis=1) > _TOLERANCE * np.maximum(norms[0], 1e-30)
        self.checked += len(old)
        self.changed += int(changed.sum())
        self.cosines += float(
            ((old * new).sum(axis=1) / np.maximum(norms[0] * norms[1], 1e-30)).sum()
        )

    def reset(self) -> None:
        """Start a new window."""
        self.checked, self.changed, self.cosines = 0, 0, 0.0

    def merge(self, other: Probes) -> None:
        """Add the comparisons of another worker."""
        self.checked += other.checked
        self.changed += other.changed
        self.cosines += other.cosines


@dataclass(frozen=True)
class Model:
    """Whether the embedding model is still that of the baseline.

    Attributes
    ----------
    verdict : {'same', 'mixture', 'another'}
        Whether all rows, some or none are of the baseline's model.
    foreign_rows : float
        Share of rows with most of their energy in directions in which the baseline has almost none;
        0 if this cannot be detected because the baseline's variance is spread evenly.
    alive : tuple of int
        Dimensions that were constant in the baseline and vary now.
    probes_checked, probes_changed : int
        Number of new embeddings of probes, and how many of them differ from the baseline.
    probe_cosine : float or None
        Mean cosine between new and baseline embeddings of the probes; None without probes.
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
                f"the same embedding model: {self.probes_checked} probes are unchanged"
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
                f"{self.probes_changed} of {self.probes_checked} probes changed "
                f"(mean cosine {self.probe_cosine:.2f})"
            )
        if self.foreign_rows:
            signs.append(
                f"{self.foreign_rows:.0%} of the vectors have their energy in directions where the "
                "baseline has almost none"
            )
        if self.alive:
            dimensions = ", ".join(map(str, self.alive[:_MAX_NAMED]))
            more = ", ..." if len(self.alive) > _MAX_NAMED else ""
            signs.append(f"formerly constant dimensions vary: {dimensions}{more}")
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
        verdict = "another" if min(shares) >= _ANOTHER_SHARE else "mixture"
    elif alive:
        verdict = "mixture" if checked else "another"
    cosine = probes.cosines / checked if probes is not None and checked else None
    return Model(verdict, foreign, alive, checked, changed, cosine)


def _foreign_rows(features: Features, reference: BlockStatistics, window: BlockStatistics) -> float:
    """Return the share of rows with far more energy outside the leading directions."""
    if reference.n == 0 or window.n == 0:
        return 0.0
    limit = 1 + int(np.searchsorted(np.cumsum(reference.outside), _BASELINE_QUANTILE * reference.n))
    unrelated = 1 - features.leading  # expected share of a vector independent of the basis
    if unrelated - limit / SHARES < _MIN_SEPARATION:
        return 0.0
    beyond = window.outside[limit:]
    share = int(beyond.sum()) / window.n
    baseline_share = int(reference.outside[limit:].sum()) / reference.n
    min_share = max(_MIN_FOREIGN_SHARE, _MIN_FOREIGN_RATIO * baseline_share)
    if beyond.sum() < _MIN_FOREIGN_ROWS or share < min_share:
        return 0.0
    centres = (np.arange(limit, SHARES) + 0.5) / SHARES
    mean_energy = float((centres * beyond).sum() / beyond.sum())
    return share if mean_energy > 0.5 * (limit / SHARES + unrelated) else 0.0
