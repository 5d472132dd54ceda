"""Canaries: the recall of a codec on current vectors, compared with a codec trained on them.

A canary is a few hundred queries and some thousand full vectors that a user keeps. Half of the
vectors train a codec like the one in use, the other half are stored: nothing is searched by a codec
that was trained on it. Both codecs search the same vectors with the same queries, so that what they
have in common (how hard the queries are, how many vectors there are) falls out of the difference.
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

_FEWEST_VECTORS = 1000  # half of them train 256 centroids a group
_FEWEST_TIMES = 20  # vectors, times k
_REPEATS = 4  # ways to halve the vectors
_PARTS = 8  # of each size, at most


@dataclass(frozen=True, eq=False)
class Canary:
    """Queries and full vectors of one period, read once and kept as float32.

    Parameters
    ----------
    queries : array_like, shape (m, d)
        As they are asked today: 64 at least, some hundreds to rely on.
    vectors : array_like, shape (n, d)
        A random sample of what is stored today, not of what the codec was trained on: 1,000 and
        20 k at least, 2,000 to 4,000 to rely on. The canaries of a codec's life should have the
        same number.
    k : int
        Neighbours of a query.
    metric : {'ip', 'l2', 'cosine'} or int
        As for `IndexFlat`.

    Raises
    ------
    ValueError
        For too few rows, other dimensions, a NaN or an infinity, or another metric.
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
        least = {"vectors": max(_FEWEST_VECTORS, _FEWEST_TIMES * k), "queries": 2 * MIN_QUERIES}
        for rows in (vectors, queries):
            if rows.n < least[rows.name]:
                raise ValueError(
                    f"{rows.name} has {rows.n} rows; at least {least[rows.name]} are needed"
                )
        given = {"k": k, "metric": metric_name(self.metric), "vectors": _all(vectors)}
        for name, value in {**given, "queries": _all(queries)}.items():
            object.__setattr__(self, name, value)

    def measure(self, codec: Codec, baseline: CanaryRecall | None = None) -> CanaryRecall:
        """Measure the recall of a codec, and of codecs like it trained on the canary's vectors.

        Takes seconds: eight trainings with half of the vectors each.

        Parameters
        ----------
        codec : Codec
            The one in use. How to train others like it is read from its plan and manifest: bytes,
            weighting, effort, alpha; but without cells, which want more rows. If it was trained
            with queries, half of the canary's train and the others ask, in turns.
        baseline : CanaryRecall, optional
            What was measured of this codec before. Of a canary with more vectors as many are used.

        Returns
        -------
        CanaryRecall

        Raises
        ------
        ValueError
            If codec and canary do not go together, or the baseline is of another k or metric, or of
            more vectors.
        TypeError
            If `codec` is no codec.

        Warns
        -----
        RuntimeWarning
            As `Codec.encode` does, for vectors that the codec cannot hold.
        """
        if not isinstance(codec, Codec):
            raise TypeError(f"codec must be a waterfill.Codec, got {type(codec).__name__}")
        Rows(self.vectors, "vectors", codec.d)
        sums: list[NDArray[np.float64]] = []
        counts = np.zeros(len(self.queries))
        sizes: tuple[int, ...] = ()
        for asked, stored, new in self._folds(codec, self._as_many(baseline)):
            for i, one in enumerate((codec, new)):
                index = IndexFlat(one, self.metric)
                index.add(stored.base)
                sizes, shares = curve(index, stored, (0, len(stored.base)), _PARTS, "recall")
                if i == len(sums):
                    sums.append(np.zeros((len(sizes), len(self.queries))))
                sums[i][:, asked] += shares
            counts[asked] += 1
        frozen, retrained = ((each / counts).astype(np.float32) for each in sums)
        return CanaryRecall(sizes, frozen, retrained, 2 * sizes[-1], self.k, self.metric)

    def _as_many(self, baseline: CanaryRecall | None) -> FloatRows:
        """Draw as many vectors as the canary of the baseline has."""
        count = len(self.vectors) if baseline is None else baseline.vectors
        if baseline is not None:
            baseline.require_settings(self.k, self.metric, count)
        if count > len(self.vectors):
            raise ValueError(
                f"vectors has {len(self.vectors)} rows; the baseline's canary had {count}, and "
                "recall among fewer is another"
            )
        return self.vectors[np.random.default_rng(0).permutation(len(self.vectors))[:count]]

    def _folds(
        self, codec: Codec, vectors: FloatRows
    ) -> Iterator[tuple[NDArray[np.int64], Split, Codec]]:
        """Yield queries, the half of the vectors that is stored, and a codec of the other half."""
        manifest, half = codec.manifest, len(vectors) // 2
        with_queries = manifest is not None and manifest.queries_sha256 is not None
        for seed in range(_REPEATS):
            rng = np.random.default_rng(seed)
            rows = np.array_split(rng.permutation(2 * half), 2)
            halves = np.array_split(rng.permutation(len(self.queries)), 2)
            for turn in (0, 1):
                asked = np.sort(halves[turn]) if with_queries else np.arange(len(self.queries))
                teaching = self.queries[halves[1 - turn]] if with_queries else None
                new = _train_like(codec, vectors[rows[1 - turn]], teaching, seed)
                yield asked, self._split(vectors[rows[turn]], self.queries[asked]), new

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
