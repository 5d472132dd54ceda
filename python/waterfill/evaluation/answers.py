"""Whether compression changes answers: nDCG and MRR of labelled queries, with intervals."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from waterfill._util.progress import Option, metered
from waterfill._util.validation import Metric, as_positive_int, metric_name
from waterfill.data.rows import Rows
from waterfill.evaluation.answer_methods import Method, default_methods
from waterfill.evaluation.judgements import Judgements

LOG = logging.getLogger("waterfill.evaluation")

Shares = NDArray[np.float64]

_RESAMPLES = 2000
_INTERVAL = (2.5, 97.5)


@dataclass(frozen=True)
class QueryMean:
    """A mean over queries and its 95 % bootstrap interval.

    Queries are drawn with replacement [1]_.

    Attributes
    ----------
    mean : float
        The mean.
    low, high : float
        Bounds of the interval.

    References
    ----------
    .. [1] B. Efron, "Bootstrap methods: another look at the jackknife", Annals of Statistics 7(1),
       1979.
    """

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.mean:.3f} ({self.low:.3f} to {self.high:.3f})"


@dataclass(frozen=True)
class Answers:
    """How well a method answers the judged queries.

    Attributes
    ----------
    name : str
        Name of the method.
    bytes_per_vector : float
        All that each vector takes; see `IndexFlat.bytes_per_vector`.
    row_bytes : float
        Those of the row that re-ranks, 0 without.
    k : int
        Results per query.
    ndcg : float64 (m,)
        The nDCG@k [1]_ of each query, with linear gains as of trec_eval.
    reciprocal_rank : float64 (m,)
        One over the rank of the first relevant result among k, or 0; their mean is the MRR [2]_.

    References
    ----------
    .. [1] K. Järvelin and J. Kekäläinen, "Cumulated gain-based evaluation of IR techniques", ACM
       Transactions on Information Systems 20(4), 2002.
    .. [2] E. M. Voorhees, "The TREC-8 question answering track report", TREC-8, 1999.
    """

    name: str
    bytes_per_vector: float
    row_bytes: float
    k: int
    ndcg: Shares
    reciprocal_rank: Shares

    @property
    def mean_ndcg(self) -> QueryMean:
        """Mean of `ndcg` over queries."""
        return bootstrap(self.ndcg)

    @property
    def mrr(self) -> QueryMean:
        """Mean of `reciprocal_rank` over queries."""
        return bootstrap(self.reciprocal_rank)

    def difference(self, exact: Answers) -> QueryMean:
        """Return the mean of `ndcg` less that of another method, with the interval of pairs.

        Parameters
        ----------
        exact : Answers
            Answers to the same queries.

        Returns
        -------
        Estimate
            The mean difference and its interval.
        """
        return bootstrap(self.ndcg - exact.ndcg)


def bootstrap(values: Shares, seed: int = 0) -> QueryMean:
    """Return the mean of values of queries, with a 95 % percentile bootstrap interval."""
    rng = np.random.default_rng(seed)
    n = len(values)
    # How often each query is drawn; equal to drawing their numbers, in less memory.
    means = np.concatenate(
        [rng.multinomial(n, np.full(n, 1 / n), 100) @ values / n for _ in range(_RESAMPLES // 100)]
    )
    low, high = np.percentile(means, _INTERVAL)
    mean = float(values.mean())
    return QueryMean(mean, min(float(low), mean), max(float(high), mean))


def score(found: NDArray[np.int64], judgements: Judgements, k: int) -> tuple[Shares, Shares]:
    """Return nDCG@k and the reciprocal rank of each judged query.

    Parameters
    ----------
    found : int64 (m, k or more)
        Row numbers of the results of the judged queries, best first; -1 for none.
    judgements : Judgements
    k : int
    """
    discounts = 1 / np.log2(np.arange(k) + 2)
    ndcg, ranks = np.zeros(len(found)), np.zeros(len(found))
    for query, (row, gains, ideal) in enumerate(
        zip(found[:, :k].tolist(), judgements.gains, judgements.ideal, strict=True)
    ):
        got = np.array([gains.get(each, 0.0) for each in row])
        best = float(ideal[:k] @ discounts[: len(ideal[:k])])
        ndcg[query] = float(got @ discounts[: len(got)]) / best
        relevant = np.flatnonzero(got)
        ranks[query] = 1 / (relevant[0] + 1) if len(relevant) else 0.0
    return ndcg, ranks


def evaluate_answers(
    base: Any,
    queries: Any,
    judgements: Judgements,
    *,
    metric: Metric = "ip",
    k: int = 10,
    methods: Iterable[Method] | None = None,
    progress: Option = False,
) -> list[Answers]:
    """Answer judged queries by exact search and by compressed indexes.

    Answers are measured by nDCG [1]_ and MRR [2]_, with bootstrap intervals [3]_.

    Parameters
    ----------
    base : array_like, shape (n, d)
        Read into memory.
    queries : array_like, shape (m, d)
        The queries, judged or not.
    judgements : Judgements
        Of the rows of both.
    metric : {'ip', 'l2', 'cosine'}
        The metric of all methods.
    k : int
        Results per query.
    methods : iterable of Method, optional
        By default exact search, and waterfill at 0.5, 1 and 2 bits per dimension without and with
        rows that re-rank.
    progress : bool or callable, optional
        See `Codec.train`.

    Returns
    -------
    list of Answers
        In the order of the methods.

    Raises
    ------
    ValueError, TypeError
        If shapes do not match each other or the judgements, or `k` is not an int of at least 1.

    References
    ----------
    .. [1] K. Järvelin and J. Kekäläinen, "Cumulated gain-based evaluation of IR techniques", ACM
       Transactions on Information Systems 20(4), 2002.
    .. [2] E. M. Voorhees, "The TREC-8 question answering track report", TREC-8, 1999.
    .. [3] B. Efron, "Bootstrap methods: another look at the jackknife", Annals of Statistics 7(1),
       1979.
    """
    k = as_positive_int("k", k)
    stored = Rows(base, "base")
    asked = Rows(queries, "queries", stored.d)
    if len(judgements.queries) and judgements.queries[-1] >= asked.n:
        raise ValueError(
            f"judgements are of query {judgements.queries[-1]}, and queries has {asked.n} rows"
        )
    rows = stored.joined(lambda block: block)
    judged = asked.take(judgements.queries)
    name = metric_name(metric)
    chosen: Sequence[Method] = default_methods(stored.d) if methods is None else tuple(methods)
    answers = []
    with metered(progress) as meter:
        meter.begin("methods", len(chosen), unit="methods")
        for done, method in enumerate(chosen):
            LOG.info("answers of %s", method.name)
            searched = method.build(rows, name)
            found = searched.search(judged, min(k, stored.n))
            ndcg, ranks = score(found, judgements, k)
            each = Answers(
                method.name, searched.bytes_per_vector, searched.row_bytes, k, ndcg, ranks
            )
            answers.append(each)
            meter.reach(done + 1)
    return answers
