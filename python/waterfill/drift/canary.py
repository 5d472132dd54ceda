"""Canaries: the recall of a codec on current vectors, compared with a codec trained on them.

A canary is a few hundred queries and a few thousand full vectors. Half of the vectors train a codec
with the settings of the current one, and the other half are stored, so no codec searches its own
training vectors. Both codecs search the same vectors with the same queries: effects that they share
(difficulty of the queries, number of vectors) cancel in the difference.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from waterfill._util.validation import Metric, as_positive_int, metric_name
from waterfill.analysis import analyze
from waterfill.codec import Codec
from waterfill.data.rows import FloatRows, Rows
from waterfill.drift.canary_recall import CanaryRecall
from waterfill.evaluation.ground_truth import true_neighbours
from waterfill.evaluation.recall_extrapolation import curve
from waterfill.evaluation.sample_split import Draw, Split
from waterfill.index.flat import IndexFlat
from waterfill.reproduction import plan_like
from waterfill.training.cells import MIN_QUERIES
from waterfill.training.manifest import describe_plan

_MIN_VECTORS = 1000  # half of them train 256 centroids per group
_MIN_VECTORS_PER_K = 20
_SPLITS = 4  # random splits of the vectors into halves
_MAX_SUBSETS = 8  # searched per size of the stored half


@dataclass(frozen=True, eq=False)
class Canary:
    """Queries and full vectors of one period, read once and kept as float32.

    Parameters
    ----------
    queries : array_like, shape (m, d)
        Current queries: at least 64, a few hundred for precise results.
    vectors : array_like, shape (n, d)
        A random sample of the stored vectors, without the codec's training rows: at least 1,000 and
        at least 20 k, 2,000 to 4,000 for precise results. Use the same number in all canaries of a
        codec.
    k : int
        Neighbours per query.
    metric : {'ip', 'l2', 'cosine'} or int
        Metric of the index, as in `IndexFlat`.

    Raises
    ------
    ValueError
        If there are too few rows, dimensions differ, a value is not finite, or the metric is
        unknown.
    TypeError
        If an argument has the wrong type.
    """

    queries: FloatRows
    vectors: FloatRows
    k: int = 10
    metric: Metric = "ip"

    def __post_init__(self) -> None:
        k = as_positive_int("k", self.k)
        vectors = Rows(self.vectors, "vectors")
        queries = Rows(self.queries, "queries", vectors.d)
        minima = {"vectors": max(_MIN_VECTORS, _MIN_VECTORS_PER_K * k), "queries": 2 * MIN_QUERIES}
        for rows in (vectors, queries):
            if rows.n < minima[rows.name]:
                raise ValueError(
                    f"{rows.name}: expected at least {minima[rows.name]} rows, got {rows.n}"
                )
        fields = {"k": k, "metric": metric_name(self.metric), "vectors": _all(vectors)}
        for name, value in {**fields, "queries": _all(queries)}.items():
            object.__setattr__(self, name, value)

    def measure(self, codec: Codec, baseline: CanaryRecall | None = None) -> CanaryRecall:
        """Measure the recall of a codec, and of codecs retrained on the canary's vectors.

        Takes seconds: it trains eight codecs, each on half of the vectors.

        Parameters
        ----------
        codec : Codec
            The current codec. The others are trained with the settings of its plan and manifest
            (bytes, weighting, effort, alpha), but without cells, which need more rows. If it was
            trained with queries, half of the canary's queries train and the other half search, and
            vice versa.
        baseline : CanaryRecall, optional
            An earlier measurement of this codec. If the canary has more vectors than that one, the
            same number is drawn.

        Returns
        -------
        CanaryRecall
            Recall of the codec and of retrained ones, per query and number of vectors.

        Raises
        ------
        ValueError
            If the dimensions of codec and canary differ, or the baseline has another k or metric,
            or more vectors.
        TypeError
            If `codec` is not a Codec.

        Warns
        -----
        RuntimeWarning
            If vectors are outside the range of the codec, as from `Codec.encode`.
        """
        if not isinstance(codec, Codec):
            raise TypeError(f"codec must be a waterfill.Codec, got {type(codec).__name__}")
        Rows(self.vectors, "vectors", codec.d)
        sums: list[NDArray[np.float64]] = []
        counts = np.zeros(len(self.queries))
        sizes: tuple[int, ...] = ()
        for numbers, split, retrained_codec in self._folds(codec, self._drawn(baseline)):
            for i, searched in enumerate((codec, retrained_codec)):
                index = IndexFlat(searched, self.metric)
                index.add(split.base)
                sizes, recalls = curve(index, split, (0, len(split.base)), _MAX_SUBSETS, "recall")
                if i == len(sums):
                    sums.append(np.zeros((len(sizes), len(self.queries))))
                sums[i][:, numbers] += recalls
            counts[numbers] += 1
        frozen, retrained = ((each / counts).astype(np.float32) for each in sums)
        return CanaryRecall(sizes, frozen, retrained, 2 * sizes[-1], self.k, self.metric)

    def _drawn(self, baseline: CanaryRecall | None) -> FloatRows:
        """Draw the number of vectors that the baseline's canary has."""
        count = len(self.vectors) if baseline is None else baseline.vectors
        if baseline is not None:
            baseline.require_settings(self.k, self.metric, count)
        if count > len(self.vectors):
            raise ValueError(
                f"vectors: expected at least {count} rows, as in the baseline's canary, got "
                f"{len(self.vectors)}; recall depends on the number of vectors"
            )
        return self.vectors[np.random.default_rng(0).permutation(len(self.vectors))[:count]]

    def _folds(
        self, codec: Codec, vectors: FloatRows
    ) -> Iterator[tuple[NDArray[np.int64], Split, Codec]]:
        """Yield numbers of queries, the stored half, and a codec trained on the other half."""
        manifest, half = codec.manifest, len(vectors) // 2
        with_queries = manifest is not None and manifest.queries_sha256 is not None
        for seed in range(_SPLITS):
            rng = np.random.default_rng(seed)
            rows = np.array_split(rng.permutation(2 * half), 2)
            halves = np.array_split(rng.permutation(len(self.queries)), 2)
            for fold in (0, 1):
                numbers = np.sort(halves[fold]) if with_queries else np.arange(len(self.queries))
                training_queries = self.queries[halves[1 - fold]] if with_queries else None
                new = _train_like(codec, vectors[rows[1 - fold]], training_queries, seed)
                yield numbers, self._split(vectors[rows[fold]], self.queries[numbers]), new

    def _split(self, stored: FloatRows, queries: FloatRows) -> Split:
        truth = true_neighbours(stored, queries, self.metric, self.k)
        n, m = len(stored), len(queries)
        draw = Draw(rows=n, stored=n, held_out=0, queries=m, asked=m, training=0, seed=0)
        return Split(draw, stored, queries, None, truth, self.metric, self.k)


def _all(rows: Rows) -> FloatRows:
    return rows.take(np.arange(rows.n))


def _train_like(codec: Codec, rows: FloatRows, queries: FloatRows | None, seed: int) -> Codec:
    """Train with the settings of a codec, without cells."""
    manifest, plan = codec.manifest, describe_plan(codec.plan)
    training = {} if manifest is None else dict(manifest.training)
    training.update(seed=seed, cells=0)
    analysis = analyze(rows, normalize=plan["normalize"])
    return Codec.train(rows, plan_like(plan, analysis), queries=queries, **training)
