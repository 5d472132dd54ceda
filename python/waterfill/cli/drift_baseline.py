"""What the command drift compares: a monitor of a baseline, canaries of two times, blocks."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import waterfill as wf
from waterfill._util.validation import Metric
from waterfill.cli.errors import UsageError
from waterfill.cli.inputs import Vectors
from waterfill.data.rows import FloatRows, Rows
from waterfill.drift.baseline import untrained

_CODE_BYTES, _K, _ALPHA = 48, 10, 0.01
_FEWEST_ROWS = 1000  # that a codec and a baseline are made of
_ASKED, _STORED = 300, 4000  # queries and vectors of a canary, at most


@dataclass(frozen=True)
class BaselineOptions:
    """What was asked for; None where it was not.

    Attributes
    ----------
    canary : bool
        Whether recall is measured.
    k, metric, alpha, code_bytes
    errors : bool
    seed : int
    """

    canary: bool
    k: int | None
    metric: Metric | None
    alpha: float | None
    code_bytes: int | None
    errors: bool
    seed: int


@dataclass(frozen=True)
class Today:
    """What is compared with the baseline.

    Attributes
    ----------
    vectors : Vectors
    queries : Vectors or None
    """

    vectors: Vectors
    queries: Vectors | None

    def canary(self, k: int, metric: Metric, seed: int, queries: Vectors | None) -> wf.drift.Canary:
        """Draw a canary, whose queries are those of today, or these."""
        asked = self.queries or queries
        return draw_canary(Rows(self.vectors), None, asked, k=k, metric=metric, seed=seed)


def begin(
    vectors: Vectors,
    blocks: NDArray[Any] | None,
    codec: Path | None,
    queries: Vectors | None,
    today: Today,
    settings: BaselineOptions,
) -> tuple[wf.DriftMonitor, wf.drift.Canary | None]:
    """Make a monitor of a baseline's vectors; with it the canary of today, if one is wanted."""
    trained, rows, numbers = _codec_and_rows(vectors, codec, settings)
    usual: Metric = "cosine" if trained.plan.normalize else "ip"
    metric, k = settings.metric or usual, settings.k or _K
    before = canary = None
    if settings.canary:
        canary = today.canary(k, metric, settings.seed, queries)
        most, among = len(canary.vectors), untrained(trained, rows)
        before = draw_canary(
            rows, among, queries, k=k, metric=metric, seed=settings.seed, most=most
        )
    monitor = wf.DriftMonitor.from_codec(
        trained,
        rows.source,
        blocks=None if blocks is None else blocks[numbers],
        queries=queries,
        canary=before,
        metric=metric,
        errors=settings.errors,
        alpha=_ALPHA if settings.alpha is None else settings.alpha,
        seed=settings.seed,
    )
    return monitor, canary


def resume(
    path: Path, today: Today, settings: BaselineOptions
) -> tuple[wf.DriftMonitor, wf.drift.Canary | None]:
    """Read a monitor; with it the canary of today, as the baseline's was."""
    monitor = wf.DriftMonitor.load(path)
    if monitor.learning:
        raise ValueError(f"{path}: was saved before its baseline was complete")
    monitor.reset()
    knows_queries = not monitor.learning_queries
    if today.queries is not None and not knows_queries:
        raise UsageError(f"--new-queries: {path} was saved without --queries to compare with")
    if not settings.canary:
        return monitor, None
    if knows_queries and today.queries is None:
        raise UsageError(f"--canary: {path} was saved with --queries; give --new-queries, too")
    before = monitor.canary
    k, metric = settings.k or _K, monitor.metric
    if before is not None:
        k, metric = before.k, before.metric
        if settings.k not in (None, k):
            raise UsageError(f"-k {settings.k}: the canary of {path} has -k {k}")
    return monitor, today.canary(k, metric, settings.seed, None)


def _codec_and_rows(
    vectors: Vectors, codec: Path | None, settings: BaselineOptions
) -> tuple[wf.Codec, Rows, NDArray[np.int64]]:
    """Read a codec, or train one with half of the vectors.

    Returns it, the rows of its baseline, and what are their numbers in the file: of a codec that is
    given all of them, as the monitor leaves out by itself what it was trained on.
    """
    if codec is not None:
        trained = wf.read_codec(codec)
        return trained, Rows(vectors, d=trained.d), np.arange(vectors.n)
    size = min(_CODE_BYTES, vectors.d) if settings.code_bytes is None else settings.code_bytes
    recipe = wf.Recipe(vectors.d, size, seed=settings.seed)
    if vectors.n < _FEWEST_ROWS:
        raise ValueError(
            f"{vectors.name}: has {vectors.n} rows; at least {_FEWEST_ROWS} are needed, half of "
            "them to train a codec, or --codec"
        )
    order = np.random.default_rng(settings.seed).permutation(vectors.n)
    training, others = (np.sort(half) for half in np.array_split(order, 2))
    rows = Rows(vectors)
    taught = recipe.train(rows.without(others).source, settings.metric or "ip")
    return taught, rows.without(training), others


def draw_canary(
    rows: Rows,
    among: NDArray[np.int64] | None,
    queries: Vectors | None,
    *,
    k: int,
    metric: Metric,
    seed: int,
    most: int = _STORED,
) -> wf.drift.Canary:
    """Draw a canary; without queries, some of the rows ask, and are not among its vectors.

    Parameters
    ----------
    rows : Rows
    among : int64 (n,), optional
        Ascending numbers of the rows that may be drawn; by default all.
    queries : Vectors, optional
    k, metric, seed
    most : int
        Vectors.

    Raises
    ------
    ValueError
        With the file's name, if it has too few rows.
    """
    rng = np.random.default_rng(seed)
    if queries is None:
        drawn = _drawn(rows, among, _ASKED + most, rng)
        asked, stored = drawn[:_ASKED], drawn[_ASKED:]
    else:
        stored = _drawn(rows, among, most, rng)
        asked = _drawn(Rows(queries, d=rows.d), None, _ASKED, rng)
    try:
        return wf.drift.Canary(asked, stored, k, metric)
    except ValueError as error:
        own = f", of which {len(asked)} ask (or give --queries and --new-queries)"
        name = f"{rows.name}{own if queries is None else f' and {queries.name}'}"
        raise ValueError(f"too few rows for a canary: {name}: {error}") from None


def _drawn(
    rows: Rows, among: NDArray[np.int64] | None, most: int, rng: np.random.Generator
) -> FloatRows:
    """Draw rows without a NaN or an infinity, in random order."""
    n = rows.n if among is None else len(among)
    numbers = rng.choice(n, min(n, most), replace=False)
    if among is not None:
        numbers = among[numbers]
    found = rows.take(np.sort(numbers), finite=False)[np.argsort(np.argsort(numbers))]
    return found[np.isfinite(found).all(axis=1)]


def read_blocks(path: Path | None, vectors: Vectors) -> NDArray[Any] | None:
    """Read what rows come by: an array of integers or strings, or a line of text for each."""
    if path is None:
        return None
    if path.suffix == ".npy":
        blocks: NDArray[Any] = np.load(path, allow_pickle=False)
    else:
        blocks = np.array(path.read_text(encoding="utf-8").splitlines())
    if blocks.shape != (vectors.n,) or blocks.dtype.kind not in "iuSU":
        raise ValueError(
            f"{path}: has blocks of shape {blocks.shape} and dtype {blocks.dtype}; wanted is an "
            f"integer or a string for each of the {vectors.n} rows of {vectors.name}"
        )
    return blocks
