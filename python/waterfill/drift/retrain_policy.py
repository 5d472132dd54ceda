"""The cost of drift in recall, and the policy that decides when to retrain."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from waterfill._util.validation import as_int, as_number, as_positive_int


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


@dataclass(frozen=True)
class Decision:
    """What a policy advises.

    Attributes
    ----------
    retrain : bool
    reason : str
        In words.
    measure : bool
        Whether a canary should be measured first: an estimate gave reason to.
    """

    retrain: bool
    reason: str
    measure: bool = False

    def __str__(self) -> str:
        return self.reason


@dataclass
class RetrainPolicy:
    """Advise retraining by what it wins back, never by how unlikely a change is.

    Each call of `decide` is a look. A look speaks for retraining if the whole interval of the
    measured gap lies above `max_recall_loss`. Looks that measure the same canary again say nothing
    new: take a new one for each.

    Parameters
    ----------
    max_recall_loss : float
        Recall that may be lost, 0 to 1.
    persist : int
        Measured looks in a row that must speak for retraining; 1 at least.
    cooldown : int
        Looks after `retrained` that advise nothing, counted and not timed: a day each, say. 0 or
        more.

    Raises
    ------
    ValueError
        If an argument is out of range.
    TypeError
        If it has the wrong type.
    """

    max_recall_loss: float = 0.01
    persist: int = 2
    cooldown: int = 7
    _streak: int = field(default=0, repr=False)
    _quiet: int = field(default=0, repr=False)

    def __post_init__(self) -> None:
        self.max_recall_loss = as_number("max_recall_loss", self.max_recall_loss, 0.0)
        if self.max_recall_loss > 1:
            raise ValueError(f"max_recall_loss={self.max_recall_loss:g} must be at most 1")
        self.persist = as_positive_int("persist", self.persist)
        for name in ("cooldown", "_streak", "_quiet"):
            value = as_int(name.lstrip("_"), getattr(self, name))
            if value < 0:
                raise ValueError(f"{name.lstrip('_')}={value} must be at least 0")
            setattr(self, name, value)

    def decide(self, cost: Cost) -> Decision:
        """Take a look.

        Parameters
        ----------
        cost : Cost
            An estimate (``measured=False``) never advises retraining and leaves the row of looks
            as it is; from half of `max_recall_loss` on it advises to measure a canary.

        Raises
        ------
        TypeError
            If `cost` is none.
        """
        if not isinstance(cost, Cost):
            raise TypeError(f"cost must be a Cost, got {type(cost).__name__}")
        if self._quiet > 0:
            self._quiet -= 1
            return Decision(False, f"trained not long ago; quiet for {self._quiet} looks more")
        if not cost.measured:
            return self._of_estimate(cost)
        found = (
            f"retraining would win back {cost.gap:.3f} of recall "
            f"({cost.gap_low:.3f} to {cost.gap_high:.3f})"
        )
        limit = f"{self.max_recall_loss:g} that may be lost"
        if not cost.gap_low > self.max_recall_loss:
            self._streak = 0
            if cost.gap > self.max_recall_loss:
                return Decision(False, f"{found}: not certain to be more than the {limit}")
            return Decision(False, f"{found}: no more than the {limit}")
        self._streak += 1
        seen = f"{self._streak} of {self.persist} looks"
        if self._streak < self.persist:
            return Decision(False, f"{found}, more than the {limit}: {seen}; look again")
        again = f", in {self._streak} looks in a row" if self._streak > 1 else ""
        return Decision(True, f"{found}, more than the {limit}{again}")

    def _of_estimate(self, cost: Cost) -> Decision:
        found = f"by the growth of the error {cost.gap:.3f} of recall may be lost"
        if cost.gap > self.max_recall_loss / 2:  # estimates can be too low
            return Decision(False, f"{found}: measure a canary first", measure=True)
        return Decision(False, f"{found}; estimated, not measured")

    def retrained(self) -> None:
        """Say that a new codec is in use: looks begin anew, after the cooldown."""
        self._streak, self._quiet = 0, self.cooldown

    def to_dict(self) -> dict[str, Any]:
        """Return its settings, and where it stands."""
        return {name.lstrip("_"): value for name, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> RetrainPolicy:
        """Read what `to_dict` returned.

        Raises
        ------
        ValueError
            If `data` is something else, or out of range.
        """
        names = ("max_recall_loss", "persist", "cooldown", "streak", "quiet")
        try:
            return cls(*(data[name] for name in names))
        except (KeyError, TypeError) as error:
            raise ValueError(f"data is no state of a RetrainPolicy: {error!r}") from None
