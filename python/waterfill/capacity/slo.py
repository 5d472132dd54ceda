"""What is promised to those who ask."""

from __future__ import annotations

from dataclasses import dataclass

from waterfill.arguments import as_number


@dataclass(frozen=True)
class Slo:
    """A service-level objective: how slow, and how often in vain.

    Attributes
    ----------
    p99 : float
        Seconds. 99 of 100 answers must come within them.
    errors : float
        The share of requests, from 0 to below 1, that may fail or be refused.

    Raises
    ------
    TypeError, ValueError
        If one of them is no number, or out of its range.
    """

    p99: float = 0.2
    errors: float = 0.01

    def __post_init__(self) -> None:
        p99 = as_number("p99", self.p99, 0, finite=True)
        errors = as_number("errors", self.errors, 0)
        if p99 == 0:
            raise ValueError("p99=0 must be above 0 seconds")
        if errors >= 1:
            raise ValueError(f"errors={self.errors} must be below 1")
        object.__setattr__(self, "p99", p99)
        object.__setattr__(self, "errors", errors)

    def __str__(self) -> str:
        return f"99 % within {1000 * self.p99:g} ms, at most {100 * self.errors:g} % in vain"
