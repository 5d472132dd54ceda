"""`CapacityReport`, its JSON file, and the errors of tests that end without one."""

from __future__ import annotations

import json
import math
import os
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from waterfill._core import FormatError
from waterfill._util.atomic_file import atomic_write
from waterfill._util.input_file import read_input
from waterfill._util.stored_values import parse_object, reading, require_types
from waterfill._util.validation import as_file_name
from waterfill.loadtest.figures import Step
from waterfill.loadtest.slo import Slo

FORMAT = "waterfill capacity report"
VERSION = 1

_POSITIVE_FIELDS = ("limit", "floor", "ceiling", "unloaded", "throughput", "rate")


@dataclass(frozen=True)
class CapacityReport:
    """The capacity of a service, as `capacity_test` measured it.

    Attributes
    ----------
    rate : float
        The highest rate, in requests per second at random times, proved to be within the SLO. The
        true capacity is likely to be a few per cent higher.
    limit : int
        The most requests in flight whose p99 is within the SLO at full throughput: the limit for
        `Limiter`.
    floor : int
        The fewest requests in flight that reach 95 % of the maximum throughput (the knee).
    ceiling : int
        Requests in flight whose mean latency equals the SLO's p99 at full throughput, by Little's
        law [1]_.
    unloaded : float
        Median latency in seconds with one request in flight.
    throughput : float
        The maximum throughput of the sweep, in answers per second.
    slo : Slo
        The SLO of the test.
    steps : tuple of Step
        Figures of each step, in order.
    complete : bool
        False if the test ended early; the report then holds the results until that point.
    notes : tuple of str
        Remarks about the test.
    seed : int
        Seed of the request times.
    seconds : float
        Duration of the test.
    requests : int
        Number of requests sent.
    machine : dict
        ``system``, ``cpus``, ``isa``, ``threads``, ``python``, ``numpy``, ``waterfill``.
    created : str
        Time of creation, UTC, ISO 8601.

    References
    ----------
    .. [1] J. D. C. Little, "A proof for the queuing formula: L = λW", Operations Research 9(3),
       1961.
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
        """Return the content of the JSON file, as plain values."""
        return {"format": FORMAT, "version": VERSION, **asdict(self)}

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the report as JSON, atomically.

        Parameters
        ----------
        path : str or path-like
            An existing file is replaced.

        Raises
        ------
        OSError
            If the file cannot be written.
        """
        text = json.dumps(self.to_dict(), indent=2, allow_nan=False)
        with atomic_write(path) as file:
            file.write(text.encode() + b"\n")

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> CapacityReport:
        """Read a file that `save` wrote.

        Parameters
        ----------
        path : str or path-like
            The file.

        Returns
        -------
        CapacityReport
            An equal report.

        Raises
        ------
        FormatError
            If the file is not a capacity report, is damaged, or has a later version.
        OSError
            If the file cannot be read.
        ValueError, TypeError
            If `path` is not a path.
        """
        name = os.fsdecode(as_file_name(path))
        with reading(f"{name}: not a capacity report, or damaged", FormatError):
            return _read(parse_object(read_input(name)), name)

    def require_complete(self, name: str = "report") -> None:
        """Refuse to configure a service by the report of a test that ended early.

        Parameters
        ----------
        name : str
            Name of the report in the error message.

        Raises
        ------
        ValueError
            If the report is not `complete`, with what is missing and how to measure it.
        """
        if self.complete:
            return
        missing = "; ".join(self.notes) or "the test ended early"
        raise ValueError(
            f"{name}: expected the report of a complete capacity test, got an incomplete one "
            f"({missing}): its limit is not measured. Run the test to its end, with waterfill ramp "
            "or capacity_test, with larger max_seconds and max_requests if these ended it; or set "
            "the limit by hand"
        )

    def plot(self, path: str | os.PathLike[str] | None = None) -> Any:
        """Draw p99 and goodput by rate and by number in flight.

        Parameters
        ----------
        path : str or path-like, optional
            Where to write the picture; the suffix sets its format (.png, .svg, .pdf).

        Returns
        -------
        matplotlib.figure.Figure
            A new figure.

        Raises
        ------
        ImportError
            If Matplotlib is not installed: ``pip install ".[plot]"``.
        ValueError, TypeError
            If `path` is not a path.
        """
        from waterfill.loadtest.plot import plot

        figure = plot(self)
        if path is not None:
            figure.savefig(os.fsdecode(as_file_name(path)), dpi=144)
        return figure

    def __str__(self) -> str:
        from waterfill.loadtest.table import table

        return table(self)


class CapacityError(RuntimeError):
    """A capacity test ended without a reliable result.

    Parameters
    ----------
    message : str
        Why there is no result.
    report : CapacityReport, optional
        See the attribute.

    Attributes
    ----------
    report : CapacityReport or None
        The result until then, if some rate is known to be within the SLO.
    """

    def __init__(self, message: str, report: CapacityReport | None = None) -> None:
        super().__init__(message)
        self.report = report


class GeneratorLateError(CapacityError):
    """The load generator could not send requests when they were due.

    Parameters
    ----------
    message : str
        How many requests were late, and what to do.
    report : CapacityReport, optional
        As of `CapacityError`.
    """


def _read(data: dict[str, Any], file: str) -> CapacityReport:
    if data.get("format") != FORMAT:
        raise FormatError(f"{file}: not a capacity report")
    if data["version"] != VERSION:
        raise FormatError(
            f"{file}: expected version {VERSION} of a capacity report, got {data['version']!r}"
        )
    values = {each.name: data[each.name] for each in fields(CapacityReport)}
    steps = [{**step} for step in values.pop("steps")]
    slo = values.pop("slo")
    for name in _POSITIVE_FIELDS:
        value = values[name]
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not number or not 0 < value < math.inf:
            raise ValueError(f"{name}={value!r} must be above 0")
    for name in ("limit", "floor", "ceiling"):
        if not isinstance(values[name], int):
            raise ValueError(f"{name}={values[name]!r} must be an int")
    if not isinstance(values["complete"], bool):
        raise ValueError(f"complete={values['complete']!r} must be a bool")
    require_types(CapacityReport, values)
    for step in steps:
        require_types(Step, step)
    if not values["floor"] <= values["limit"] <= values["ceiling"]:
        raise ValueError(
            f"limit: expected a value from floor={values['floor']} to ceiling={values['ceiling']}, "
            f"got {values['limit']}"
        )
    values["slo"] = Slo(**slo)
    values["steps"] = tuple(Step(**step) for step in steps)
    values["notes"] = tuple(values["notes"])
    return CapacityReport(**values)
