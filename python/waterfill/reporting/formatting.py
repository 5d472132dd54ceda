"""Formatting of numbers, and the sentences that summarise a result."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from waterfill.evaluation.recall_forecast import Expected
    from waterfill.optimizer.result import Result

METRICS = {"ip": "inner product", "l2": "Euclidean distance", "cosine": "cosine similarity"}
UNKNOWN = "not measured"

_SPACE = "\N{NO-BREAK SPACE}"
_BYTES = (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3))
_COUNTS = (("billion", 1e9), ("million", 1e6))
_SECONDS = (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6))


def number(value: float | None, digits: int = 3) -> str:
    """Format with `digits` significant digits, and all digits before the point."""
    if value is None or not math.isfinite(value):
        return UNKNOWN
    if value == 0:
        return "0"
    decimals = max(0, digits - 1 - math.floor(math.log10(abs(value))))
    text = f"{value:,.{decimals}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def percent(share: float | None, digits: int = 1) -> str:
    """Format a share of 1 as a percentage."""
    return (
        UNKNOWN
        if share is None or not math.isfinite(share)
        else f"{100 * share:.{digits}f}{_SPACE}%"
    )


def share(part: float) -> str:
    """Format a share of 1 as a percentage with three significant digits."""
    return f"{100 * part:.3g}{_SPACE}%"


def interval(one: Expected) -> str:
    """Format the interval of an expected recall."""
    return f"{percent(one.low)} to {percent(one.high)}"


def count(n: float) -> str:
    """Format a whole number, with round millions and billions in words."""
    for name, unit in _COUNTS:
        if n >= unit and n % (unit / 10) == 0:
            return f"{n / unit:g} {name}"
    return f"{n:,.0f}"


def plural(n: int, one: str) -> str:
    """Format a count of things: ``plural(2, "byte")`` is ``2 bytes``."""
    return f"{n:,} {one}" if n == 1 else f"{n:,} {one}s"


def size(n: float | None) -> str:
    """Format a number of bytes; a kB has 1,000."""
    if n is None or not math.isfinite(n):
        return UNKNOWN
    name, unit = next(((name, unit) for name, unit in _BYTES if n >= unit), ("bytes", 1.0))
    return f"{number(n / unit)}{_SPACE}{name}"


def seconds(value: float | None) -> str:
    """Format a duration."""
    if value is None or not math.isfinite(value):
        return UNKNOWN
    if value >= 120:
        return f"{number(value / 60, 2)}{_SPACE}min"
    name, unit = next(((name, unit) for name, unit in _SECONDS if value >= unit), _SECONDS[-1])
    return f"{number(value / unit, 2)}{_SPACE}{name}"


def rate(per_second: float | None) -> str:
    """Format a rate to three significant digits."""
    if per_second is None or not math.isfinite(per_second):
        return UNKNOWN
    if per_second < 1000:
        return number(per_second)
    unit = 10 ** (math.floor(math.log10(per_second)) - 2)
    return f"{round(per_second / unit) * unit:,.0f}"


def smaller(ratio: float) -> str:
    """Format a compression ratio."""
    return f"{number(ratio)} times smaller" if ratio >= 1 else f"{number(1 / ratio)} times larger"


def neighbours(k: int) -> str:
    """Name the neighbours that recall counts."""
    return "the true nearest neighbours" if k == 1 else f"the {k} true nearest neighbours"


def answer(result: Result, n: int | None = None) -> str:
    """Summarise a result in a sentence, for a collection of `n` vectors."""
    best, n = result.best, result.ntotal if n is None else n
    recall = result.growth.at(n).recall
    return (
        f"{result.codec.d}-dimensional float32 vectors fit in {size(best.bytes_per_vector)}, "
        f"{smaller(best.memory_ratio)}, and searches find {percent(recall)} of "
        f"{neighbours(result.k)} among {count(n)}."
    )


def choice(result: Result) -> str:
    """Give the objective, the chosen settings and the reason."""
    text = f"Objective: {result.objective.rstrip('.')}. Chosen: {result.best.settings}"
    reason = result.reason.rstrip(".")
    text += f"; {reason}." if reason else "."
    if not result.complete:
        text += " The search for settings was stopped early; better settings may exist."
    return text
