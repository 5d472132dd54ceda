"""The baseline of the command drift: a new or a saved monitor, canaries, and block labels."""

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
_MIN_ROWS = 1000  # to train a codec and make a baseline
_MAX_QUERIES, _MAX_VECTORS = 300, 4000  # of a canary


@dataclass(frozen=True)
class BaselineOptions:
    """The options of the command; None for those that were not given.

    Attributes
    ----------
    canary : bool
        Whether to measure recall.
    k, metric, alpha, code_bytes
    errors : bool
        Whether to monitor the codec's error.
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
class Current:
    """The vectors to compare with the baseline.

    Attributes
    ----------
    vectors : Vectors
    queries : Vectors or None
    """

    vectors: Vectors
    queries: Vectors | None

    def canary(self, k: int, metric: Metric, seed: int, queries: Vectors | None) -> wf.drift.Canary:
        """Draw a canary; `queries` replace current ones that were not given."""
        queries = self.queries or queries
        return draw_canary(Rows(self.vectors), None, queries, k=k, metric=metric, seed=seed)


def new_monitor(
    vectors: Vectors,
    blocks: NDArray[Any] | None,
    codec: Path | None,
    queries: Vectors | None,
    current: Current,
    settings: BaselineOptions,
) -> tuple[wf.DriftMonitor, wf.drift.Canary | None]:
    """Make a monitor of a baseline's vectors; return it and the canary of current vectors."""
    trained, rows, numbers = _codec_and_rows(vectors, codec, settings)
    default: Metric = "cosine" if trained.plan.normalize else "ip"
    metric, k = settings.metric or default, settings.k or _K
    baseline_canary = canary = None
    if settings.canary:
        canary = current.canary(k, metric, settings.seed, queries)
        max_vectors, candidates = len(canary.vectors), untrained(trained, rows)
        baseline_canary = draw_canary(
            rows,
            candidates,
            queries,
            k=k,
            metric=metric,
            seed=settings.seed,
            max_vectors=max_vectors,
        )
    monitor = wf.DriftMonitor.from_codec(
        trained,
        rows.source,
        blocks=None if blocks is None else blocks[numbers],
        queries=queries,
        canary=baseline_canary,
        metric=metric,
        errors=settings.errors,
        alpha=_ALPHA if settings.alpha is None else settings.alpha,
        seed=settings.seed,
    )
    return monitor, canary


def saved_monitor(
    path: Path, current: Current, settings: BaselineOptions
) -> tuple[wf.DriftMonitor, wf.drift.Canary | None]:
    """Read a monitor; return it and a canary of current vectors like that of the baseline."""
    monitor = wf.DriftMonitor.load(path)
    if monitor.learning:
        raise ValueError(f"{path}: the baseline was incomplete when it was saved")
    monitor.reset()
    has_queries = not monitor.learning_queries
    if current.queries is not None and not has_queries:
        raise UsageError(
            f"--new-queries needs a baseline of queries; {path} was saved without --queries"
        )
    if not settings.canary:
        return monitor, None
    if has_queries and current.queries is None:
        raise UsageError(f"--canary needs --new-queries, because {path} was saved with --queries")
    reference = monitor.canary
    k, metric = settings.k or _K, monitor.metric
    if reference is not None:
        k, metric = reference.k, reference.metric
        if settings.k not in (None, k):
            raise UsageError(f"-k {settings.k}: expected -k {k}, as in the canary of {path}")
    return monitor, current.canary(k, metric, settings.seed, None)


def _codec_and_rows(
    vectors: Vectors, codec: Path | None, settings: BaselineOptions
) -> tuple[wf.Codec, Rows, NDArray[np.int64]]:
    """Read a codec, or train one on half of the vectors.

    Returns the codec, the rows of the baseline, and their numbers in the file. With a codec that
    was read these are all rows: the monitor itself leaves out those that the codec was trained on.
    """
    if codec is not None:
        trained = wf.read_codec(codec)
        return trained, Rows(vectors, d=trained.d), np.arange(vectors.n)
    size = min(_CODE_BYTES, vectors.d) if settings.code_bytes is None else settings.code_bytes
    recipe = wf.Recipe(vectors.d, size, seed=settings.seed)
    if vectors.n < _MIN_ROWS:
        raise ValueError(
            f"{vectors.name}: expected at least {_MIN_ROWS} rows, of which half train a codec, "
            f"got {vectors.n}; give --codec"
        )
    order = np.random.default_rng(settings.seed).permutation(vectors.n)
    training, baseline = (np.sort(half) for half in np.array_split(order, 2))
    rows = Rows(vectors)
    trained = recipe.train(rows.without(baseline).source, settings.metric or "ip")
    return trained, rows.without(training), baseline


def draw_canary(
    rows: Rows,
    candidates: NDArray[np.int64] | None,
    queries: Vectors | None,
    *,
    k: int,
    metric: Metric,
    seed: int,
    max_vectors: int = _MAX_VECTORS,
) -> wf.drift.Canary:
    """Draw a canary at random; without queries, some of the rows are held out as queries.

    Parameters
    ----------
    rows : Rows
    candidates : int64 (n,), optional
        Ascending numbers of the rows that may be drawn; by default all.
    queries : Vectors, optional
    k, metric, seed
    max_vectors : int

    Raises
    ------
    ValueError
        With the file's name, if it has too few rows.
    """
    rng = np.random.default_rng(seed)
    if queries is None:
        drawn = _draw(rows, candidates, _MAX_QUERIES + max_vectors, rng)
        query_rows, stored = drawn[:_MAX_QUERIES], drawn[_MAX_QUERIES:]
    else:
        stored = _draw(rows, candidates, max_vectors, rng)
        query_rows = _draw(Rows(queries, d=rows.d), None, _MAX_QUERIES, rng)
    try:
        return wf.drift.Canary(query_rows, stored, k, metric)
    except ValueError as error:
        if queries is None:
            names = f"{rows.name} ({len(query_rows)} rows are held out as queries)"
            advice = "; give --queries and --new-queries"
        else:
            names, advice = f"{rows.name} and {queries.name}", ""
        raise ValueError(f"too few rows for a canary in {names}: {error}{advice}") from None


def _draw(
    rows: Rows, candidates: NDArray[np.int64] | None, most: int, rng: np.random.Generator
) -> FloatRows:
    """Draw finite rows in random order."""
    n = rows.n if candidates is None else len(candidates)
    numbers = rng.choice(n, min(n, most), replace=False)
    if candidates is not None:
        numbers = candidates[numbers]
    drawn = rows.take(np.sort(numbers), finite=False)[np.argsort(np.argsort(numbers))]
    return drawn[np.isfinite(drawn).all(axis=1)]


def read_blocks(path: Path | None, vectors: Vectors) -> NDArray[Any] | None:
    """Read the block label of each row: an array of integers or strings, or lines of text."""
    if path is None:
        return None
    if path.suffix == ".npy":
        blocks: NDArray[Any] = np.load(path, allow_pickle=False)
    else:
        blocks = np.array(path.read_text(encoding="utf-8").splitlines())
    if blocks.shape != (vectors.n,) or blocks.dtype.kind not in "iuSU":
        raise ValueError(
            f"{path}: expected an integer or a string for each of the {vectors.n} rows of "
            f"{vectors.name}, got shape {blocks.shape} and dtype {blocks.dtype}"
        )
    return blocks
