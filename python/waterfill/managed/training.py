"""Training of the codec of a managed index: its bytes, its lists, and whether it is any better."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from waterfill._util.validation import Metric
from waterfill.analysis import analyze
from waterfill.codec import Codec
from waterfill.data.rows import FloatRows
from waterfill.index.flat import IndexFlat
from waterfill.lifecycle.comparison import Comparison, compare
from waterfill.managed.growth import Size
from waterfill.managed.settings import Settings
from waterfill.optimizer.optimize import optimize
from waterfill.plan import Plan
from waterfill.training.cells import Cells

_GATE_QUERIES = 200
_TOLERATED_DROP = 0.005  # of recall, as of `waterfill.lifecycle.Gate`


@dataclass(frozen=True)
class Training:
    """A codec, and why it is this one.

    Attributes
    ----------
    codec : Codec
        With at least one cell, as an index with lists needs it.
    expected : float or None
        Recall of the codes alone that is expected; None for a given number of bytes.
    words : str
    """

    codec: Codec
    expected: float | None
    words: str


def train(
    settings: Settings,
    metric: Metric,
    size: Size,
    rows: FloatRows,
    seed: int,
    between: Callable[[], None],
    queries: FloatRows | None = None,
) -> Training:
    """Choose the bytes of a code and train a codec.

    Parameters
    ----------
    rows : float32 (n, d)
        A random sample of the stored vectors.
    queries : float32 (m, d), optional
        Queries to train for, if they do not resemble the vectors.
    between : callable
        Called between parts of the work; may raise to end it.
    """
    words = f"{settings.words}, on {len(rows):,} of the vectors"
    if queries is not None:
        words += f" and for {len(queries):,} queries that were asked"
    if settings.code_bytes is not None:
        cells: Cells = size.nlist or "auto"
        codec = _train(rows, settings.code_bytes, 0.2, metric, cells, seed, queries)
        return Training(codec, None, words)
    found = optimize(
        rows,
        queries,
        target_recall=settings.target_recall,
        metric=metric,
        ntotal=size.aim,
        seed=seed,
        progress=False,
        on_trial=lambda *_: between(),
    )
    best, codec = found.best.settings, found.codec
    if size.nlist or not codec.cells:
        between()
        nlist = size.nlist or 1
        codec = _train(rows, best.code_bytes, best.weighting, metric, nlist, seed, queries)
    expected = round(found.best.expected_accuracy, 4)
    words += (
        f": {best.code_bytes} bytes, of which {expected:.3f} is expected without rows among "
        f"{size.aim:,}"
    )
    return Training(codec, expected, words)


def _train(
    rows: FloatRows,
    code_bytes: int,
    weighting: float,
    metric: Metric,
    cells: Cells,
    seed: int,
    queries: FloatRows | None,
) -> Codec:
    analysis = analyze(rows, normalize=metric == "cosine")
    plan = Plan.waterfill(analysis, code_bytes, weighting)
    for number in (cells, 1):  # an index with lists needs a cell
        codec = Codec.train(rows, plan, seed, queries=queries, cells=number, metric=metric)
        if codec.cells:
            break
    return codec


def compare_codecs(
    old: Codec, new: Codec, metric: Metric, rows: FloatRows, queries: FloatRows | None = None
) -> Comparison:
    """Search rows by the codes of two codecs, with queries or with some of the rows."""
    base = rows[_GATE_QUERIES:]
    queries = rows[:_GATE_QUERIES] if queries is None else queries[:_GATE_QUERIES]
    before, after = (IndexFlat(codec, metric) for codec in (old, new))
    for index in (before, after):
        index._warns_of_clipped = False  # what the loss is, the comparison says
        index.add(base)
    return compare(before, after, queries, vectors=base, timed=0)


def refusal(settings: Settings, comparison: Comparison) -> str:
    """Return why a new codec must not replace the old one; empty if it may.

    With a target it may find less than the old one, unless it misses the target for certain.
    """
    old, new, target = comparison.old.recall, comparison.new.recall, settings.target_recall
    assert old is not None
    assert new is not None
    found = target is not None and new.high >= target
    if found or new.value >= old.value - _TOLERATED_DROP:
        return ""
    return (
        f"by codes alone the new codec finds {new.value:.4f} of the neighbours in a sample of "
        f"{comparison.old.ntotal:,} vectors, and the one in use {old.value:.4f}"
    )
