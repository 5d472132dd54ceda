"""Which settings to try, and in what order: bytes first, then what else may help at that size."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace
from typing import Literal

from waterfill.optimizer.measurement import order_bytes, plan_of, row_bytes
from waterfill.optimizer.trial import RefineName, Trial, TrialSettings
from waterfill.optimizer.tuner import Tuner

_LADDER = (64, 32, 16, 8, 4, 2, 1)  # dimensions a byte
_START = 2  # the step that a target is looked for from
_WEIGHTINGS = (0.1, 0.3)
_ROWS: tuple[RefineName, ...] = ("int8", "float16")
_FALLS = 2  # of a score, one after the other, that end a climb
_NARROWINGS = 6  # of a bracket of bytes
_SHRINKS = 2  # of other settings that find more
_CLOSE = 24  # a bracket is closed when it is a part in so many of its size: the rest is chance
_CELLS: tuple[int | Literal["auto"], ...] = ("auto", 0)
_CLASSIC_SPLITS = 12  # of a classic plan's bytes between its two classes
_PROMISING = 1.1  # times waterfill's predicted error: a classic plan beyond is not tried


def search(tuner: Tuner) -> None:
    """Make the trials that the tuner's objective asks for."""
    objective = tuner.objective
    if objective.target_recall is not None:
        _search_target(tuner, objective.target_recall)
    elif objective.max_bytes is not None:
        _search_budget(tuner, objective.max_bytes)
    else:
        _search_score(tuner)


def ladder(d: int) -> list[int]:
    """Return code bytes to start with, ascending."""
    return sorted({even(d // step, d) for step in _LADDER})


def even(code_bytes: int, d: int) -> int:
    """Round up: an index keeps groups in pairs, and an odd one takes as much as two."""
    return max(1, min(code_bytes + code_bytes % 2, d))


def _search_target(tuner: Tuner, target: float) -> None:
    base = _reach(tuner, target, TrialSettings(code_bytes=1))
    for refine in _ROWS:
        if base is None:
            base = _reach(tuner, target, TrialSettings(code_bytes=1, refine=refine))
    if base is None:
        return
    slope = _slope(tuner, base)
    for trial in _vary(tuner, base.settings):
        _shrink(tuner, target, trial, slope)


def _reach(tuner: Tuner, target: float, like: TrialSettings) -> Trial | None:
    """Walk up or down until a trial reaches the target, and find the fewest bytes that do."""
    steps = ladder(tuner.split.base.shape[1])
    at, below, above = min(_START, len(steps) - 1), None, None
    while 0 <= at < len(steps):
        settings = replace(like, code_bytes=steps[at])
        trial = tuner.attempt(settings)
        if trial.expected_accuracy >= target:
            tuner.learn_optimism(settings)
            trial = tuner.trials[settings]
        if trial.expected_accuracy < target:
            below, at = trial, at + 1
        else:
            above, at = trial, at - 1
        if above is not None and (below is not None or at < 0):
            return _close_in(tuner, target, below, above)
    return None


def _close_in(tuner: Tuner, target: float, below: Trial | None, above: Trial) -> Trial:
    """Narrow bytes between a trial that misses the target and one that reaches it."""
    for _ in range(_NARROWINGS):
        low = below.settings.code_bytes if below else 0
        high = above.settings.code_bytes
        if high - low <= max(2, high // _CLOSE):
            break
        guess = min(max(_crossing(target, below, above), low + 1), high - 2)
        code_bytes = even(guess, tuner.split.base.shape[1])
        trial = tuner.attempt(replace(above.settings, code_bytes=code_bytes))
        if trial.expected_accuracy >= target:
            above = trial
        else:
            below = trial
    return above


def _crossing(target: float, below: Trial | None, above: Trial) -> int:
    """Guess the bytes with this recall: a line in log-odds against the logarithm of bytes."""
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


def _slope(tuner: Tuner, base: Trial) -> float:
    """Return how log-odds rise with the logarithm of bytes, below these settings."""
    like = [t for s, t in tuner.trials.items()
            if replace(s, code_bytes=base.settings.code_bytes) == base.settings]  # fmt: skip
    smaller = [t for t in like if 3 * t.settings.code_bytes <= 2 * base.settings.code_bytes]
    if not smaller:
        return 1.0
    low = max(smaller, key=lambda t: t.settings.code_bytes)
    rise = _log_odds(base.expected_accuracy) - _log_odds(low.expected_accuracy)
    return max(0.2, rise / math.log(base.settings.code_bytes / low.settings.code_bytes))


def _shrink(tuner: Tuner, target: float, trial: Trial, slope: float) -> None:
    """Take away bytes for as long as the target is reached."""
    for _ in range(0 if trial.settings.plan == "classic" else _SHRINKS):
        code_bytes = trial.settings.code_bytes
        spare = _log_odds(trial.expected_accuracy) - _log_odds(target)
        fewer = even(math.ceil(code_bytes * math.exp(-max(spare, 0) / slope)), code_bytes)
        if fewer == code_bytes:
            return
        trial = tuner.attempt(replace(trial.settings, code_bytes=fewer))


def _search_budget(tuner: Tuner, most: float) -> None:
    for refine in (None, *_ROWS):
        for cells in _CELLS:
            _fill_budget(tuner, most, TrialSettings(1, refine=refine, cells=cells))
        if tuner.trials and tuner.best().settings.refine == refine:
            tuner.learn_optimism(tuner.best().settings)
    if not tuner.trials:
        tuner.attempt(TrialSettings(1))
    best = tuner.best().settings
    for _ in _vary(tuner, best):
        pass
    for code_bytes in ladder(tuner.split.base.shape[1]):  # what less would find
        if code_bytes < best.code_bytes:
            tuner.attempt(TrialSettings(code_bytes))


def _fill_budget(tuner: Tuner, most: float, like: TrialSettings) -> None:
    """Try the most code bytes that fit."""
    d = tuner.split.base.shape[1]
    code_bytes = min(d, int(most) - row_bytes(like.refine, d) - 1)
    while code_bytes >= 1:
        code_bytes -= code_bytes % 2 if 1 < code_bytes < d else 0
        trial = tuner.attempt(replace(like, code_bytes=code_bytes))
        over = trial.bytes_per_vector - most
        if over <= 0:
            return
        code_bytes -= math.ceil(over)


def _search_score(tuner: Tuner) -> None:
    falls, best = 0, -math.inf
    steps = ladder(tuner.split.base.shape[1])
    for code_bytes in steps:
        trial = tuner.attempt(TrialSettings(code_bytes))
        falls = falls + 1 if trial.score <= best else 0
        best = max(best, trial.score)
        if falls == _FALLS and best > -math.inf:
            break
    tuner.learn_optimism(tuner.best().settings)
    for _ in range(_NARROWINGS // 2):
        here = tuner.best().settings.code_bytes
        tried = sorted(s.code_bytes for s in tuner.trials)
        for side in (max([b for b in tried if b < here], default=0),
                     min([b for b in tried if b > here], default=here)):  # fmt: skip
            middle = even(round(math.sqrt(max(side, 1) * here)), here)
            if middle not in tried and min(side, here) < middle < max(side, here):
                tuner.attempt(TrialSettings(middle))
    for _ in _vary(tuner, tuner.best().settings):
        pass


def _vary(tuner: Tuner, settings: TrialSettings) -> Iterable[Trial]:
    """Try other settings of about as many bytes."""
    d = tuner.split.base.shape[1]
    for weighting in _WEIGHTINGS:
        yield tuner.attempt(replace(settings, weighting=weighting))
    cells = tuner.codec(settings).cells
    if cells:
        more = even(settings.code_bytes + int(order_bytes(cells)), d)
        yield tuner.attempt(replace(settings, cells=0, code_bytes=more))
    yield tuner.attempt(replace(settings, effort="best"))
    classic = _promising_classic(tuner, settings)
    if classic is not None:
        yield tuner.attempt(classic)


def _promising_classic(tuner: Tuner, settings: TrialSettings) -> TrialSettings | None:
    """Return the classic plan of as many bytes with the least predicted error, if it may do."""
    d, code_bytes = tuner.split.base.shape[1], settings.code_bytes
    least = _PROMISING * plan_of(settings, tuner.analysis).predicted_distortion
    chosen = None
    for step in range(1, _CLASSIC_SPLITS):
        high = max(1, code_bytes * step // _CLASSIC_SPLITS)
        kept = min(d, high + 8 * (code_bytes - high))
        own = replace(
            settings,
            plan="classic",
            dimensions=(high, kept),
            code_bytes=high + math.ceil((kept - high) / 8),
        )
        error = plan_of(own, tuner.analysis).predicted_distortion
        if error < least:
            least, chosen = error, own
    return chosen
