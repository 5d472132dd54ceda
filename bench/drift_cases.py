"""Real vectors before and after drift, split as `drift_recall.py` needs them.

"Spring" is the distribution a codec was trained on, "autumn" the one after the drift. Each case has
the training rows of the codec and, for each season, a canary (fixed vectors and queries) and
separate rows for the measurement: training rows, stored rows and queries.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import datasets
import numpy as np
from numpy.typing import NDArray
from packages import PACKAGES, fetch

from waterfill._util.validation import Metric

Array = NDArray[Any]
Change = Callable[[Array], Array]

_CANARY = (300, 3000)  # queries, vectors
_QUERIES = 1000
_MOST_TRAINED = 10_000
_MOST_STORED = 20_000
_FEW = 25_000  # sets with fewer rows get smaller canaries and fewer queries
_FEW_CANARY = (300, 2000)
_FEW_QUERIES = 500
_TOPICS, _STEPS = 24, 12
_TEXTS = 160_000  # rows of the sets that words and phrases continue
_WORDS = 165_000  # the first row that is a word
_PHRASES = 312_000  # the first row that is a phrase
_NOISE = 0.35  # relative to the root mean square deviation of a row


@dataclass(frozen=True)
class Season:
    """The float32 rows of a season.

    `stored` and `queries` are the collection, `trained` the training rows of a new codec. These are
    disjoint from the stored rows unless there are too few rows.
    """

    canary_queries: Array
    canary_vectors: Array
    trained: Array
    stored: Array
    queries: Array

    def changed(self, change: Change) -> Season:
        """Return a season with all rows changed."""
        return Season(*(change(getattr(self, field.name)) for field in fields(self)))


@dataclass(frozen=True)
class Drift:
    """Training rows of a codec and the seasons before and after a drift of a kind."""

    data: str
    kind: str
    metric: Metric
    code_bytes: int
    trained: Array
    spring: Season
    autumn: Season

    @property
    def none(self) -> bool:
        """Whether autumn has the same distribution as spring."""
        return self.kind.startswith("none")


def season(rows: Array, trained: int, few: bool) -> Season:
    """Split rows in random order into the parts of a season."""
    canary_queries, canary_vectors = _FEW_CANARY if few else _CANARY
    ends = np.cumsum([canary_queries, canary_vectors, _FEW_QUERIES if few else _QUERIES])
    queries, vectors, others, rest = np.split(rows, ends)
    if len(rest) >= 2 * trained:
        new, rest = rest[:trained], rest[trained:]
    else:
        new = rest[:trained]
    return Season(queries, vectors, new, rest[:_MOST_STORED], others)


def seasons(spring: Array, autumn: Array) -> tuple[Array, Season, Season]:
    """Split two sets of rows into seasons; the first also gives the codec's training rows."""
    fewer = min(len(spring), len(autumn))
    trained = min(_MOST_TRAINED, fewer // 3)
    few = fewer < _FEW
    return spring[:trained], season(spring[trained:], trained, few), season(autumn, trained, few)


def same_seasons(rows: Array) -> tuple[Array, Season, Season]:
    """Split one set of rows into two seasons that differ only in their canary."""
    trained, few = min(_MOST_TRAINED, len(rows) // 5), len(rows) < _FEW
    own = sum(_FEW_CANARY if few else _CANARY)
    spring = season(rows[trained + own :], trained, few)
    canary = season(rows[trained : trained + own], 0, few)
    fixed = canary.canary_queries, canary.canary_vectors
    autumn = Season(*fixed, spring.trained, spring.stored, spring.queries)
    return rows[:trained], spring, autumn


def changes(rows: Array, seed: int) -> Mapping[str, Change]:
    """Return synthetic changes of vectors like these, by name."""
    rng = np.random.default_rng(seed)
    d, mean = rows.shape[1], rows.mean(axis=0)
    spread = rows.std(axis=0)
    rotation = np.linalg.qr(rng.standard_normal((d, d)))[0].astype(np.float32)
    widest = int(spread.argmax())
    length = _NOISE * float(np.sqrt(np.square(spread).mean()))

    def dead(x: Array) -> Array:
        return x * (np.arange(d) != widest).astype(np.float32)

    def shifted(x: Array) -> Array:
        return x + 5 * spread[widest] * (np.arange(d) == widest).astype(np.float32)

    def noisy(x: Array) -> Array:
        return x + length * rng.standard_normal(x.shape, dtype=np.float32)

    return {
        "none": lambda x: x,
        "rotation": lambda x: x @ rotation,
        "norm x 1.1": lambda x: x * np.float32(1.1),
        "spread x 1.3": lambda x: mean + np.float32(1.3) * (x - mean),
        "a dimension dead": dead,
        "a dimension shifted": shifted,
        "noise": noisy,
    }


def topics(rows: Array, seed: int) -> tuple[Array, Array]:
    """Split rows into old topics (k-means clusters) and new ones.

    The new topics are the cluster farthest from the mean and those nearest to it, less than half of
    the rows together.
    """
    rng = np.random.default_rng(seed)
    centroids = rows[rng.choice(len(rows), _TOPICS, replace=False)]
    for _ in range(_STEPS):
        own = _nearest(rows, centroids)
        sums = np.zeros_like(centroids)
        np.add.at(sums, own, rows)
        counts = np.bincount(own, minlength=_TOPICS)[:, None]
        centroids = np.where(counts > 0, sums / np.maximum(counts, 1), centroids)
    own = _nearest(rows, centroids)
    far = int(np.square(centroids - rows.mean(axis=0)).sum(axis=1).argmax())
    order = np.square(centroids - centroids[far]).sum(axis=1).argsort()
    shares = np.bincount(own, minlength=_TOPICS)[order].cumsum() / len(rows)
    new = np.isin(own, order[: int((shares < 0.5).sum())])
    return rows[~new], rows[new]


def _nearest(rows: Array, centroids: Array) -> Array:
    scores = rows @ centroids.T
    scores -= np.square(centroids).sum(axis=1) / 2
    nearest: Array = scores.argmax(axis=1)
    return nearest


def mixed(old: Array, new: Array, share: float, seed: int) -> Array:
    """Return rows in random order of which `share` are new."""
    count = int(min(len(new) / share, len(old) / (1 - share) if share < 1 else np.inf))
    fresh = round(share * count)
    both = np.concatenate([new[:fresh], old[: count - fresh]])
    return both[np.random.default_rng(seed).permutation(len(both))]


@dataclass(frozen=True)
class Sources:
    """The sources of vectors: the cache of `datasets.py` and a folder of image descriptors."""

    cache: str | None
    photos: str | None
    seed: int

    def named(self, name: str, rows: int) -> Array:
        """Return the rows of a data set, queries first, in their fixed order."""
        found = datasets.load(name, rows, self.cache)
        return np.concatenate([found.query, found.base])

    def shuffled(self, rows: Array) -> Array:
        """Return rows in random order, as float32."""
        order = np.random.default_rng(self.seed).permutation(len(rows))
        return rows[order].astype(np.float32)

    def plain(self, name: str) -> Array:
        """Return the texts, words or image descriptors of a source, shuffled."""
        if name == "photos":
            base = np.load(Path(str(self.photos)) / "base.npy")
            return self.shuffled(base)
        sizes = {"minilm": _TEXTS, "wordllama": _TEXTS, "mpnet": 30_000, "frword": 19_500}
        return self.shuffled(self.named(name, sizes[name]))

    def beyond(self, name: str, rows: int, first: int) -> Array:
        """Return the rows of a data set from `first` on, shuffled."""
        return self.shuffled(self.named(name, rows)[first:])

    def frequencies(self) -> tuple[Array, Array]:
        """Return the vectors of the more frequent and the rarer half of French words."""
        files = fetch(PACKAGES["frword"], datasets.cache_root(self.cache))
        table = np.load(files["vectors"])
        _, firsts = np.unique(table, axis=0, return_index=True)
        table = table[np.sort(firsts)]
        half = len(table) // 2
        return self.shuffled(table[:half]), self.shuffled(table[half:])


_SETS: tuple[tuple[str, Metric, int, tuple[str, ...]], ...] = (
    ("minilm", "ip", 48, ("none", "rotation", "norm x 1.1", "spread x 1.3", "a dimension dead",
                          "a dimension shifted", "noise")),
    ("minilm", "ip", 24, ("none", "rotation")),
    ("photos", "l2", 16, ("none", "rotation", "norm x 1.1", "spread x 1.3", "noise")),
    ("photos", "l2", 32, ("none", "rotation", "a dimension shifted")),
    ("frword", "ip", 38, ("none", "rotation", "norm x 1.1", "a dimension shifted")),
    ("frword", "l2", 38, ("none", "rotation", "spread x 1.3", "noise")),
    ("wordllama", "ip", 32, ("none", "rotation", "norm x 1.1", "a dimension shifted")),
    ("wordllama", "l2", 32, ("none", "spread x 1.3", "a dimension shifted")),
    ("mpnet", "ip", 96, ("none", "rotation", "a dimension dead", "a dimension shifted", "noise")),
)  # fmt: skip
_TOPIC_SETS: tuple[tuple[str, Metric, int, tuple[float, ...]], ...] = (
    ("minilm", "ip", 48, (0.2, 0.5, 1.0)),
    ("minilm", "ip", 24, (1.0,)),
    ("photos", "l2", 16, (0.2, 0.5, 1.0)),
    ("wordllama", "l2", 32, (0.2, 0.5, 1.0)),
    ("frword", "ip", 38, (1.0,)),
)
_HALVED: tuple[tuple[str, Metric, int], ...] = (
    ("minilm", "ip", 48),
    ("wordllama", "l2", 32),
    ("photos", "l2", 16),
)


def cases(sources: Sources) -> Iterator[Drift]:
    """Yield all drifts, grouped by data set."""
    for name, metric, code_bytes, kinds in _SETS:
        if name == "photos" and sources.photos is None:
            continue
        rows = sources.plain(name)
        trained, spring, autumn = same_seasons(rows)
        for kind in kinds:
            change = changes(trained, sources.seed)[kind]
            later = autumn.changed(change)
            yield Drift(name, kind, metric, code_bytes, trained, spring, later)
    for name, metric, code_bytes, shares in _TOPIC_SETS:
        if name == "photos" and sources.photos is None:
            continue
        old, new = topics(sources.plain(name), sources.seed)
        half = len(old) // 2
        for share in shares:
            later = mixed(old[half:], new, share, sources.seed) if share < 1 else new
            parts = seasons(old if share == 1 else old[:half], later)
            yield Drift(name, f"new topics, {share:.0%}", metric, code_bytes, *parts)
    for name, metric, code_bytes in _HALVED:
        if name != "photos" or sources.photos is not None:
            rows = sources.plain(name)
            parts = seasons(*np.array_split(rows, 2))
            yield Drift(name, "none, other rows", metric, code_bytes, *parts)
    yield from _natural(sources)


def _natural(sources: Sources) -> Iterator[Drift]:
    texts, words = sources.plain("minilm"), sources.beyond("minilm", 200_500, _WORDS)
    for code_bytes in (48, 96):
        parts = seasons(texts, words)
        yield Drift("minilm", "words for texts", "ip", code_bytes, *parts)
    parts = seasons(texts[:80_000], mixed(texts[80_000:], words, 0.5, sources.seed))
    yield Drift("minilm", "words for half", "ip", 48, *parts)
    word_queries = sources.shuffled(datasets.load("words", None, sources.cache).train_query)
    trained, spring, autumn = seasons(texts[:80_000], texts[80_000:])
    autumn = Season(word_queries[:300], autumn.canary_vectors, autumn.trained, autumn.stored,
                    word_queries[300 : 300 + _QUERIES])  # fmt: skip
    yield Drift("minilm", "word queries", "ip", 48, trained, spring, autumn)
    other = sources.plain("mpnet")[:, : texts.shape[1]]
    other = other / np.linalg.norm(other, axis=1, keepdims=True)
    yield Drift("minilm", "another model", "ip", 48, *seasons(texts, other))
    texts = sources.plain("wordllama")
    phrases = sources.beyond("wordllama", 500_500, _PHRASES)
    metrics: tuple[Metric, ...] = ("ip", "l2")
    for metric in metrics:
        yield Drift("wordllama", "phrases for texts", metric, 32, *seasons(texts, phrases))
    frequent, rare = sources.frequencies()
    for metric in metrics:
        yield Drift("frword", "rare words", metric, 38, *seasons(frequent, rare))
