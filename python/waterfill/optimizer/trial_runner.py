"""Runs trials of settings, keeps their results, and judges them by the objective."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from numbers import Real
from typing import Literal, get_args

from waterfill._util.progress import Meter
from waterfill.analysis import Analysis
from waterfill.codec import Codec
from waterfill.evaluation.recall_extrapolation import Growth, Optimism, measure_growth, optimism_of
from waterfill.evaluation.sample_split import Accuracy, Split
from waterfill.optimizer.objective import Objective, allowed
from waterfill.optimizer.trial import RefineName, Trial, TrialSettings
from waterfill.optimizer.trial_measurement import fill, measure, train

Report = Callable[[Trial, float], object]

PARTS = 8  # parts of the sample per size, when the growth of a trial is measured


_TRAINING_SHARE = 0.7  # of the time of a trial


class OutOfTime(Exception):  # noqa: N818  (not an error: it ends a search early)
    """The time budget is used up."""


@dataclass(eq=False)
class TrialRunner:
    """Runs each trial once and keeps its result.

    Attributes
    ----------
    ntotal : int
        Number of vectors that the codec is meant for.
    deadline : float
        A time of `time.perf_counter`; infinite without a time budget.
    report : callable
        Called with each new trial and the seconds that it took.
    meter : Meter
        Counts trials.
    expected : int
        About how many there will be.
    counted : {'recall', 'forgiving_accuracy'}
        The accuracy that trials are judged by.
    cells : int or 'auto'
        Of all trials; ``auto`` also tries none.
    optimism : dict
        `Optimism` by kind of refinement rows and accuracy; filled by `learn_optimism`.
    """

    split: Split
    analysis: Analysis
    objective: Objective
    constraints: dict[str, tuple[float, float]]
    ntotal: int
    deadline: float
    report: Report
    meter: Meter
    expected: int
    counted: Accuracy = "recall"
    cells: int | Literal["auto"] = "auto"
    optimism: dict[tuple[RefineName | None, Accuracy], Optimism] = field(default_factory=dict)
    trials: dict[TrialSettings, Trial] = field(default_factory=dict)
    growths: dict[TrialSettings, Growth] = field(default_factory=dict)
    _kept: tuple[TrialSettings, Codec] | None = None
    _cells: dict[int, int] = field(default_factory=dict)  # cells chosen, by code bytes

    def attempt(self, settings: TrialSettings) -> Trial:
        """Run a trial, or return its result if it has run before.

        Raises
        ------
        OutOfTime
            If the deadline has passed and at least one trial has run.
        """
        if settings in self.trials:
            return self.trials[settings]
        start = time.perf_counter()
        if self.trials and start > self.deadline:
            raise OutOfTime
        done = len(self.trials)
        self.meter.reach(done, max(self.expected, done + 1))
        trial, index = measure(
            settings,
            self.split,
            self.analysis,
            self._known_cells(settings),
            lambda share: self.meter.reach(done + _TRAINING_SHARE * share),
        )
        assert index.codec is not None
        if settings.plan == "waterfill" and settings.cells == "auto":
            self._cells[settings.code_bytes] = index.codec.cells
        optimism = self.optimism.get((settings.refine, self.counted))
        growth = measure_growth(index, self.split, PARTS, optimism, self.counted)
        trial = self._judged(trial, growth)
        self.growths[settings], self.trials[settings] = growth, trial
        if self.best() is trial:
            self._kept = settings, index.codec
        self.meter.reach(len(self.trials))
        self.report(trial, time.perf_counter() - start)
        return trial

    def _known_cells(self, settings: TrialSettings) -> int | None:
        """Return the number of cells if a smaller and a larger code chose the same one."""
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
            raise ValueError(f"objective must return a number, got {score!r} for {trial.settings}")
        within = allowed(trial, self.constraints)
        return replace(trial, score=float(score) if within else -math.inf)

    def learn_optimism(self, settings: TrialSettings) -> None:
        """Measure how much better the vectors of the training sample are found than new ones.

        Trials with the same kind of refinement rows are judged again. Does nothing if the optimism
        of that kind is known.
        """
        if (settings.refine, self.counted) in self.optimism:
            return
        half = self.split.base[: len(self.split.base) // 2]
        # Half of the rows alone would choose fewer cells or none, and the optimism of such a codec
        # says little about this one.
        auto = settings.plan == "waterfill" and settings.cells == "auto"
        cells = self._cells.get(settings.code_bytes) if auto else None
        codec = train(settings, self.split, self.analysis, rows=half, cells=cells)
        index = fill(codec, settings, self.split)
        for name in get_args(Accuracy):
            self.optimism[settings.refine, name] = optimism_of(index, self.split, PARTS, name)
        optimism = self.optimism[settings.refine, self.counted]
        for same in [tried for tried in self.trials if tried.refine == settings.refine]:
            self.growths[same] = replace(self.growths[same], optimism=optimism)
            self.trials[same] = self._judged(self.trials[same], self.growths[same])

    def best(self) -> Trial:
        """Return the trial with the best score; ties go to the higher expected accuracy."""
        return max(self.trials.values(), key=lambda t: (t.score, t.expected_accuracy))

    def growth(self, settings: TrialSettings, codec: Codec) -> Growth:
        """Return how recall falls with a trial's codec, whichever accuracy judges trials."""
        if self.counted == "recall":
            return self.growths[settings]
        optimism = self.optimism.get((settings.refine, "recall"))
        return measure_growth(fill(codec, settings, self.split), self.split, PARTS, optimism)

    def codec(self, settings: TrialSettings) -> Codec:
        """Return the codec of a trial, retrained if it is not the best: training is repeatable."""
        if self._kept is None or self._kept[0] != settings:
            cells = self._known_cells(settings)
            self._kept = settings, train(settings, self.split, self.analysis, cells=cells)
        return self._kept[1]
