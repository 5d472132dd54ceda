"""The cost of drift in recall, and the policy that decides when to retrain."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from waterfill._util.stored_values import reading
from waterfill._util.validation import as_int, as_number, as_positive_int

_KEYS = {"_positive": "streak", "_cooling": "quiet"}  # names in saved states


@dataclass(frozen=True)
class Cost:
    """Recall of the current codec, compared with a codec trained on current vectors.

    Attributes
    ----------
    recall_now : float
        Recall@k of the current codec among `size` vectors.
    recall_if_retrained : float
        ``recall_now + gap``.
    gap : float
        Recall that retraining would win back: the recall of a codec trained on current vectors less
        that of the current codec, minus the same difference on the baseline. It is negative by
        chance, or if current vectors are harder to compress than those of the baseline.
    gap_low, gap_high : float
        Bounds of the 95 % interval of `gap`, over bootstrap samples of the queries [1]_.
    size : int
        Number of vectors that the recalls hold for.
    measured : bool
        False for an estimate from the growth of the reconstruction error.
    words : str
        How the figures were obtained, and how to read them.

    References
    ----------
    .. [1] B. Efron, "Bootstrap methods: another look at the jackknife", Annals of Statistics 7(1),
       1979.
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
        """Return the attributes as a dictionary."""
        return asdict(self)

    def __str__(self) -> str:
        return (
            f"recall {self.recall_now:.3f} now, {self.recall_if_retrained:.3f} if retrained: "
            f"{'a' if self.measured else 'an estimated'} gap of {self.gap:.3f} "
            f"({self.gap_low:.3f} to {self.gap_high:.3f}); {self.words}"
        )


@dataclass(frozen=True)
class Decision:
    """Advice of a policy.

    Attributes
    ----------
    retrain : bool
        Whether to retrain now.
    reason : str
        In words.
    measure : bool
        Whether to measure a canary first, because an estimate gives reason to.
    """

    retrain: bool
    reason: str
    measure: bool = False

    def __str__(self) -> str:
        return self.reason


@dataclass
class RetrainPolicy:
    """Advise retraining by the recall that it wins back, not by the significance of a change.

    Each call of `decide` is a check. A check is positive if the whole interval of the measured gap
    lies above `max_recall_loss`. Measure a new canary for each check: the same canary again adds
    no evidence.

    Parameters
    ----------
    max_recall_loss : float
        Tolerated loss of recall, 0 to 1.
    persist : int
        Consecutive positive checks that are required, at least 1.
    cooldown : int
        Checks after `retrained` that advise nothing, at least 0. They are counted, not timed.

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
    _positive: int = field(default=0, repr=False)
    _cooling: int = field(default=0, repr=False)

    def __post_init__(self) -> None:
        self.max_recall_loss = as_number("max_recall_loss", self.max_recall_loss, 0.0)
        if self.max_recall_loss > 1:
            raise ValueError(f"max_recall_loss={self.max_recall_loss:g} must be at most 1")
        self.persist = as_positive_int("persist", self.persist)
        for name in ("cooldown", "_positive", "_cooling"):
            value = as_int(_KEYS.get(name, name), getattr(self, name))
            if value < 0:
                raise ValueError(f"{_KEYS.get(name, name)}={value} must be at least 0")
            setattr(self, name, value)

    def decide(self, cost: Cost) -> Decision:
        """Check a cost, and advise whether to retrain.

        Parameters
        ----------
        cost : Cost
            An estimate (``measured=False``) never leads to retraining and does not count as a
            check. Above half of `max_recall_loss` the advice is to measure a canary.

        Returns
        -------
        Decision
            The advice, and the reason for it.

        Raises
        ------
        TypeError
            If `cost` is not a Cost.
        """
        if not isinstance(cost, Cost):
            raise TypeError(f"cost must be a Cost, got {type(cost).__name__}")
        if self._cooling > 0:
            self._cooling -= 1
            return Decision(False, f"in the cooldown after retraining, {self._cooling} checks left")
        if not cost.measured:
            return self._of_estimate(cost)
        found = (
            f"retraining would win back {cost.gap:.3f} of recall "
            f"({cost.gap_low:.3f} to {cost.gap_high:.3f})"
        )
        limit = f"the tolerated {self.max_recall_loss:g}"
        if not cost.gap_low > self.max_recall_loss:
            self._positive = 0
            if cost.gap > self.max_recall_loss:
                return Decision(False, f"{found}: not certain to exceed {limit}")
            return Decision(False, f"{found}: within {limit}")
        self._positive += 1
        if self._positive < self.persist:
            seen = f"positive check {self._positive} of {self.persist}"
            return Decision(False, f"{found}, above {limit}: {seen}; check again")
        again = f", in {self._positive} consecutive checks" if self._positive > 1 else ""
        return Decision(True, f"{found}, above {limit}{again}")

    def _of_estimate(self, cost: Cost) -> Decision:
        found = f"the growth of the error suggests a loss of {cost.gap:.3f} of recall"
        if cost.gap > self.max_recall_loss / 2:  # estimates can be too low
            return Decision(False, f"{found}: measure a canary first", measure=True)
        return Decision(False, f"{found}: an estimate, not a measurement")

    def retrained(self) -> None:
        """Record that a new codec is in use: checks start over after the cooldown."""
        self._positive, self._cooling = 0, self.cooldown

    def to_dict(self) -> dict[str, Any]:
        """Return the settings and the counters."""
        return {_KEYS.get(name, name): value for name, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> RetrainPolicy:
        """Read what `to_dict` returned.

        Parameters
        ----------
        data : dict
            What `to_dict` returned.

        Returns
        -------
        RetrainPolicy
            A policy in the same state.

        Raises
        ------
        ValueError
            If `data` has missing or invalid values.
        """
        names = ("max_recall_loss", "persist", "cooldown", "streak", "quiet")
        with reading("data: expected what to_dict() returned", ValueError):
            return cls(*(data[name] for name in names))
