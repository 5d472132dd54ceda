"""What is tried, and what was measured of it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, overload

from waterfill._util.optional import require
from waterfill.training.train import Effort

PlanName = Literal["waterfill", "classic"]
RefineName = Literal["int8", "float16"]


@dataclass(frozen=True)
class TrialSettings:
    """One point of the space that `optimize` searches.

    Attributes
    ----------
    code_bytes : int
        A byte a group; for a classic plan what its thresholds make.
    plan : {'waterfill', 'classic'}
    weighting : float
        Of a waterfill plan: see `Plan.waterfill`.
    dimensions : (int, int) or None
        Of a classic plan: how many leading dimensions are high, and how many high or medium.
    effort : {'fast', 'balanced', 'best'}
        See `Codec.train`.
    refine : {'int8', 'float16'} or None
        Rows that the index keeps for a third stage.
    cells : 'auto' or int
        See `Codec.train`.
    """

    code_bytes: int
    plan: PlanName = "waterfill"
    weighting: float = 0.2
    dimensions: tuple[int, int] | None = None
    effort: Effort = "balanced"
    refine: RefineName | None = None
    cells: int | Literal["auto"] = "auto"

    def __str__(self) -> str:
        words = [f"{self.code_bytes} bytes"]
        if self.dimensions is not None:
            words.append("classic, {} high and {} kept dimensions".format(*self.dimensions))
        elif self.weighting != TrialSettings.weighting:
            words.append(f"weighting {self.weighting:g}")
        if self.effort != "balanced":
            words.append(f"effort {self.effort}")
        if self.cells != "auto":
            words.append(f"{self.cells} cells" if self.cells else "no cells")
        if self.refine:
            words.append(f"{self.refine} rows to refine with")
        return ", ".join(words)


@dataclass(frozen=True)
class Trial:
    """What real searches of the sample found with some settings.

    Attributes
    ----------
    settings : TrialSettings
    recall : float
        Recall@k: the share of the true k nearest neighbours that were found.
    recall_at_1 : float
        The share of queries whose first answer was the nearest neighbour.
    forgiving_accuracy : float
        The accuracy that JECQ published: a query counts as 1 if half of its true neighbours or more
        were found, else as the share of them that was.
    bytes_per_vector : float
        What one vector more takes in memory, all in: code, scale, the second byte of L2, the order
        of arrival where there are cells, and rows to refine with. Ids of one's own (8) not counted.
    memory_ratio : float
        Times smaller than float32.
    pq_memory_ratio : float
        `bytes_per_vector` as a share of product quantization with 8 bits a dimension.
    queries_per_second : float
        All queries in one call, on this machine with the threads that were set. Not repeatable.
    encode_rate : float
        Vectors a second, likewise.
    train_seconds : float
    score : float
        The objective's, greater is better.
    expected_accuracy : float
        The recall to expect among as many vectors as the codec is meant for, or the accuracy that
        `optimize` was told to count instead.
    """

    settings: TrialSettings
    recall: float
    recall_at_1: float
    forgiving_accuracy: float
    bytes_per_vector: float
    memory_ratio: float
    pq_memory_ratio: float
    queries_per_second: float
    encode_rate: float
    train_seconds: float
    score: float = float("nan")
    expected_accuracy: float = float("nan")

    def row(self) -> dict[str, Any]:
        """Return it flat: settings first, then what was measured."""
        own = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "settings"}
        return {**asdict(self.settings), **own}


class Frontier(Sequence[Trial]):
    """Trials that no other beats in both bytes and accuracy, by rising bytes.

    The accuracy is the expected one, by which trials are judged, or plain recall where there is
    none.
    """

    def __init__(self, trials: Sequence[Trial]) -> None:
        kept: list[Trial] = []
        for trial in sorted(trials, key=lambda t: (t.bytes_per_vector, -_accuracy(t))):
            if not kept or _accuracy(trial) > _accuracy(kept[-1]):
                kept.append(trial)
        self._trials = tuple(kept)

    @overload
    def __getitem__(self, i: int) -> Trial: ...
    @overload
    def __getitem__(self, i: slice) -> tuple[Trial, ...]: ...
    def __getitem__(self, i: int | slice) -> Trial | tuple[Trial, ...]:
        return self._trials[i]

    def __len__(self) -> int:
        return len(self._trials)

    def __iter__(self) -> Iterator[Trial]:
        return iter(self._trials)

    def rows(self) -> list[dict[str, Any]]:
        """Return a dict for each trial: see `Trial.row`."""
        return [trial.row() for trial in self]

    def to_pandas(self) -> Any:
        """Return the rows as a pandas.DataFrame.

        Raises
        ------
        ImportError
            If pandas is not installed.
        """
        return require("pandas", "Frontier.to_pandas", "pandas").DataFrame(self.rows())

    def __repr__(self) -> str:
        lines = [f"{'bytes':>8}  {'recall':>6}  {'expected':>8}  {'queries/s':>9}  settings"]
        lines += [
            f"{t.bytes_per_vector:8.1f}  {t.recall:6.3f}  {t.expected_accuracy:8.3f}  "
            f"{t.queries_per_second:9,.0f}  {t.settings}"
            for t in self
        ]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        from waterfill.reporting.notebook import frontier_html

        return frontier_html(self)


def _accuracy(trial: Trial) -> float:
    return trial.recall if math.isnan(trial.expected_accuracy) else trial.expected_accuracy
