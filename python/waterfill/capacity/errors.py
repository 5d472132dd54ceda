"""Why a capacity test ends without an answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from waterfill.capacity.report import CapacityReport


class CapacityError(RuntimeError):
    """A capacity test that found out nothing that can be relied on.

    Attributes
    ----------
    report : CapacityReport or None
        What was known by then, if a rate was found that is within the SLO.
    """

    def __init__(self, message: str, report: CapacityReport | None = None) -> None:
        super().__init__(message)
        self.report = report


class GeneratorLateError(CapacityError):
    """Requests could not be sent when they were due: it was not the load that was asked for."""
