"""`DriftReport`: results of a monitor as numbers and as text."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from waterfill.drift.attribution import Movement
from waterfill.drift.model_change import Model
from waterfill.drift.window_comparison import Occupancy, Verdict

if TYPE_CHECKING:
    from waterfill.drift.canary_recall import CanaryRecall
    from waterfill.drift.retrain_policy import Cost

_MAX_NAMED = 5  # directions and dimensions in the text


@dataclass(frozen=True)
class Relevance:
    """Energy of one relevance class of eigen-dimensions, in the baseline and in the window.

    Attributes
    ----------
    relevance : {'high', 'medium', 'low'}
        The class.
    dimensions : int
        Number of dimensions of the class.
    before, now : float
        Share of the mean squared distance from the codec's mean, in the baseline and the window.
    """

    relevance: str
    dimensions: int
    before: float
    now: float


@dataclass(frozen=True)
class StreamReport:
    """Comparison of the stored vectors, or of the queries, with the baseline.

    Attributes
    ----------
    rows, baseline_rows : int
        Number of rows in the window and in the baseline.
    blocks : int
        Number of blocks in the window; blocks that share a hash slot count once.
    look : int
        Number of this look at the window, counted from 1 over the life of the baseline.
    learning : bool
        Whether new rows are still added to the baseline.
    verdicts : tuple of Verdict
        Result of each family; empty if there are too few blocks to test.
    moved : Movement
        Directions and dimensions that changed, the most likely cause first; empty without an alarm.
    relevances : tuple of Relevance
        Energy of each class of dimensions.
    """

    rows: int
    baseline_rows: int
    blocks: int
    look: int
    learning: bool
    verdicts: tuple[Verdict, ...]
    moved: Movement
    relevances: tuple[Relevance, ...]

    @property
    def judged(self) -> bool:
        """Whether there were enough blocks to test."""
        return bool(self.verdicts)

    @property
    def alarms(self) -> tuple[str, ...]:
        """Names of the families that raised an alarm."""
        return tuple(verdict.family for verdict in self.verdicts if verdict.alarm)

    def lines(self, name: str) -> list[str]:
        """Return the result as lines of text; causes are indented.

        Parameters
        ----------
        name : str
            What the rows are called.

        Returns
        -------
        list of str
            The lines.
        """
        if self.learning:
            return [f"{self.baseline_rows:,} {name} so far, added to the baseline"]
        sizes = f"{self.rows:,} {name} against {self.baseline_rows:,} of the baseline"
        if not self.judged:
            return [f"{sizes}: too few to test"]
        if not self.alarms:
            return [f"{sizes}: no drift"]
        alarms = ", ".join(str(verdict) for verdict in self.verdicts if verdict.alarm)
        lines = [f"{sizes}: drift of {alarms}"]
        lines += [f"  {one}" for one in self.moved.first[:_MAX_NAMED]]
        if self.moved.directions + self.moved.dimensions > _MAX_NAMED:
            kinds = ("direction", self.moved.directions), ("dimension", self.moved.dimensions)
            counts = " and ".join(_plural(n, name) for name, n in kinds)
            lines.append(f"  {counts} moved in total")
        return lines


def _plural(n: int, one: str) -> str:
    return f"{n:,} {one}" if n == 1 else f"{n:,} {one}s"


@dataclass(frozen=True)
class DriftReport:
    """Result of `DriftMonitor.report`.

    Attributes
    ----------
    data : StreamReport
        Stored vectors.
    queries : StreamReport or None
        Queries; None if the window has none.
    model : Model
        Whether the embedding model is that of the baseline.
    error_ratio : float or None
        The codec's relative squared error in the window over that in the baseline; None if rows are
        not encoded, the window is empty or the baseline is incomplete.
    occupancy : Occupancy or None
        Change in the use of the code bytes' cells; None in the same cases.
    cost : Cost or None
        Cost of drift in recall: measured if a canary was given, otherwise estimated from the growth
        of the error; None if neither is possible.
    quality : dict of str to int
        Number of stored vectors in the window: all (``rows``), with a NaN or an infinity
        (``nonfinite``), zero (``zero``), with an outlying norm (``outliers``), and copies of a
        recent vector (``duplicates``).
    alpha : float
        Probability that the monitor ever raises a false alarm.
    """

    data: StreamReport
    queries: StreamReport | None
    model: Model
    error_ratio: float | None
    occupancy: Occupancy | None
    cost: Cost | None
    quality: dict[str, int]
    alpha: float

    @property
    def drift(self) -> bool:
        """Whether vectors or queries differ from the baseline, or the embedding model changed."""
        query_alarm = self.queries is not None and bool(self.queries.alarms)
        return bool(self.data.alarms) or query_alarm or not self.model.same

    def summary(self) -> str:
        """Return the report as text, one line per finding."""
        lines = self.data.lines("vectors")
        if not self.model.same:
            lines.insert(0, str(self.model))
        if self.queries is not None:
            lines += self.queries.lines("queries")
        if self.error_ratio is not None:
            lines.append(f"error of the codec: {self.error_ratio:.2f} times the baseline's")
        if self.occupancy is not None and self.data.alarms:
            lines.append(str(self.occupancy))
        if self.cost is not None:
            lines.append(str(self.cost))
        return "\n".join([*lines, *filter(None, [self.bad_rows()])])

    def bad_rows(self) -> str:
        """Return the counts of bad rows and duplicates as text; empty if there are none."""
        bad = {name: n for name, n in self.quality.items() if n and name != "rows"}
        counts = ", ".join(f"{n:,} {name}" for name, n in bad.items())
        return f"of {self.quality['rows']:,} rows: {counts}" if counts else ""

    def __str__(self) -> str:
        return self.summary()

    def to_dict(self) -> dict[str, Any]:
        """Return the report ready for JSON; numbers that are not finite become None."""
        values = {"drift": self.drift, **asdict(self), "summary": self.summary()}
        return {name: _json_value(value) for name, value in values.items()}

    def _repr_html_(self) -> str:
        from waterfill.reporting.drift_tables import drift_html

        return drift_html(self)

    def plot(self) -> Any:
        """Draw the report.

        Returns
        -------
        matplotlib.figure.Figure
            A new figure.

        Raises
        ------
        ImportError
            If Matplotlib is not installed: ``pip install ".[plot]"``.
        """
        from waterfill.reporting.drift_plot import plot

        return plot(self)


class LastReport(NamedTuple):
    """The last report of a monitor.

    Attributes
    ----------
    report : DriftReport
        The report.
    canary : CanaryRecall or None
        What was measured for it.
    at : float
        Seconds since the epoch.
    """

    report: DriftReport
    canary: CanaryRecall | None
    at: float


def _json_value(value: Any) -> Any:
    """Return tuples as lists, and numbers that are not finite as None."""
    if isinstance(value, dict):
        return {name: _json_value(each) for name, each in value.items()}
    if isinstance(value, tuple | list):
        return [_json_value(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
