"""Results of real trials, small ones: what `optimize` would return."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

import waterfill as wf
from waterfill.evaluation.recall_extrapolation import Expected
from waterfill.optimizer.resource_estimate import Estimate
from waterfill.optimizer.result import Result
from waterfill.optimizer.trial import Trial, TrialSettings

Array = NDArray[Any]


@dataclass(frozen=True)
class Line:
    """A line through the first size and the last."""

    sizes: tuple[int, ...]
    recalls: tuple[float, ...]

    def at(self, n: int) -> Expected:
        logs, recalls = np.log(self.sizes), self.recalls
        slope = (recalls[-1] - recalls[0]) / ((logs[-1] - logs[0]) or 1)
        recall = float(np.clip(recalls[-1] + slope * (np.log(n) - logs[-1]), 0, 1))
        return Expected(recall, max(0.0, recall - 0.05), min(1.0, recall + 0.05))


class Measured(Result):
    """A result whose estimates follow from bytes alone."""

    def estimate(self, n: int | None = None, *, price_per_gb: float | None = None) -> Estimate:
        assert n is not None
        size = int(n * self.best.bytes_per_vector)
        price = None if price_per_gb is None else price_per_gb * size / 1e9
        return Estimate(
            n=n,
            memory_bytes=size,
            file_bytes=size,
            load_seconds=size / 2e9,
            query_seconds=size / 2e10,
            cost_per_month=price,
            recall=self.growth.at(n),
        )


def nearest(base: Array, queries: Array, metric: str, k: int) -> Array:
    """The true neighbours."""
    if metric == "cosine":
        base = base / np.maximum(np.linalg.norm(base, axis=1, keepdims=True), 1e-30)
    far = -(queries @ base.T)
    if metric == "l2":
        far = np.square(base).sum(axis=1) + 2 * far
    return np.argsort(far, axis=1, kind="stable")[:, :k]


def measure(
    base: Array,
    queries: Array,
    settings: Sequence[TrialSettings],
    *,
    metric: Any = "ip",
    k: int = 10,
    cells: int = 0,
    best: int = 0,
    sizes: Sequence[float] = (0.25, 0.5, 1),
    **other: Any,
) -> Result:
    """Train and search with all settings."""
    analysis = wf.analyze(base, normalize=metric == "cosine")
    finite = base[np.isfinite(base).all(axis=1)]
    truth = nearest(finite, queries, metric, k)
    made = [_try(finite, queries, truth, analysis, one, metric, cells) for one in settings]
    codecs, trials = zip(*made, strict=True)
    recall = trials[best].recall
    growth = Line(
        tuple(round(share * len(finite)) for share in sizes),
        tuple(min(1.0, recall - 0.02 * np.log2(share)) for share in sizes),
    )
    return Measured(
        codec=codecs[best],
        best=trials[best],
        trials=trials,
        metric=metric,
        k=k,
        analysis=analysis,
        growth=growth,
        rates=None,
        accuracy="recall",
        ntotal=len(base),
        split=SimpleNamespace(base=finite, queries=queries, truth=truth, training_queries=None),
        **{
            "reason": "no smaller one reaches the recall",
            "objective": "the fewest bytes",
            "reached": True,
            "complete": True,
            "seed": 0,
            "seconds": 1.5,
            **other,
        },
    )


def _try(
    base: Array,
    queries: Array,
    truth: Array,
    analysis: wf.analysis.Analysis,
    settings: TrialSettings,
    metric: Any,
    cells: int,
) -> tuple[wf.Codec, Trial]:
    if settings.dimensions is None:
        plan = wf.Plan.waterfill(analysis, settings.code_bytes, settings.weighting)
    else:
        high, kept = (count / analysis.d for count in settings.dimensions)
        plan = wf.Plan.classic(analysis, high, kept, by="dimensions")
    start = time.perf_counter()
    codec = wf.Codec.train(base, plan, effort="fast", cells=cells)
    trained = time.perf_counter()
    index = wf.IndexFlat(codec, metric)
    index.add(base)
    added = time.perf_counter()
    labels = index.search(queries, truth.shape[1])[1]
    searched = time.perf_counter()
    hits = (labels[:, :, None] == truth[:, None, :]).any(axis=2)
    size, d = float(index.bytes_per_vector), base.shape[1]
    return codec, Trial(
        settings=settings,
        recall=float(hits.mean()),
        recall_at_1=float((labels[:, 0] == truth[:, 0]).mean()),
        forgiving_accuracy=float(np.minimum(1, 2 * hits.mean(axis=1)).mean()),
        bytes_per_vector=size,
        memory_ratio=4 * d / size,
        pq_memory_ratio=size / d,
        queries_per_second=len(queries) / (searched - added),
        encode_rate=len(base) / (added - trained),
        train_seconds=trained - start,
    )
