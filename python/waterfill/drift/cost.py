"""What drift costs: recall now, recall if the codec were trained anew, and how sure that is."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Cost:
    """Recall of the codec in use, beside that of one trained on vectors of today.

    Attributes
    ----------
    recall_now : float
        Recall@k of the codec in use, among `size` vectors.
    recall_if_retrained : float
        ``recall_now + gap``.
    gap : float
        The shadow gap: by how much a codec that is trained on today's vectors finds more than the
        one in use, less the same difference before any drift. What retraining would win back.
        Below zero by chance alone, or where today's vectors are harder to learn than those of the
        baseline were.
    gap_low, gap_high : float
        What a whole collection shows lies between them in nine cases of ten.
    size : int
        The number of vectors that all of this is about.
    measured : bool
        False for an estimate from the growth of the error.
    words : str
        How it was found, and what to make of it.
    """

    recall_now: float
    recall_if_retrained: float
    gap: float
    gap_low: float
    gap_high: float
    size: int
    measured: bool
    words: str

    def to_dict(self) -> dict[str, Any]:
        """Return its attributes."""
        return asdict(self)

    def __str__(self) -> str:
        return (
            f"recall {self.recall_now:.3f} now, {self.recall_if_retrained:.3f} if retrained: "
            f"{'a' if self.measured else 'an estimated'} gap of {self.gap:.3f} "
            f"({self.gap_low:.3f} to {self.gap_high:.3f}); {self.words}"
        )
