"""Choose the next trial: first the number of code bytes, then other settings of that size."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace
from typing import Literal

from waterfill.layout import order_bytes, padded, row_bytes
from waterfill.optimizer.objective import Objective
from waterfill.optimizer.trial import RefineName, Trial, TrialSettings
from waterfill.optimizer.trial_measurement import plan_of
from waterfill.optimizer.trial_runner import TrialRunner

_LADDER = (64, 32, 16, 8, 4, 2, 1)  # dimensions per byte
_START = 2  # step of the ladder where the search for a target starts
_WEIGHTINGS = (0.1, 0.3)
_ROWS: tuple[RefineName, ...] = ("int8", "float16")
_FALLS = 2  # consecutive falls of the score that end a climb
_NARROWINGS = 6  # of the bracket around the target
_SHRINKS = 2  # times that settings above the target get fewer bytes
_CLOSE = 24  # bracket width is at most 1/24 of its bytes at the end; below that is noise
_CELLS: tuple[int | Literal["auto"], ...] = ("auto", 0)
_CLASSIC_SPLITS = 12  # splits of a classic plan's bytes between its two classes
_TRIALS_FOR_TARGET, _TRIALS_FOR_BYTES, _TRIALS_FOR_SCORE = 13, 15, 14
_PROMISING = 1.1  # a classic plan is tried up to 1.1 times waterfill's predicted error


def expected_trials(objective: Objective) -> int:
    """Return about how many trials an objective needs, for the time that is left."""
    if objective.target_recall is not None:
        return _TRIALS_FOR_TARGET
    return _TRIALS_FOR_BYTES if objective.max_bytes is not None else _TRIALS_FOR_SCORE


def search(runner: TrialRunner) -> None:
    """Run the trials that the objective needs."""
    objective = runner.objective
    if objective.target_recall is not None:
        _search_target(runner, objective.target_recall)
    elif objective.max_bytes is not None:
        _search_budget(runner, objective.max_bytes)
    else:
        _search_score(runner)


def ladder(d: int) -> list[int]:
    """Return the code bytes to start with, in ascending order."""
    return sorted({even(d // step, d) for step in _LADDER})


def even(code_bytes: int, d: int) -> int:
    """Round up to an even number: an index stores groups in pairs."""
    return max(1, min(padded(code_bytes), d))


def _search_target(runner: TrialRunner, target: float) -> None:
    base = _find_smallest(runner, target, TrialSettings(code_bytes=1, cells=runner.cells))
    for refine in _ROWS:
        if base is None:
            base = _find_smallest(
                runner, target, TrialSettings(code_bytes=1, refine=refine, cells=runner.cells)
            )
    if base is None:
        return
    slope = _slope(runner, base)
    for trial in _vary(runner, base.settings):
        _shrink(runner, target, trial, slope)


def _find_smallest(runner: TrialRunner, target: float, like: TrialSettings) -> Trial | None:
    """Return the trial with the fewest bytes that reaches the target, or None."""
    steps = ladder(runner.split.base.shape[1])
    at, below, above = min(_START, len(steps) - 1), None, None
    while 0 <= at < len(steps):
        settings = replace(like, code_bytes=steps[at])
        trial = runner.attempt(settings)
        if trial.expected_accuracy >= target:
            runner.learn_optimism(settings)
            trial = runner.trials[settings]
        if trial.expected_accuracy < target:
            below, at = trial, at + 1
        else:
            above, at = trial, at - 1
        if above is not None and (below is not None or at < 0):
            return _close_in(runner, target, below, above)
    return None


def _close_in(runner: TrialRunner, target: float, below: Trial | None, above: Trial) -> Trial:
    """Narrow the bracket between a trial that misses the target and one that reaches it."""
    for _ in range(_NARROWINGS):
        low = below.settings.code_bytes if below else 0
        high = above.settings.code_bytes
        if high - low <= max(2, high // _CLOSE):
            break
        guess = min(max(_crossing(target, below, above), low + 1), high - 2)
        code_bytes = even(guess, runner.split.base.shape[1])
        trial = runner.attempt(replace(above.settings, code_bytes=code_bytes))
        if trial.expected_accuracy >= target:
            above = trial
        else:
            below = trial
    return above


def _crossing(target: float, below: Trial | None, above: Trial) -> int:
    """Interpolate the bytes for a target: log-odds are linear in the logarithm of bytes."""
    high = above.settings.code_bytes
    if below is None:
        return high // 2
    low = below.settings.code_bytes
    ends = _log_odds(below.expected_accuracy), _log_odds(above.expected_accuracy)
    if not ends[0] < ends[1]:
        return (low + high) // 2
    share = (_log_odds(target) - ends[0]) / (ends[1] - ends[0])
    return math.ceil(low * math.exp(share * math.log(high / low)))


def _log_odds(share: float) -> float:
    share = min(max(share, 1e-4), 1 - 1e-4)
    return math.log(share / (1 - share))


def _slope(runner: TrialRunner, base: Trial) -> float:
    """Return the slope of log-odds against the logarithm of bytes, below a trial."""
    same_kind = [t for s, t in runner.trials.items()
                 if replace(s, code_bytes=base.settings.code_bytes) == base.settings]  # fmt: skip
    smaller = [t for t in same_kind if 3 * t.settings.code_bytes <= 2 * base.settings.code_bytes]
    if not smaller:
        return 1.0
    low = max(smaller, key=lambda t: t.settings.code_bytes)
    rise = _log_odds(base.expected_accuracy) - _log_odds(low.expected_accuracy)
    return max(0.2, rise / math.log(base.settings.code_bytes / low.settings.code_bytes))


def _shrink(runner: TrialRunner, target: float, trial: Trial, slope: float) -> None:
    """Reduce the bytes while the target is reached."""
    for _ in range(0 if trial.settings.plan == "classic" else _SHRINKS):
        code_bytes = trial.settings.code_bytes
        spare = _log_odds(trial.expected_accuracy) - _log_odds(target)
        fewer = even(math.ceil(code_bytes * math.exp(-max(spare, 0) / slope)), code_bytes)
        if fewer == code_bytes:
            return
        trial = runner.attempt(replace(trial.settings, code_bytes=fewer))


def _search_budget(runner: TrialRunner, most: float) -> None:
    for refine in (None, *_ROWS):
        for cells in _CELLS if runner.cells == "auto" else (runner.cells,):
            _fill_budget(runner, most, TrialSettings(1, refine=refine, cells=cells))
        if runner.trials and runner.best().settings.refine == refine:
            runner.learn_optimism(runner.best().settings)
    if not runner.trials:
        runner.attempt(TrialSettings(1, cells=runner.cells))
    best = runner.best().settings
    for _ in _vary(runner, best):
        pass
    for code_bytes in ladder(runner.split.base.shape[1]):  # for the frontier
        if code_bytes < best.code_bytes:
            runner.attempt(TrialSettings(code_bytes, cells=runner.cells))


def _fill_budget(runner: TrialRunner, most: float, like: TrialSettings) -> None:
    """Try the most code bytes that fit into the budget."""
    d = runner.split.base.shape[1]
    code_bytes = min(d, int(most) - row_bytes(like.refine, d) - 1)
    while code_bytes >= 1:
        code_bytes -= code_bytes % 2 if 1 < code_bytes < d else 0
        trial = runner.attempt(replace(like, code_bytes=code_bytes))
        over = trial.bytes_per_vector - most
        if over <= 0:
            return
        code_bytes -= math.ceil(over)


def _search_score(runner: TrialRunner) -> None:
    falls, best = 0, -math.inf
    steps = ladder(runner.split.base.shape[1])
    for code_bytes in steps:
        trial = runner.attempt(TrialSettings(code_bytes, cells=runner.cells))
        falls = falls + 1 if trial.score <= best else 0
        best = max(best, trial.score)
        if falls == _FALLS and best > -math.inf:
            break
    runner.learn_optimism(runner.best().settings)
    for _ in range(_NARROWINGS // 2):
        here = runner.best().settings.code_bytes
        tried = sorted(s.code_bytes for s in runner.trials)
        for side in (max([b for b in tried if b < here], default=0),
                     min([b for b in tried if b > here], default=here)):  # fmt: skip
            middle = even(round(math.sqrt(max(side, 1) * here)), here)
            if middle not in tried and min(side, here) < middle < max(side, here):
                runner.attempt(TrialSettings(middle, cells=runner.cells))
    for _ in _vary(runner, runner.best().settings):
        pass


def _vary(runner: TrialRunner, settings: TrialSettings) -> Iterable[Trial]:
    """Try other settings of about the same size."""
    d = runner.split.base.shape[1]
    for weighting in _WEIGHTINGS:
        yield runner.attempt(replace(settings, weighting=weighting))
    cells = runner.codec(settings).cells
    if cells and runner.cells == "auto":
        more = even(settings.code_bytes + int(order_bytes(cells)), d)
        yield runner.attempt(replace(settings, cells=0, code_bytes=more))
    yield runner.attempt(replace(settings, effort="best"))
    classic = _promising_classic(runner, settings)
    if classic is not None:
        yield runner.attempt(classic)


def _promising_classic(runner: TrialRunner, settings: TrialSettings) -> TrialSettings | None:
    """Return the classic plan of this size with the least predicted error, if it is promising."""
    if runner.cells not in ("auto", 0):  # it has none
        return None
    d, code_bytes = runner.split.base.shape[1], settings.code_bytes
    least = _PROMISING * plan_of(settings, runner.analysis).predicted_distortion
    chosen = None
    for step in range(1, _CLASSIC_SPLITS):
        high = max(1, code_bytes * step // _CLASSIC_SPLITS)
        kept = min(d, high + 8 * (code_bytes - high))
        candidate = replace(
            settings,
            plan="classic",
            dimensions=(high, kept),
            code_bytes=high + math.ceil((kept - high) / 8),
        )
        error = plan_of(candidate, runner.analysis).predicted_distortion
        if error < least:
            least, chosen = error, candidate
    return chosen
