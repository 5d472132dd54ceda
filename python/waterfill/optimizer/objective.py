"""Objectives: scores that trials are compared by, and constraints."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import get_args

from waterfill.evaluation.sample_split import Accuracy
from waterfill.optimizer.trial import Trial

Score = Callable[[Trial], float]
Limits = Mapping[str, tuple[float | None, float | None]]


@dataclass(frozen=True)
class Objective:
    """A score of trials; greater is better.

    Attributes
    ----------
    words : str
        Description for people.
    score : callable
        Takes a `Trial`, returns a float.
    target_recall : float or None
        Set if the objective is the fewest bytes with this recall.
    max_bytes : float or None
        Set if the objective is the best recall within these bytes.
    """

    words: str
    score: Score
    target_recall: float | None = None
    max_bytes: float | None = None


def smallest_for(target: float, counted: Accuracy) -> Objective:
    """Prefer the fewest bytes that reach an accuracy; below it, the best accuracy."""

    def score(trial: Trial) -> float:
        if trial.expected_accuracy < target:
            return trial.expected_accuracy - target
        return 1 / trial.bytes_per_vector

    words = f"fewest bytes with a {in_words(counted)} of {target:g}"
    return Objective(words, score, target_recall=target)


def in_words(counted: Accuracy) -> str:
    """Return the name of an accuracy in words."""
    return counted.replace("_", " ")


def best_within_bytes(most: float, counted: Accuracy) -> Objective:
    """Prefer the best accuracy within a number of bytes; beyond it, the fewest bytes."""

    def score(trial: Trial) -> float:
        if trial.bytes_per_vector > most:
            return most - trial.bytes_per_vector
        return trial.expected_accuracy

    words = f"best {in_words(counted)} in {most:g} bytes a vector"
    return Objective(words, score, max_bytes=most)


def accuracy_cubed_per_memory(trial: Trial) -> float:
    """Return the score published with JECQ (Janea Systems 2025).

    The cube of the forgiving accuracy, divided by the memory relative to product quantization with
    8 bits per dimension.
    """
    return trial.forgiving_accuracy**3 / trial.pq_memory_ratio


def recall_cubed_per_memory(trial: Trial) -> float:
    """Return the score of `accuracy_cubed_per_memory` with recall instead."""
    return trial.recall**3 / trial.pq_memory_ratio


NAMED: dict[str, Score] = {
    "accuracy_cubed_per_memory": accuracy_cubed_per_memory,
    "recall_cubed_per_memory": recall_cubed_per_memory,
}


def read_objective(
    target_recall: float | None,
    max_bytes: float | None,
    objective: Score | str | None,
    counted: Accuracy,
) -> Objective:
    """Return the objective of the arguments of `optimize`: by default a recall of 0.95.

    Raises
    ------
    ValueError
        If more than one is given, one is out of range, or its name is unknown.
    TypeError
        If an argument has the wrong type.
    """
    if counted not in get_args(Accuracy):
        raise ValueError(f"accuracy={counted!r} must be one of {list(get_args(Accuracy))}")
    options = {"target_recall": target_recall, "max_bytes": max_bytes, "objective": objective}
    given = [name for name, value in options.items() if value is not None]
    if len(given) > 1:
        name = given[0]
        others = " and ".join(given[1:])
        raise ValueError(f"{name}={options[name]!r} does not go with {others}; give one of them")
    if objective is not None:
        return _custom(objective)
    for name, value in (("target_recall", target_recall), ("max_bytes", max_bytes)):
        if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
            raise TypeError(f"{name} must be a number, got {value!r}")
    if max_bytes is not None:
        if not max_bytes >= 1:
            raise ValueError(f"max_bytes={max_bytes} must be at least 1")
        return best_within_bytes(max_bytes, counted)
    target = 0.95 if target_recall is None else target_recall
    if not 0 < target <= 1:
        raise ValueError(f"target_recall={target} must be above 0 and at most 1")
    return smallest_for(target, counted)


def _custom(objective: Score | str) -> Objective:
    if isinstance(objective, str):
        if objective not in NAMED:
            raise ValueError(f"objective={objective!r} must be a callable or one of {list(NAMED)}")
        return Objective(objective, NAMED[objective])
    if not callable(objective):
        raise TypeError(f"objective must be a callable or a name, got {objective!r}")
    name = getattr(objective, "__name__", "<lambda>")
    return Objective("score of your own" if name == "<lambda>" else name, objective)


def check_constraints(constraints: Limits | None) -> dict[str, tuple[float, float]]:
    """Return the limits of a trial's attributes; None becomes an infinity.

    Raises
    ------
    ValueError
        If a trial has no such attribute, or limits are out of order.
    TypeError
        If limits are not pairs of numbers or None.
    """
    if not isinstance(constraints, Mapping | None):
        raise TypeError(f"constraints must be a mapping, got {constraints!r}")
    names = [f.name for f in fields(Trial) if f.name not in ("settings", "score")]
    checked = {}
    for name, limits in (constraints or {}).items():
        if name not in names:
            raise ValueError(f"constraints: {name!r} must be one of {names}")
        try:
            least, most = limits
            low = float("-inf") if least is None else float(least)
            high = float("inf") if most is None else float(most)
        except (TypeError, ValueError):
            raise TypeError(
                f"constraints[{name!r}] must be (least, most), numbers or None, got {limits!r}"
            ) from None
        if not low <= high:
            raise ValueError(f"constraints[{name!r}]={limits!r}: least must not exceed most")
        checked[name] = (low, high)
    return checked


def allowed(trial: Trial, constraints: dict[str, tuple[float, float]]) -> bool:
    """Return whether a trial is within all limits."""
    return all(low <= getattr(trial, name) <= high for name, (low, high) in constraints.items())
