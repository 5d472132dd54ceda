"""Recall that drift costs: predicted from a canary, beside what a new codec really wins back.

Run ``python bench/drift_recall.py --photos DIR``; DIR/base.npy: SIFT descriptors. Measured: a codec
that thousands of rows of autumn train, less the one of spring, among up to 20,000 vectors of autumn
with queries of their own; less the same difference in spring. Predicted: from 300 queries and
2,000 or 3,000 vectors of either season, all different ones. Estimated: from the error alone.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

# Before NumPy is imported: its BLAS reads the variable when it is loaded.
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
_LIMIT = 0.01  # of recall that may be lost


@dataclass(frozen=True)
class Spring:
    """What is known of a codec before any drift; `gain` is what training anew wins then."""

    season: Season
    codec: Codec
    recall: float
    gain: float
    baseline: CanaryRecall
    sensitivity: Sensitivity


@dataclass(frozen=True)
class Line:
    """A drift, and what came of it."""

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
        """What was predicted too much."""
        return self.cost.gap - self.loss

    @property
    def held(self) -> bool:
        """Whether the loss lies in the interval."""
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
    """Train as a user would."""
    return Codec.train(rows, Plan.waterfill(analyze(rows), code_bytes))


def found(codec: Codec, season: Season, truth: Array, drift: Drift) -> float:
    """Return recall among the vectors of a season."""
    index = IndexFlat(codec, drift.metric)
    index.add(season.stored)
    labels = index.search(season.queries, K)[1]
    return float((labels[:, :, None] == truth[:, None]).any(axis=1).mean())


def real(codec: Codec, season: Season, drift: Drift) -> tuple[float, float]:
    """Return recall of a codec in a season, and what one that the season trained finds more."""
    truth = true_neighbours(season.stored, season.queries, drift.metric, K)
    now = found(codec, season, truth, drift)
    new = train(season.trained, drift.code_bytes)
    return now, found(new, season, truth, drift) - now


def canary(season: Season, drift: Drift) -> Canary:
    """Return what the user keeps."""
    return Canary(season.canary_queries, season.canary_vectors, K, drift.metric)


def before(drift: Drift) -> Spring:
    """Train a codec, and measure what a baseline keeps."""
    codec, season = train(drift.trained, drift.code_bytes), drift.spring
    return Spring(
        season, codec, *real(codec, season, drift), canary(season, drift).measure(codec),
        Sensitivity.measure(
            codec, season.canary_vectors, season.canary_queries, K, drift.metric
        ),
    )  # fmt: skip


def measure(spring: Spring, drift: Drift) -> Line:
    """Predict what a drift costs, and find out."""
    codec, season = spring.codec, drift.autumn
    same = season.stored is spring.season.stored
    now, gain = (spring.recall, spring.gain) if same else real(codec, season, drift)
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
    """Say how large the errors are, how often intervals held, and what was advised."""
    errors = np.array([line.error for line in lines])
    estimates = np.array([line.estimate.gap - line.loss for line in lines])
    bounds = np.mean([line.loss <= line.estimate.gap_high for line in lines])
    none = [line for line in lines if line.none]
    lost = [line for line in lines if line.loss > 2 * _LIMIT]
    return (
        f"{len(lines)} drifts, {len(none)} of them none. Predicted: {np.abs(errors).mean():.4f} "
        f"mean absolute error, {errors.mean():+.4f} on average, {np.abs(errors).max():.3f} at "
        f"most; {np.mean([line.held for line in lines]):.0%} lie in the interval. Estimated: "
        f"{np.abs(estimates).mean():.4f} mean absolute, {bounds:.0%} below the upper end. Retrain "
        f"advised in {sum(line.retrain for line in none)} of {len(none)} without drift, in "
        f"{sum(line.retrain for line in lost)} of {len(lost)} that cost more than "
        f"{2 * _LIMIT:g}, in {sum(line.retrain for line in lines if line.loss < _LIMIT)} of "
        f"{sum(line.loss < _LIMIT for line in lines)} that cost less than {_LIMIT:g}."
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    parser = argparse.ArgumentParser(description="Recall that drift costs, predicted and found.")
    parser.add_argument("--cache", metavar="DIR", help="cache folder of bench/datasets.py")
    parser.add_argument("--photos", metavar="DIR", help="SIFT descriptors (base.npy); else none")
    parser.add_argument("--only", default="", metavar="REGEX", help="of 'data, kind'")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="of what is drawn")
    given = parser.parse_args(arguments)
    set_threads(1)
    warnings.filterwarnings("ignore", "x: ", RuntimeWarning)  # distances that are cut off
    print("| data, metric, bytes | drift | among | recall | retrained | loss | predicted "
          "| no baseline | estimate | retrain |")  # fmt: skip
    print("|---|---|--:|--:|--:|--:|---|--:|--:|---|")
    lines: list[Line] = []
    spring: Spring | None = None
    key: tuple[object, ...] = ()
    for drift in cases(Sources(given.cache, given.photos, given.seed)):
        if not re.search(given.only, f"{drift.data}, {drift.kind}"):
            continue
        own = drift.metric, drift.code_bytes
        if spring is None or spring.season is not drift.spring or own != key:
            spring, key = before(drift), own
        lines.append(measure(spring, drift))
        print(lines[-1], flush=True)
    print(f"\n{summary(lines)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
