"""The result of a capacity test, its JSON file, and the errors of tests without a result."""

from __future__ import annotations

import json
import math
import os
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from waterfill._core import FormatError
from waterfill._util.atomic_file import atomic_write
from waterfill._util.validation import as_file_name
from waterfill.loadtest.figures import Step
from waterfill.loadtest.slo import Slo


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


FORMAT = "waterfill capacity report"
VERSION = 1

_NUMBERS = ("limit", "floor", "ceiling", "unloaded", "throughput", "rate")


@dataclass(frozen=True)
class CapacityReport:
    """What a service can do, as `capacity_test` found it.

    Attributes
    ----------
    rate : float
        Requests a second, at random times, that were served within the SLO. In truth it is likely
        to be a few per cent more.
    limit : int
        What may be in flight at once so that the p99 is within the SLO at full throughput: for
        `Limiter`.
    floor : int
        The fewest in flight that have 95 % of the most throughput: the knee.
    ceiling : int
        So many take the SLO's p99 on average at full throughput, by Little's law.
    unloaded : float
        Median seconds of an answer while nothing else is in flight.
    throughput : float
        Answers a second, the most that was seen however many were in flight.
    slo : Slo
    steps : tuple of Step
        Figures of each step, in order.
    complete : bool
        False if the test ended before it was done: what is here is what was known by then.
    notes : tuple of str
        What to know about the test.
    seed : int
        Of the times of requests.
    seconds : float
        That the test took.
    requests : int
        That it sent.
    machine : dict
        Where it ran: ``system``, ``cpus``, ``isa``, ``threads``, ``python``, ``numpy``,
        ``waterfill``.
    created : str
        When, UTC.
    """

    rate: float
    limit: int
    floor: int
    ceiling: int
    unloaded: float
    throughput: float
    slo: Slo
    steps: tuple[Step, ...]
    complete: bool = True
    notes: tuple[str, ...] = ()
    seed: int = 0
    seconds: float = 0.0
    requests: int = 0
    machine: dict[str, Any] = field(default_factory=dict)
    created: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain values, as in its file."""
        return {"format": FORMAT, "version": VERSION, **asdict(self)}

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write it as JSON; the file appears whole or not at all.

        Raises
        ------
        OSError
            If it cannot be written.
        """
        text = json.dumps(self.to_dict(), indent=2, allow_nan=False)
        with atomic_write(path) as file:
            file.write(text.encode() + b"\n")

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> CapacityReport:
        """Read what `save` wrote.

        Raises
        ------
        FormatError
            If the file is something else, or of a later version.
        OSError
            If it cannot be read.
        """
        name = os.fsdecode(as_file_name(path))
        try:
            return _read(json.loads(Path(name).read_bytes()))
        except (KeyError, TypeError, ValueError, RecursionError) as error:
            if isinstance(error, FormatError):
                raise FormatError(f"{name}: {error}") from None
            raise FormatError(f"{name}: is no capacity report, or is damaged: {error}") from None

    def plot(self, path: str | os.PathLike[str] | None = None) -> Any:
        """Draw p99 and goodput by rate, and what the sweep saw.

        Parameters
        ----------
        path : str or path-like, optional
            Where to write the picture, as its ending says (.png, .svg, .pdf).

        Returns
        -------
        matplotlib.figure.Figure

        Raises
        ------
        ImportError
            If Matplotlib is not installed: ``pip install "waterfill[plot]"``.
        """
        from waterfill.loadtest.plot import plot

        figure = plot(self)
        if path is not None:
            figure.savefig(os.fsdecode(as_file_name(path)), dpi=144)
        return figure

    def __str__(self) -> str:
        from waterfill.loadtest.table import table

        return table(self)


def _read(data: Any) -> CapacityReport:
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        raise FormatError("is no capacity report")
    if data["version"] != VERSION:
        raise FormatError(f"is a capacity report of version {data['version']}, known is {VERSION}")
    known = {each.name: data[each.name] for each in fields(CapacityReport)}
    for name in _NUMBERS:
        value = known[name]
        if (
            isinstance(value, bool)
            or not isinstance(value, int | float)
            or not 0 < value < math.inf
        ):
            raise ValueError(f"{name}={value!r} must be above 0")
    for name in ("limit", "floor", "ceiling"):
        if not isinstance(known[name], int):
            raise ValueError(f"{name}={known[name]!r} must be an int")
    if not known["floor"] <= known["limit"] <= known["ceiling"]:
        raise ValueError("limit must be from floor to ceiling")
    known["slo"] = Slo(**known["slo"])
    known["steps"] = tuple(Step(**step) for step in known["steps"])
    known["notes"] = tuple(known["notes"])
    return CapacityReport(**known)
