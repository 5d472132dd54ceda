"""`DriftReport`: the results of a monitor, as numbers and as text."""

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

_NAMED = 5


@dataclass(frozen=True)
class Relevance:
    """What became of the energy of one class of eigen-dimensions.

    Attributes
    ----------
    relevance : {'high', 'medium', 'low'}
    dimensions : int
    before, now : float
        Their share of the mean squared distance from the codec's mean.
    """

    relevance: str
    dimensions: int
    before: float
    now: float


@dataclass(frozen=True)
class Part:
    """Stored vectors, or queries, of a window beside those of the baseline.

    Attributes
    ----------
    rows, baseline_rows : int
    blocks : int
        Of the window, as far as they are kept apart.
    look : int
        Which look at this baseline it was, from 1 on.
    learning : bool
        Whether rows still become the baseline.
    verdicts : tuple of Verdict
        Of each family; empty where there are too few blocks to tell.
    moved : Movement
        Directions and dimensions, the likeliest cause first; empty without an alarm.
    relevances : tuple of Relevance
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
        """Whether there were blocks enough to tell."""
        return bool(self.verdicts)

    @property
    def alarms(self) -> tuple[str, ...]:
        """Families that differ."""
        return tuple(verdict.family for verdict in self.verdicts if verdict.alarm)

    def lines(self, name: str) -> list[str]:
        """Say what was found of what is called so; what moved stands indented below."""
        if self.learning:
            return [f"{self.baseline_rows:,} {name} seen, which become the baseline"]
        sizes = f"{self.rows:,} {name} against {self.baseline_rows:,} of the baseline"
        if not self.judged:
            return [f"{sizes}: too few to tell"]
        if not self.alarms:
            return [f"{sizes}: no drift"]
        found = ", ".join(str(verdict) for verdict in self.verdicts if verdict.alarm)
        lines = [f"{sizes}: drift of {found}"]
        lines += [f"  {one}" for one in self.moved.first[:_NAMED]]
        if self.moved.directions + self.moved.dimensions > _NAMED:
            kinds = ("direction", self.moved.directions), ("dimension", self.moved.dimensions)
            counts = " and ".join(_plural(n, name) for name, n in kinds)
            lines.append(f"  in all, {counts} moved")
        return lines


def _plural(n: int, one: str) -> str:
    return f"{n:,} {one}" if n == 1 else f"{n:,} {one}s"


@dataclass(frozen=True)
class DriftReport:
    """What a monitor found; made by `DriftMonitor.report`.

    Attributes
    ----------
    data : Part
        Stored vectors.
    queries : Part or None
        None where none were seen, or none are known of the baseline.
    model : Model
        Whether the embedding model is the one of the baseline.
    error_ratio : float or None
        Growth of the codec's relative squared error since the baseline.
    occupancy : Occupancy or None
        How the codes' cells are used.
    cost : Cost or None
        Of drift, in recall: measured if a canary was given, else estimated from the growth of the
        error, where the baseline tells how.
    quality : dict of int
        Vectors that were seen, and those with a NaN or an infinity, zero, too far off to be counted
        in, and copies of one not long before.
    alpha : float
        Probability of a false alarm by this monitor, ever.
    """

    data: Part
    queries: Part | None
    model: Model
    error_ratio: float | None
    occupancy: Occupancy | None
    cost: Cost | None
    quality: dict[str, int]
    alpha: float

    @property
    def drift(self) -> bool:
        """Whether stored vectors or queries differ from the baseline, or their model does."""
        asked = self.queries is not None and bool(self.queries.alarms)
        return bool(self.data.alarms) or asked or not self.model.same

    def summary(self) -> str:
        """Say it in plain words, a line a finding."""
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
        """Say how many rows are flawed, or copies; nothing if none are."""
        bad = {name: n for name, n in self.quality.items() if n and name != "rows"}
        found = ", ".join(f"{n:,} {name}" for name, n in bad.items())
        return f"of {self.quality['rows']:,} rows seen: {found}" if found else ""

    def __str__(self) -> str:
        return self.summary()

    def to_dict(self) -> dict[str, Any]:
        """Return all of it, with nothing that JSON cannot hold: None for an infinity or a NaN."""
        said = {"drift": self.drift, **asdict(self), "summary": self.summary()}
        return {name: _plain(value) for name, value in said.items()}

    def _repr_html_(self) -> str:
        from waterfill.reporting.drift_tables import drift_html

        return drift_html(self)

    def plot(self) -> Any:
        """Draw it, as a ``matplotlib.figure.Figure``; ImportError without Matplotlib."""
        from waterfill.reporting.drift_plot import plot

        return plot(self)


class Look(NamedTuple):
    """What a monitor was asked last.

    Attributes
    ----------
    report : DriftReport
    canary : CanaryRecall or None
        What was measured for it.
    at : float
        Seconds since the epoch.
    """

    report: DriftReport
    canary: CanaryRecall | None
    at: float


def _plain(value: Any) -> Any:
    """Return lists for tuples, and None for what is no finite number."""
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
