"""Trials of settings, remembered; and the order in which they are made."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from numbers import Real
from typing import get_args

from waterfill.analysis import Analysis
from waterfill.codec import Codec
from waterfill.evaluation.recall_forecast import Growth, Optimism, measure_growth, optimism_of
from waterfill.evaluation.split import Accuracy, Split
from waterfill.optimizer.measurement import fill, measure, train
from waterfill.optimizer.objective import Objective, allowed
from waterfill.optimizer.trial import RefineName, Trial, TrialSettings

Report = Callable[[Trial, float], None]

PARTS = 8  # of the sample that each size of a trial's growth is measured on


class OutOfTime(Exception):  # noqa: N818  (no error: a search ends early)
    """The time budget is spent."""


@dataclass(eq=False)
class Tuner:
    """Makes trials, each of them once.

    Attributes
    ----------
    ntotal : int
        Vectors that the codec is meant for.
    deadline : float
        Of `time.perf_counter`; infinite for none.
    report : callable
        Is told each new trial, and the seconds that it took.
    counted : {'recall', 'forgiving_accuracy'}
        What growth is measured of.
    optimism : dict
        By the rows to refine with and the accuracy, see `Growth`; filled by `learn_optimism`.
    """

    split: Split
    analysis: Analysis
    objective: Objective
    constraints: dict[str, tuple[float, float]]
    ntotal: int
    deadline: float
    report: Report
    counted: Accuracy = "recall"
    optimism: dict[tuple[RefineName | None, Accuracy], Optimism] = field(default_factory=dict)
    trials: dict[TrialSettings, Trial] = field(default_factory=dict)
    growths: dict[TrialSettings, Growth] = field(default_factory=dict)
    _kept: tuple[TrialSettings, Codec] | None = None
    _cells: dict[int, int] = field(default_factory=dict)  # that were chosen, by code bytes

    def attempt(self, settings: TrialSettings) -> Trial:
        """Make a trial, unless it was made before.

        Raises
        ------
        OutOfTime
            If there is one trial at least, and the time is up.
        """
        if settings in self.trials:
            return self.trials[settings]
        start = time.perf_counter()
        if self.trials and start > self.deadline:
            raise OutOfTime
        trial, index = measure(settings, self.split, self.analysis, self._known_cells(settings))
        assert index.codec is not None
        if settings.plan == "waterfill" and settings.cells == "auto":
            self._cells[settings.code_bytes] = index.codec.cells
        optimism = self.optimism.get((settings.refine, self.counted))
        growth = measure_growth(index, self.split, PARTS, optimism, self.counted)
        trial = self._judged(trial, growth)
        self.growths[settings], self.trials[settings] = growth, trial
        if self.best() is trial:
            self._kept = settings, index.codec
        self.report(trial, time.perf_counter() - start)
        return trial

    def _known_cells(self, settings: TrialSettings) -> int | None:
        """Return the cells that both a smaller and a larger code chose: so will this one."""
        if settings.plan != "waterfill" or settings.cells != "auto":
            return None
        below = max((b for b in self._cells if b <= settings.code_bytes), default=None)
        above = min((b for b in self._cells if b >= settings.code_bytes), default=None)
        if below is None or above is None or self._cells[below] != self._cells[above]:
            return None
        return self._cells[below]

    def _judged(self, trial: Trial, growth: Growth) -> Trial:
        trial = replace(trial, expected_accuracy=growth.at(self.ntotal).recall)
        score = self.objective.score(trial)
        if not isinstance(score, Real) or math.isnan(score):
            raise ValueError(
                f"objective returned {score!r} for {trial.settings}; a number is wanted"
            )
        within = allowed(trial, self.constraints)
        return replace(trial, score=float(score) if within else -math.inf)

    def learn_optimism(self, settings: TrialSettings) -> None:
        """Measure how much better vectors are found that were trained on.

        Trials with such rows to refine with are judged anew; nothing if it was done for one of
        them before.
        """
        if (settings.refine, self.counted) in self.optimism:
            return
        half = self.split.base[: len(self.split.base) // 2]
        # As many cells as all rows chose: half of them would choose fewer, or none, and a codec of
        # another kind tells little.
        auto = settings.plan == "waterfill" and settings.cells == "auto"
        cells = self._cells.get(settings.code_bytes) if auto else None
        codec = train(settings, self.split, self.analysis, rows=half, cells=cells)
        index = fill(codec, settings, self.split)
        for name in get_args(Accuracy):
            self.optimism[settings.refine, name] = optimism_of(index, self.split, PARTS, name)
        optimism = self.optimism[settings.refine, self.counted]
        for each in [each for each in self.trials if each.refine == settings.refine]:
            self.growths[each] = replace(self.growths[each], optimism=optimism)
            self.trials[each] = self._judged(self.trials[each], self.growths[each])

    def best(self) -> Trial:
        """Return the trial with the best score; of equals the one that finds more."""
        return max(self.trials.values(), key=lambda t: (t.score, t.expected_accuracy))

    def growth(self, settings: TrialSettings, codec: Codec) -> Growth:
        """Return how recall falls with a trial's codec, whatever accuracy trials are judged by."""
        if self.counted == "recall":
            return self.growths[settings]
        optimism = self.optimism.get((settings.refine, "recall"))
        return measure_growth(fill(codec, settings, self.split), self.split, PARTS, optimism)

    def codec(self, settings: TrialSettings) -> Codec:
        """Return the codec of a trial; the same settings make the same one again."""
        if self._kept is None or self._kept[0] != settings:
            cells = self._known_cells(settings)
            self._kept = settings, train(settings, self.split, self.analysis, cells=cells)
        return self._kept[1]
