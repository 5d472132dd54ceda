"""How small can I go? One call."""

from __future__ import annotations

import dataclasses
import math
import sys
import time
from collections.abc import Callable
from typing import Any

from waterfill._util.validation import Metric, as_int, as_number, as_positive_int, metric_name
from waterfill.analysis import analyze
from waterfill.codec import Codec
from waterfill.evaluation.split import Accuracy, split_sample
from waterfill.optimizer.estimate import measure_rates
from waterfill.optimizer.objective import Limits, Score, check_constraints, in_words, read_objective
from waterfill.optimizer.result import Result
from waterfill.optimizer.strategy import search
from waterfill.optimizer.trial import Trial
from waterfill.optimizer.tuner import OutOfTime, Tuner

Progress = Callable[[Trial, float], None]


def optimize(
    sample: Any,
    queries: Any = None,
    *,
    target_recall: float | None = None,
    max_bytes: float | None = None,
    objective: Score | str | None = None,
    accuracy: Accuracy = "recall",
    k: int = 10,
    metric: Metric | int = "ip",
    constraints: Limits | None = None,
    ntotal: int | None = None,
    seed: int = 0,
    time_budget: float | None = None,
    progress: bool | Progress | None = None,
) -> Result:
    """Find the settings that an objective likes best, and train a codec with them.

    Some rows of the sample are held out as queries; every trial trains a codec on the others,
    searches them, and is judged by the neighbours found. Code bytes are searched first: upwards
    until the objective is met, then between two trials by the line through their recalls. At that
    size other weightings, no cells, joint codes (``effort="best"``) and the classic plan are tried,
    and with a target of recall that codes alone do not reach, rows to refine with.

    Recall among few vectors is better than among many: trials are judged by the recall to expect
    among `ntotal`, which is extrapolated from parts of the sample.

    Parameters
    ----------
    sample : array_like, shape (n, d)
        Vectors like those to be stored; at most 50,000 rows are drawn. A few thousand say
        something, 20,000 say it well.
    queries : array_like, shape (m, d), optional
        Queries like those to come, where they do not resemble the data. Half of them train, up to
        500 others are searched with; fewer than 64 are only searched with. By default queries are
        rows of the sample.
    target_recall : float, optional
        Want the fewest bytes with this recall@k: above 0, at most 1.
    max_bytes : float, optional
        Want the best recall@k in so many bytes a vector, all in: in memory, where an odd number of
        code bytes takes as much as the next even one.
    objective : callable or str, optional
        Want the greatest value of a function of a `Trial`; by name ``accuracy_cubed_per_memory``
        (what JECQ published) or ``recall_cubed_per_memory``. Without any of these three,
        ``target_recall=0.95``.
    accuracy : {'recall', 'forgiving_accuracy'}
        What a target counts, and what is best within bytes: see `Trial`.
    k : int
        Neighbours that recall counts.
    metric : {'ip', 'l2', 'cosine'} or int
        See `IndexFlat`.
    constraints : mapping, optional
        Limits of a trial's figures, such as ``{"encode_rate": (100_000, None)}``. A trial outside
        is never chosen.
    ntotal : int, optional
        Vectors that the codec is meant for; by default as many as the sample has.
    seed : int
        Of all draws. The same seed gives the same result, but for an objective or constraints that
        ask for measured rates, and for a search that was stopped early.
    time_budget : float, optional
        Seconds after which no new trial is begun. The one that runs is ended, and what the best one
        promises is measured: a few trials' time.
    progress : bool or callable, optional
        Print a line for each trial to stderr; by default where that is a terminal. Or call a
        function with the trial and its seconds.

    Returns
    -------
    Result
        Interrupted by Ctrl-C, the best so far, if there was a trial; ``complete`` is False.

    Raises
    ------
    ValueError
        For too few rows, a NaN or an infinity among those drawn, arguments out of range, more than
        one objective, or an objective that returns no number.
    TypeError
        For arguments of the wrong type.
    """
    start = time.perf_counter()
    wanted = read_objective(target_recall, max_bytes, objective, accuracy)
    limits = check_constraints(constraints)
    k = as_positive_int("k", k)
    seed = as_int("seed", seed)
    if not 0 <= seed < 2**63:
        raise ValueError(f"seed={seed} must be from 0 to 2**63 - 1")
    budget = math.inf if time_budget is None else as_number("time_budget", time_budget, 0)
    name = metric_name(metric)
    asked = None if ntotal is None else as_positive_int("ntotal", ntotal)
    split = split_sample(sample, queries, name, k, seed)
    tuner = Tuner(
        split,
        analyze(split.base, normalize=name == "cosine"),
        wanted,
        limits,
        ntotal=split.draw.rows if asked is None else asked,
        deadline=start + budget,
        report=_reporter(progress, len(split.base)),
        counted=accuracy,
    )
    complete = True
    try:
        search(tuner)
    except OutOfTime:
        complete = False
    except KeyboardInterrupt:
        if not tuner.trials:
            raise
        complete = False
    return _result(tuner, complete, start)


def _result(tuner: Tuner, complete: bool, start: float) -> Result:
    # After a search that was stopped early, too: without it promises would flatter.
    tuner.learn_optimism(tuner.best().settings)
    best, split = tuner.best(), tuner.split
    codec = tuner.codec(best.settings)
    growth = tuner.growth(best.settings, codec)
    trials = tuple(tuner.trials.values())
    _sign(codec, tuner, best)
    return Result(
        codec=codec,
        best=best,
        reason=_reason(tuner, best),
        objective=tuner.objective.words,
        trials=trials,
        reached=_reached(tuner, best),
        complete=complete,
        metric=split.metric,
        k=split.k,
        seed=split.draw.seed,
        accuracy=tuner.counted,
        ntotal=tuner.ntotal,
        analysis=tuner.analysis,
        growth=growth,
        rates=measure_rates(codec, best.settings, split, best.bytes_per_vector),
        seconds=time.perf_counter() - start,
        split=split,
    )


def _sign(codec: Codec, tuner: Tuner, best: Trial) -> None:
    """Write into the codec's manifest what it was chosen for, and what was found."""
    split, manifest = tuner.split, codec.manifest
    assert manifest is not None
    measured = {
        f"recall@{split.k}": best.recall,
        "recall@1": best.recall_at_1,
        "forgiving_accuracy": best.forgiving_accuracy,
        "metric": split.metric,
        "vectors": len(split.base),
        "queries": len(split.queries),
        "bytes_per_vector": best.bytes_per_vector,
        f"expected_{tuner.counted}": best.expected_accuracy,
        "expected_among": tuner.ntotal,
    }
    codec.manifest = dataclasses.replace(
        manifest, objective=tuner.objective.words, measured=measured, draw=split.draw.to_dict()
    )


def _reached(tuner: Tuner, best: Trial) -> bool:
    target, most = tuner.objective.target_recall, tuner.objective.max_bytes
    return (
        best.score > -math.inf
        and (target is None or best.expected_accuracy >= target)
        and (most is None or best.bytes_per_vector <= most)
    )


def _reason(tuner: Tuner, best: Trial) -> str:
    """Say why a trial was chosen."""
    objective, trials = tuner.objective, tuner.trials.values()
    if best.score == -math.inf:
        return "no trial is within the constraints; this is one of them"
    among = f"among {tuner.ntotal:,} vectors"
    target = objective.target_recall
    if target is not None and best.expected_accuracy < target:
        return (
            f"nothing tried reaches a {in_words(tuner.counted)} of {target:g} {among}; this comes "
            f"nearest, with {best.expected_accuracy:.4f}"
        )
    if target is not None:
        smaller = [t for t in trials if t.bytes_per_vector < best.bytes_per_vector]
        if not smaller:
            return f"the fewest bytes tried find {best.expected_accuracy:.3f} {among}"
        near = max(smaller, key=lambda t: t.expected_accuracy)
        return (
            f"the fewest bytes tried that find {target:g} {among}; {near.settings} "
            f"({near.bytes_per_vector:.1f} all in) find {near.expected_accuracy:.3f}"
        )
    if objective.max_bytes is not None and best.bytes_per_vector > objective.max_bytes:
        return f"nothing tried fits in {objective.max_bytes:g} bytes; this is the smallest"
    if objective.max_bytes is not None:
        return (
            f"the best {in_words(tuner.counted)} tried in {objective.max_bytes:g} bytes: "
            f"{best.expected_accuracy:.3f} {among}"
        )
    others = sorted((t.score for t in trials if t is not best), reverse=True)
    second = f"; the next best has {others[0]:.4g}" if others else ""
    return f"the best {objective.words} tried, {best.score:.4g}{second}"


def _reporter(progress: bool | Progress | None, stored: int) -> Progress:
    if callable(progress):
        return progress
    if progress is None:
        progress = sys.stderr.isatty()
    if not isinstance(progress, bool):
        raise TypeError(f"progress must be a bool or a callable, got {progress!r}")

    def line(trial: Trial, seconds: float) -> None:
        print(
            f"{trial.settings}: {trial.bytes_per_vector:.1f} bytes a vector, recall "
            f"{trial.recall:.3f} among {stored:,}, {trial.expected_accuracy:.3f} expected "
            f"({seconds:.1f} s)",
            file=sys.stderr,
        )

    return line if progress else lambda trial, seconds: None
