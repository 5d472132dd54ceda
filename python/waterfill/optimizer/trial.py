"""Trials: their settings, their measurements, and the frontier of the best ones."""

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
        One byte per group. A classic plan determines it by its thresholds.
    plan : {'waterfill', 'classic'}
        The kind of plan.
    weighting : float
        For a waterfill plan: see `Plan.waterfill`.
    dimensions : (int, int) or None
        For a classic plan: the number of high dimensions, and of high and medium ones.
    effort : {'fast', 'balanced', 'best'}
        See `Codec.train`.
    refine : {'int8', 'float16'} or None
        Rows that the index keeps for exact re-ranking.
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
    """Measurements of some settings: a codec was trained, and the sample searched.

    Attributes
    ----------
    settings : TrialSettings
        What was trained.
    recall : float
        Recall@k: the share of the true k nearest neighbours that were found.
    recall_at_1 : float
        The share of queries whose first answer was the nearest neighbour.
    forgiving_accuracy : float
        The accuracy published with JECQ [1]_: 1 for a query that finds at least half of its true
        neighbours, otherwise the share that it finds.
    bytes_per_vector : float
        See `IndexFlat.bytes_per_vector`; explicit ids (8 or 12 bytes) are not counted.
    memory_ratio : float
        Size of a float32 vector divided by `bytes_per_vector`.
    pq_memory_ratio : float
        `bytes_per_vector` divided by the size of product quantization [2]_ with 8 bits per
        dimension.
    queries_per_second : float
        All queries in one call, on this machine with the number of threads that is set. Not
        repeatable.
    encode_rate : float
        Vectors encoded per second, likewise.
    train_seconds : float
        Wall time of training.
    score : float
        The objective's score; greater is better.
    expected_accuracy : float
        Expected recall among the number of vectors that the codec is meant for, or the expected
        forgiving accuracy if `optimize` was called with it.

    References
    ----------
    .. [1] Janea Systems, Jecq: just enough compression and quantization,
       https://github.com/JaneaSystems/jecq, 2025.
    .. [2] H. Jégou, M. Douze and C. Schmid, "Product quantization for nearest neighbor search",
       IEEE Transactions on Pattern Analysis and Machine Intelligence 33(1), 2011.
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
        """Return settings and measurements as one dict."""
        own = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "settings"}
        return {**asdict(self.settings), **own}


class Frontier(Sequence[Trial]):
    """The Pareto frontier: trials that no other one beats in bytes and accuracy, by rising bytes.

    The accuracy is `Trial.expected_accuracy`, or `Trial.recall` where that is NaN.

    Parameters
    ----------
    trials : sequence of Trial
        All trials; those that another one beats are left out.
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
        """Return `Trial.row` of each trial."""
        return [trial.row() for trial in self]

    def to_pandas(self) -> Any:
        """Return the rows as a table.

        Returns
        -------
        pandas.DataFrame
            A row per trial, as `rows` returns them.

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
