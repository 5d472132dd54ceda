"""The measurement of bench/peers.py: a quick sweep, then interleaved timings of some settings."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from statistics import median
from typing import NamedTuple

import corpora
import numpy as np
from ground_truth import recall
from interleaved_timing import interleave
from peer_methods import Family
from recall_curves import LOADS, Curve, Point, around
from swept_methods import Array, Swept

K = 10
BATCH, SINGLES = 100, 100  # queries per call; queries searched one by one
_QUICK_SINGLES = 40
# The recalls for which settings are timed, and how many on either side. 0: the fastest setting.
TARGETS = {0.0: 1, 0.5: 1, 0.6: 1, 0.7: 1, 0.8: 2, 0.85: 1, 0.9: 2, 0.95: 2, 0.97: 1, 0.99: 2}
_GAIN = 0.0005  # recall that a setting must gain for the sweep to continue its line


class Key(NamedTuple):
    """The key of a timing: method, number of the point, load."""

    family: str
    point: int
    load: str


class Finalist(NamedTuple):
    """A method with its filled indexes by name, and the points to time."""

    family: Family
    indexes: Mapping[str, Swept]
    points: Sequence[Point]


def calls(queries: Array, load: str, singles: int = SINGLES) -> list[Array]:
    """Split the queries into the calls of a load."""
    size = BATCH if load == "batch" else 1
    used = queries if load == "batch" else queries[:singles]
    return [np.ascontiguousarray(used[first : first + size]) for first in range(0, len(used), size)]


def sweep(one: Swept, corpus: corpora.Corpus, truth: Array) -> Iterator[Point]:
    """Search once with each setting; yield its recall and approximate speed."""
    batches, singles = calls(corpus.query, "batch"), calls(corpus.query, "single", _QUICK_SINGLES)
    for line in one.settings():
        before = 0.0
        for setting in line:
            one.use(setting)
            found, batch = _rate(one, batches)
            _, single = _rate(one, singles)
            share = recall(found, truth)
            qps = {"batch": batch, "single": single}
            yield Point(one.name, setting, one.size, share, qps)
            if share > max(TARGETS) or share < before + _GAIN:
                break  # more effort gains no recall
            before = share


def _rate(one: Swept, batches: Sequence[Array]) -> tuple[Array, float]:
    start = time.process_time()
    found = _search(one, batches)
    return found, sum(map(len, batches)) / (time.process_time() - start)


def _search(one: Swept, batches: Sequence[Array]) -> Array:
    return np.vstack([one.search(queries, K) for queries in batches])


def choose(
    family: Family, corpus: corpora.Corpus, truth: Array, extra: Iterable[float]
) -> Finalist | None:
    """Fill and sweep a method; choose points near the target recalls.

    Parameters
    ----------
    truth
        The exact neighbours of the queries.
    extra
        More target recalls.

    Returns
    -------
    Finalist or None
        None with a note if the library is missing or does not support the set. Indexes without
        a chosen point are not kept.
    """
    swept: list[Point] = []
    indexes: dict[str, Swept] = {}
    if why := obstacle(family):
        _note(f"skipped {family.name}: {why}")
        return None
    for make in family.makers:
        one = _filled(make, corpus)
        _note(f"sweeping {one.name}")
        indexes[one.name] = one
        swept += sweep(one, corpus, truth)
    targets = {**dict.fromkeys(extra, 2), **TARGETS}
    points = _distinct(point for load in LOADS for point in around(swept, load, targets))
    used = {point.index for point in points}
    return Finalist(family, {name: indexes[name] for name in indexes if name in used}, points)


def refill(family: Family, corpus: corpora.Corpus, points: Sequence[Point]) -> Finalist | None:
    """Fill the indexes of points chosen in an earlier run; None with a note if that fails."""
    used = {point.index for point in points}
    indexes: dict[str, Swept] = {}
    if why := obstacle(family):
        _note(f"skipped {family.name}: {why}")
        return None
    for make in family.makers:
        if make().name in used:
            one = _filled(make, corpus)
            indexes[one.name] = one
    kept = _distinct(point for point in points if point.index in indexes)
    return Finalist(family, indexes, kept) if kept else None


def obstacle(family: Family) -> str:
    """Return why a method cannot run: a missing package or an unsupported set; empty if it can."""
    try:
        family.makers[0]()
    except (ImportError, ValueError) as error:
        return str(error).splitlines()[-1]
    return ""


def _distinct(points: Iterable[Point]) -> list[Point]:
    """Return each setting of an index once."""
    found = {(point.index, *sorted(point.setting.items())): point for point in points}
    return list(found.values())


def _filled(make: Callable[[], Swept], corpus: corpora.Corpus) -> Swept:
    one = make()
    _note(f"filling {one.name}")
    one.fill(corpus.base)
    return one


def measure(finalists: Sequence[Finalist], query: Array, rounds: int, run: str) -> list[Curve]:
    """Time the points of all finalists interleaved, by the CPU time of the process.

    Each point is timed under all loads, whichever it was chosen for: a sweep is too short to choose
    for single queries alone.
    """
    loads = {load: calls(query, load) for load in LOADS}
    works = {
        Key(final.family.name, number, load): partial(
            _timed, final.indexes[point.index], point, loads[load]
        )
        for final in finalists
        for number, point in enumerate(final.points)
        for load in LOADS
    }
    seconds = interleave(works, rounds, time.process_time)

    def timed(final: Finalist) -> Iterator[Point]:
        for number, point in enumerate(final.points):
            rates = {
                load: sum(map(len, loads[load]))
                / median(seconds[Key(final.family.name, number, load)])
                for load in LOADS
            }
            yield replace(point, qps=rates)

    return [curve(final, run, timed(final)) for final in finalists]


def curve(final: Finalist, run: str = "", points: Iterable[Point] | None = None) -> Curve:
    """Return the curve of a finalist: its points, or others."""
    family = final.family
    kept = list(final.points if points is None else points)
    return Curve(family.name, family.library, family.kind, run, kept)


def _timed(one: Swept, point: Point, batches: Sequence[Array]) -> None:
    one.use(point.setting)
    for queries in batches:
        one.search(queries, K)


def _note(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)
