"""One trial: train a codec with given settings, search the sample with it, and measure."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from waterfill._util.progress import Meter, Share
from waterfill.analysis import Analysis
from waterfill.codec import Codec
from waterfill.evaluation.sample_split import Split, accuracy
from waterfill.index.flat import IndexFlat
from waterfill.optimizer.trial import Trial, TrialSettings
from waterfill.plan import Plan
from waterfill.training.cells import Cells

_SEARCHES = 3  # the fastest one gives the rate
_FLOAT = 4  # bytes


def plan_of(settings: TrialSettings, analysis: Analysis) -> Plan:
    """Make the plan of some settings."""
    if settings.dimensions is None:
        return Plan.waterfill(analysis, settings.code_bytes, settings.weighting)
    high, kept = settings.dimensions
    return Plan.classic(analysis, high / analysis.d, kept / analysis.d, by="dimensions")


def train(
    settings: TrialSettings,
    split: Split,
    analysis: Analysis,
    *,
    cells: Cells | None = None,
    rows: Any = None,
    tell: Share | None = None,
) -> Codec:
    """Train on the stored vectors, or on `rows`; `cells` stands for the cells of the settings."""
    return Codec.train(
        split.base if rows is None else rows,
        plan_of(settings, analysis),
        split.draw.seed,
        cells=settings.cells if cells is None else cells,
        queries=split.training_queries,
        metric=split.metric,
        effort=settings.effort,
        progress=False if tell is None else Meter(lambda progress: tell(progress.done)),
    )


def fill(codec: Codec, settings: TrialSettings, split: Split) -> IndexFlat:
    """Return an index with the stored vectors of the split."""
    index = IndexFlat(codec, split.metric, refine=settings.refine)
    index.add(split.base)
    return index


def measure(
    settings: TrialSettings,
    split: Split,
    analysis: Analysis,
    cells: Cells | None = None,
    tell: Share | None = None,
) -> tuple[Trial, IndexFlat]:
    """Train and search with some settings; the trial has no score yet.

    `tell` takes the share of training that is done.
    """
    start = time.perf_counter()
    codec = train(settings, split, analysis, cells=cells, tell=tell)
    trained = time.perf_counter()
    index = fill(codec, settings, split)
    added = time.perf_counter()
    found, seconds = np.empty(0, np.int64), float("inf")
    for _ in range(_SEARCHES):
        began = time.perf_counter()
        found = index.search(split.queries, split.k)[1]
        seconds = min(seconds, time.perf_counter() - began)
    hits = split.hits(found)
    size = index.bytes_per_vector
    trial = Trial(
        settings=settings,
        recall=float(accuracy(hits, split.k).mean()),
        recall_at_1=float((split.hits(found[:, :1], split.truth[:, :1]) > 0).mean()),
        forgiving_accuracy=float(accuracy(hits, split.k, "forgiving_accuracy").mean()),
        bytes_per_vector=size,
        memory_ratio=_FLOAT * index.d / size,
        pq_memory_ratio=size / index.d,
        queries_per_second=len(split.queries) / seconds,
        encode_rate=len(split.base) / (added - trained),
        train_seconds=trained - start,
    )
    return trial, index
