"""The baseline of the command drift: a new or a saved monitor, canaries, and block labels."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import waterfill as wf
from waterfill._util.input_file import open_input, read_input
from waterfill._util.validation import Metric
from waterfill.cli.errors import UsageError
from waterfill.cli.folders import read_codec
from waterfill.cli.inputs import Vectors
from waterfill.data.rows import FloatRows, Rows
from waterfill.drift.baseline import BASELINE_ROWS, training_rows
from waterfill.reproduction import plan_like

_CODE_BYTES, _K, _ALPHA = 48, 10, 0.01
_MIN_ROWS = 1000  # to train a codec and make a baseline
_MIN_QUERIES = 100  # of a baseline
_MAX_QUERIES, _MAX_VECTORS = 300, 4000  # of a canary
_COMPARED_ROWS = 1024  # that tell whether two files have the same vectors


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

    def canary(
        self,
        k: int,
        metric: Metric,
        seed: int,
        queries: Vectors | None,
        excluded: NDArray[np.int64] | None = None,
    ) -> wf.drift.Canary:
        """Draw a canary; `queries` replace current ones that were not given."""
        rows, queries = Rows(self.vectors), self.queries or queries
        candidates = None if excluded is None else np.setdiff1d(np.arange(rows.n), excluded)
        return draw_canary(rows, candidates, queries, k=k, metric=metric, seed=seed)


@dataclass(frozen=True)
class NewMonitor:
    """A monitor of a baseline's vectors, and what its training means for current ones.

    Attributes
    ----------
    monitor : DriftMonitor
    canary : Canary or None
        Of current vectors.
    excluded : int64 (n,)
        Ascending numbers of current rows that the monitor's codec was trained on.
    stand_in : bool
        Whether its codec stands in for the codec in use, which was trained on the baseline.
    """

    monitor: wf.DriftMonitor
    canary: wf.drift.Canary | None
    excluded: NDArray[np.int64]
    stand_in: bool


def new_monitor(
    vectors: Vectors,
    blocks: NDArray[Any] | None,
    codec: Path | None,
    queries: Vectors | None,
    current: Current,
    settings: BaselineOptions,
) -> NewMonitor:
    """Make a monitor of a baseline's vectors; everything cheap is checked before training."""
    plan = _plan_baseline(vectors, codec, settings)
    if current.vectors.d != vectors.d:
        raise ValueError(
            f"{current.vectors.name}: expected {vectors.d} dimensions, as in {vectors.name}, "
            f"got {current.vectors.d}"
        )
    if queries is not None and queries.n < _MIN_QUERIES:
        raise ValueError(
            f"{queries.name}: expected at least {_MIN_QUERIES} queries for a baseline, "
            f"got {queries.n}"
        )
    excluded = plan.trained_rows_of(current.vectors)
    metric, k = settings.metric or plan.default_metric, settings.k or _K
    baseline_canary = canary = None
    if settings.canary:
        canary = current.canary(k, metric, settings.seed, queries, excluded)
        baseline_canary = draw_canary(
            plan.rows,
            plan.baseline,
            queries,
            k=k,
            metric=metric,
            seed=settings.seed,
            max_vectors=len(canary.vectors),
        )
    monitor = wf.DriftMonitor.from_codec(
        plan.train(metric, queries),
        plan.rows.without(plan.training).source,
        blocks=None if blocks is None else blocks[plan.baseline],
        queries=queries,
        canary=baseline_canary,
        metric=metric,
        errors=settings.errors,
        alpha=_ALPHA if settings.alpha is None else settings.alpha,
        seed=settings.seed,
    )
    return NewMonitor(monitor, canary, excluded, plan.codec is not None and plan.halved)


def saved_monitor(path: Path, current: Current, settings: BaselineOptions) -> NewMonitor:
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
    if current.vectors.d != monitor.codec.d:
        raise ValueError(
            f"{current.vectors.name}: expected {monitor.codec.d} dimensions, as in {path}, "
            f"got {current.vectors.d}"
        )
    trained = training_rows(monitor.codec, Rows(current.vectors))
    enough = trained is not None and current.vectors.n - len(trained) >= BASELINE_ROWS
    excluded = trained if trained is not None and enough else np.empty(0, np.int64)
    if not settings.canary:
        return NewMonitor(monitor, None, excluded, False)
    if has_queries and current.queries is None:
        raise UsageError(f"--canary needs --new-queries, because {path} was saved with --queries")
    reference = monitor.canary
    k, metric = settings.k or _K, monitor.metric
    if reference is not None:
        k, metric = reference.k, reference.metric
        if settings.k not in (None, k):
            raise UsageError(f"-k {settings.k}: expected -k {k}, as in the canary of {path}")
    canary = current.canary(k, metric, settings.seed, None, excluded)
    return NewMonitor(monitor, canary, excluded, False)


@dataclass(frozen=True)
class _BaselinePlan:
    """Which rows of a file are the baseline, and which codec it is a baseline of.

    Attributes
    ----------
    rows : Rows
        All rows of the file.
    training, baseline : int64 (n,)
        Ascending numbers of the rows that the codec is or was trained on, and of the others.
    codec : Codec or None
        The codec in use.
    recipe : Recipe or None
        Of a codec to train if none is in use.
    halved : bool
        Whether a codec is to be trained on the training rows, like the one in use if there is one.
    """

    rows: Rows
    training: NDArray[np.int64]
    baseline: NDArray[np.int64]
    codec: wf.Codec | None
    recipe: wf.Recipe | None
    halved: bool

    @property
    def default_metric(self) -> Metric:
        """The metric if none was given."""
        return "cosine" if self.codec is not None and self.codec.plan.normalize else "ip"

    def trained_rows_of(self, current: Vectors) -> NDArray[np.int64]:
        """Return the numbers of the current rows that the monitor's codec is trained on."""
        rows, none = Rows(current), np.empty(0, np.int64)
        if _same_rows(self.rows, rows):
            return self.training
        if self.halved or self.codec is None:
            return none
        trained = training_rows(self.codec, rows)
        enough = trained is not None and rows.n - len(trained) >= BASELINE_ROWS
        return trained if trained is not None and enough else none

    def train(self, metric: Metric, queries: Vectors | None) -> wf.Codec:
        """Return the monitor's codec; train it if necessary."""
        if self.codec is not None and not self.halved:
            return self.codec
        source = self.rows.without(self.baseline).source
        if self.codec is not None:
            return _train_like(self.codec, source, queries)
        assert self.recipe is not None
        return self.recipe.train(source, metric)


def _plan_baseline(
    vectors: Vectors, codec: Path | None, settings: BaselineOptions
) -> _BaselinePlan:
    """Choose the rows of the baseline.

    Errors of rows that a codec was trained on are too small for a baseline. So a codec that was
    trained on nearly all rows of the file is replaced by one like it, trained on half of them.
    """
    trained, recipe, left = None, None, None
    if codec is not None:
        trained = read_codec(codec)
        rows = Rows(vectors, d=trained.d)
        drawn = training_rows(trained, rows)
        drawn = np.empty(0, np.int64) if drawn is None else drawn
        left = np.setdiff1d(np.arange(rows.n), drawn)
        if not len(drawn) or len(left) >= min(BASELINE_ROWS, rows.n // 2):
            return _BaselinePlan(rows, drawn, left, trained, None, False)
        advice = f"was trained on these rows; give other vectors of that time than {vectors.name}"
        reason = f"of which half train a codec like {codec}, which {advice}"
    else:
        size = min(_CODE_BYTES, vectors.d) if settings.code_bytes is None else settings.code_bytes
        recipe = wf.Recipe(vectors.d, size, seed=settings.seed)
        rows = Rows(vectors)
        reason = "of which half train a codec"
    if rows.n < _MIN_ROWS:
        hint = "; give --codec" if codec is None else ""
        raise ValueError(
            f"{vectors.name}: expected at least {_MIN_ROWS} rows, {reason}, got {rows.n}{hint}"
        )
    order = np.random.default_rng(settings.seed).permutation(rows.n)
    training, baseline = (np.sort(half) for half in np.array_split(order, 2))
    return _BaselinePlan(rows, training, baseline, trained, recipe, True)


def _train_like(codec: wf.Codec, source: Any, queries: Vectors | None) -> wf.Codec:
    """Train with the settings of a codec that has a manifest."""
    manifest = codec.manifest
    assert manifest is not None
    training = dict(manifest.training)
    if training["cells"] is None:  # its centroids were given
        training["cells"] = codec.cells
    plan = plan_like(manifest.plan, wf.analyze(source, normalize=manifest.plan["normalize"]))
    had_queries = manifest.queries_sha256 is not None
    return wf.Codec.train(source, plan, queries=queries if had_queries else None, **training)


def _same_rows(one: Rows, other: Rows) -> bool:
    """Return whether two files have the same vectors, by some of their rows."""
    if (one.n, one.d) != (other.n, other.d):
        return False
    some = np.unique(np.linspace(0, one.n - 1, _COMPARED_ROWS).astype(np.int64))
    first, second = (rows.take(some, finite=False) for rows in (one, other))
    return np.array_equal(first, second, equal_nan=True)


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
        with open_input(path) as file:
            blocks: NDArray[Any] = np.load(file, allow_pickle=False)
    else:
        blocks = np.array(read_input(path).decode("utf-8").splitlines())
    if blocks.shape != (vectors.n,) or blocks.dtype.kind not in "iuSU":
        raise ValueError(
            f"{path}: expected an integer or a string for each of the {vectors.n} rows of "
            f"{vectors.name}, got shape {blocks.shape} and dtype {blocks.dtype}"
        )
    return blocks
