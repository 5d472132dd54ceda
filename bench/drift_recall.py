"""Recall lost by drift: predicted from a canary, compared with what retraining recovers.

Run ``python bench/drift_recall.py --photos DIR``; DIR/base.npy holds SIFT descriptors. Measured:
the recall of a codec trained on autumn minus that of the spring codec, among up to 20,000 autumn
vectors with separate queries, minus the same difference in spring. Predicted: from 300 queries and
2,000 or 3,000 separate vectors per season. Estimated: from the quantization error alone.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

# Set before importing NumPy: its BLAS reads the variable when it is loaded.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
from drift_cases import Array, Drift, Season, Sources, cases
from methods import set_threads

from waterfill import Codec, IndexFlat, Plan, analyze
from waterfill.drift.canary import Canary
from waterfill.drift.canary_recall import CanaryRecall
from waterfill.drift.recall_sensitivity import Sensitivity, relative_error
from waterfill.drift.retrain_policy import Cost, RetrainPolicy
from waterfill.evaluation.ground_truth import true_neighbours

K = 10
_LIMIT = 0.01  # acceptable loss of recall


@dataclass(frozen=True)
class Spring:
    """Measurements of a codec before drift; `gain` is the recall that retraining adds then."""

    season: Season
    codec: Codec
    recall: float
    gain: float
    baseline: CanaryRecall
    sensitivity: Sensitivity


@dataclass(frozen=True)
class Line:
    """The results of one drift."""

    name: str
    kind: str
    none: bool
    size: int
    recalls: tuple[float, float]
    loss: float
    cost: Cost
    bare: Cost
    estimate: Cost
    retrain: bool

    @property
    def error(self) -> float:
        """Predicted minus measured loss."""
        return self.cost.gap - self.loss

    @property
    def held(self) -> bool:
        """Whether the measured loss lies in the predicted interval."""
        return self.cost.gap_low <= self.loss <= self.cost.gap_high

    def __str__(self) -> str:
        cost = self.cost
        return (
            f"| {self.name} | {self.kind} "
            f"| {self.size:,} | {self.recalls[0]:.3f} | {self.recalls[1]:.3f} "
            f"| {self.loss:+.3f} | {cost.gap:+.3f} ({cost.gap_low:+.3f} to {cost.gap_high:+.3f}) "
            f"| {self.bare.gap:+.3f} | {self.estimate.gap:.3f} "
            f"| {'yes' if self.retrain else ''} |"
        )


def train(rows: Array, code_bytes: int) -> Codec:
    """Train a codec as a user would."""
    return Codec.train(rows, Plan.waterfill(analyze(rows), code_bytes))


def recall_of(codec: Codec, season: Season, truth: Array, drift: Drift) -> float:
    """Return the recall of a codec among the stored vectors of a season."""
    index = IndexFlat(codec, drift.metric)
    index.add(season.stored)
    labels = index.search(season.queries, K)[1]
    return float((labels[:, :, None] == truth[:, None]).any(axis=1).mean())


def measure_season(codec: Codec, season: Season, drift: Drift) -> tuple[float, float]:
    """Return the recall of a codec in a season, and the gain of one trained on the season."""
    truth = true_neighbours(season.stored, season.queries, drift.metric, K)
    now = recall_of(codec, season, truth, drift)
    new = train(season.trained, drift.code_bytes)
    return now, recall_of(new, season, truth, drift) - now


def canary(season: Season, drift: Drift) -> Canary:
    """Return the canary of a season."""
    return Canary(season.canary_queries, season.canary_vectors, K, drift.metric)


def measure_spring(drift: Drift) -> Spring:
    """Train the spring codec and measure its baseline."""
    codec, season = train(drift.trained, drift.code_bytes), drift.spring
    return Spring(
        season, codec, *measure_season(codec, season, drift), canary(season, drift).measure(codec),
        Sensitivity.measure(
            codec, season.canary_vectors, season.canary_queries, K, drift.metric
        ),
    )  # fmt: skip


def measure(spring: Spring, drift: Drift) -> Line:
    """Predict the recall lost by a drift and measure it."""
    codec, season = spring.codec, drift.autumn
    same = season.stored is spring.season.stored
    now, gain = (spring.recall, spring.gain) if same else measure_season(codec, season, drift)
    recall = canary(season, drift).measure(codec, spring.baseline)
    size = len(season.stored)
    cost = recall.cost(spring.baseline, size)
    growth = relative_error(codec, season.canary_vectors) / spring.sensitivity.error
    retrain = RetrainPolicy(_LIMIT, persist=1).decide(cost).retrain
    return Line(
        f"{drift.data}, {drift.metric}, {drift.code_bytes}", drift.kind, drift.none, size,
        (now, now + gain), gain - spring.gain, cost, recall.cost(size=size),
        spring.sensitivity.estimate(growth), retrain,
    )  # fmt: skip


def summary(lines: Sequence[Line]) -> str:
    """Summarize errors, coverage of the intervals, and retraining advice."""
    errors = np.array([line.error for line in lines])
    estimates = np.array([line.estimate.gap - line.loss for line in lines])
    bounds = np.mean([line.loss <= line.estimate.gap_high for line in lines])
    none = [line for line in lines if line.none]
    lost = [line for line in lines if line.loss > 2 * _LIMIT]
    return (
        f"{len(lines)} drifts, {len(none)} without change. Predicted: {np.abs(errors).mean():.4f} "
        f"mean absolute error, {errors.mean():+.4f} on average, {np.abs(errors).max():.3f} at "
        f"most; {np.mean([line.held for line in lines]):.0%} lie in the interval. Estimated: "
        f"{np.abs(estimates).mean():.4f} mean absolute, {bounds:.0%} below the upper end. "
        f"Retraining advised in {sum(line.retrain for line in none)} of {len(none)} "
        f"without drift, in "
        f"{sum(line.retrain for line in lost)} of {len(lost)} that cost more than "
        f"{2 * _LIMIT:g}, in {sum(line.retrain for line in lines if line.loss < _LIMIT)} of "
        f"{sum(line.loss < _LIMIT for line in lines)} that cost less than {_LIMIT:g}."
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    parser = argparse.ArgumentParser(description="Recall lost by drift, predicted and measured.")
    parser.add_argument("--cache", metavar="DIR", help="cache folder of bench/datasets.py")
    parser.add_argument(
        "--photos",
        metavar="DIR",
        help="folder with base.npy of SIFT descriptors; default: skip them",
    )
    parser.add_argument(
        "--only", default="", metavar="REGEX", help="run only drifts whose 'data, kind' match"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="random seed")
    args = parser.parse_args(arguments)
    set_threads(1)
    warnings.filterwarnings(
        "ignore", "x: ", RuntimeWarning
    )  # warnings about clipped values of drifted rows
    print("| data, metric, bytes | drift | vectors | recall | retrained | loss | predicted "
          "| no baseline | estimate | retrain |")  # fmt: skip
    print("|---|---|--:|--:|--:|--:|---|--:|--:|---|")
    lines: list[Line] = []
    spring: Spring | None = None
    key: tuple[object, ...] = ()
    for drift in cases(Sources(args.cache, args.photos, args.seed)):
        if not re.search(args.only, f"{drift.data}, {drift.kind}"):
            continue
        settings = drift.metric, drift.code_bytes
        if spring is None or spring.season is not drift.spring or settings != key:
            spring, key = measure_spring(drift), settings
        lines.append(measure(spring, drift))
        print(lines[-1], flush=True)
    print(f"\n{summary(lines)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
