"""`optimize`: objectives, budgets, early stops, results and bad arguments."""

from __future__ import annotations

import dataclasses
import math
import signal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import waterfill as wf
from waterfill.optimizer.trial import Frontier

MEASURED = ("queries_per_second", "encode_rate", "train_seconds")  # by the clock


def repeatable(trial: wf.optimizer.Trial) -> wf.optimizer.Trial:
    return dataclasses.replace(trial, **dict.fromkeys(MEASURED, 0.0))


def recall_of(index: wf.IndexFlat, split: object) -> float:
    return float(split.hits(index.search(split.queries, split.k)[1]).mean() / split.k)


def test_a_target_is_reached_in_the_fewest_bytes_tried(found):
    assert found.complete
    assert found.reached
    assert found.best.expected_accuracy >= 0.8
    reached = [t for t in found.trials if t.expected_accuracy >= 0.8]
    assert found.best.bytes_per_vector == min(t.bytes_per_vector for t in reached)
    smaller = [t for t in found.trials if t.bytes_per_vector < found.best.bytes_per_vector]
    assert smaller
    assert max(t.bytes_per_vector for t in smaller) > found.best.bytes_per_vector - 3
    assert "0.8 among 50,000 vectors" in found.reason


def test_what_is_said_of_the_codec_is_so(found):
    index = wf.IndexFlat(found.codec, "l2")
    index.add(found.split.base)
    assert recall_of(index, found.split) == pytest.approx(found.best.recall)
    hits = found.split.hits(index.search(found.split.queries, 10)[1])
    forgiving = np.where(hits >= 5, 1, hits / 10).mean()
    assert forgiving == pytest.approx(found.best.forgiving_accuracy)
    assert found.best.memory_ratio == pytest.approx(4 * 24 / found.best.bytes_per_vector)
    assert found.best.pq_memory_ratio == pytest.approx(found.best.bytes_per_vector / 24)
    assert found.expected_recall(len(found.split.base)).recall == pytest.approx(
        found.best.recall, abs=1e-9
    )
    assert found.expected_recall().recall == found.growth.at(50_000).recall
    measured = found.codec.manifest.measured
    assert measured["recall@10"] == found.best.recall
    assert found.codec.manifest.objective == found.objective
    for text in (repr(found), repr(found.frontier), str(found.estimate(10**6, price_per_gb=3))):
        assert "nan" not in text


def test_the_same_seed_gives_the_same_result(sample, found):
    again = wf.optimize(sample, target_recall=0.8, metric="l2", ntotal=50_000)
    assert again.codec.fingerprint == found.codec.fingerprint
    assert list(map(repeatable, again.trials)) == list(map(repeatable, found.trials))
    assert again.expected_recall(10**6) == found.expected_recall(10**6)
    other = wf.optimize(sample, target_recall=0.8, metric="l2", ntotal=50_000, seed=1)
    assert other.codec.fingerprint != found.codec.fingerprint


@pytest.mark.parametrize("most", [5, 9.5, 40, 100])
def test_a_budget_holds(sample, most):
    result = wf.optimize(sample, max_bytes=most, metric="l2")
    within = [t for t in result.trials if t.bytes_per_vector <= most]
    assert result.best.bytes_per_vector <= most
    assert result.best.expected_accuracy == max(t.expected_accuracy for t in within)
    if most == 100:  # room for rows of 32 or 48 bytes
        assert {t.settings.refine for t in result.trials} == {None, "int8", "float16"}
        assert result.best.settings.refine is not None


def test_a_budget_that_nothing_fits_says_so(sample):
    result = wf.optimize(sample, max_bytes=1, metric="l2")
    assert not result.reached
    assert "nothing tried fits in 1 bytes" in result.reason


@pytest.mark.parametrize("objective", ["accuracy_cubed_per_memory", "recall_cubed_per_memory"])
def test_named_objectives(sample, objective):
    result = wf.optimize(sample, objective=objective, metric="l2")
    own = {"accuracy_cubed_per_memory": "forgiving_accuracy", "recall_cubed_per_memory": "recall"}
    for trial in result.trials:
        figure = getattr(trial, own[objective])
        assert trial.score == pytest.approx(figure**3 / (trial.bytes_per_vector / 24))
    assert result.best.score == max(t.score for t in result.trials)


def test_an_objective_of_ones_own_and_constraints(sample):
    def rates(trial: wf.optimizer.Trial) -> float:
        return trial.recall - trial.bytes_per_vector / 100

    limits = {"recall": (0.6, None), "bytes_per_vector": (None, 11)}
    result = wf.optimize(sample, objective=rates, constraints=limits, metric="l2")
    allowed = [t for t in result.trials if t.recall >= 0.6 and t.bytes_per_vector <= 11]
    assert result.best in allowed
    assert result.best.score == max(map(rates, allowed))
    assert all(t.score == -math.inf for t in result.trials if t not in allowed)
    assert result.objective == "rates"


def test_constraints_that_nothing_keeps(sample):
    result = wf.optimize(sample, target_recall=0.5, constraints={"recall": (0.999, 0.9999)})
    assert not result.reached
    assert "no trial is within the constraints" in result.reason


def test_a_target_out_of_reach_says_so(sample):
    result = wf.optimize(sample, target_recall=1.0, metric="l2")
    assert result.reached == (result.best.expected_accuracy == 1)
    if not result.reached:
        assert "nothing tried reaches a recall of 1" in result.reason
    assert result.best.settings.refine is not None
    assert result.best.expected_accuracy == max(t.expected_accuracy for t in result.trials)


def test_forgiving_accuracy_can_be_the_target(sample):
    result = wf.optimize(sample, target_recall=0.9, accuracy="forgiving_accuracy", metric="l2")
    plain = wf.optimize(sample, target_recall=0.9, metric="l2")
    assert result.best.forgiving_accuracy >= 0.88
    assert result.best.bytes_per_vector < plain.best.bytes_per_vector


def test_a_time_budget_leaves_the_best_so_far(sample):
    result = wf.optimize(sample, target_recall=0.8, metric="l2", time_budget=0)
    assert not result.complete
    assert len(result.trials) == 1
    assert result.best == result.trials[0]
    assert "stopped early" in repr(result)


def test_interrupted_it_gives_the_best_so_far(sample):
    seen = []

    def interrupt(trial: wf.optimizer.Trial, seconds: float) -> None:
        assert seconds > 0
        seen.append(trial)
        if len(seen) == 3:
            signal.raise_signal(signal.SIGINT)

    result = wf.optimize(sample, target_recall=0.8, metric="l2", on_trial=interrupt)
    assert not result.complete
    assert [t.settings for t in result.trials] == [t.settings for t in seen]


def test_interrupted_before_there_is_anything_it_stops(sample):
    def objective(trial: wf.optimizer.Trial) -> float:
        signal.raise_signal(signal.SIGINT)
        return 0.0

    with pytest.raises(KeyboardInterrupt):
        wf.optimize(sample, objective=objective)


def test_progress_is_printed_when_asked_for(sample, capsys):
    wf.optimize(sample, max_bytes=6, time_budget=0, progress=True)
    assert "bytes per vector, recall" in capsys.readouterr().err
    wf.optimize(sample, max_bytes=6, time_budget=0)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        (
            {"target_recall": 0.9, "max_bytes": 4},
            ValueError,
            "target_recall=0.9 does not go with max_bytes",
        ),
        ({"target_recall": 0}, ValueError, "target_recall=0 must be above 0"),
        ({"target_recall": 1.1}, ValueError, "target_recall=1.1 must be"),
        ({"target_recall": math.nan}, ValueError, "target_recall=nan must be"),
        ({"target_recall": "high"}, TypeError, "target_recall must be a number"),
        ({"max_bytes": 0.5}, ValueError, "max_bytes=0.5 must be at least 1"),
        ({"objective": "small"}, ValueError, "objective='small' must be a callable or one of"),
        ({"objective": 3}, TypeError, "objective must be a callable"),
        ({"objective": lambda t: math.nan}, ValueError, "objective must return a number, got nan"),
        ({"objective": lambda t: None}, ValueError, "objective must return a number, got None"),
        ({"accuracy": "precision"}, ValueError, "accuracy='precision' must be one of"),
        ({"k": 0}, ValueError, "k=0"),
        ({"k": 2.0}, TypeError, "k must be an int"),
        ({"k": 3000}, ValueError, "sample has 1600 rows; at least 9160 are needed for k=3000"),
        ({"metric": "hamming"}, ValueError, "metric='hamming'"),
        ({"ntotal": 0}, ValueError, "ntotal=0"),
        ({"seed": -1}, ValueError, "seed=-1"),
        ({"time_budget": -1}, ValueError, "time_budget"),
        ({"progress": 3}, TypeError, "progress: expected True, False, None or a callable"),
        ({"constraints": {"speed": (1, 2)}}, ValueError, "constraints: 'speed' must be one of"),
        ({"constraints": 3}, TypeError, "constraints must be a mapping, got 3"),
        ({"constraints": {"recall": 0.9}}, TypeError, r"constraints\['recall'\] must be"),
        ({"constraints": {"recall": (0.9, 0.8)}}, ValueError, "least must not exceed most"),
        ({"queries": np.zeros((0, 24))}, ValueError, "queries has no rows"),
        ({"queries": np.zeros((9, 23))}, ValueError, "queries has 23 dimensions, expected 24"),
        ({"queries": np.full((9, 24), np.inf)}, ValueError, "queries"),
    ],
)
def test_bad_arguments_are_named(sample, arguments, error, words):
    with pytest.raises(error, match=words):
        wf.optimize(sample, **arguments)


@pytest.mark.parametrize(
    ("sample", "words"),
    [
        (np.zeros((20, 4)), "sample has 20 rows; at least 32 are needed for k=10"),
        (np.zeros((0, 4)), "sample has 0 rows"),
        (np.zeros(9), "sample must have shape"),
        (np.full((99, 4), np.nan), "sample"),
    ],
)
def test_bad_samples_are_named(sample, words):
    with pytest.raises(ValueError, match=words):
        wf.optimize(sample)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("d", [1, 2])
def test_few_dimensions_and_constant_data(d):
    rng = np.random.default_rng(0)
    assert wf.optimize(rng.standard_normal((200, d)), metric="l2").best.recall > 0.5
    constant = wf.optimize(np.ones((200, d)), target_recall=0.5)
    assert constant.best.recall == 1  # all are equally near


trial_figures = st.tuples(st.integers(1, 30), st.integers(0, 20))


@given(st.lists(trial_figures, min_size=1, max_size=30))
def test_the_frontier_is_what_nothing_beats(figures):
    names = ("recall_at_1", "forgiving_accuracy", "memory_ratio", "pq_memory_ratio")
    zeros, clock = dict.fromkeys(names, 0.0), dict.fromkeys(MEASURED, 1.0)
    trials = [
        wf.optimizer.Trial(
            wf.optimizer.TrialSettings(i),
            recall=r / 20,
            bytes_per_vector=float(b),
            **zeros,
            **clock,
        )
        for i, (b, r) in enumerate(figures, 1)
    ]
    frontier = Frontier(trials)
    for trial in trials:
        better = [t for t in frontier if t.bytes_per_vector <= trial.bytes_per_vector
                  and t.recall >= trial.recall]  # fmt: skip
        assert better
    points = [(t.bytes_per_vector, t.recall) for t in frontier]
    assert points == sorted(set(points))
    assert len({r for _, r in points}) == len(points)
    assert frontier[:1] == (frontier[0],)


def test_rows_of_the_frontier(found):
    table = found.frontier.to_pandas()
    assert list(table["bytes_per_vector"]) == [t.bytes_per_vector for t in found.frontier]
    assert table["code_bytes"].iloc[0] == found.frontier[0].settings.code_bytes
    assert set(found.frontier.rows()[0]) == set(table.columns)
