"""`optimize`: find the settings that serve an objective best."""

from __future__ import annotations

import dataclasses
import logging
import math
import time
from collections.abc import Callable
from typing import Any, Literal

from waterfill._util.progress import Meter, Option, metered
from waterfill._util.validation import Metric, as_int, as_number, as_positive_int, metric_name
from waterfill.analysis import analyze_rows
from waterfill.codec import Codec
from waterfill.data.rows import Rows
from waterfill.evaluation.sample_split import Accuracy, split_sample
from waterfill.optimizer.objective import Limits, Score, check_constraints, in_words, read_objective
from waterfill.optimizer.resource_estimate import measure_rates
from waterfill.optimizer.result import Result
from waterfill.optimizer.search_strategy import expected_trials, search
from waterfill.optimizer.trial import Trial
from waterfill.optimizer.trial_runner import OutOfTime, TrialRunner
from waterfill.training.train import as_cells

LOG = logging.getLogger("waterfill.optimizer")

OnTrial = Callable[[Trial, float], object]


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
    cells: int | Literal["auto"] = "auto",
    progress: Option = None,
    on_trial: OnTrial | None = None,
) -> Result:
    """Find the settings that serve an objective best, and train a codec with them.

    Some rows of the sample are held out as queries. Every trial trains a codec on the other rows,
    searches them, and is judged by the neighbours found. The number of code bytes is searched
    first: upwards until the objective is met, then by interpolation between two trials. At that
    size the search tries other weightings, no cells, joint codes (``effort="best"``) and the
    classic plan. If codes alone do not reach a target recall, it tries rows to refine with.

    Recall is higher among few vectors than among many. Trials are therefore judged by the recall
    expected among `ntotal` vectors, extrapolated from parts of the sample.

    Parameters
    ----------
    sample : array_like, shape (n, d)
        Vectors like those to be stored; at most 50,000 rows are drawn. Use 20,000 rows or more
        for a reliable result; a few thousand give a rough one.
    queries : array_like, shape (m, d), optional
        Typical queries, if they do not resemble the data. Half of them train the codec and up to
        500 of the others measure recall; fewer than 64 are used for measuring only. By default,
        rows of the sample are the queries.
    target_recall : float, optional
        Find the fewest bytes with this recall@k: above 0, at most 1.
    max_bytes : float, optional
        Find the best recall@k within this many bytes of memory per vector, everything included.
        An odd number of code bytes takes as much memory as the next even number.
    objective : callable or str, optional
        Maximize a function of a `Trial`, or a named one: ``accuracy_cubed_per_memory`` (published
        with JECQ [1]_) or ``recall_cubed_per_memory``. The default of these three arguments is
        ``target_recall=0.95``.
    accuracy : {'recall', 'forgiving_accuracy'}
        The accuracy that `target_recall` and `max_bytes` refer to: see `Trial`.
    k : int
        Number of neighbours of recall@k.
    metric : {'ip', 'l2', 'cosine'} or int
        See `IndexFlat`.
    constraints : mapping, optional
        Limits ``(least, most)`` of attributes of a `Trial`, such as
        ``{"encode_rate": (100_000, None)}``. A trial outside them is never chosen.
    ntotal : int, optional
        Number of vectors that the codec is meant for; by default the rows of the sample.
    seed : int
        Seed of all random draws. The same seed gives the same result, unless the objective or the
        constraints use measured rates, or the search is stopped early.
    time_budget : float, optional
        Seconds after which no new trial starts. The running trial is finished, and the expected
        recall of the best one is measured, which takes as long as a few trials.
    cells : int or 'auto'
        See `Codec.train`. ``auto`` also tries none; a number is that of all trials.
    progress : bool or callable, optional
        True shows a bar with the time left and a line per trial; by default in a terminal or a
        notebook. A callable gets a `waterfill.building.Progress` about five times a second.
    on_trial : callable, optional
        Called with each `Trial` and its seconds. What it raises ends the search; after
        KeyboardInterrupt the result is that of the trials so far.

    Returns
    -------
    Result
        After Ctrl-C the best result so far, if there is a trial; ``complete`` is False.

    Raises
    ------
    ValueError
        If there are too few rows, a drawn row holds a NaN or an infinity, an argument is out of
        range, more than one objective is given, or the objective does not return a number.
    TypeError
        If an argument has the wrong type.

    References
    ----------
    .. [1] Janea Systems, Jecq: just enough compression and quantization,
       https://github.com/JaneaSystems/jecq, 2025.
    """
    start = time.perf_counter()
    goal = read_objective(target_recall, max_bytes, objective, accuracy)
    limits = check_constraints(constraints)
    k = as_positive_int("k", k)
    seed = as_int("seed", seed)
    if not 0 <= seed < 2**63:
        raise ValueError(f"seed={seed} must be from 0 to 2**63 - 1")
    budget = math.inf if time_budget is None else as_number("time_budget", time_budget, 0)
    name = metric_name(metric)
    collection = None if ntotal is None else as_positive_int("ntotal", ntotal)
    if on_trial is not None and not callable(on_trial):
        raise TypeError(f"on_trial: expected a callable, got {type(on_trial).__name__}")
    with metered(progress) as meter:
        meter.begin("sample and its neighbours", None)
        split = split_sample(sample, queries, name, k, seed)
        analysis = analyze_rows(Rows(split.base), normalize=name == "cosine", meter=meter)
        runner = TrialRunner(
            split,
            analysis,
            goal,
            limits,
            ntotal=split.draw.rows if collection is None else collection,
            deadline=start + budget,
            report=_reporter(meter, on_trial, len(split.base)),
            meter=meter,
            expected=expected_trials(goal),
            counted=accuracy,
            cells="auto" if cells == "auto" else as_cells(cells),
        )
        complete = _search(runner)
        meter.begin("the best trial", None)
        return _result(runner, complete, start)


def _search(runner: TrialRunner) -> bool:
    """Run trials; return whether all were run."""
    runner.meter.begin("trials", runner.expected, unit="trials")
    try:
        search(runner)
    except OutOfTime:
        return False
    except KeyboardInterrupt:
        if not runner.trials:
            raise
        words = "interrupted; the best trial so far is measured (Ctrl-C gives up)"
        runner.meter.note(words)
        LOG.info(words)
        return False
    return True


def _result(runner: TrialRunner, complete: bool, start: float) -> Result:
    # Also after an early stop: without it the expected recall would be too high.
    runner.learn_optimism(runner.best().settings)
    best, split = runner.best(), runner.split
    codec = runner.codec(best.settings)
    growth = runner.growth(best.settings, codec)
    trials = tuple(runner.trials.values())
    _sign(codec, runner, best)
    return Result(
        codec=codec,
        best=best,
        reason=_reason(runner, best),
        objective=runner.objective.words,
        trials=trials,
        reached=_reached(runner, best),
        complete=complete,
        metric=split.metric,
        k=split.k,
        seed=split.draw.seed,
        accuracy=runner.counted,
        ntotal=runner.ntotal,
        analysis=runner.analysis,
        growth=growth,
        rates=measure_rates(codec, best.settings, split),
        seconds=time.perf_counter() - start,
        split=split,
    )


def _sign(codec: Codec, runner: TrialRunner, best: Trial) -> None:
    """Add the objective, the measurements and the draw to the codec's manifest."""
    split, manifest = runner.split, codec.manifest
    assert manifest is not None
    measured = {
        f"recall@{split.k}": best.recall,
        "recall@1": best.recall_at_1,
        "forgiving_accuracy": best.forgiving_accuracy,
        "metric": split.metric,
        "vectors": len(split.base),
        "queries": len(split.queries),
        "bytes_per_vector": best.bytes_per_vector,
        f"expected_{runner.counted}": best.expected_accuracy,
        "expected_among": runner.ntotal,
    }
    codec.manifest = dataclasses.replace(
        manifest, objective=runner.objective.words, measured=measured, draw=split.draw.to_dict()
    )


def _reached(runner: TrialRunner, best: Trial) -> bool:
    target, most = runner.objective.target_recall, runner.objective.max_bytes
    return (
        best.score > -math.inf
        and (target is None or best.expected_accuracy >= target)
        and (most is None or best.bytes_per_vector <= most)
    )


def _reason(runner: TrialRunner, best: Trial) -> str:
    """Explain why a trial was chosen."""
    objective, trials = runner.objective, runner.trials.values()
    if best.score == -math.inf:
        return "no trial is within the constraints; this is one of them"
    among = f"among {runner.ntotal:,} vectors"
    target = objective.target_recall
    if target is not None and best.expected_accuracy < target:
        return (
            f"nothing tried reaches a {in_words(runner.counted)} of {target:g} {among}; this comes "
            f"nearest, with {best.expected_accuracy:.4f}"
        )
    if target is not None:
        smaller = [t for t in trials if t.bytes_per_vector < best.bytes_per_vector]
        if not smaller:
            return f"the fewest bytes tried find {best.expected_accuracy:.3f} {among}"
        near = max(smaller, key=lambda t: t.expected_accuracy)
        return (
            f"the fewest bytes tried that find {target:g} {among}; {near.settings} "
            f"({near.bytes_per_vector:.4g} bytes all in) find {near.expected_accuracy:.3f}"
        )
    if objective.max_bytes is not None and best.bytes_per_vector > objective.max_bytes:
        return f"nothing tried fits in {objective.max_bytes:g} bytes; this is the smallest"
    if objective.max_bytes is not None:
        return (
            f"the best {in_words(runner.counted)} tried in {objective.max_bytes:g} bytes: "
            f"{best.expected_accuracy:.3f} {among}"
        )
    others = sorted((t.score for t in trials if t is not best), reverse=True)
    second = f"; the next best has {others[0]:.4g}" if others else ""
    return f"the best {objective.words} tried, {best.score:.4g}{second}"


def _reporter(meter: Meter, on_trial: OnTrial | None, stored: int) -> OnTrial:
    def report(trial: Trial, seconds: float) -> None:
        line = (
            f"{trial.settings}: {trial.bytes_per_vector:.4g} bytes per vector, recall "
            f"{trial.recall:.3f} among {stored:,}, {trial.expected_accuracy:.3f} expected "
            f"({seconds:.1f} s)"
        )
        LOG.info("trial of %s", line)
        meter.note(line)
        if on_trial is not None:
            on_trial(trial, seconds)

    return report
